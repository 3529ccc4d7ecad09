"""How runs go: models, tools, time, cancellation, and two servers at once."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
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
from tests.support.scripted_model import ScriptedModel, ScriptedServer
from tests.support.wire_client import Json, WireClient, calls_of

START = 1_000_000.0

CALL = CallTools(("add", {"a": 1}))

MakeServer = Callable[..., ScriptedServer]


class Clock:
    """Tell the time that a test has set."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        """Give it."""
        return self.now


class Stage:
    """Hold a scripted server, its clock and a client.

    Args:
        server: The server.
        clock: What it tells the time by.
    """

    def __init__(self, server: ScriptedServer, clock: Clock) -> None:
        self.server = server
        self.model = server.model
        self.clock = clock
        self.wire = WireClient(server.base_url)

    def begin(self, **fields: Any) -> tuple[str, str]:
        """Start a run on a new thread, and give the ids of both."""
        thread_id = self.wire.thread("hi")
        return thread_id, self.wire.start(thread_id, **fields)

    def at_work(self) -> tuple[str, str]:
        """Start a run, wait until its model is at work, and give thread and run."""
        thread_id, run_id = self.begin()
        self.wire.when(thread_id, run_id, "in_progress")
        wait_for(lambda: self.model.requests, bool)
        return thread_id, run_id

    def waiting(self) -> tuple[str, Json]:
        """Start a run, wait until it waits for outputs, and give thread and run."""
        thread_id, run_id = self.begin()
        return thread_id, self.wire.when(thread_id, run_id, "requires_action")

    def rested(self) -> Json:
        """Start a run and give it when it has come to rest."""
        return self.wire.rested(*self.begin())

    def chat(self) -> list[tuple[str, Any]]:
        """Give role and content of what the model was asked last."""
        return [(said["role"], said["content"]) for said in self.model.requests[-1].messages]


SetUp = Callable[..., Stage]


@pytest.fixture
def stage(make_server: MakeServer) -> Iterator[SetUp]:
    """Give a maker of stages that follow steps."""
    stages: list[Stage] = []

    def make(*steps: Any, **options: Any) -> Stage:
        clock = Clock()
        made = Stage(make_server(steps, clock=clock, **options), clock)
        stages.append(made)
        return made

    yield make
    for made in stages:
        made.model.released.set()
        made.wire.close()


def quiet() -> None:
    """Wait until no server works on a run."""
    wait_for(
        lambda: [each.name for each in threading.enumerate() if "server-run" in each.name],
        lambda names: not names,
    )


# Replies.


def test_reply_joins_its_pieces(stage: SetUp) -> None:
    """A reply given in pieces is one message."""
    show = stage(Reply("Hel", "lo"))
    thread_id, run_id = show.begin()
    show.wire.rested(thread_id, run_id)
    assert show.wire.texts(thread_id) == ["hi", "Hello"]


def test_run_has_its_times(stage: SetUp) -> None:
    """A run's times are those of the server's clock."""
    show = stage(Hold())
    thread_id, run_id = show.at_work()
    show.clock.now += 5.5
    show.model.released.set()
    run = show.wire.rested(thread_id, run_id)
    assert (run["created_at"], run["started_at"], run["completed_at"]) == (
        START,
        START,
        START + 5,
    )


def test_model_reads_the_thread(stage: SetUp) -> None:
    """The model is asked with the instructions and the whole thread, oldest first."""
    show = stage(Reply("one"), Reply("two"))
    thread_id = show.wire.thread("hi")
    for _ in range(2):
        show.wire.rested(thread_id, show.wire.start(thread_id, instructions="Be kind."))
    assert show.chat() == [("system", "Be kind."), ("user", "hi"), ("assistant", "one")]


def test_model_reads_parts(stage: SetUp) -> None:
    """Texts and image addresses go to the model, files it cannot read do not."""
    show = stage()
    image = {"type": "image_url", "image_url": {"url": "http://x/y.png"}}
    file = {"type": "image_file", "image_file": {"file_id": "file_1"}}
    content = [{"type": "text", "text": "Look:"}, image, file]
    message = {"role": "user", "content": content}
    thread_id = show.wire.post("/threads", {"messages": [message]})["id"]
    show.wire.rested(thread_id, show.wire.start(thread_id))
    assert show.chat() == [("user", [{"type": "text", "text": "Look:"}, image])]


def test_model_reads_texts_joined(stage: SetUp) -> None:
    """Several text parts go to the model as one text."""
    show = stage()
    content = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    message = {"role": "user", "content": content}
    thread_id = show.wire.post("/threads", {"messages": [message]})["id"]
    show.wire.rested(thread_id, show.wire.start(thread_id))
    assert show.chat() == [("user", "one\ntwo")]


def test_model_is_offered_function_tools(stage: SetUp) -> None:
    """Only function tools are offered to the model."""
    show = stage()
    tool = {"type": "function", "function": {"name": "add"}}
    show.wire.rested(*show.begin(tools=[{"type": "file_search"}, tool]))
    assert show.model.requests[0].tools == (tool,)


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
def test_model_gets_options(stage: SetUp, fields: Json, options: Json) -> None:
    """A run's parameters go to the model by its names, what chats do not know is left out."""
    show = stage()
    show.wire.rested(*show.begin(**fields))
    assert show.model.requests[0].options == options


