"""How runs go from status to status."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from gpt_agent_sync.server import listing
from gpt_agent_sync.server.assistants import lifecycle
from gpt_agent_sync.server.assistants.lifecycle import Run
from gpt_agent_sync.server.errors import WireError

NOTHING = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
SOME = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
CALLS = [
    {"id": name, "type": "function", "function": {"name": "add", "arguments": "{}"}}
    for name in ("a", "b")
]
LIVE = ("queued", "in_progress", "requires_action", "cancelling")
FINAL = ("completed", "incomplete", "failed", "expired", "cancelled")


def make_run(status: str = "queued", **fields: Any) -> Run:
    """Return a run in a status."""
    return {
        "id": "run_1",
        "status": status,
        "required_action": None,
        "expires_at": 600,
        "started_at": None,
        "usage": None,
        "_rounds": [],
        "_usage": dict(NOTHING),
        **fields,
    }


def make_waiting() -> Run:
    """Return a run that waits for the outputs of two calls."""
    return lifecycle.waiting(make_run("in_progress"), CALLS, SOME)


@pytest.mark.parametrize(
    "status, live", [*((name, True) for name in LIVE), *((name, False) for name in FINAL)]
)
def test_live_statuses(status: str, live: bool) -> None:
    """A run holds its thread until it is over."""
    assert lifecycle.is_live(make_run(status)) is live


@pytest.mark.parametrize(
    "status, expires_at, now, expired",
    [
        ("queued", 600, 599.9, False),
        ("queued", 600, 600.0, True),
        ("in_progress", 600, 601.0, True),
        ("requires_action", 600, 601.0, True),
        ("cancelling", 600, 601.0, True),
        ("completed", 600, 601.0, False),
        ("queued", None, 601.0, False),
    ],
)
def test_expiry(status: str, expires_at: int | None, now: float, expired: bool) -> None:
    """A live run expires at the second it names, and no other run does."""
    assert lifecycle.is_expired(make_run(status, expires_at=expires_at), now) is expired


def test_begin_names_the_start() -> None:
    """A run in progress says since when, in whole seconds."""
    run = lifecycle.begun(make_run(), 5.7)
    assert (run["status"], run["started_at"]) == ("in_progress", 5)


def test_second_begin_keeps_the_start() -> None:
    """A run that goes on after its tools keeps its first start."""
    assert lifecycle.begun(make_run(started_at=5), 9.0)["started_at"] == 5


def test_waiting_run_names_its_calls() -> None:
    """A waiting run carries its calls in the wire's shape."""
    assert make_waiting()["required_action"] == {
        "type": "submit_tool_outputs",
        "submit_tool_outputs": {"tool_calls": CALLS},
    }


def test_waiting_run_has_the_status() -> None:
    """A run with calls to answer requires action."""
    assert make_waiting()["status"] == "requires_action"


def test_waiting_run_shows_no_usage() -> None:
    """The usage stays null until a run is over."""
    assert make_waiting()["usage"] is None


def test_answered_run_is_queued_again() -> None:
    """A run whose calls are answered queues up."""
    run = lifecycle.answered(make_waiting(), {"a": "1", "b": "2"}, ["b", "a"], 9.0)
    assert (run["status"], run["required_action"]) == ("queued", None)


def test_answered_run_keeps_all_rounds() -> None:
    """Outputs go to the newest round of tools, and earlier rounds stay."""
    first = lifecycle.answered(make_waiting(), {"a": "1", "b": "2"}, ["a", "b"], 9.0)
    second = lifecycle.waiting(first, [{**CALLS[0], "id": "c"}], NOTHING)
    run = lifecycle.answered(second, {"c": "3"}, ["c"], 9.0)
    assert [done["outputs"] for done in run["_rounds"]] == [{"a": "1", "b": "2"}, {"c": "3"}]


@pytest.mark.parametrize("status", [name for name in LIVE + FINAL if name != "requires_action"])
def test_outputs_nobody_waits_for(status: str) -> None:
    """Outputs for a run that waits for none are refused in the wire's words."""
    with pytest.raises(WireError) as caught:
        lifecycle.answered(make_run(status), {"a": "1"}, ["a"], 9.0)
    assert caught.value.message == f'Runs in status "{status}" do not accept tool outputs.'


