"""A response's way from status to status."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from gpt_agent_sync.server import listing
from gpt_agent_sync.server.errors import WireError
from gpt_agent_sync.server.responses import input_items, items, lifecycle
from tests.support.wire_client import Json

LIVE = ("queued", "in_progress")

FINAL = ("completed", "incomplete", "failed", "cancelled")

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}

OUTPUT = [items.reply("hi", "completed")]


def make_response(status: str = "queued", **fields: Any) -> Json:
    """Return a response in a status."""
    return {
        "id": "resp_1",
        "status": status,
        "background": True,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "output": [],
        "usage": None,
        lifecycle.INPUT: input_items.read_input("hi"),
        lifecycle.STORED: True,
        lifecycle.EXPIRES_AT: 600.0,
        **fields,
    }


STEPS: dict[str, Callable[[Json], Json]] = {
    "in_progress": lifecycle.begun,
    "completed": lambda response: lifecycle.completed(response, OUTPUT, USAGE, 9.5),
    "incomplete": lambda response: lifecycle.incomplete(
        response, OUTPUT, USAGE, "max_completion_tokens"
    ),
    "failed": lambda response: lifecycle.failed(response, "invalid_prompt", "No."),
    "cancelled": lifecycle.cancelled,
}


@pytest.mark.parametrize("status", STEPS)
def test_steps_have_their_status(status: str) -> None:
    """Each step leads to a status of its own."""
    assert STEPS[status](make_response())["status"] == status


@pytest.mark.parametrize("step", [*STEPS.values(), lifecycle.expired], ids=[*STEPS, "expired"])
def test_steps_leave_their_response_alone(step: Callable[[Json], Json]) -> None:
    """A step gives a new response and changes nothing of the one before."""
    response = make_response()
    before = copy.deepcopy(response)
    step(response)
    assert response == before


@pytest.mark.parametrize(
    "status, field, value",
    [
        ("completed", "completed_at", 9),
        ("completed", "output", OUTPUT),
        ("incomplete", "completed_at", None),
        ("incomplete", "output", OUTPUT),
        ("incomplete", "incomplete_details", {"reason": "max_output_tokens"}),
        ("failed", "error", {"code": "invalid_prompt", "message": "No."}),
        ("failed", "output", []),
        ("cancelled", "error", None),
        ("cancelled", "output", []),
    ],
)
def test_final_says_why_and_when(status: str, field: str, value: object) -> None:
    """Each end fills the fields that the wire has for it, and no others."""
    assert STEPS[status](make_response("in_progress"))[field] == value


@pytest.mark.parametrize(
    "reason, said",
    [
        ("max_completion_tokens", "max_output_tokens"),
        ("content_filter", "content_filter"),
    ],
)
def test_reasons(reason: str, said: str) -> None:
    """Why a response was cut short is said in this wire's words."""
    response = lifecycle.incomplete(make_response(), OUTPUT, USAGE, reason)
    assert response["incomplete_details"] == {"reason": said}


@pytest.mark.parametrize("status", ["completed", "incomplete"])
def test_usage(status: str) -> None:
    """A model's usage is in this wire's words."""
    assert STEPS[status](make_response())["usage"] == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 7,
    }


@pytest.mark.parametrize(
    "status, live", [*((name, True) for name in LIVE), *((name, False) for name in FINAL)]
)
def test_live_statuses(status: str, live: bool) -> None:
    """A response holds its conversation until it is over."""
    assert lifecycle.is_live(make_response(status)) is live


@pytest.mark.parametrize(
    "status, now, expired",
    [
        ("queued", 599.9, False),
        ("queued", 600.0, True),
        ("in_progress", 599.9, False),
        ("in_progress", 601.0, True),
        *((name, 601.0, False) for name in FINAL),
    ],
)
def test_expiry(status: str, now: float, expired: bool) -> None:
    """A live response is out of time at its moment, and no other response is."""
    assert lifecycle.is_expired(make_response(status), now) is expired


def test_expired_response_fails() -> None:
    """A response that is out of time has failed, and says why."""
    response = lifecycle.expired(make_response("in_progress"))
    assert (response["status"], response["error"]) == (
        "failed",
        {"code": "server_error", "message": "The response took too long."},
    )


@pytest.mark.parametrize("status", [*LIVE, "cancelled"])
def test_cancel(status: str) -> None:
    """A live response is cancelled at once, and a cancelled one stays so."""
    response = lifecycle.cancelled(make_response(status, output=OUTPUT))
    assert (response["status"], response["output"]) == ("cancelled", [])


@pytest.mark.parametrize(
    "status, said",
    [
        ("completed", "Cannot cancel a completed response."),
        ("failed", "Cannot cancel a failed response."),
        ("incomplete", "Cannot cancel an incomplete response."),
    ],
)
def test_cancel_refused(status: str, said: str) -> None:
    """A response in a final status is not cancelled, and the refusal names its status."""
    with pytest.raises(WireError) as caught:
        lifecycle.cancelled(make_response(status))
    assert caught.value.message == said


@pytest.mark.parametrize("status", [*LIVE, *FINAL])
def test_cancel_of_the_foreground_is_refused(status: str) -> None:
    """A response that its caller waits for is never cancelled."""
    with pytest.raises(WireError) as caught:
        lifecycle.cancelled(make_response(status, background=False))
    assert caught.value.message == "Cannot cancel a synchronous response."


def test_shown_response_hides_private_fields() -> None:
    """Clients see nothing of a response's own book-keeping."""
    seen = listing.shown(make_response())
    assert [name for name in seen if name.startswith("_")] == []