@pytest.mark.parametrize("choice", ["none", {"type": "function", "function": {"name": "add"}}])
def test_model_gets_the_tool_choice(stage: SetUp, choice: str | Json) -> None:
    """The choice of tools goes to the model."""
    show = stage()
    show.wire.rested(*show.begin(tool_choice=choice))
    assert show.model.requests[0].tool_choice == choice


# Tools.


def test_two_rounds_of_tools(stage: SetUp) -> None:
    """A run may ask for tools twice before it completes."""
    show = stage(CALL, CALL, Reply("done"))
    thread_id, first = show.waiting()
    show.wire.answer(thread_id, first, "1")
    second = show.wire.when(thread_id, first["id"], "requires_action")
    show.wire.answer(thread_id, second, "2")
    assert show.wire.rested(thread_id, first["id"])["status"] == "completed"
    assert calls_of(first) != calls_of(second)


def test_model_reads_all_rounds(stage: SetUp) -> None:
    """The model is asked again with all calls and outputs of the run so far."""
    show = stage(CALL, CALL, Reply("done"))
    thread_id, run = show.waiting()
    show.wire.answer(thread_id, run, "1")
    run = show.wire.when(thread_id, run["id"], "requires_action")
    show.wire.answer(thread_id, run, "2")
    show.wire.rested(thread_id, run["id"])
    assert show.chat() == [
        ("user", "hi"),
        ("assistant", None),
        ("tool", "1"),
        ("assistant", None),
        ("tool", "2"),
    ]


def test_parallel_calls_get_their_own_outputs(stage: SetUp) -> None:
    """Outputs submitted in any order reach their own calls."""
    show = stage(CallTools(("add", {"a": 1}), ("add", {"a": 2})), Reply("done"))
    thread_id, run = show.waiting()
    ids = [call["id"] for call in calls_of(run)]
    outputs = [{"tool_call_id": call_id, "output": call_id} for call_id in reversed(ids)]
    show.wire.post(
        f"/threads/{thread_id}/runs/{run['id']}/submit_tool_outputs", {"tool_outputs": outputs}
    )
    show.wire.rested(thread_id, run["id"])
    assert [content for role, content in show.chat() if role == "tool"] == ids


def test_answer_to_outputs_is_queued(stage: SetUp) -> None:
    """A run whose outputs were taken is queued and asks for nothing."""
    show = stage(CALL, Hold())
    thread_id, run = show.waiting()
    run = show.wire.answer(thread_id, run, "1")
    assert (run["status"], run["required_action"]) == ("queued", None)


def test_usage_counts_all_rounds(stage: SetUp) -> None:
    """The usage of a run is the sum of its model's."""
    usage = Usage(input_tokens=10, output_tokens=5, total_tokens=15)
    show = stage(CALL, Reply("done", usage=usage))
    thread_id, run = show.waiting()
    show.wire.answer(thread_id, run, "1")
    assert show.wire.rested(thread_id, run["id"])["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
    }


