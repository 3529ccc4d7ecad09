"""Decisions on failed requests and runs."""

from __future__ import annotations

import attrs
import pytest

from gpt_agent_sync.decisions import failures, outputs, runs, verbs
from gpt_agent_sync.decisions.failures import (
    MAX_DELAY,
    OUTAGE_HEARTBEATS,
    OUTAGE_REQUESTS,
    START_PATIENCE,
)
from gpt_agent_sync.decisions.state import (
    CancelRun,
    FollowRun,
    Phase,
    PostMessage,
    Progress,
    StartRun,
    SubmitOutputs,
    Transition,
)
from gpt_agent_sync.errors import (
    AuthenticationError,
    OutputTooLongError,
    ProtocolError,
    RateLimitError,
    RequestRejectedError,
    ServiceBusyError,
    ServiceError,
    ServiceUnavailableError,
)
from gpt_agent_sync.events import (
    RateLimited,
    RateLimitRetriesExhausted,
    RunCancelled,
    RunFailed,
    ToolCallFailed,
    ToolOutputSubmissionFailed,
)
from tests.support.progress import (
    HELLO,
    OPTIONS,
    awaiting,
    context,
    following,
    fresh,
    message,
    names,
    posting,
    seen,
    starting,
    submitting,
)

LIMIT = RateLimitError("slow down", status=429)
QUOTA = RateLimitError("no money", status=429, code="insufficient_quota")
BUSY = ServiceBusyError("busy", status=400)
GONE = ServiceUnavailableError("gone")
UNREADABLE = ProtocolError("a page of HTML", in_doubt=True)
REFUSED = RequestRejectedError("no", status=400)


def record(call_id: str, output: str, progress: Progress) -> Progress:
    """Record an output."""
    return outputs.record_output(progress, call_id, output).progress


class Unprintable(Exception):
    """An exception that has no message."""

    def __str__(self) -> str:
        raise KeyboardInterrupt

    __repr__ = __str__


def failed(
    progress: Progress, error: Exception, *, origin: Phase | None = None, now: float = 100.0
) -> Transition:
    """Let the turn's request fail."""
    assert progress.turn is not None
    begun_in = progress.turn.phase if origin is None else origin
    return failures.request_failed(progress, progress.turn.number, begun_in, error, context(now))


@pytest.mark.parametrize(
    "error, code",
    [
        (RequestRejectedError("no", status=400), "request_rejected"),
        (RequestRejectedError("no", status=400, code="own_code"), "own_code"),
        (AuthenticationError("no", status=401), "authentication_failed"),
        (ProtocolError("no"), "protocol_error"),
        (GONE, "service_unavailable"),
        (ServiceError("no"), "service_error"),
        (KeyError("bug"), "internal_error"),
        (Unprintable(), "internal_error"),
    ],
)
def test_failed_start_is_reported(error: Exception, code: str) -> None:
    """A run that could not be started has no id, and says why."""
    transition = failed(starting(), error)
    closing = transition.steps[0]
    assert isinstance(closing, RunFailed)
    assert (closing.id, closing.code) == (None, code)
    assert transition.progress.turn is None


def test_busy_thread_is_tried_again() -> None:
    """A start refused because the thread is busy is tried again after a heartbeat."""
    transition = failed(starting(), BUSY)
    assert transition.steps == (StartRun(turn=1, delay=1.0),)


def test_busy_thread_is_tried_for_a_bounded_time() -> None:
    """A thread that stays busy ends the turn as failed."""
    waiting = failed(starting(), BUSY, now=0.0).progress
    again = failed(waiting, BUSY, now=START_PATIENCE - 1).progress
    closing = failed(again, BUSY, now=START_PATIENCE).steps[0]
    assert isinstance(closing, RunFailed)
    assert closing.code == "thread_busy"


def test_queued_message_refused_as_busy_is_posted_again() -> None:
    """The worker posts a queued message again when the thread was busy."""
    assert failed(posting(), BUSY).steps == (PostMessage(turn=1, delay=1.0),)


