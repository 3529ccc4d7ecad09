"""How runs go: models, tools, time, cancellation, and two servers at once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gpt_agent_sync.records import Usage
from gpt_agent_sync.server.app import make_engine
from gpt_agent_sync.server.assistants.run_work import RunWork, finish_cancelling
from gpt_agent_sync.server.engine import Engine
from gpt_agent_sync.server.errors import WireError
from gpt_agent_sync.server.hosting import EmbeddedServer
from gpt_agent_sync.server.models.base import Finish, Model, ModelChunk, ModelRequest, TextDelta
from gpt_agent_sync.server.storage import Storage
from gpt_agent_sync.testing import CallTools, Fail, Hold, Incomplete, Reply
from tests.support.polling import wait_for
from tests.support.scripted_model import ScriptedModel
from tests.support.server_setup import (
    START,
    MakeRunSetup,
    RunSetup,
    change_stored,
    drop_table,
    post_at_once,
    wait_until_idle,
)
from tests.support.wire_client import Json, WireClient, calls_of

CALL = CallTools(("add", {"a": 1}))


# Replies.


def test_reply_joins_its_pieces(run_setup: MakeRunSetup) -> None:
    """A reply given in pieces is one message."""
    setup = run_setup(Reply("Hel", "lo"))
    thread_id, run_id = setup.start()
    setup.wire.settled(thread_id, run_id)
    assert setup.wire.texts(thread_id) == ["hi", "Hello"]


def test_run_has_its_times(run_setup: MakeRunSetup) -> None:
    """A run's times are those of the server's clock."""
    setup = run_setup(Hold())
    thread_id, run_id = setup.in_progress()
    setup.clock.now += 5.5
    setup.release()
    run = setup.wire.settled(thread_id, run_id)
    assert (run["created_at"], run["started_at"], run["completed_at"]) == (
        START,
        START,
        START + 5,
    )


def test_model_reads_the_thread(run_setup: MakeRunSetup) -> None:
    """The model is asked with the instructions and the whole thread, oldest first."""
    setup = run_setup(Reply("one"), Reply("two"))
    thread_id = setup.wire.thread("hi")
    for _ in range(2):
        setup.wire.settled(thread_id, setup.wire.start(thread_id, instructions="Be kind."))
    assert setup.last_chat() == [("system", "Be kind."), ("user", "hi"), ("assistant", "one")]


def test_model_reads_parts(run_setup: MakeRunSetup) -> None:
    """Texts and image addresses go to the model, files it cannot read do not."""
    setup = run_setup()
    image = {"type": "image_url", "image_url": {"url": "http://x/y.png"}}
    file = {"type": "image_file", "image_file": {"file_id": "file_1"}}
    content = [{"type": "text", "text": "Look:"}, image, file]
    message = {"role": "user", "content": content}
    thread_id = setup.wire.post("/threads", {"messages": [message]})["id"]
    setup.wire.settled(thread_id, setup.wire.start(thread_id))
    assert setup.last_chat() == [("user", [{"type": "text", "text": "Look:"}, image])]


def test_model_reads_texts_joined(run_setup: MakeRunSetup) -> None:
    """Several text parts go to the model as one text."""
    setup = run_setup()
    content = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    message = {"role": "user", "content": content}
    thread_id = setup.wire.post("/threads", {"messages": [message]})["id"]
    setup.wire.settled(thread_id, setup.wire.start(thread_id))
    assert setup.last_chat() == [("user", "one\ntwo")]


def test_model_is_offered_function_tools(run_setup: MakeRunSetup) -> None:
    """Only function tools are offered to the model."""
    setup = run_setup()
    tool = {"type": "function", "function": {"name": "add"}}
    setup.wire.settled(*setup.start(tools=[{"type": "file_search"}, tool]))
    assert setup.model.requests[0].tools == (tool,)


@pytest.mark.parametrize(
    "fields, options",
    [
        ({}, {"parallel_tool_calls": True}),
        ({"temperature": 0.0}, {"parallel_tool_calls": True, "temperature": 0.0}),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
        ({"max_completion_tokens": 9}, {"parallel_tool_calls": True, "max_tokens": 9}),
        (
            {"response_format": {"type": "json_object"}},
            {"parallel_tool_calls": True, "response_format": {"type": "json_object"}},
        ),
        ({"response_format": "auto"}, {"parallel_tool_calls": True}),
    ],
)
def test_model_gets_options(run_setup: MakeRunSetup, fields: Json, options: Json) -> None:
    """A run's parameters go to the model by its names, what chats do not know is left out."""
    setup = run_setup()
    setup.wire.settled(*setup.start(**fields))
    assert setup.model.requests[0].options == options


