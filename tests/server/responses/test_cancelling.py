"""Cancelling responses in every status."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpt_agent_sync.testing import Fail, Hold, Incomplete, Reply
from tests.support.responses_client import (
    ResponsesClient,
)
from tests.support.server_setup import (
    MakeForeground,
    MakeResponseSetup,
    change_stored,
    wait_until_idle,
)
from tests.support.wire_client import plain_error


def test_cancel_in_progress(response_setup: MakeResponseSetup) -> None:
    """A response in progress is cancelled at once."""
    setup = response_setup(Hold())
    _, response_id = setup.in_progress()
    answered = setup.wire.cancel(response_id)
    assert (answered["status"], answered["output"]) == ("cancelled", [])
    assert setup.wire.response(response_id) == answered


def test_cancel_twice(response_setup: MakeResponseSetup) -> None:
    """A cancelled response may be cancelled again, and is as it was."""
    setup = response_setup(Hold())
    _, response_id = setup.in_progress()
    assert setup.wire.cancel(response_id) == setup.wire.cancel(response_id)


def test_cancel_queued(response_setup: MakeResponseSetup, tmp_path: Path) -> None:
    """A response that nobody has taken up is cancelled at once."""
    setup = response_setup(location=str(tmp_path / "a.db"))
    response_id = setup.wire.respond(background=True)["id"]
    wait_until_idle()
    change_stored(tmp_path / "a.db", "responses", response_id, status="queued")
    assert setup.wire.cancel(response_id)["status"] == "cancelled"


@pytest.mark.parametrize(
    "step, said",
    [(Reply("ok"), "a completed"), (Fail(), "a failed"), (Incomplete(), "an incomplete")],
)
def test_cancel_when_final(response_setup: MakeResponseSetup, step: Any, said: str) -> None:
    """A response in a final status is not cancelled, and the refusal names its status."""
    wire = response_setup(step).wire
    response = wire.final(wire.respond(background=True)["id"])
    assert wire.refusal("POST", f"/responses/{response['id']}/cancel") == (
        400,
        plain_error(f"Cannot cancel {said} response."),
    )
    assert wire.response(response["id"]) == response


def test_late_cancel(response_setup: MakeResponseSetup) -> None:
    """A response whose time is up is not cancelled: it has failed."""
    setup = response_setup(Hold())
    _, response_id = setup.in_progress()
    setup.clock.now += 600
    refusal = setup.wire.refusal("POST", f"/responses/{response_id}/cancel")
    assert refusal == (400, plain_error("Cannot cancel a failed response."))
    assert setup.wire.response(response_id)["status"] == "failed"


def test_cancel_of_a_foreground_response(wire: ResponsesClient) -> None:
    """A response that was not made in the background is not cancelled."""
    assert wire.refusal("POST", f"/responses/{wire.respond()['id']}/cancel") == (
        400,
        plain_error("Cannot cancel a synchronous response."),
    )


def test_cancel_of_a_foreground_response_in_progress(foreground: MakeForeground) -> None:
    """A response that its caller waits for is not cancelled, and comes to its end."""
    setup, response_id, answer = foreground()
    refusal = setup.wire.refusal("POST", f"/responses/{response_id}/cancel")
    setup.release()
    assert refusal == (400, plain_error("Cannot cancel a synchronous response."))
    assert answer.result(20)["status"] == "completed"
