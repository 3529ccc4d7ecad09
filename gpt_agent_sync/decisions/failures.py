"""What went wrong: refused starts, rate limits, quota, lost outputs, a service gone."""

from __future__ import annotations

import attrs

from gpt_agent_sync.decisions.closing import end_turn, fail_turn, failure, tell_messages
from gpt_agent_sync.decisions.rate_limits import is_quota, is_rate_limit, named_delay
from gpt_agent_sync.decisions.state import (
    FollowRun,
    Moment,
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
"""Seconds to wait for a thread that another caller's run holds: the wire's run expiry."""

OUTAGE_HEARTBEATS = 15
"""Heartbeats for which a live run is looked for at a service that does not answer."""

LONGEST_DELAY = 86400.0
"""Seconds: a longer pause that a service names is taken as this."""

_CODES: dict[type[ServiceError], str] = {
    ServiceUnavailableError: "service_unavailable",
    RateLimitError: "rate_limit_exceeded",
    AuthenticationError: "authentication_failed",
    ServiceBusyError: "thread_busy",
    RequestRejectedError: "request_rejected",
    ProtocolError: "protocol_error",
}


def failure_code(error: Exception) -> str:
    """Give a word for what went wrong: the service's own code, else one for the kind."""
    if isinstance(error, ServiceError):
        return error.code or _CODES.get(type(error), "service_error")
    return "internal_error"


def failure_message(error: Exception) -> str:
    """Give what went wrong in words."""
    return str(error) if isinstance(error, GptAgentError) else repr(error)


def request_failed(
    progress: Progress, number: int, origin: Phase, error: Exception, moment: Moment
) -> Transition:
    """Take in that posting, starting, following or answering the turn's run failed.

    Args:
        progress: What is true.
        number: The turn.
        origin: The phase in which the request, or the feed, was begun.
        error: What went wrong.
        moment: The circumstances.
    """
    turn = current_turn(progress, number)
    if turn is None:
        return Transition(progress=progress)
    if origin in _BEFORE_THE_RUN and turn.phase is origin:
        return _start_failed(progress, turn, error, moment)
    if turn.phase is Phase.SUBMITTING:
        if origin is Phase.SUBMITTING:
            return _submission_failed(progress, turn, error, moment)
        return Transition(progress=progress)
    return _following_failed(progress, turn, error, moment)


_BEFORE_THE_RUN = (Phase.POSTING, Phase.STARTING)


def _following_failed(
    progress: Progress, turn: Turn, error: Exception, moment: Moment
) -> Transition:
    passing = isinstance(error, (ServiceUnavailableError, RateLimitError))
    if turn.phase is Phase.AWAITING_OUTPUTS and passing:
        return Transition(progress=progress)
    if isinstance(error, ServiceUnavailableError):
        since = moment.now if turn.trouble_since is None else turn.trouble_since
        heartbeat = moment.settings.heartbeat_interval
        if moment.now - since < OUTAGE_HEARTBEATS * heartbeat:
            turn = attrs.evolve(turn, trouble_since=since)
            return Transition(
                progress=attrs.evolve(progress, turn=turn),
                steps=(FollowRun(turn=turn.number, delay=heartbeat),),
            )
    if isinstance(error, RateLimitError) and turn.retries_left > 0:
        delay = _pause(error.retry_after, error.message, moment)
        turn = attrs.evolve(turn, retries_left=turn.retries_left - 1)
        return Transition(
            progress=attrs.evolve(progress, turn=turn),
            steps=(FollowRun(turn=turn.number, delay=delay),),
        )
    return fail_turn(progress, moment, code=failure_code(error), message=failure_message(error))


def _start_failed(progress: Progress, turn: Turn, error: Exception, moment: Moment) -> Transition:
    if turn.cancel_requested:
        return _cancelled(progress, turn, None, moment)
    failed = _failed_start(progress, turn, error)
    if isinstance(error, RateLimitError):
        if is_quota(error.code, error.message):
            return _out_of_quota(progress, turn, None, failed, moment)
        delay = _pause(error.retry_after, error.message, moment)
        return _limited(progress, turn, None, delay, failed, moment)
    if isinstance(error, ServiceBusyError):
        since = moment.now if turn.blocked_since is None else turn.blocked_since
        if moment.now - since < START_PATIENCE:
            turn = attrs.evolve(turn, blocked_since=since)
            return _begin_again(progress, turn, moment.settings.heartbeat_interval)
    return end_turn(progress, failed, moment)


def _begin_again(progress: Progress, turn: Turn, delay: float) -> Transition:
    turn = attrs.evolve(turn, start_delayed=True)
    again: Request
    if turn.posted is None and turn.message is not None:
        turn = attrs.evolve(turn, phase=Phase.POSTING)
        again = PostMessage(turn=turn.number, delay=delay)
    else:
        turn = attrs.evolve(turn, phase=Phase.STARTING)
        again = StartRun(turn=turn.number, delay=delay)
    return Transition(progress=attrs.evolve(progress, turn=turn), steps=(again,))


def _cancelled(progress: Progress, turn: Turn, run_id: str | None, moment: Moment) -> Transition:
    closing = RunCancelled(thread_id=progress.thread_id, id=run_id, assistant_id=turn.assistant_id)
    return end_turn(progress, closing, moment)


def _out_of_quota(
    progress: Progress, turn: Turn, run_id: str | None, failed: RunFailed, moment: Moment
) -> Transition:
    reason = QuotaExceeded(
        thread_id=progress.thread_id, run_id=run_id, assistant_id=turn.assistant_id
    )
    return end_turn(progress, failed, moment, before=(reason,))


def _failed_start(progress: Progress, turn: Turn, error: Exception) -> RunFailed:
    return failure(progress, turn, None, code=failure_code(error), message=failure_message(error))


def _submission_failed(
    progress: Progress, turn: Turn, error: Exception, moment: Moment
) -> Transition:
    message = failure_message(error)
    lost = ToolOutputSubmissionFailed(
        thread_id=progress.thread_id, run_id=turn.run_id or "", message=message
    )
    return fail_turn(
        progress,
        moment,
        code="tool_output_submission_failed",
        message=message,
        before=(lost,),
        cancel=True,
    )


def run_failed(progress: Progress, turn: Turn, snapshot: RunSnapshot, moment: Moment) -> Transition:
    """Take in a run in status ``failed``: quota, a rate limit, or any other reason."""
    code, message = snapshot.error_code, snapshot.error_message
    failed = failure(progress, turn, turn.run_id, code=code, message=message)
    if not is_rate_limit(code):
        return end_turn(progress, failed, moment)
    if turn.cancel_requested:
        return _cancelled(progress, turn, turn.run_id, moment)
    if is_quota(code, message):
        return _out_of_quota(progress, turn, turn.run_id, failed, moment)
    return _limited(progress, turn, turn.run_id, _pause(None, message, moment), failed, moment)


def _limited(
    progress: Progress,
    turn: Turn,
    run_id: str | None,
    delay: float,
    failed: RunFailed,
    moment: Moment,
) -> Transition:
    if turn.retries_left <= 0 or turn.assistant_id is None:
        exhausted = RateLimitRetriesExhausted(
            thread_id=progress.thread_id, run_id=run_id, assistant_id=turn.assistant_id
        )
        return end_turn(progress, failed, moment, before=(exhausted,))
    left = turn.retries_left - 1
    limited = RateLimited(
        thread_id=progress.thread_id,
        run_id=run_id,
        assistant_id=turn.assistant_id,
        retry_in=delay,
        retries_remaining=left,
    )
    told = tell_messages(progress, turn.messages)
    turn = attrs.evolve(
        turn,
        messages=(),
        messages_known=True,
        tool_calls=(),
        tool_outputs=(),
        retries_left=left,
    )
    again = _begin_again(told.progress, turn, delay)
    return attrs.evolve(again, steps=(limited, *told.steps, *again.steps))


def _pause(asked: float | None, message: str | None, moment: Moment) -> float:
    named = asked if asked is not None else named_delay(message)
    return min(moment.settings.rate_limit_delay if named is None else named, LONGEST_DELAY)