@pytest.mark.parametrize("choice", ["none", {"type": "function", "function": {"name": "add"}}])
def test_model_gets_the_tool_choice(run_setup: MakeRunSetup, choice: str | Json) -> None:
    """The choice of tools goes to the model."""
    setup = run_setup()
    setup.wire.settled(*setup.start(tool_choice=choice))
    assert setup.model.requests[0].tool_choice == choice


# Tools.


def test_two_rounds_of_tools(run_setup: MakeRunSetup) -> None:
    """A run may ask for tools twice before it completes."""
    setup = run_setup(CALL, CALL, Reply("done"))
    thread_id, first = setup.requiring_action()
    setup.wire.submit(thread_id, first, "1")
    second = setup.wire.with_status(thread_id, first["id"], "requires_action")
    setup.wire.submit(thread_id, second, "2")
    assert setup.wire.settled(thread_id, first["id"])["status"] == "completed"
    assert calls_of(first) != calls_of(second)


def test_model_reads_all_rounds(run_setup: MakeRunSetup) -> None:
    """The model is asked again with all calls and outputs of the run so far."""
    setup = run_setup(CALL, CALL, Reply("done"))
    thread_id, run = setup.requiring_action()
    setup.wire.submit(thread_id, run, "1")
    run = setup.wire.with_status(thread_id, run["id"], "requires_action")
    setup.wire.submit(thread_id, run, "2")
    setup.wire.settled(thread_id, run["id"])
    assert setup.last_chat() == [
        ("user", "hi"),
        ("assistant", None),
        ("tool", "1"),
        ("assistant", None),
        ("tool", "2"),
    ]


def test_parallel_calls_get_their_own_outputs(run_setup: MakeRunSetup) -> None:
    """Outputs submitted in any order reach their own calls."""
    setup = run_setup(CallTools(("add", {"a": 1}), ("add", {"a": 2})), Reply("done"))
    thread_id, run = setup.requiring_action()
    ids = [call["id"] for call in calls_of(run)]
    outputs = [{"tool_call_id": call_id, "output": call_id} for call_id in reversed(ids)]
    setup.wire.post(
        f"/threads/{thread_id}/runs/{run['id']}/submit_tool_outputs", {"tool_outputs": outputs}
    )
    setup.wire.settled(thread_id, run["id"])
    assert [content for role, content in setup.last_chat() if role == "tool"] == ids


def test_answer_to_outputs_is_queued(run_setup: MakeRunSetup) -> None:
    """A run whose outputs were taken is queued and asks for nothing."""
    setup = run_setup(CALL, Hold())
    thread_id, run = setup.requiring_action()
    run = setup.wire.submit(thread_id, run, "1")
    assert (run["status"], run["required_action"]) == ("queued", None)


def test_usage_counts_all_rounds(run_setup: MakeRunSetup) -> None:
    """The usage of a run is the sum of its model's."""
    usage = Usage(input_tokens=10, output_tokens=5, total_tokens=15)
    setup = run_setup(CALL, Reply("done", usage=usage))
    thread_id, run = setup.requiring_action()
    setup.wire.submit(thread_id, run, "1")
    assert setup.wire.settled(thread_id, run["id"])["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
    }


def test_waiting_run_wrote_no_message(run_setup: MakeRunSetup) -> None:
    """While a run waits for outputs the thread has no reply."""
    setup = run_setup(CALL)
    thread_id, _ = setup.requiring_action()
    assert setup.wire.texts(thread_id) == ["hi"]


# Failures.


@pytest.mark.parametrize(
    "step",
    [
        Fail("server_error", "Sorry."),
        Fail("rate_limit_exceeded", "Rate limit reached. Please try again in 1s."),
        Fail("rate_limit_exceeded", "You exceeded your current quota."),
        Fail("invalid_prompt", "No."),
    ],
)
def test_model_fails(run_setup: MakeRunSetup, step: Fail) -> None:
    """A model's failure ends the run with its code and its message."""
    run = run_setup(step).settled()
    assert (run["status"], run["last_error"], run["failed_at"]) == (
        "failed",
        {"code": step.code, "message": step.message},
        START,
    )


