"""Work whose process is gone, or that nobody wants any more: taken up, ended, stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpt_agent_sync.server import keeper
from gpt_agent_sync.server.app import make_engine
from gpt_agent_sync.server.hosting import EmbeddedServer
from gpt_agent_sync.server.models.base import (
    Model,
    ModelChunk,
    ModelError,
    ModelRequest,
    TextDelta,
)
from gpt_agent_sync.server.storage.collection import OWNER
from gpt_agent_sync.server.work import Ending
from gpt_agent_sync.testing import Hold, Reply
from tests.plugins.postgres_servers import needs_postgres
from tests.server.trials import problems_of, trial
from tests.support.event_lines import EventReader
from tests.support.polling import wait_for
from tests.support.responses_client import ResponsesClient
from tests.support.scripted_model import ScriptedModel
from tests.support.server_setup import (
    CALL,
    StreamSetup,
    change_stored,
    run_path,
    wait_until_idle,
)
from tests.support.wire_client import Json

GONE = "worker_that_is_gone"

Serve = Callable[..., "Server"]


class Server:
    """An embedded server over a file, its model, and a client of both wires.

    Args:
        location: The file.
        steps: What the model does.
        options: Of the engine.
    """

    def __init__(self, location: Path, *steps: object, **options: object) -> None:
        self.model = ScriptedModel(steps)  # type: ignore[arg-type]
        self.engine = make_engine(str(location), models=[self.model], **options)  # type: ignore[arg-type]
        self._server = EmbeddedServer(self.engine)
        self.wire = ResponsesClient(self._server.base_url)
        self._is_stopped = False

    def start(self) -> tuple[str, str]:
        """Start a run on a new thread, and return the ids of both."""
        thread_id = self.wire.thread("hi")
        return thread_id, self.wire.start(thread_id)

    def in_progress(self) -> tuple[str, str]:
        """Start a run, and return the ids when its model is asked."""
        thread_id, run_id = self.start()
        wait_for(lambda: self.model.requests, bool)
        return thread_id, run_id

    def stop(self) -> None:
        """Stop it, as a program does that ends."""
        if not self._is_stopped:
            self._is_stopped = True
            self.model.released.set()
            self.wire.close()
            self._server.stop()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let those that are gone be noticed soon."""
    monkeypatch.setattr(keeper, "DEAD_SECONDS", 0.6)
    monkeypatch.setattr(keeper, "SWEEP_SECONDS", 0.2)
    monkeypatch.setattr(keeper, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(keeper, "LOOK_SECONDS", 0.1)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Yield a maker of servers that share a file; they are stopped."""
    servers: list[Server] = []

    def make(*steps: object, **options: object) -> Server:
        servers.append(Server(tmp_path / "a.db", *steps, **options))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


# A process that is gone.


@pytest.mark.parametrize("owner", [GONE, None])
def test_queued_run_of_a_process_that_is_gone(serve: Serve, tmp_path: Path, owner: str) -> None:
    """A run that nobody has begun is taken up by a process that is there."""
    server = serve(Hold(), Reply("hello"))
    thread_id, run_id = server.in_progress()
    change_stored(tmp_path / "a.db", "runs", run_id, status="queued", **{OWNER: owner})
    run = server.wire.settled(thread_id, run_id)
    assert (run["status"], server.wire.texts(thread_id)) == ("completed", ["hi", "hello"])


@pytest.mark.parametrize(
    "left, status, said",
    [
        ("in_progress", "failed", "The server that worked on the run is gone."),
        ("cancelling", "cancelled", None),
    ],
)
def test_begun_run_of_a_process_that_is_gone(
    serve: Serve, tmp_path: Path, left: str, status: str, said: str | None
) -> None:
    """A run in progress fails with the process that worked on it, and its thread is free."""
    server = serve(Hold(), Reply("again"))
    thread_id, run_id = server.in_progress()
    change_stored(tmp_path / "a.db", "runs", run_id, status=left, **{OWNER: GONE})
    run = server.wire.with_status(thread_id, run_id, status)
    assert (run["last_error"] or {}).get("message") == said
    server.wire.settled(thread_id, server.wire.start(thread_id))
    assert server.wire.texts(thread_id) == ["hi", "again"]


def test_begun_response_of_a_process_that_is_gone(serve: Serve, tmp_path: Path) -> None:
    """A response in progress fails with the process that worked on it: its conversation is free."""
    server = serve(Hold(), Reply("again"))
    conversation_id = server.wire.conversation()
    response_id = server.wire.start_background(conversation_id)
    wait_for(lambda: server.model.requests, bool)
    change_stored(tmp_path / "a.db", "responses", response_id, **{OWNER: GONE})
    failed = server.wire.final(response_id)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "server_error")
    assert server.wire.respond(conversation=conversation_id)["status"] == "completed"


def test_work_of_a_process_that_is_there_is_left_to_it(serve: Serve) -> None:
    """A run in progress is not touched by another process, however long its model takes."""
    server, other = serve(Hold(Reply("at last"))), serve()
    thread_id, run_id = server.in_progress()
    wait_for(lambda: beats(other), lambda found: found[server.engine.worker_id] >= 12)
    assert other.wire.run(thread_id, run_id)["status"] == "in_progress"
    server.model.released.set()
    assert server.wire.settled(thread_id, run_id)["status"] == "completed"


def beats(server: Server) -> dict[str, int]:
    """Return the beats of the workers that share a server's database."""
    storage = server.engine.storage
    with storage.read() as connection:
        return {server.engine.worker_id: 0, **storage.workers.beats(connection)}


def test_run_that_waits_for_outputs_has_no_owner(serve: Serve) -> None:
    """A run that waits for outputs outlives the process that has asked for them."""
    server = serve(CALL)
    thread_id, run_id = server.start()
    run = server.wire.with_status(thread_id, run_id, "requires_action")
    server.stop()
    other = serve(Reply("done"))
    other.wire.submit(thread_id, run, "1")
    assert other.wire.settled(thread_id, run_id)["status"] == "completed"


PROGRAM = """
import sys
from gpt_agent_sync.server.app import make_engine
from gpt_agent_sync.server.hosting import EmbeddedServer
from gpt_agent_sync.testing import Hold
from tests.support.scripted_model import ScriptedModel
server = EmbeddedServer(make_engine(sys.argv[1], models=[ScriptedModel([Hold()])]))
print(server.base_url, flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("how", ["kill", "end"])
def test_program_that_ends(serve: Serve, tmp_path: Path, how: str) -> None:
    """However a program ends, the run that it worked on fails, and its thread is free."""
    location = str(tmp_path / "a.db")
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, location],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        wire = ResponsesClient(process.stdout.readline().strip())
        thread_id = wire.thread("hi")
        run_id = wire.start(thread_id)
        wire.with_status(thread_id, run_id, "in_progress")
        wire.close()
        if how == "kill":
            process.send_signal(signal.SIGKILL)
        else:
            process.stdin.write("\n")
            process.stdin.flush()
        process.wait(20)
    server = serve(Reply("again"))
    run = server.wire.with_status(thread_id, run_id, "failed")
    assert run["last_error"]["code"] == "server_error"
    server.wire.settled(thread_id, server.wire.start(thread_id))
    assert server.wire.texts(thread_id) == ["hi", "again"]


@needs_postgres
@pytest.mark.timeout(170)
def test_several_processes_share_the_work(postgres_url: str, tmp_path: Path) -> None:
    """Of four server processes one is killed now and then, and every run ends exactly once."""
    counted, problems = trial(
        postgres_url, runs=48, kill_every=1.0, clients=8, seed=7, folder=tmp_path
    )
    assert problems == []
    assert counted["killed servers"] >= 1
    assert counted["completed"] + counted["failed"] == 48


def test_trials_notice_what_is_wrong() -> None:
    """A trial's outcome that is wrong has problems."""
    outcome = {
        "runs": 2,
        "status": "expired",
        "error": None,
        "is_free": False,
        "is_settled": False,
        "messages": [],
        "steps": [],
    }
    assert len(problems_of(outcome)) == 4


# The process itself.


def test_stopped_server_fails_what_it_works_on(serve: Serve) -> None:
    """A server that is stopped ends its runs at once, so that no thread stays locked."""
    server = serve(Hold())
    thread_id, run_id = server.in_progress()
    server.engine.close()
    other = serve(Reply("again"))
    run = other.wire.run(thread_id, run_id)
    message = "The server was stopped while it worked on the run."
    assert (run["status"], run["last_error"]) == (
        "failed",
        {"code": "server_error", "message": message},
    )


def test_stopped_server_takes_no_more(serve: Serve) -> None:
    """A server that is being stopped refuses new work, which another one may be asked for."""
    server = serve(Hold())
    thread_id, _ = server.in_progress()
    assert server.engine.drain(0.0) == 1
    body = {"assistant_id": server.wire.assistant(), "thread": {}}
    status, error = server.wire.refusal("POST", "/threads/runs", json=body)
    assert (status, error["type"]) == (503, "server_error")
    assert server.wire.get(f"/threads/{thread_id}")["id"] == thread_id


def test_stopped_server_is_no_worker_any_more(serve: Serve) -> None:
    """A server that ends in good order is not waited for."""
    server, other = serve(Hold()), serve()
    server.in_progress()
    assert server.engine.worker_id in beats(other)
    server.stop()
    with other.engine.storage.read() as connection:
        assert server.engine.worker_id not in other.engine.storage.workers.beats(connection)


def test_worker_that_is_gone_is_forgotten(serve: Serve) -> None:
    """The record of a process that was killed is removed when its work is ended."""
    server = serve()
    storage = server.engine.storage
    with storage.write() as connection:
        storage.workers.beat(connection, GONE)
    wait_for(lambda: beats(server), lambda found: GONE not in found)


def test_worker_that_beats_again_is_not_removed(serve: Serve) -> None:
    """A worker that was silent for long, and beats just when it is taken for gone, stays."""
    storage = serve().engine.storage
    with storage.write() as connection:
        storage.workers.beat(connection, "worker_idle")
        storage.workers.beat(connection, "worker_idle")
        storage.workers.remove_gone(connection, {"worker_idle": 0})
        assert storage.workers.beats(connection)["worker_idle"] == 1


def test_draining_server_goes_on_beating(serve: Serve, tmp_path: Path) -> None:
    """A server that lets its work end is not taken for gone, and takes up nothing."""
    server, other = serve(Hold()), serve()
    _, run_id = server.in_progress()
    server.engine.drain(0.0)
    _, queued = other.start()
    change_stored(
        tmp_path / "a.db", "runs", queued, status="queued", **{OWNER: server.engine.worker_id}
    )
    before = beats(other)[server.engine.worker_id]
    wait_for(lambda: beats(other), lambda found: found[server.engine.worker_id] >= before + 10)
    assert [work.id for work in server.engine.in_hand()] == [run_id]


def test_work_that_was_taken_over_is_dropped(
    serve: Serve, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A process that was taken for gone, and comes back, adds nothing to what another one did."""
    server = serve(Hold(Reply("too late")))
    thread_id, run_id = server.in_progress()
    change_stored(tmp_path / "a.db", "runs", run_id, **{OWNER: "worker_other"})
    server.model.released.set()
    wait_until_idle()
    assert server.wire.texts(thread_id) == ["hi"]


# Nobody wants it.


def interrupted(server: Server) -> bool:
    """Return whether the first request of a server's model was interrupted."""
    return server.model.requests[0].cancellation.is_cancelled


def test_cancelled_run_stops_its_model(serve: Serve) -> None:
    """A cancel ends the wait for the model, at once."""
    server = serve(Hold())
    thread_id, run_id = server.in_progress()
    server.wire.post(f"/threads/{thread_id}/runs/{run_id}/cancel")
    assert interrupted(server)
    assert server.wire.run(thread_id, run_id)["status"] == "cancelled"


def test_cancel_at_another_server_stops_the_model(serve: Serve) -> None:
    """A cancel that comes to another process reaches the one that works."""
    server, other = serve(Hold()), serve()
    thread_id, run_id = server.in_progress()
    other.wire.post(f"/threads/{thread_id}/runs/{run_id}/cancel")
    other.wire.with_status(thread_id, run_id, "cancelled")
    assert interrupted(server)


def test_deleted_thread_stops_its_model(serve: Serve) -> None:
    """A model does not go on for a thread that is deleted, here or at another server."""
    server, other = serve(Hold()), serve()
    thread_id, _ = server.in_progress()
    other.wire.delete(f"/threads/{thread_id}")
    wait_for(lambda: interrupted(server), bool)


def test_expiry_is_told_when_it_is_due(serve: Serve) -> None:
    """A run whose time is up is ended by the server, without anybody asking, and its model."""
    server = serve(Hold(), run_seconds=1)
    thread_id = server.wire.thread("hi")
    body = {"assistant_id": server.wire.assistant(), "stream": True}
    path = f"/threads/{thread_id}/runs"
    reader = EventReader(server.wire.send("POST", path, json=body, stream=True))
    assert reader.names()[-2:] == ["thread.run.expired", "done"]
    assert interrupted(server)
    reader.close()


# What was said so far.


class CutModel(Model):
    """A model that says something, and then fails when it is let go on."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def serves(self, name: str) -> bool:
        """Return ``True``."""
        return True

    def reply(self, request: ModelRequest) -> Iterator[ModelChunk]:
        """Say something, and fail."""
        yield TextDelta("Hel")
        assert self.go_on.wait(30)
        raise ModelError("server_error", "The model broke.")


@pytest.fixture
def cut() -> Iterator[tuple[StreamSetup, CutModel]]:
    """Yield a server whose model is cut off in the middle of a message, and the model."""
    model = CutModel()
    setup = StreamSetup(model)
    yield setup, model
    model.go_on.set()
    setup.hang_up()
    setup.stop()


def end(setup: StreamSetup, model: CutModel, run: Json, how: str) -> None:
    """End a run in the middle of its message."""
    if how == "cancel":
        setup.wire.post(f"{run_path(run)}/cancel")
    elif how == "expire":
        setup.clock.now += 600
    elif how == "fail":
        model.go_on.set()
    else:
        setup.engine.end(setup.engine.in_hand()[0], Ending.STOPPED)


WAYS = [
    ("cancel", "cancelled", "run_cancelled"),
    ("expire", "expired", "run_expired"),
    ("fail", "failed", "run_failed"),
    ("stop", "failed", "run_failed"),
]


@pytest.mark.parametrize("how, status, reason", WAYS)
def test_message_that_is_cut_off_is_kept(
    cut: tuple[StreamSetup, CutModel], how: str, status: str, reason: str
) -> None:
    """A run that ends in the middle of a message leaves it incomplete, with the text so far."""
    setup, model = cut
    reader = setup.stream_run()
    run = reader.until("thread.run.created").data
    reader.until("thread.message.delta")
    end(setup, model, run, how)
    names = reader.names()
    found = setup.wire.get(f"/threads/{run['thread_id']}/messages")["data"][0]
    assert (found["status"], found["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert found["content"][0]["text"]["value"] == "Hel"
    assert names[-4:] == [
        "thread.message.incomplete",
        f"thread.run.step.{status}",
        f"thread.run.{status}",
        "done",
    ]


@pytest.mark.parametrize("how, status, reason", WAYS)
def test_step_that_is_cut_off_is_kept(
    cut: tuple[StreamSetup, CutModel], how: str, status: str, reason: str
) -> None:
    """The step in which a run ends has the run's end, and the reason of a failure."""
    setup, model = cut
    reader = setup.stream_run()
    run = reader.until("thread.run.created").data
    reader.until("thread.message.delta")
    end(setup, model, run, how)
    reader.rest()
    (step,) = setup.wire.get(f"{run_path(run)}/steps")["data"]
    error = setup.wire.get(run_path(run))["last_error"]
    assert (step["status"], step["last_error"]) == (status, error)
    assert isinstance(step[f"{status}_at"], int)
