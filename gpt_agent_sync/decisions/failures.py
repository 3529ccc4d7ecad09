"""Failed requests and runs: refused starts, rate limits, quota, lost outputs, outages."""

from __future__ import annotations

import attrs

from gpt_agent_sync.decisions.closing import announce_messages, end_turn, fail_turn, failure
from gpt_agent_sync.decisions.outputs import shorten_outputs
from gpt_agent_sync.decisions.rate_limits import is_quota, is_rate_limit, named_delay
from gpt_agent_sync.decisions.state import (
    DecisionContext,
    FollowRun,
    Phase,
    PostMessage,
    Progress,
    Request,
    StartRun,
    SubmitOutputs,
    Transition,
    Turn,
)
from gpt_agent_sync.decisions.verbs import current_turn
from gpt_agent_sync.errors import (
    AuthenticationError,
    GptAgentError,
    OutputTooLongError,
    ProtocolError,
    RateLimitError,
    RequestRejectedError,
    ServiceBusyError,
    ServiceError,
    ServiceUnavailableError,
    describe_error,
)
from gpt_agent_sync.events import (
    QuotaExceeded,
    RateLimited,
    RateLimitRetriesExhausted,
    RunCancelled,
    RunFailed,
    ToolOutputSubmissionFailed,
)
from gpt_agent_sync.records import RunSnapshot

START_PATIENCE = 600.0
"""Seconds to wait for a thread that another caller's run holds: the wire's expiry of a run."""

OUTAGE_HEARTBEATS = 15
"""Heartbeats for which a service that does not answer is asked again: to poll a live run, or to
take its outputs."""

OUTAGE_REQUESTS = 3
"""How many requests in a row fail at least before a run is given up."""

MAX_DELAY = 3600.0
"""Seconds; a longer delay that a service names is taken as this: it is asked again then."""

_CODES: dict[type[ServiceError], str] = {
    ServiceUnavailableError: "service_unavailable",
    RateLimitError: "rate_limit_exceeded",
    AuthenticationError: "authentication_failed",
    ServiceBusyError: "thread_busy",
    RequestRejectedError: "request_rejected",
    ProtocolError: "protocol_error",
}


def failure_code(error: Exception) -> str:
    """Return the code of a failure: the service's own, else one for the class of the error."""
    if isinstance(error, ServiceError):
        kinds = (_CODES[kind] for kind in type(error).__mro__ if kind in _CODES)
        return error.code or next(kinds, "service_error")
    return "internal_error"


def failure_message(error: Exception) -> str:
    """Return the message of a failure."""
    return str(error) if isinstance(error, GptAgentError) else describe_error(error)


def request_failed(
    progress: Progress, number: int, origin: Phase, error: Exception, context: DecisionContext
) -> Transition:
    """Decide what follows from a request that failed: a post, a start, a poll, a submission.

    Args:
        progress: The agent's progress.
        number: The number of the turn.
        origin: The phase of the turn when the request was made, or the feed was opened.
        error: What went wrong.
        context: The circumstances.
    """
    turn = current_turn(progress, number)
    if turn is None:
        return Transition(progress=progress)
    if origin in _BEFORE_THE_RUN and turn.phase is origin:
        return _start_failed(progress, turn, error, context)
    if turn.phase is Phase.SUBMITTING:
        if origin is Phase.SUBMITTING:
            return _submission_failed(progress, turn, error, context)
        # The feed that was followed before failed late; the submission decides.
        return Transition(progress=progress)
    return _following_failed(progress, turn, error, context)


_BEFORE_THE_RUN = (Phase.POSTING, Phase.STARTING)