@pytest.mark.parametrize("progress", [posting(), starting()])
@pytest.mark.parametrize(
    "error",
    [
        ServiceBusyError("busy", status=400, in_doubt=True),
        RateLimitError("slow down", status=429, in_doubt=True),
    ],
)
def test_start_in_doubt_is_not_tried_again(progress: Progress, error: ServiceError) -> None:
    """What the service may be at work on is reported as failed, and not asked for once more."""
    assert names(failed(progress, error).steps) == ["RunFailed", "SettleTurn"]


def test_queued_message_that_cannot_be_posted_is_reported() -> None:
    """A queued message that is refused for good ends its turn as failed."""
    assert names(failed(posting(), GONE).steps) == ["RunFailed", "SettleTurn"]


def test_failed_turn_lets_the_queue_go_on() -> None:
    """The next queued message has its turn after a failure."""
    queued = verbs.queue_message(starting(), HELLO, OPTIONS, context()).progress
    assert names(failed(queued, GONE).steps) == ["RunFailed", "SettleTurn", "PostMessage"]


@pytest.mark.parametrize("error, delay", [(BUSY, 1.0), (LIMIT, 30.0)])
def test_run_without_a_message_is_started_again(error: ServiceError, delay: float) -> None:
    """A run that has no message is started again, with nothing to post before."""
    progress = verbs.reserve_run(fresh(), None, OPTIONS, context()).progress
    assert failed(progress, error).steps[-1] == StartRun(turn=1, delay=delay)


def test_rate_limited_start_is_delayed() -> None:
    """A start that meets a rate limit is tried again after the usual delay."""
    limited, start = failed(starting(), LIMIT).steps
    assert limited == RateLimited(
        thread_id="thread_1",
        run_id=None,
        assistant_id="asst_1",
        retry_in=30.0,
        retries_remaining=1,
    )
    assert start == StartRun(turn=1, delay=30.0)


def test_delay_that_the_service_asks_for_is_kept() -> None:
    """Retry-After goes before the settings."""
    error = RateLimitError("slow down", status=429, retry_after=7.0)
    assert failed(starting(), error).steps[1] == StartRun(turn=1, delay=7.0)


def test_delay_that_the_message_names_is_kept() -> None:
    """A failed run's message that names a time is believed."""
    transition = seen(
        following(),
        "failed",
        error_code="rate_limit_exceeded",
        error_message="Rate limit reached. Please try again in 20s.",
    )
    limited = transition.steps[0]
    assert isinstance(limited, RateLimited)
    assert (limited.run_id, limited.retry_in) == ("run_1", 20.0)
    assert transition.steps[1] == StartRun(turn=1, delay=20.0)


@pytest.mark.parametrize("named", ["30d", "999999999h", "1d 1d 1d"])
def test_delay_that_the_message_names_is_bounded(named: str) -> None:
    """A service that names a time far away is asked again within the hour."""
    transition = seen(
        following(),
        "failed",
        error_code="rate_limit_exceeded",
        error_message=f"Rate limit reached. Please try again in {named}.",
    )
    assert transition.steps[1] == StartRun(turn=1, delay=MAX_DELAY)


def rate_limited(progress: Progress) -> Transition:
    """Let the run fail by a rate limit."""
    return seen(progress, "failed", error_code="rate_limit_exceeded", error_message="slow")


def test_new_run_after_a_rate_limit_is_reported() -> None:
    """The run that is started again has an id of its own and is reported as started."""
    waiting = rate_limited(following()).progress
    again = seen(waiting, "queued", id="run_2")
    assert names(again.steps) == ["RunStarted"]
    assert again.progress.public().run_id == "run_2"


def test_rate_limits_are_counted() -> None:
    """After the last retry the limit is reported as exhausted, and the run as failed."""
    progress = following()
    for _ in range(2):
        progress = seen(rate_limited(progress).progress, "in_progress").progress
    exhausted, closing, _ = rate_limited(progress).steps
    assert isinstance(exhausted, RateLimitRetriesExhausted)
    assert isinstance(closing, RunFailed)
    assert closing.id == "run_1"


def test_exhausted_start_has_no_run() -> None:
    """A start that is limited to the end has no id to tell."""
    progress = starting()
    for _ in range(2):
        progress = failed(progress, LIMIT).progress
    assert names(failed(progress, LIMIT).steps) == [
        "RateLimitRetriesExhausted",
        "RunFailed",
        "SettleTurn",
    ]