@pytest.mark.parametrize(
    "got",
    [(), ("a",), ("a", "c"), ("a", "b", "c"), ("a", "b", "b")],
    ids=["none", "few", "other", "many", "twice"],
)
def test_wrong_outputs(got: tuple[str, ...]) -> None:
    """Too few, too many and wrong outputs are refused in the wire's words."""
    with pytest.raises(WireError) as caught:
        lifecycle.answered(make_waiting(), {}, got, 9.0)
    assert caught.value.message == (
        f"Expected tool outputs for call_ids ['a', 'b'], got {list(got)!r}"
    )


ENDS: dict[str, Callable[[Run], Run]] = {
    "completed": lambda run: lifecycle.completed(run, SOME, 9.5),
    "failed": lambda run: lifecycle.failed(run, "server_error", "broke", 9.5),
    "incomplete": lambda run: lifecycle.incomplete(run, "max_completion_tokens", SOME),
    "expired": lifecycle.expired,
    "cancelled": lambda run: lifecycle.cancelled(run, 9.5),
}


@pytest.mark.parametrize("status", FINAL)
def test_over_has_its_status(status: str) -> None:
    """Each end has a status of its own."""
    assert ENDS[status](make_waiting())["status"] == status


@pytest.mark.parametrize("status", FINAL)
def test_over_no_longer_expires(status: str) -> None:
    """A run that is over neither expires nor waits."""
    run = ENDS[status](make_waiting())
    assert (run["expires_at"], run["required_action"]) == (None, None)


@pytest.mark.parametrize(
    "status, tokens",
    [("completed", 14), ("incomplete", 14), ("failed", 7), ("expired", 7), ("cancelled", 7)],
)
def test_usage_is_summed(status: str, tokens: int) -> None:
    """The usage of a run that is over counts all its rounds."""
    assert ENDS[status](make_waiting())["usage"]["total_tokens"] == tokens


@pytest.mark.parametrize(
    "status, field, value",
    [
        ("completed", "completed_at", 9),
        ("failed", "failed_at", 9),
        ("failed", "last_error", {"code": "server_error", "message": "broke"}),
        ("incomplete", "incomplete_details", {"reason": "max_completion_tokens"}),
        ("cancelled", "cancelled_at", 9),
    ],
)
def test_final_says_why_and_when(status: str, field: str, value: object) -> None:
    """Each end fills the fields the wire has for it."""
    assert ENDS[status](make_run("in_progress"))[field] == value


@pytest.mark.parametrize(
    "before, after",
    [("queued", "cancelled"), ("requires_action", "cancelled"), ("in_progress", "cancelling")],
)
def test_cancel(before: str, after: str) -> None:
    """Cancelling takes a step between only where a model answers."""
    assert lifecycle.cancelling(make_run(before), 1.0)["status"] == after


@pytest.mark.parametrize("status", ["cancelling", *FINAL])
def test_cancel_refused(status: str) -> None:
    """A run that is over, or on its way, is not cancelled."""
    with pytest.raises(WireError) as caught:
        lifecycle.cancelling(make_run(status), 1.0)
    assert caught.value.message == f"Cannot cancel run with status '{status}'."


def test_shown_run_hides_private_fields() -> None:
    """Clients see nothing of a run's own book-keeping."""
    seen = listing.shown(make_waiting())
    assert [name for name in seen if name.startswith("_")] == []


@pytest.mark.parametrize(
    "step",
    [
        lambda run: lifecycle.begun(run, 1.0),
        lambda run: lifecycle.answered(run, {"a": "1", "b": "2"}, ["a", "b"], 9.0),
        lambda run: lifecycle.waiting(run, CALLS, SOME),
        lambda run: lifecycle.cancelling(run, 1.0),
        *ENDS.values(),
    ],
)
def test_steps_leave_their_run_alone(step: Callable[[Run], Run]) -> None:
    """A step gives a new run and changes nothing of the one before."""
    run = make_waiting()
    before = copy.deepcopy(run)
    step(run)
    assert run == before