def _following_failed(
    progress: Progress, turn: Turn, error: Exception, context: DecisionContext
) -> Transition:
    if turn.phase is Phase.AWAITING_OUTPUTS and (
        _is_outage(error) or isinstance(error, RateLimitError)
    ):
        # The handlers are at work all the same, and the next poll comes by itself.
        return Transition(progress=progress)
    if _may_pass(turn, error, context):
        # The run may well be alive at a service that restarts: closing it at once would lose it.
        again = FollowRun(turn=turn.number, delay=context.settings.heartbeat_interval)
        return _with_trouble(progress, turn, again, context)
    if isinstance(error, RateLimitError) and turn.retries_left > 0:
        delay = _retry_delay(error.retry_after, error.message, context)
        turn = attrs.evolve(turn, retries_left=turn.retries_left - 1)
        return Transition(
            progress=attrs.evolve(progress, turn=turn),
            steps=(FollowRun(turn=turn.number, delay=delay),),
        )
    # Given up, the run is cancelled: it would hold the thread for as long as the service lets it.
    return fail_turn(
        progress, context, code=failure_code(error), message=failure_message(error), cancel=True
    )


def _is_outage(error: Exception) -> bool:
    """Return whether the service did not answer, or not in a way that can be read."""
    return isinstance(error, (ProtocolError, ServiceUnavailableError))


def _may_pass(turn: Turn, error: Exception, context: DecisionContext) -> bool:
    """Return whether it is an outage, and not too long a one."""
    if not _is_outage(error):
        return False
    # One request to a silent service may take longer than all the patience.
    if turn.trouble_since is None or turn.troubles < OUTAGE_REQUESTS:
        return True
    patience = OUTAGE_HEARTBEATS * context.settings.heartbeat_interval
    return context.now - turn.trouble_since < patience


def _with_trouble(
    progress: Progress, turn: Turn, again: Request, context: DecisionContext
) -> Transition:
    since = context.now if turn.trouble_since is None else turn.trouble_since
    turn = attrs.evolve(turn, trouble_since=since, troubles=turn.troubles + 1)
    return Transition(progress=attrs.evolve(progress, turn=turn), steps=(again,))


def _start_failed(
    progress: Progress, turn: Turn, error: Exception, context: DecisionContext
) -> Transition:
    # The program wanted it ended, and so it has: why it never began is of no use to it.
    if turn.cancel_requested:
        return _cancelled(progress, turn, None, context)
    in_doubt = isinstance(error, GptAgentError) and error.in_doubt
    failed = failure(
        progress,
        turn,
        None,
        code=failure_code(error),
        message=failure_message(error),
        in_doubt=in_doubt,
    )
    if in_doubt:
        # Tried again when the thread is free, it might be done twice.
        return end_turn(progress, failed, context)
    if isinstance(error, RateLimitError):
        # HTTP 429 means a rate limit or a used-up quota, and only the first is worth a retry.
        if is_quota(error.code, error.message):
            return _out_of_quota(progress, turn, None, failed, context)
        delay = _retry_delay(error.retry_after, error.message, context)
        return _rate_limited(progress, turn, None, delay, failed, context)
    if isinstance(error, ServiceBusyError):
        # Another caller's run holds the thread. It ends by itself, at the latest when it expires.
        since = context.now if turn.blocked_since is None else turn.blocked_since
        if context.now - since < START_PATIENCE:
            turn = attrs.evolve(turn, blocked_since=since)
            return _start_again(progress, turn, context.settings.heartbeat_interval)
    return end_turn(progress, failed, context)


def _start_again(progress: Progress, turn: Turn, delay: float) -> Transition:
    turn = attrs.evolve(
        turn, start_delayed=True, run_since=None, queued_since=None, expires_at=None
    )
    again: Request
    # A message that the service has is never posted again, however often its run is started.
    if turn.posted is None and turn.message is not None:
        turn = attrs.evolve(turn, phase=Phase.POSTING)
        again = PostMessage(turn=turn.number, delay=delay)
    else:
        turn = attrs.evolve(turn, phase=Phase.STARTING)
        again = StartRun(turn=turn.number, delay=delay)
    return Transition(progress=attrs.evolve(progress, turn=turn), steps=(again,))


