"""Decisions on runs that take too long."""

from __future__ import annotations

from typing import Any

import pytest

from gpt_agent_sync.decisions import bounds, runs, verbs
from gpt_agent_sync.decisions.bounds import EXPIRY_GRACE, QUEUE_PATIENCE
from gpt_agent_sync.decisions.state import CancelRun, DecisionContext, Phase, Progress, Transition
from gpt_agent_sync.events import RunFailed
from gpt_agent_sync.records import RunSnapshot
from gpt_agent_sync.settings import Settings
from tests.support.progress import SETTINGS, calls, context, names, seen, starting

TIMEOUT = SETTINGS.run_timeout or 0.0


def begun(status: str = "in_progress", **facts: Any) -> Progress:
    """Return the progress of a run that was first seen at 100 s."""
    return seen(starting(), status, **facts).progress


def assert_given_up(transition: Transition) -> None:
    """Check that a run is cancelled, and told as timed out."""
    cancel, closing, _ = transition.steps
    assert cancel == CancelRun(turn=1, run_id="run_1")
    assert isinstance(closing, RunFailed)
    assert (closing.id, closing.status, closing.code) == ("run_1", "expired", "run_timeout")


def test_run_that_outlives_the_timeout_is_given_up() -> None:
    """A snapshot that comes too late ends the run."""
    assert seen(begun(), "in_progress", now=99.0 + TIMEOUT).steps == ()
    assert_given_up(seen(begun(), "in_progress", now=100.0 + TIMEOUT))


def test_run_that_ends_late_is_believed() -> None:
    """A run that is over has its own end, however late it is seen."""
    assert names(seen(begun(), "completed", now=101.0 + TIMEOUT).steps)[0] == "RunCompleted"


def test_feed_that_ends_too_late_ends_the_run() -> None:
    """A stream that was cut at the deadline is not followed up."""
    ended = runs.feed_ended(begun(), 1, Phase.FOLLOWING, context(100.0 + TIMEOUT))
    assert_given_up(ended)


def test_run_may_be_given_any_time() -> None:
    """Without a timeout a run lasts as long as the service lets it."""
    turn = begun().turn
    assert turn is not None
    assert bounds.deadline(turn, Settings(run_timeout=None)) is None


def test_run_that_waits_for_outputs_is_given_up() -> None:
    """Handlers that take too long do not hold the thread."""
    waiting = seen(begun(), "requires_action", tool_calls=calls("a")).progress
    assert_given_up(bounds.expire(waiting, context(100.0 + TIMEOUT)))


def test_run_is_given_up_when_its_time_has_come_only() -> None:
    """An alarm that rings too early changes nothing."""
    progress = begun()
    assert bounds.expire(progress, context(99.0 + TIMEOUT)).progress is progress


def test_run_that_stays_in_the_queue_is_given_up() -> None:
    """Some servers store a run and never work on it."""
    assert_given_up(seen(begun("queued"), "queued", now=100.0 + QUEUE_PATIENCE))


def test_run_that_has_left_the_queue_is_not_stuck() -> None:
    """Time in the queue counts while the run is there."""
    working = seen(begun("queued"), "in_progress", now=100.0).progress
    assert seen(working, "in_progress", now=100.0 + QUEUE_PATIENCE).steps == ()


def test_run_past_its_own_expiry_is_given_up() -> None:
    """A server that does not expire its runs is not waited for, once it has had its chance."""
    waiting = begun("requires_action", tool_calls=calls("a"), expires_in=60.0)
    assert bounds.expire(waiting, context(160.0)).steps == ()
    assert_given_up(bounds.expire(waiting, context(160.0 + EXPIRY_GRACE)))


def test_next_run_of_a_turn_has_its_own_time() -> None:
    """A run that is started again after a rate limit is not late from the start."""
    failed = seen(begun(), "failed", error_code="rate_limit_exceeded", now=800.0)
    again = seen(failed.progress, "in_progress", now=850.0).progress
    assert seen(again, "in_progress", now=100.0 + TIMEOUT).steps == ()


@pytest.mark.parametrize(
    "run",
    [
        RunSnapshot(id="run_1", status="queued", age=QUEUE_PATIENCE),
        RunSnapshot(id="run_1", status="requires_action", expires_in=-EXPIRY_GRACE),
    ],
)
def test_dead_run_is_not_followed(run: RunSnapshot) -> None:
    """A run that will never end by itself is cancelled, and holds up no new agent."""
    transition = connect(run)
    assert transition.progress.turn is None
    assert transition.steps == (CancelRun(turn=0, run_id="run_1"),)


@pytest.mark.parametrize(
    "run",
    [
        RunSnapshot(id="run_1", status="queued", age=QUEUE_PATIENCE - 1),
        RunSnapshot(id="run_1", status="queued"),
        RunSnapshot(id="run_1", status="in_progress", age=10 * QUEUE_PATIENCE),
        RunSnapshot(id="run_1", status="requires_action", expires_in=1.0),
    ],
)
def test_live_run_is_followed(run: RunSnapshot) -> None:
    """A run that may still end is followed, and has the timeout from then on."""
    transition = connect(run)
    turn = transition.progress.turn
    assert turn is not None
    assert turn.run_since == 100.0


def connect(run: RunSnapshot) -> Transition:
    """Begin an agent whose thread has this run."""
    return verbs.begin(
        "thread_1", "asst_1", live_run=run, missed=(), last_message_id=None, context=context()
    )


def test_snapshots_that_say_nothing_new_change_nothing() -> None:
    """A turn is the same object while nothing new is seen."""
    turn = begun().turn
    assert turn is not None
    again = RunSnapshot(id="run_1", status="in_progress")
    assert bounds.with_clocks(turn, again, DecisionContext(now=200.0, settings=SETTINGS)) is turn