def test_failed_run_frees_the_thread(run_setup: MakeRunSetup) -> None:
    """After a failure the thread takes the next run."""
    setup = run_setup(Fail(), Reply("ok"))
    thread_id, run_id = setup.start()
    setup.wire.settled(thread_id, run_id)
    again = setup.wire.settled(thread_id, setup.wire.start(thread_id))
    assert again["status"] == "completed"


@pytest.mark.parametrize(
    "reason, said",
    [("max_completion_tokens", "max_tokens"), ("content_filter", "content_filter")],
)
def test_reply_cut_short(run_setup: MakeRunSetup, reason: str, said: str) -> None:
    """A reply cut short ends its run as incomplete; run and message say why, each in its words."""
    setup = run_setup(Incomplete(reason, "so far"))
    thread_id, run_id = setup.start()
    run = setup.wire.settled(thread_id, run_id)
    message = setup.wire.get(f"/threads/{thread_id}/messages")["data"][0]
    assert (run["status"], run["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert (message["status"], message["incomplete_details"]) == ("incomplete", {"reason": said})


def test_message_cut_short_has_its_time(run_setup: MakeRunSetup) -> None:
    """A message cut short says since when, and was never completed."""
    setup = run_setup(Incomplete("max_completion_tokens", "so far"))
    thread_id, run_id = setup.start()
    setup.wire.settled(thread_id, run_id)
    message = setup.wire.get(f"/threads/{thread_id}/messages")["data"][0]
    assert (message["completed_at"], message["incomplete_at"]) == (None, START)


class BrokenModel(Model):
    """Break in the middle of a reply."""

    def serves(self, name: str) -> bool:
        """Answer to one name."""
        return name == "broken"

    def reply(self, request: ModelRequest) -> Iterator[ModelChunk]:
        """Begin, and break."""
        yield TextDelta("so far")
        raise ZeroDivisionError("secret")


def test_model_breaks(caplog: pytest.LogCaptureFixture) -> None:
    """A bug in a model fails the run, is logged, and is not told to clients."""
    server = EmbeddedServer(make_engine(":memory:", models=[BrokenModel()]))
    wire = WireClient(server.base_url)
    thread_id = wire.thread("hi")
    run = wire.settled(
        thread_id, wire.start(thread_id, assistant_id=wire.assistant(model="broken"))
    )
    wire.close()
    server.stop()
    assert run["last_error"] == {"code": "server_error", "message": "Sorry, something went wrong."}
    assert f"the model broke on run {run['id']}" in caplog.text


def test_model_that_is_gone(
    caplog: pytest.LogCaptureFixture, run_setup: MakeRunSetup, tmp_path: Path
) -> None:
    """A run of a model that a restarted server no longer has fails."""
    location = str(tmp_path / "a.db")
    setup = run_setup(CALL, location=location)
    thread_id, run = setup.requiring_action()
    server = EmbeddedServer(make_engine(location, clock=setup.clock))
    wire = WireClient(server.base_url)
    wire.submit(thread_id, run, "1")
    run = wire.settled(thread_id, run["id"])
    wire.close()
    server.stop()
    assert (run["status"], run["last_error"]["code"]) == ("failed", "server_error")


def test_run_that_cannot_be_kept(
    caplog: pytest.LogCaptureFixture, run_setup: MakeRunSetup, tmp_path: Path
) -> None:
    """A database that breaks while a model is at work is logged with the run's id."""
    location = tmp_path / "a.db"
    setup = run_setup(Hold(), location=str(location))
    _, run_id = setup.in_progress()
    drop_table(location, "runs")
    setup.release()
    with caplog.at_level(logging.ERROR):
        wait_until_idle()
    assert f"run {run_id} could not be kept" in caplog.text


def test_server_stopped_under_a_run(caplog: pytest.LogCaptureFixture) -> None:
    """A server that is stopped while a model is at work complains of nothing."""
    model = ScriptedModel([Hold()])
    server = EmbeddedServer(make_engine(":memory:", models=[model]))
    wire = WireClient(server.base_url)
    wire.start(wire.thread("hi"))
    wait_for(lambda: model.requests, bool)
    wire.close()
    server.stop()
    model.released.set()
    wait_until_idle()
    assert [record.getMessage() for record in caplog.records] == []


# The lock.


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


# Time.


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
    """A run whose model takes too long expires while it is at work."""
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


# Cancelling.


def test_cancel_at_work(run_setup: MakeRunSetup) -> None:
    """A run at work answers that it is being cancelled, and is so at the next look."""
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
def test_cancel_when_over(run_setup: MakeRunSetup, step: Any, status: str) -> None:
    """A run that is over cannot be cancelled, and the refusal names its status."""
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
    """A thread may be deleted under a run at work, whose reply then goes nowhere."""
    setup = run_setup(Hold())
    thread_id, run_id = setup.in_progress()
    setup.wire.delete(f"/threads/{thread_id}")
    setup.release()
    wait_until_idle()
    status, _ = setup.wire.refusal("GET", f"/threads/{thread_id}/runs/{run_id}")
    assert status == 404
    assert caplog.records == []


# The engine by itself.


class PlainModel(Model):
    """Say nothing, to any name but one."""

    def serves(self, name: str) -> bool:
        """Answer to all names but one."""
        return name != "other"

    def reply(self, request: ModelRequest) -> Iterator[ModelChunk]:
        """Say nothing."""
        yield Finish()


@pytest.fixture
def engine() -> Iterator[Engine]:
    """Give an engine in memory."""
    engine = Engine(Storage(":memory:"), [PlainModel()], default_model="stand-in")
    yield engine
    engine.storage.close()


@pytest.mark.parametrize("name, resolved", [("default", "stand-in"), ("any", "any")])
def test_model_names(engine: Engine, name: str, resolved: str) -> None:
    """The name ``default`` stands for another; all others stand for themselves."""
    assert engine.resolve_model(name) == resolved


def test_unserved_model_name(engine: Engine) -> None:
    """A name that no model answers to is refused."""
    with pytest.raises(WireError, match="The requested model 'other' does not exist"):
        engine.resolve_model("other")


@pytest.mark.parametrize("status", ["in_progress", "completed", None])
def test_only_cancelling_runs_finish_cancelling(engine: Engine, status: str | None) -> None:
    """Only a run that is there and being cancelled becomes cancelled."""
    if status is not None:
        with engine.storage.write() as connection:
            engine.storage.runs.insert(connection, {"id": "run_1", "status": status})
    finish_cancelling(engine, "run_1")
    with engine.storage.read() as connection:
        run = engine.storage.runs.get(connection, "run_1")
    assert (run and run["status"]) == status


@pytest.mark.parametrize("status", ["in_progress", "completed", "cancelled"])
def test_only_queued_runs_are_taken_up(engine: Engine, status: str) -> None:
    """A run that is at work or over is left as it is."""
    with engine.storage.write() as connection:
        engine.storage.runs.insert(connection, {"id": "run_1", "status": status})
    engine.start(RunWork(engine, "run_1"))
    wait_until_idle()
    with engine.storage.read() as connection:
        assert engine.storage.runs.get(connection, "run_1") == {"id": "run_1", "status": status}


# Two servers, one database.


@pytest.fixture
def pair(run_setup: MakeRunSetup, tmp_path: Path) -> tuple[RunSetup, RunSetup]:
    """Give two servers that share a file; the first calls a tool, the second replies."""
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
    """A run at work on one server is cancelled through the other."""
    one, other = pair
    thread_id, run = one.requiring_action()
    one.wire.submit(thread_id, run, "1")
    one.wire.with_status(thread_id, run["id"], "in_progress")
    other.cancel(thread_id, run["id"])
    one.release()
    wait_until_idle()
    assert one.wire.run(thread_id, run["id"])["status"] == "cancelled"
    assert one.wire.texts(thread_id) == ["hi"]


def test_one_start_wins_over_two_servers(run_setup: MakeRunSetup, tmp_path: Path) -> None:
    """Of runs started at once on one thread through two servers exactly one is taken."""
    location = str(tmp_path / "a.db")
    one, other = (run_setup(Hold(), location=location) for _ in range(2))
    path, body = f"/threads/{one.wire.thread('hi')}/runs", {"assistant_id": one.wire.assistant()}
    assert post_at_once(path, body, one.server.base_url, other.server.base_url) == [200, 400]