def _cancelled(
    progress: Progress, turn: Turn, run_id: str | None, context: DecisionContext
) -> Transition:
    closing = RunCancelled(thread_id=progress.thread_id, id=run_id, assistant_id=turn.assistant_id)
    return end_turn(progress, closing, context)


def _out_of_quota(
    progress: Progress, turn: Turn, run_id: str | None, failed: RunFailed, context: DecisionContext
) -> Transition:
    reason = QuotaExceeded(
        thread_id=progress.thread_id, run_id=run_id, assistant_id=turn.assistant_id
    )
    return end_turn(progress, failed, context, before=(reason,))


def _submission_failed(
    progress: Progress, turn: Turn, error: Exception, context: DecisionContext
) -> Transition:
    if isinstance(error, OutputTooLongError):
        shortened = shorten_outputs(progress, turn, error.limit, error.message)
        if shortened is not None:
            return shortened
    if _may_pass(turn, error, context):
        # The service looks first whether it has them.
        delay = context.settings.heartbeat_interval
        again = SubmitOutputs(turn=turn.number, outputs=turn.tool_outputs, delay=delay)
        return _with_trouble(progress, turn, again, context)
    message = failure_message(error)
    # The run would wait for these outputs until it expires, and hold the thread as long.
    lost = ToolOutputSubmissionFailed(
        thread_id=progress.thread_id, run_id=turn.run_id or "", message=message
    )
    return fail_turn(
        progress,
        context,
        code="tool_output_submission_failed",
        message=message,
        before=(lost,),
        cancel=True,
    )


def run_failed(
    progress: Progress, turn: Turn, snapshot: RunSnapshot, context: DecisionContext
) -> Transition:
    """Decide what follows from a run in status ``failed``: a new start, or the end of the turn."""
    code, message = snapshot.error_code, snapshot.error_message
    if snapshot.unsupported_call is not None:
        # The thread takes no message before the call is closed, which the cancel does.
        return fail_turn(progress, context, code=code, message=message or "", cancel=True)
    failed = failure(progress, turn, turn.run_id, code=code, message=message)
    if not is_rate_limit(code):
        return end_turn(progress, failed, context)
    if turn.cancel_requested:
        return _cancelled(progress, turn, turn.run_id, context)
    if is_quota(code, message):
        return _out_of_quota(progress, turn, turn.run_id, failed, context)
    return _rate_limited(
        progress, turn, turn.run_id, _retry_delay(None, message, context), failed, context
    )


def _rate_limited(
    progress: Progress,
    turn: Turn,
    run_id: str | None,
    delay: float,
    failed: RunFailed,
    context: DecisionContext,
) -> Transition:
    # A run that was found in progress may not name its assistant; then there is none to start.
    if turn.retries_left <= 0 or turn.assistant_id is None:
        exhausted = RateLimitRetriesExhausted(
            thread_id=progress.thread_id, run_id=run_id, assistant_id=turn.assistant_id
        )
        return end_turn(progress, failed, context, before=(exhausted,))
    left = turn.retries_left - 1
    limited = RateLimited(
        thread_id=progress.thread_id,
        run_id=run_id,
        assistant_id=turn.assistant_id,
        retry_in=delay,
        retries_remaining=left,
    )
    # The next run of the turn starts over, so what this one wrote is announced now or never.
    announcement = announce_messages(progress, turn.messages)
    turn = attrs.evolve(
        turn,
        messages=(),
        messages_known=True,
        tool_calls=(),
        tool_outputs=(),
        retries_left=left,
    )
    again = _start_again(announcement.progress, turn, delay)
    return attrs.evolve(again, steps=(limited, *announcement.events, *again.steps))


def _retry_delay(retry_after: float | None, message: str | None, context: DecisionContext) -> float:
    delay = named_delay(message) if retry_after is None else retry_after
    return min(context.settings.rate_limit_delay if delay is None else delay, MAX_DELAY)