def test_waiting_run_wrote_no_message(stage: SetUp) -> None:
    """While a run waits for outputs the thread has no reply."""
    show = stage(CALL)
    thread_id, _ = show.waiting()
    assert show.wire.texts(thread_id) == ["hi"]


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
def test_model_fails(stage: SetUp, step: Fail) -> None:
    """A model's failure ends the run with its code and its message."""
    run = stage(step).rested()
    assert (run["status"], run["last_error"], run["failed_at"]) == (
        "failed",
        {"code": step.code, "message": step.message},
        START,
    )


def test_failed_run_frees_the_thread(stage: SetUp) -> None:
    """After a failure the thread takes the next run."""
    show = stage(Fail(), Reply("ok"))
    thread_id, run_id = show.begin()
    show.wire.rested(thread_id, run_id)
    again = show.wire.rested(thread_id, show.wire.start(thread_id))
    assert again["status"] == "completed"


@pytest.mark.parametrize(
    "reason, said",
    [("max_completion_tokens", "max_tokens"), ("content_filter", "content_filter")],
)
def test_reply_cut_short(stage: SetUp, reason: str, said: str) -> None:
    """A reply cut short ends its run as incomplete; run and message say why, each in its words."""
    show = stage(Incomplete(reason, "so far"))
    thread_id, run_id = show.begin()
    run = show.wire.rested(thread_id, run_id)
    message = show.wire.get(f"/threads/{thread_id}/messages")["data"][0]
    assert (run["status"], run["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert (message["status"], message["incomplete_details"]) == ("incomplete", {"reason": said})


def test_message_cut_short_has_its_time(stage: SetUp) -> None:
    """A message cut short says since when, and was never completed."""
    show = stage(Incomplete("max_completion_tokens", "so far"))
    thread_id, run_id = show.begin()
    show.wire.rested(thread_id, run_id)
    message = show.wire.get(f"/threads/{thread_id}/messages")["data"][0]
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
    run = wire.rested(thread_id, wire.start(thread_id, assistant_id=wire.assistant(model="broken")))
    wire.close()
    server.stop()
    assert run["last_error"] == {"code": "server_error", "message": "Sorry, something went wrong."}
    assert f"the model broke on run {run['id']}" in caplog.text


def test_model_that_is_gone(caplog: pytest.LogCaptureFixture, stage: SetUp, tmp_path: Path) -> None:
    """A run of a model that a restarted server no longer has fails."""
    location = str(tmp_path / "a.db")
    show = stage(CALL, location=location)
    thread_id, run = show.waiting()
    server = EmbeddedServer(make_engine(location, clock=show.clock))
    wire = WireClient(server.base_url)
    wire.answer(thread_id, run, "1")
    run = wire.rested(thread_id, run["id"])
    wire.close()
    server.stop()
    assert (run["status"], run["last_error"]["code"]) == ("failed", "server_error")


def test_run_that_cannot_be_kept(
    caplog: pytest.LogCaptureFixture, stage: SetUp, tmp_path: Path
) -> None:
    """A database that breaks while a model is at work is logged with the run's id."""
    location = tmp_path / "a.db"
    show = stage(Hold(), location=str(location))
    _, run_id = show.at_work()
    connection = sqlite3.connect(location)
    connection.execute("DROP TABLE runs")
    connection.close()
    show.model.released.set()
    with caplog.at_level(logging.ERROR):
        quiet()
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
    quiet()
    assert [record.getMessage() for record in caplog.records] == []


# The lock.


@pytest.mark.parametrize("step", [Hold(), CALL], ids=["in_progress", "requires_action"])
def test_live_run_locks_its_thread(stage: SetUp, step: Any) -> None:
    """While a run is live its thread takes neither messages nor runs."""
    show = stage(step)
    thread_id, run_id = show.begin()
    wait_for(lambda: show.wire.run(thread_id, run_id)["status"], lambda status: status != "queued")
    run = {"assistant_id": show.wire.assistant()}
    message = {"role": "user", "content": "x"}
    refusals = [
        show.wire.refusal("POST", f"/threads/{thread_id}/messages", json=message),
        show.wire.refusal("POST", f"/threads/{thread_id}/runs", json=run),
    ]
    assert [(status, error["message"]) for status, error in refusals] == [
        (400, f"Can't add messages to {thread_id} while a run {run_id} is active."),
        (400, f"Thread {thread_id} already has an active run {run_id}."),
    ]


def test_live_run_locks_no_other_thread(stage: SetUp) -> None:
    """Other threads run on while one is locked."""
    show = stage(Hold(), Reply("ok"))
    show.at_work()
    assert show.rested()["status"] == "completed"


def test_one_of_many_starts_wins(stage: SetUp) -> None:
    """Of many runs started at once on one thread exactly one is taken."""
    show = stage(Hold())
    thread_id, assistant_id = show.wire.thread("hi"), show.wire.assistant()
    start = threading.Barrier(6)
    statuses: list[int] = []

    def try_it() -> None:
        wire = WireClient(show.server.base_url)
        start.wait(10)
        body = {"assistant_id": assistant_id}
        statuses.append(wire.send("POST", f"/threads/{thread_id}/runs", json=body).status_code)
        wire.close()

    workers = [threading.Thread(target=try_it) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    assert sorted(statuses) == [200, 400, 400, 400, 400, 400]


# Time.


def test_unanswered_run_expires(stage: SetUp) -> None:
    """A run whose calls nobody answers expires after ten minutes."""
    show = stage(CALL)
    thread_id, run = show.waiting()
    show.clock.now += 600
    found = show.wire.run(thread_id, run["id"])
    assert (found["status"], found["expires_at"], found["required_action"]) == (
        "expired",
        None,
        None,
    )


def test_run_does_not_expire_early(stage: SetUp) -> None:
    """A run waits for its outputs until its very last second."""
    show = stage(CALL)
    thread_id, run = show.waiting()
    show.clock.now += 599
    assert show.wire.run(thread_id, run["id"])["status"] == "requires_action"


def test_slow_run_expires(stage: SetUp) -> None:
    """A run whose model takes too long expires while it is at work."""
    show = stage(Hold())
    thread_id, run_id = show.at_work()
    show.clock.now += 600
    assert show.wire.run(thread_id, run_id)["status"] == "expired"


def test_late_reply_is_dropped(stage: SetUp) -> None:
    """What a model says after its run has expired is not kept."""
    show = stage(Hold())
    thread_id, run_id = show.at_work()
    show.clock.now += 600
    show.model.released.set()
    quiet()
    assert show.wire.run(thread_id, run_id)["status"] == "expired"
    assert show.wire.texts(thread_id) == ["hi"]


def test_run_without_time_is_not_begun(stage: SetUp) -> None:
    """A run whose time is up before it is taken up expires unasked."""
    show = stage(run_seconds=0)
    thread_id, run_id = show.begin()
    quiet()
    assert show.wire.run(thread_id, run_id)["status"] == "expired"
    assert show.model.requests == []


def test_run_seconds_may_be_a_fraction(stage: SetUp) -> None:
    """A run that may take half a second is not over at once."""
    show = stage(CALL, run_seconds=0.5)
    assert show.rested()["status"] == "requires_action"


def test_expired_run_frees_the_thread_for_messages(stage: SetUp) -> None:
    """A message is taken once the time of a waiting run is up, without anybody looking."""
    show = stage(CALL)
    thread_id, _ = show.waiting()
    show.clock.now += 600
    show.wire.post(f"/threads/{thread_id}/messages", {"role": "user", "content": "again"})
    assert show.wire.texts(thread_id) == ["hi", "again"]


def test_expired_run_frees_the_thread_for_runs(stage: SetUp) -> None:
    """A run is taken once the time of the one before is up."""
    show = stage(CALL, Reply("ok"))
    thread_id, _ = show.waiting()
    show.clock.now += 600
    assert show.wire.rested(thread_id, show.wire.start(thread_id))["status"] == "completed"


def test_list_shows_expired_runs(stage: SetUp) -> None:
    """The list of runs shows a run as expired when its time is up."""
    show = stage(CALL)
    thread_id, _ = show.waiting()
    show.clock.now += 600
    found = show.wire.get(f"/threads/{thread_id}/runs")["data"]
    assert [run["status"] for run in found] == ["expired"]


def test_update_shows_expired_runs(stage: SetUp) -> None:
    """A run changed after its time is up is shown as expired."""
    show = stage(CALL)
    thread_id, run = show.waiting()
    show.clock.now += 600
    found = show.wire.post(f"/threads/{thread_id}/runs/{run['id']}", {"metadata": {"a": "b"}})
    assert found["status"] == "expired"


@pytest.mark.parametrize("looked", [False, True])
def test_late_outputs(stage: SetUp, looked: bool) -> None:
    """Outputs that come too late are refused, whether anybody has looked meanwhile or not."""
    show = stage(CALL)
    thread_id, run = show.waiting()
    show.clock.now += 600
    path = f"/threads/{thread_id}/runs/{run['id']}"
    if looked:
        show.wire.get(path)
    outputs = [{"tool_call_id": calls_of(run)[0]["id"], "output": "1"}]
    status, error = show.wire.refusal(
        "POST", f"{path}/submit_tool_outputs", json={"tool_outputs": outputs}
    )
    assert (status, error["message"]) == (
        400,
        'Runs in status "expired" do not accept tool outputs.',
    )


def test_late_cancel(stage: SetUp) -> None:
    """A run whose time is up is not cancelled."""
    show = stage(CALL)
    thread_id, run = show.waiting()
    show.clock.now += 600
    status, error = show.wire.refusal("POST", f"/threads/{thread_id}/runs/{run['id']}/cancel")
    assert (status, error["message"]) == (400, "Cannot cancel run with status 'expired'.")


# Cancelling.


def cancel(show: Stage, thread_id: str, run_id: str) -> Json:
    """Cancel a run and give the answer."""
    return show.wire.post(f"/threads/{thread_id}/runs/{run_id}/cancel")


def test_cancel_at_work(stage: SetUp) -> None:
    """A run at work answers that it is being cancelled, and is so at the next look."""
    show = stage(Hold())
    thread_id, run_id = show.at_work()
    answered = cancel(show, thread_id, run_id)
    found = show.wire.run(thread_id, run_id)
    assert (answered["status"], found["status"], found["cancelled_at"]) == (
        "cancelling",
        "cancelled",
        START,
    )


def test_cancelled_reply_is_dropped(stage: SetUp) -> None:
    """What a model says after its run was cancelled is not kept."""
    show = stage(Hold())
    thread_id, run_id = show.at_work()
    cancel(show, thread_id, run_id)
    show.model.released.set()
    quiet()
    assert show.wire.texts(thread_id) == ["hi"]
    assert show.wire.run(thread_id, run_id)["status"] == "cancelled"


def test_cancel_waiting(stage: SetUp) -> None:
    """A run that waits for outputs is cancelled at once."""
    show = stage(CALL)
    thread_id, run = show.waiting()
    found = cancel(show, thread_id, run["id"])
    assert (found["status"], found["required_action"], found["expires_at"]) == (
        "cancelled",
        None,
        None,
    )


def force(location: Path, run_id: str, **fields: Any) -> None:
    """Leave a run in the database as a server that has stopped would."""
    storage = Storage(str(location))
    with storage.write() as connection:
        run = storage.runs.get(connection, run_id, lock=True)
        assert run is not None
        storage.runs.update(connection, {**run, **fields})
    storage.close()


def test_cancel_queued(stage: SetUp, tmp_path: Path) -> None:
    """A run that nobody has taken up is cancelled at once."""
    location = tmp_path / "a.db"
    show = stage(CALL, location=str(location))
    thread_id, run = show.waiting()
    force(location, run["id"], status="queued", required_action=None)
    assert cancel(show, thread_id, run["id"])["status"] == "cancelled"


@pytest.mark.parametrize(
    "step, status",
    [(Reply("ok"), "completed"), (Fail(), "failed"), (Incomplete(), "incomplete")],
)
def test_cancel_when_over(stage: SetUp, step: Any, status: str) -> None:
    """A run that is over cannot be cancelled, and the refusal names its status."""
    show = stage(step)
    thread_id, run_id = show.begin()
    show.wire.rested(thread_id, run_id)
    _, error = show.wire.refusal("POST", f"/threads/{thread_id}/runs/{run_id}/cancel")
    assert error["message"] == f"Cannot cancel run with status '{status}'."


def test_cancel_twice(stage: SetUp) -> None:
    """A cancelled run cannot be cancelled again."""
    show = stage(CALL)
    thread_id, run = show.waiting()
    cancel(show, thread_id, run["id"])
    _, error = show.wire.refusal("POST", f"/threads/{thread_id}/runs/{run['id']}/cancel")
    assert error["message"] == "Cannot cancel run with status 'cancelled'."


def test_cancelled_run_frees_the_thread(stage: SetUp) -> None:
    """After a cancellation the thread takes the next run, though the model still works."""
    show = stage(Hold(), Reply("ok"))
    thread_id, run_id = show.at_work()
    cancel(show, thread_id, run_id)
    assert show.wire.rested(thread_id, show.wire.start(thread_id))["status"] == "completed"


def test_deleted_thread_drops_its_run(caplog: pytest.LogCaptureFixture, stage: SetUp) -> None:
    """A thread may be deleted under a run at work, whose reply then goes nowhere."""
    show = stage(Hold())
    thread_id, run_id = show.at_work()
    show.wire.delete(f"/threads/{thread_id}")
    show.model.released.set()
    quiet()
    status, _ = show.wire.refusal("GET", f"/threads/{thread_id}/runs/{run_id}")
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
    quiet()
    with engine.storage.read() as connection:
        assert engine.storage.runs.get(connection, "run_1") == {"id": "run_1", "status": status}


# Two servers, one database.


@pytest.fixture
def pair(stage: SetUp, tmp_path: Path) -> tuple[Stage, Stage]:
    """Give two servers that share a file; the first calls a tool, the second replies."""
    location = str(tmp_path / "a.db")
    return stage(CALL, Hold(), location=location), stage(Reply("done"), location=location)


def test_servers_see_each_others_runs(pair: tuple[Stage, Stage]) -> None:
    """A run of one server is found on the other."""
    one, other = pair
    thread_id, run = one.waiting()
    assert other.wire.run(thread_id, run["id"]) == run


def test_servers_share_the_lock(pair: tuple[Stage, Stage]) -> None:
    """A run of one server locks the thread on the other."""
    one, other = pair
    thread_id, run = one.waiting()
    message = {"role": "user", "content": "x"}
    _, error = other.wire.refusal("POST", f"/threads/{thread_id}/messages", json=message)
    assert error["message"] == (
        f"Can't add messages to {thread_id} while a run {run['id']} is active."
    )


def test_run_goes_on_at_the_other_server(pair: tuple[Stage, Stage]) -> None:
    """Outputs submitted to another server make the run go on there."""
    one, other = pair
    thread_id, run = one.waiting()
    other.wire.answer(thread_id, run, "1")
    one.wire.rested(thread_id, run["id"])
    assert one.wire.texts(thread_id) == ["hi", "done"]


def test_cancel_from_the_other_server(pair: tuple[Stage, Stage]) -> None:
    """A run at work on one server is cancelled through the other."""
    one, other = pair
    thread_id, run = one.waiting()
    one.wire.answer(thread_id, run, "1")
    one.wire.when(thread_id, run["id"], "in_progress")
    cancel(other, thread_id, run["id"])
    one.model.released.set()
    quiet()
    assert one.wire.run(thread_id, run["id"])["status"] == "cancelled"
    assert one.wire.texts(thread_id) == ["hi"]


def test_one_start_wins_over_two_servers(stage: SetUp, tmp_path: Path) -> None:
    """Of runs started at once on one thread through two servers exactly one is taken."""
    location = str(tmp_path / "a.db")
    pair = [stage(Hold(), location=location) for _ in range(2)]
    thread_id, assistant_id = pair[0].wire.thread("hi"), pair[0].wire.assistant()
    start = threading.Barrier(2)
    statuses: list[int] = []

    def try_it(show: Stage) -> None:
        start.wait(10)
        body = {"assistant_id": assistant_id}
        answer = show.wire.send("POST", f"/threads/{thread_id}/runs", json=body)
        statuses.append(answer.status_code)

    workers = [threading.Thread(target=try_it, args=(show,)) for show in pair]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    assert sorted(statuses) == [200, 400]
