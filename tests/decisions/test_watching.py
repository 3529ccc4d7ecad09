"""What an agent without a run is told of the runs of other callers."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from gpt_agent_sync.decisions.state import Progress, Transition
from gpt_agent_sync.decisions.watching import seen_elsewhere
from gpt_agent_sync.events import AssistantMessageAdded, RunCancelled, RunCompleted, RunFailed
from gpt_agent_sync.records import Message, RunSnapshot
from tests.support.progress import posting

IDLE = Progress(thread_id="t", last_message_id="m0", last_run_id="r0", told_runs=("r0",))

QUESTION = Message(id="q1", role="user", content="what?")


def run(status: str = "completed", run_id: str = "r1") -> RunSnapshot:
    """Return a run as the service shows it."""
    return RunSnapshot(id=run_id, status=status, assistant_id="a")


def reply(message_id: str = "m1", run_id: str | None = "r1") -> Message:
    """Return a message of the assistant's."""
    return Message(id=message_id, role="assistant", run_id=run_id, content="that")


def kinds(transition: Transition) -> list[str]:
    """Return the kinds of what is told."""
    return [type(step).__name__ for step in transition.steps]


def test_run_and_its_messages_are_told() -> None:
    """The closing event first, as of one's own."""
    seen = seen_elsewhere(IDLE, run(), [QUESTION, reply()])
    assert kinds(seen) == ["RunCompleted", "AssistantMessageAdded"]
    assert seen.result is True
    assert (seen.progress.last_message_id, seen.progress.last_run_id) == ("m1", "r1")


@pytest.mark.parametrize("run_id", [None, "q1"])
def test_messages_without_their_run_are_the_newest_ones(run_id: str | None) -> None:
    """Where a service does not say, or names them by their question."""
    seen = seen_elsewhere(IDLE, run(), [QUESTION, reply(run_id=run_id)])
    assert kinds(seen) == ["RunCompleted", "AssistantMessageAdded"]


def test_messages_of_earlier_runs_come_before_the_closing_event() -> None:
    """Those of runs that began and ended between two looks."""
    seen = seen_elsewhere(
        IDLE, run("cancelled", "r2"), [QUESTION, reply(), Message(id="q2", role="user")]
    )
    assert kinds(seen) == ["AssistantMessageAdded", "RunCancelled"]


@pytest.mark.parametrize(
    "status, expected",
    [
        ("completed", RunCompleted),
        ("cancelled", RunCancelled),
        ("failed", RunFailed),
        ("expired", RunFailed),
        ("incomplete", RunFailed),
    ],
)
def test_end_is_told_as_what_it_is(status: str, expected: type) -> None:
    """By the event that one's own run would end with."""
    seen = seen_elsewhere(IDLE, run(status), [])
    assert isinstance(seen.steps[0], expected)
    assert seen.progress.last_closing == seen.steps[0]
    assert seen.progress.last_run_status == status


def test_reason_of_a_failure_is_told() -> None:
    """Code and words, as the service has them."""
    failed = attrs.evolve(run("failed"), error_code="server_error", error_message="broken")
    (event,) = seen_elsewhere(IDLE, failed, []).steps
    assert isinstance(event, RunFailed)
    assert (event.status, event.code, event.message) == ("failed", "server_error", "broken")


def test_live_run_is_left_alone() -> None:
    """What it has written so far is told when it has ended."""
    seen = seen_elsewhere(IDLE, run("in_progress"), [QUESTION, reply()])
    assert (seen.steps, seen.result) == ((), False)


@pytest.mark.parametrize("newest", [None, run(run_id="r0")])
def test_run_that_was_told_is_not_told_again(newest: Any) -> None:
    """A message that comes late is."""
    seen = seen_elsewhere(IDLE, newest, [reply("m2", "r0")])
    (event,) = seen.steps
    assert isinstance(event, AssistantMessageAdded)


def test_message_after_the_runs_own_is_told_once() -> None:
    """One that somebody has added by hand, say; the next look begins after it."""
    by_hand = reply("m2", "other")
    seen = seen_elsewhere(IDLE, run(), [QUESTION, reply(), by_hand])
    assert kinds(seen) == ["AssistantMessageAdded", "RunCompleted", "AssistantMessageAdded"]
    assert seen.progress.last_message_id == "m2"
    again = seen_elsewhere(seen.progress, None, [by_hand])
    assert again.steps == ()


def test_run_is_told_once_though_a_turn_without_one_came_after_it() -> None:
    """A start that was refused has no run to be remembered by."""
    told = seen_elsewhere(IDLE, run(), []).progress
    later = attrs.evolve(told, last_run_id=None)
    assert seen_elsewhere(later, run(), []).steps == ()


@pytest.mark.parametrize(
    "progress", [posting(), attrs.evolve(IDLE, stopped="idle")], ids=["busy", "stopped"]
)
def test_agent_with_something_else_to_do_is_told_nothing(progress: Progress) -> None:
    """Its own run goes first, and a stopped one tells nothing."""
    seen = seen_elsewhere(progress, run(), [reply()])
    assert seen.progress is progress
    assert (seen.steps, seen.result) == ((), False)
