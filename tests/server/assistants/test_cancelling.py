"""Cancelling runs in every status."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpt_agent_sync.testing import Fail, Hold, Incomplete, Reply
from tests.support.server_setup import (
    CALL,
    START,
    MakeRunSetup,
    change_stored,
    wait_until_idle,
)


def test_cancel_in_progress(run_setup: MakeRunSetup) -> None:
    """A run in progress answers that it is being cancelled, and is so at the next poll."""
    setup = run_setup(Hold())
    thread_id, run_id = setup.in_progress()
    answered = setup.cancel(thread_id, run_id)
    found = setup.wire.run(thread_id, run_id)
    assert (answered["status"], found["status"], found["cancelled_at"]) == (
        "cancelling",
        "cancelled",
        START,
    )


def test_cancelled_reply_is_dropped(run_setup: MakeRunSetup) -> None:
    """What a model says after its run was cancelled is not kept."""
    setup = run_setup(Hold())
    thread_id, run_id = setup.in_progress()
    setup.cancel(thread_id, run_id)
    setup.release()
    wait_until_idle()
    assert setup.wire.texts(thread_id) == ["hi"]
    assert setup.wire.run(thread_id, run_id)["status"] == "cancelled"


def test_cancel_waiting(run_setup: MakeRunSetup) -> None:
    """A run that waits for outputs is cancelled at once."""
    setup = run_setup(CALL)
    thread_id, run = setup.requiring_action()
    found = setup.cancel(thread_id, run["id"])
    assert (found["status"], found["required_action"], found["expires_at"]) == (
        "cancelled",
        None,
        None,
    )


def test_cancel_queued(run_setup: MakeRunSetup, tmp_path: Path) -> None:
    """A run that nobody has taken up is cancelled at once."""
    location = tmp_path / "a.db"
    setup = run_setup(CALL, location=str(location))
    thread_id, run = setup.requiring_action()
    change_stored(location, "runs", run["id"], status="queued", required_action=None)
    assert setup.cancel(thread_id, run["id"])["status"] == "cancelled"


@pytest.mark.parametrize(
    "step, status",
    [(Reply("ok"), "completed"), (Fail(), "failed"), (Incomplete(), "incomplete")],
)
def test_cancel_when_final(run_setup: MakeRunSetup, step: Any, status: str) -> None:
    """A run in a final status cannot be cancelled, and the refusal names its status."""
    setup = run_setup(step)
    thread_id, run_id = setup.start()
    setup.wire.settled(thread_id, run_id)
    _, error = setup.wire.refusal("POST", f"/threads/{thread_id}/runs/{run_id}/cancel")
    assert error["message"] == f"Cannot cancel run with status '{status}'."


def test_cancel_twice(run_setup: MakeRunSetup) -> None:
    """A cancelled run cannot be cancelled again."""
    setup = run_setup(CALL)
    thread_id, run = setup.requiring_action()
    setup.cancel(thread_id, run["id"])
    _, error = setup.wire.refusal("POST", f"/threads/{thread_id}/runs/{run['id']}/cancel")
    assert error["message"] == "Cannot cancel run with status 'cancelled'."


def test_cancelled_run_frees_the_thread(run_setup: MakeRunSetup) -> None:
    """After a cancellation the thread takes the next run, though the model still works."""
    setup = run_setup(Hold(), Reply("ok"))
    thread_id, run_id = setup.in_progress()
    setup.cancel(thread_id, run_id)
    assert setup.wire.settled(thread_id, setup.wire.start(thread_id))["status"] == "completed"


def test_deleted_thread_drops_its_run(
    caplog: pytest.LogCaptureFixture, run_setup: MakeRunSetup
) -> None:
    """A thread may be deleted under a run in progress, whose reply then goes nowhere."""
    setup = run_setup(Hold())
    thread_id, run_id = setup.in_progress()
    setup.wire.delete(f"/threads/{thread_id}")
    setup.release()
    wait_until_idle()
    status, _ = setup.wire.refusal("GET", f"/threads/{thread_id}/runs/{run_id}")
    assert status == 404
    assert caplog.records == []
