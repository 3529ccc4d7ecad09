"""The server as an application: keys, mounting elsewhere, and stopping."""

from __future__ import annotations

from collections.abc import Iterator

import flask
import pytest

from gpt_agent_sync.server.app import create_blueprint, make_engine
from gpt_agent_sync.server.hosting import EmbeddedServer
from tests.support.wire_client import WireClient, plain_error


@pytest.fixture
def locked() -> Iterator[str]:
    """Yield the base URL of a server that asks for a key."""
    server = EmbeddedServer(make_engine(":memory:"), api_key="secret-ü")
    yield server.base_url
    server.stop()


@pytest.mark.parametrize("key", [None, "", "wrong", "secret"])
def test_wrong_key(locked: str, key: str | None) -> None:
    """Without the right key nothing is answered."""
    wire = WireClient(locked, key)
    answer = wire.refusal("GET", "/assistants")
    wire.close()
    assert answer == (
        401,
        {**plain_error("Incorrect API key provided."), "code": "invalid_api_key"},
    )


def test_right_key() -> None:
    """With the right key requests are answered."""
    server = EmbeddedServer(make_engine(":memory:"), api_key="secret")
    wire = WireClient(server.base_url, "secret")
    found = wire.get("/assistants")["data"]
    wire.close()
    server.stop()
    assert found == []


def test_blueprint_is_mounted_elsewhere() -> None:
    """The routes work below any path of an application that mounts them."""
    engine = make_engine(":memory:")
    app = flask.Flask("other")
    app.register_blueprint(create_blueprint(engine), url_prefix="/agents/v1")
    answer = app.test_client().get("/agents/v1/threads/thread_x")
    engine.storage.close()
    assert (answer.status_code, answer.get_json()["error"]["message"]) == (
        404,
        "No thread found with id 'thread_x'.",
    )


def test_stopped_server_is_gone() -> None:
    """A server that was stopped accepts no connections."""
    server = EmbeddedServer(make_engine(":memory:"))
    base_url = server.base_url
    server.stop()
    wire = WireClient(base_url)
    with pytest.raises(OSError, match="refused"):
        wire.send("GET", "/assistants")
    wire.close()
