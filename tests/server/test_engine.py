"""The engine: which models it has, and work whose model, database or server breaks."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gpt_agent_sync.server.app import make_engine
from gpt_agent_sync.server.engine import Engine
from gpt_agent_sync.server.errors import WireError
from gpt_agent_sync.server.hosting import EmbeddedServer
from gpt_agent_sync.server.models.base import Finish, Model, ModelChunk, ModelRequest, TextDelta
from gpt_agent_sync.server.storage.database import Storage
from gpt_agent_sync.testing import Hold
from tests.support.polling import wait_for
from tests.support.scripted_model import ScriptedModel
from tests.support.server_setup import (
    CALL,
    MakeRunSetup,
    drop_table,
    wait_until_idle,
)
from tests.support.wire_client import WireClient


class BrokenModel(Model):
    """A model that breaks in the middle of a reply."""

    def serves(self, name: str) -> bool:
        """Return whether the name is its own."""
        return name == "broken"

    def reply(self, request: ModelRequest) -> Iterator[ModelChunk]:
        """Begin, and break."""
        yield TextDelta("so far")
        raise ZeroDivisionError("secret")


def test_model_breaks(caplog: pytest.LogCaptureFixture) -> None:
    """A bug in a model fails the run, is logged, and is not shown to clients."""
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


def refuse_threads(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    """Have no thread be there whose name begins like that."""
    start = threading.Thread.start

    def refuse(self: threading.Thread) -> None:
        if self.name.startswith(prefix):
            raise RuntimeError("can't create new thread at interpreter shutdown")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", refuse)


def test_no_thread_for_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run for which there is no thread is worked on by the request that starts it."""
    server = EmbeddedServer(make_engine(":memory:"))
    wire = WireClient(server.base_url)
    thread_id, assistant_id = wire.thread("hi"), wire.assistant(model="demo")
    refuse_threads(monkeypatch, "gpt-agent-server-run")
    run = wire.settled(thread_id, wire.start(thread_id, assistant_id=assistant_id))
    wire.close()
    server.stop()
    assert run["status"] == "completed"


def test_no_thread_for_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests for which there is no more thread wait until one of those there are is free."""
    server = EmbeddedServer(make_engine(":memory:"))
    refuse_threads(monkeypatch, "gpt-agent-server-request")
    clients = [WireClient(server.base_url) for _ in range(12)]
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda client: client.send("GET", "/assistants"), clients))
    for client in clients:
        client.close()
    server.stop()
    assert [answer.status_code for answer in answers] == [200] * 12


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
    """A database that breaks while a model answers is logged with the run's id."""
    location = tmp_path / "a.db"
    setup = run_setup(Hold(), location=str(location))
    _, run_id = setup.in_progress()
    drop_table(location, "runs")
    setup.release()
    with caplog.at_level(logging.ERROR):
        wait_until_idle()
    assert f"run {run_id} could not be kept" in caplog.text


def test_server_stopped_under_a_run(caplog: pytest.LogCaptureFixture) -> None:
    """A server that is stopped while a model answers complains of nothing."""
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


class PlainModel(Model):
    """A model of every name but one, whose answer is empty."""

    def serves(self, name: str) -> bool:
        """Return whether the name is another than that one."""
        return name != "other"

    def reply(self, request: ModelRequest) -> Iterator[ModelChunk]:
        """Yield the end."""
        yield Finish()


@pytest.fixture
def engine() -> Iterator[Engine]:
    """Yield an engine in memory."""
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