def test_messages_of_a_limited_run_are_announced() -> None:
    """What a run wrote before its rate limit is reported, once."""
    held = runs.feed_update(following(), 1, Phase.FOLLOWING, message("msg_2"), context()).progress
    assert names(rate_limited(held).steps) == [
        "RateLimited",
        "AssistantMessageAdded",
        "StartRun",
    ]


def test_run_without_assistant_cannot_be_started_again() -> None:
    """A run that was found going, and does not say whose it is, is not started again."""
    progress = following()
    assert progress.turn is not None
    nobodys = attrs.evolve(progress, turn=attrs.evolve(progress.turn, assistant_id=None))
    transition = seen(nobodys, "failed", assistant_id=None, error_code="rate_limit_exceeded")
    assert names(transition.steps)[:2] == ["RateLimitRetriesExhausted", "RunFailed"]


@pytest.mark.parametrize(
    "code, text",
    [
        ("insufficient_quota", "pay"),
        ("rate_limit_exceeded", "You exceeded your current quota, please check your plan."),
    ],
)
def test_quota_is_not_retried(code: str, text: str) -> None:
    """A used-up quota is reported, and the run as failed."""
    transition = seen(following(), "failed", error_code=code, error_message=text)
    assert names(transition.steps) == ["QuotaExceeded", "RunFailed", "SettleTurn"]


def test_start_without_quota_is_not_retried() -> None:
    """A start refused for quota ends the turn."""
    assert names(failed(starting(), QUOTA).steps) == ["QuotaExceeded", "RunFailed", "SettleTurn"]


@pytest.mark.parametrize("error", [LIMIT, BUSY, GONE])
def test_failed_start_of_a_cancelled_turn_is_a_cancellation(error: Exception) -> None:
    """A turn that is to be cancelled is not started again."""
    marked = verbs.request_cancel(starting(), context()).progress
    assert isinstance(failed(marked, error).steps[0], RunCancelled)


def test_rate_limited_run_of_a_cancelled_turn_is_a_cancellation() -> None:
    """A run that is to be cancelled is not started again after a rate limit."""
    marked = verbs.request_cancel(starting(), context()).progress
    assert names(rate_limited(marked).steps) == ["RunStarted", "RunCancelled", "SettleTurn"]


def test_waiting_start_is_cancelled_at_once() -> None:
    """A start that waits for its time is dropped without a request."""
    waiting = rate_limited(following()).progress
    transition = verbs.request_cancel(waiting, context())
    assert names(transition.steps) == ["RunCancelled", "SettleTurn"]
    assert transition.result is None


def test_claimed_start_does_not_wait_any_more() -> None:
    """A start that is being made is cancelled through its run."""
    waiting = rate_limited(following()).progress
    claimed = verbs.claim_turn(waiting, 1).progress
    assert verbs.request_cancel(claimed, context()).steps == ()


def troubled(progress: Progress) -> Progress:
    """Let as many requests fail as are not too many however long they take."""
    for _ in range(OUTAGE_REQUESTS):
        progress = failed(progress, GONE, now=0.0).progress
    return progress


def test_slow_failures_are_few() -> None:
    """A service whose every failure takes longer than the patience is asked a few times more."""
    progress = failed(following(), GONE, now=0.0).progress
    assert names(failed(progress, GONE, now=1000.0).steps) == ["FollowRun"]


def test_lost_outputs_are_submitted_again() -> None:
    """An outage does not lose the outputs: they are submitted once more, after a heartbeat."""
    (again,) = failed(submitting("a"), GONE, now=0.0).steps
    assert isinstance(again, SubmitOutputs)
    assert ([output.id for output in again.outputs], again.delay) == (["a"], 1.0)


