"""Failed requests and runs: refused starts, rate limits, quota, lost outputs, outages."""

from __future__ import annotations

import attrs

from gpt_agent_sync.decisions.closing import announce_messages, end_turn, fail_turn, failure
from gpt_agent_sync.decisions.rate_limits import is_quota, is_rate_limit, named_delay
from gpt_agent_sync.decisions.state import (
    DecisionContext,
    FollowRun,
    Phase,
    PostMessage,
    Progress,
    Request,
    StartRun,
    Transition,
    Turn,
)
from gpt_agent_sync.decisions.verbs import current_turn
from gpt_agent_sync.errors import (
    AuthenticationError,
    GptAgentError,
    ProtocolError,
    RateLimitError,
    RequestRejectedError,
    ServiceBusyError,
    ServiceError,
    ServiceUnavailableError,
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
"""Heartbeats for which a live run is polled at a service that does not answer."""

MAX_DELAY = 86400.0
"""Seconds; a longer delay that a service names is taken as this."""

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
        return error.code or _CODES.get(type(error), "service_error")
    return "internal_error"


def failure_message(error: Exception) -> str:
    """Return the message of a failure."""
    return str(error) if isinstance(error, GptAgentError) else repr(error)


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
    transient = isinstance(error, (ServiceUnavailableError, RateLimitError))
    if turn.phase is Phase.AWAITING_OUTPUTS and transient:
        # The handlers are at work all the same, and the next poll comes by itself.
        return Transition(progress=progress)
    if isinstance(error, ServiceUnavailableError):
        # The run may well be alive at a service that restarts: closing it at once would lose it.
        since = context.now if turn.trouble_since is None else turn.trouble_since
        heartbeat = context.settings.heartbeat_interval
        if context.now - since < OUTAGE_HEARTBEATS * heartbeat:
            turn = attrs.evolve(turn, trouble_since=since)
            return Transition(
                progress=attrs.evolve(progress, turn=turn),
                steps=(FollowRun(turn=turn.number, delay=heartbeat),),
            )
    if isinstance(error, RateLimitError) and turn.retries_left > 0:
        delay = _retry_delay(error.retry_after, error.message, context)
        turn = attrs.evolve(turn, retries_left=turn.retries_left - 1)
        return Transition(
            progress=attrs.evolve(progress, turn=turn),
            steps=(FollowRun(turn=turn.number, delay=delay),),
        )
    return fail_turn(progress, context, code=failure_code(error), message=failure_message(error))


def _start_failed(
    progress: Progress, turn: Turn, error: Exception, context: DecisionContext
) -> Transition:
    # The program wanted it ended, and so it has: why it never began is of no use to it.
    if turn.cancel_requested:
        return _cancelled(progress, turn, None, context)
    failed = failure(progress, turn, None, code=failure_code(error), message=failure_message(error))
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
    turn = attrs.evolve(turn, start_delayed=True)
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
