"""Which run locks its thread, and when it expires; one server or two on a database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpt_agent_sync.testing import Hold, Reply
from tests.support.polling import wait_for
from tests.support.server_setup import (
    CALL,
    MakeRunSetup,
    RunSetup,
    post_at_once,
    wait_until_idle,
)
from tests.support.wire_client import calls_of


@pytest.mark.parametrize("step", [Hold(), CALL], ids=["in_progress", "requires_action"])
def test_live_run_locks_its_thread(run_setup: MakeRunSetup, step: Any) -> None:
    """While a run is live its thread takes neither messages nor runs."""
    setup = run_setup(step)
    thread_id, run_id = setup.start()
    wait_for(lambda: setup.wire.run(thread_id, run_id)["status"], lambda status: status != "queued")
    run = {"assistant_id": setup.wire.assistant()}
    message = {"role": "user", "content": "x"}
    refusals = [
        setup.wire.refusal("POST", f"/threads/{thread_id}/messages", json=message),
        setup.wire.refusal("POST", f"/threads/{thread_id}/runs", json=run),
    ]
    assert [(status, error["message"]) for status, error in refusals] == [
        (400, f"Can't add messages to {thread_id} while a run {run_id} is active."),
        (400, f"Thread {thread_id} already has an active run {run_id}."),
    ]


def test_live_run_locks_no_other_thread(run_setup: MakeRunSetup) -> None:
    """Other threads run on while one is locked."""
    setup = run_setup(Hold(), Reply("ok"))
    setup.in_progress()
    assert setup.settled()["status"] == "completed"


def test_one_of_many_starts_wins(run_setup: MakeRunSetup) -> None:
    """Of many runs started at once on one thread exactly one is taken."""
    setup = run_setup(Hold())
    path, body = (
        f"/threads/{setup.wire.thread('hi')}/runs",
        {"assistant_id": setup.wire.assistant()},
    )
    statuses = post_at_once(path, body, *[setup.server.base_url] * 6)
    assert statuses == [200, 400, 400, 400, 400, 400]


def test_unanswered_run_expires(run_setup: MakeRunSetup) -> None:
    """A run whose calls nobody answers expires after ten minutes."""
    setup = run_setup(CALL)
    thread_id, run = setup.requiring_action()
    setup.clock.now += 600
    found = setup.wire.run(thread_id, run["id"])
    assert (found["status"], found["expires_at"], found["required_action"]) == (
        "expired",
        None,
        None,
    )


def test_run_does_not_expire_early(run_setup: MakeRunSetup) -> None:
    """A run waits for its outputs until its very last second."""
    setup = run_setup(CALL)
    thread_id, run = setup.requiring_action()
    setup.clock.now += 599
    assert setup.wire.run(thread_id, run["id"])["status"] == "requires_action"


def test_slow_run_expires(run_setup: MakeRunSetup) -> None:
    """A run whose model takes too long expires while it is in progress."""
    setup = run_setup(Hold())
    thread_id, run_id = setup.in_progress()
    setup.clock.now += 600
    assert setup.wire.run(thread_id, run_id)["status"] == "expired"


def test_late_reply_is_dropped(run_setup: MakeRunSetup) -> None:
    """What a model says after its run has expired is not kept."""
    setup = run_setup(Hold())
    thread_id, run_id = setup.in_progress()
    setup.clock.now += 600
    setup.release()
    wait_until_idle()
    assert setup.wire.run(thread_id, run_id)["status"] == "expired"
    assert setup.wire.texts(thread_id) == ["hi"]


def test_run_without_time_is_not_begun(run_setup: MakeRunSetup) -> None:
    """A run whose time is up before it is taken up expires unasked."""
    setup = run_setup(run_seconds=0)
    thread_id, run_id = setup.start()
    wait_until_idle()
    assert setup.wire.run(thread_id, run_id)["status"] == "expired"
    assert setup.model.requests == []


def test_run_seconds_may_be_a_fraction(run_setup: MakeRunSetup) -> None:
    """A run that may take half a second is not over at once."""
    setup = run_setup(CALL, run_seconds=0.5)
    assert setup.settled()["status"] == "requires_action"


def test_expired_run_frees_the_thread_for_messages(run_setup: MakeRunSetup) -> None:
    """A message is taken once the time of a waiting run is up, without anybody looking."""
    setup = run_setup(CALL)
    thread_id, _ = setup.requiring_action()
    setup.clock.now += 600
    setup.wire.post(f"/threads/{thread_id}/messages", {"role": "user", "content": "again"})
    assert setup.wire.texts(thread_id) == ["hi", "again"]


def test_expired_run_frees_the_thread_for_runs(run_setup: MakeRunSetup) -> None:
    """A run is taken once the time of the one before is up."""
    setup = run_setup(CALL, Reply("ok"))
    thread_id, _ = setup.requiring_action()
    setup.clock.now += 600
    assert setup.wire.settled(thread_id, setup.wire.start(thread_id))["status"] == "completed"


def test_list_shows_expired_runs(run_setup: MakeRunSetup) -> None:
    """The list of runs shows a run as expired when its time is up."""
    setup = run_setup(CALL)
    thread_id, _ = setup.requiring_action()
    setup.clock.now += 600
    found = setup.wire.get(f"/threads/{thread_id}/runs")["data"]
    assert [run["status"] for run in found] == ["expired"]


def test_update_shows_expired_runs(run_setup: MakeRunSetup) -> None:
    """A run changed after its time is up is shown as expired."""
    setup = run_setup(CALL)
    thread_id, run = setup.requiring_action()
    setup.clock.now += 600
    found = setup.wire.post(f"/threads/{thread_id}/runs/{run['id']}", {"metadata": {"a": "b"}})
    assert found["status"] == "expired"


@pytest.mark.parametrize("looked", [False, True])
def test_late_outputs(run_setup: MakeRunSetup, looked: bool) -> None:
    """Outputs that come too late are refused, whether anybody has looked meanwhile or not."""
    setup = run_setup(CALL)
    thread_id, run = setup.requiring_action()
    setup.clock.now += 600
    path = f"/threads/{thread_id}/runs/{run['id']}"
    if looked:
        setup.wire.get(path)
    outputs = [{"tool_call_id": calls_of(run)[0]["id"], "output": "1"}]
    status, error = setup.wire.refusal(
        "POST", f"{path}/submit_tool_outputs", json={"tool_outputs": outputs}
    )
    assert (status, error["message"]) == (
        400,
        'Runs in status "expired" do not accept tool outputs.',
    )


def test_late_cancel(run_setup: MakeRunSetup) -> None:
    """A run whose time is up is not cancelled."""
    setup = run_setup(CALL)
    thread_id, run = setup.requiring_action()
    setup.clock.now += 600
    status, error = setup.wire.refusal("POST", f"/threads/{thread_id}/runs/{run['id']}/cancel")
    assert (status, error["message"]) == (400, "Cannot cancel run with status 'expired'.")


@pytest.fixture
def pair(run_setup: MakeRunSetup, tmp_path: Path) -> tuple[RunSetup, RunSetup]:
    """Return two servers that share a file; the first calls a tool, the second replies."""
    location = str(tmp_path / "a.db")
    return run_setup(CALL, Hold(), location=location), run_setup(Reply("done"), location=location)


def test_servers_see_each_others_runs(pair: tuple[RunSetup, RunSetup]) -> None:
    """A run of one server is found on the other."""
    one, other = pair
    thread_id, run = one.requiring_action()
    assert other.wire.run(thread_id, run["id"]) == run


def test_servers_share_the_lock(pair: tuple[RunSetup, RunSetup]) -> None:
    """A run of one server locks the thread on the other."""
    one, other = pair
    thread_id, run = one.requiring_action()
    message = {"role": "user", "content": "x"}
    _, error = other.wire.refusal("POST", f"/threads/{thread_id}/messages", json=message)
    assert error["message"] == (
        f"Can't add messages to {thread_id} while a run {run['id']} is active."
    )


def test_run_goes_on_at_the_other_server(pair: tuple[RunSetup, RunSetup]) -> None:
    """Outputs submitted to another server make the run go on there."""
    one, other = pair
    thread_id, run = one.requiring_action()
    other.wire.submit(thread_id, run, "1")
    one.wire.settled(thread_id, run["id"])
    assert one.wire.texts(thread_id) == ["hi", "done"]


def test_cancel_from_the_other_server(pair: tuple[RunSetup, RunSetup]) -> None:
    """A run in progress on one server is cancelled through the other, and its model stopped."""
    one, other = pair
    thread_id, run = one.requiring_action()
    one.wire.submit(thread_id, run, "1")
    one.wire.with_status(thread_id, run["id"], "in_progress")
    other.cancel(thread_id, run["id"])
    one.wire.with_status(thread_id, run["id"], "cancelled")
    assert one.model.requests[-1].cancellation.is_cancelled
    assert one.wire.texts(thread_id) == ["hi"]


def test_one_start_wins_over_two_servers(run_setup: MakeRunSetup, tmp_path: Path) -> None:
    """Of runs started at once on one thread through two servers exactly one is taken."""
    location = str(tmp_path / "a.db")
    one, other = (run_setup(Hold(), location=location) for _ in range(2))
    path, body = f"/threads/{one.wire.thread('hi')}/runs", {"assistant_id": one.wire.assistant()}
    assert post_at_once(path, body, one.server.base_url, other.server.base_url) == [200, 400]