@pytest.mark.parametrize("error", [GONE, UNREADABLE, REFUSED])
def test_outputs_that_stay_lost_end_the_run(error: ServiceError) -> None:
    """Outputs that cannot be submitted are reported, and their run is cancelled and failed."""
    waiting = troubled(submitting("a"))
    transition = failed(waiting, error, now=OUTAGE_HEARTBEATS * 1.0)
    assert names(transition.steps) == [
        "ToolOutputSubmissionFailed",
        "CancelRun",
        "RunFailed",
        "SettleTurn",
    ]
    lost = transition.steps[0]
    assert isinstance(lost, ToolOutputSubmissionFailed)
    assert str(error) == lost.message


def test_output_that_is_too_long_becomes_an_error() -> None:
    """The model gets an error that names the limit in the output's place, and the run goes on."""
    long = record("b", "x" * 3000, record("a", "1", awaiting("a", "b")))
    failure, again = failed(long, OutputTooLongError("too long", status=400, limit=2000)).steps
    assert isinstance(failure, ToolCallFailed)
    assert (failure.id, failure.code) == ("b", "output_too_long")
    assert isinstance(again, SubmitOutputs)
    short, error = again.outputs
    assert short.output == "1"
    assert "at most 2000" in error.output


def test_service_that_takes_less_than_its_limit_blames_the_longest_output() -> None:
    """Where no output is above the limit the service's own words say what it takes."""
    long = record("b", "x" * 3000, record("a", "y" * 2000, awaiting("a", "b")))
    refusal = OutputTooLongError("at most 1 KB", status=413, limit=5000)
    failure = failed(long, refusal).steps[0]
    assert isinstance(failure, ToolCallFailed)
    assert failure.id == "b"
    assert "at most 1 KB" in failure.message


def test_short_outputs_that_are_refused_as_too_long_end_the_run() -> None:
    """What could not be shortened any more is not submitted for ever."""
    refusal = OutputTooLongError("too long", status=400, limit=5000)
    assert "RunFailed" in names(failed(submitting("a"), refusal).steps)


def test_failed_poll_does_not_lose_outputs() -> None:
    """A poll that fails while outputs wait to be sent says nothing of them."""
    progress = submitting("a")
    assert failed(progress, GONE, origin=Phase.AWAITING_OUTPUTS).progress is progress


@pytest.mark.parametrize("error", [GONE, LIMIT])
def test_failed_poll_does_not_end_a_waiting_run(error: Exception) -> None:
    """While handlers are at work a passing failure of the service is passed over."""
    progress = awaiting("a")
    assert failed(progress, error).progress is progress


def test_lost_run_is_reported() -> None:
    """A run that cannot be followed any more is cancelled, and reported as failed with its id."""
    waiting = troubled(following())
    cancel, closing, _ = failed(waiting, GONE, now=OUTAGE_HEARTBEATS * 1.0).steps
    assert cancel == CancelRun(turn=1, run_id="run_1")
    assert isinstance(closing, RunFailed)
    assert (closing.id, closing.code) == ("run_1", "service_unavailable")


@pytest.mark.parametrize("error", [GONE, UNREADABLE, ProtocolError("no run in it")])
def test_look_that_cannot_be_read_is_made_again(error: ServiceError) -> None:
    """A bad answer about a live run says nothing of the run."""
    assert failed(following(), error).steps == (FollowRun(turn=1, delay=1.0),)


def test_outage_is_sat_out() -> None:
    """While a service is away for a while its run is looked for again and again."""
    transition = failed(following(), GONE, now=0.0)
    assert transition.steps == (FollowRun(turn=1, delay=1.0),)
    back = seen(transition.progress, "in_progress", now=10.0).progress
    assert failed(back, GONE, now=OUTAGE_HEARTBEATS * 1.0).steps == (FollowRun(turn=1, delay=1.0),)


def test_limited_poll_is_repeated_later() -> None:
    """A poll that meets a rate limit is repeated after the delay, as often as allowed."""
    first = failed(following(), LIMIT)
    assert first.steps == (FollowRun(turn=1, delay=30.0),)
    second = failed(first.progress, LIMIT).progress
    assert names(failed(second, LIMIT).steps) == ["CancelRun", "RunFailed", "SettleTurn"]


def test_failure_of_a_turn_that_is_over_is_passed_over() -> None:
    """A late failure changes nothing."""
    progress = fresh()
    assert failures.request_failed(progress, 1, Phase.STARTING, GONE, context()).progress is (
        progress
    )
