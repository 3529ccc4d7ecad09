"""The model behind another server's ``/chat/completions``."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from gpt_agent_sync.server.app import make_engine
from gpt_agent_sync.server.hosting import EmbeddedServer
from gpt_agent_sync.server.models.base import (
    CallPiece,
    Finish,
    ModelError,
    ModelRequest,
    Piece,
    TextPiece,
)
from gpt_agent_sync.server.models.upstream import UpstreamModel
from tests.support.wire_client import Json, WireClient, calls_of

TOOL = {"type": "function", "function": {"name": "add"}}


def completion(content: str | None = None, *calls: tuple[str, Any], **fields: Any) -> Json:
    """Give an answer of ``/chat/completions``."""
    message: Json = {"role": "assistant", "content": content}
    if calls:
        message["tool_calls"] = [
            {"id": "x", "type": "function", "function": {"name": name, "arguments": arguments}}
            for name, arguments in calls
        ]
    usage = {"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"choices": [{**choice, **fields}], "usage": usage}


class Upstream:
    """Answer every request the same way, on a loopback port.

    Args:
        status: The HTTP status.
        answer: The body: text as it is, anything else as JSON.
    """

    def __init__(self, status: int, answer: object) -> None:
        self.requests: list[Json] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        body = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                upstream.requests.append(json.loads(self.rfile.read(length)))
                upstream.headers.append(dict(self.headers))
                upstream.paths.append(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def base_url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def stop(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


Serve = Callable[..., Upstream]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Give a maker of upstreams; they are stopped."""
    upstreams: list[Upstream] = []

    def make(answer: object, status: int = 200) -> Upstream:
        upstream = Upstream(status, answer)
        upstreams.append(upstream)
        return upstream

    yield make
    for upstream in upstreams:
        upstream.stop()


def make_request(**fields: Any) -> ModelRequest:
    """Give a request of one user's message."""
    messages = ({"role": "user", "content": "hi"},)
    return ModelRequest(**{"model": "llama", "messages": messages, **fields})


def reply(upstream: Upstream, **fields: Any) -> list[Piece]:
    """Give the whole reply of an upstream."""
    return list(UpstreamModel(upstream.base_url).reply(make_request(**fields)))


def failure(upstream: Upstream) -> tuple[str, str]:
    """Give code and message of an upstream's failure."""
    with pytest.raises(ModelError) as caught:
        reply(upstream)
    return caught.value.code, caught.value.message


@pytest.mark.parametrize("name", ["gpt-4o", "org/model:7b", "demo"])
def test_serves_every_name(name: str) -> None:
    """The upstream knows itself which models it has."""
    assert UpstreamModel("http://127.0.0.1:1/v1").serves(name)


def test_text(serve: Serve) -> None:
    """A text reply is given with its cost."""
    assert reply(serve(completion("hello"))) == [
        TextPiece("hello"),
        Finish(prompt_tokens=4, completion_tokens=3),
    ]


@pytest.mark.parametrize(
    "arguments, text",
    [('{"a": 1}', '{"a": 1}'), ({"a": 1}, '{"a": 1}'), (None, "{}")],
    ids=["text", "object", "null"],
)
def test_tool_call(serve: Serve, arguments: object, text: str) -> None:
    """A tool call's arguments are JSON text, though some servers send objects."""
    pieces = reply(serve(completion(None, ("add", arguments))))
    assert pieces[:-1] == [CallPiece("add", text)]


def test_text_and_tool_calls(serve: Serve) -> None:
    """A reply may hold a text and several calls."""
    pieces = reply(serve(completion("wait", ("add", "{}"), ("sub", "{}"))))
    assert pieces[:-1] == [TextPiece("wait"), CallPiece("add", "{}"), CallPiece("sub", "{}")]


@pytest.mark.parametrize(
    "finish, reason",
    [
        ("stop", "stop"),
        ("tool_calls", "stop"),
        ("length", "max_completion_tokens"),
        ("content_filter", "content_filter"),
        (None, "stop"),
    ],
)
def test_finish_reasons(serve: Serve, finish: str | None, reason: str) -> None:
    """Why a reply ended is told in the wire's words."""
    pieces = reply(serve(completion("hello", finish_reason=finish)))
    assert isinstance(pieces[-1], Finish)
    assert pieces[-1].reason == reason


@pytest.mark.parametrize(
    "answer",
    [{}, {"choices": []}, {"choices": [{}]}, {"choices": [{"message": None}], "usage": None}],
)
def test_empty_answers(serve: Serve, answer: Json) -> None:
    """An answer without a message is an empty reply."""
    assert reply(serve(answer)) == [Finish()]


def test_path(serve: Serve) -> None:
    """The request goes to ``/chat/completions`` below the base URL."""
    upstream = serve(completion("hello"))
    list(UpstreamModel(upstream.base_url + "/").reply(make_request()))
    assert upstream.paths == ["/v1/chat/completions"]


def test_body(serve: Serve) -> None:
    """Model, messages and options go along."""
    upstream = serve(completion("hello"))
    reply(upstream, options={"temperature": 0.5})
    assert upstream.requests == [
        {"model": "llama", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5}
    ]


def test_body_with_tools(serve: Serve) -> None:
    """Tools go along with their choice."""
    upstream = serve(completion("hello"))
    reply(upstream, tools=(TOOL,), tool_choice="required", options={"parallel_tool_calls": False})
    body = upstream.requests[0]
    assert (body["tools"], body["tool_choice"], body["parallel_tool_calls"]) == (
        [TOOL],
        "required",
        False,
    )


def test_body_without_tools(serve: Serve) -> None:
    """Without tools nothing is said about them, which some servers refuse."""
    upstream = serve(completion("hello"))
    reply(upstream, options={"parallel_tool_calls": True})
    assert set(upstream.requests[0]) == {"model", "messages"}


@pytest.mark.parametrize("key, header", [("secret", "Bearer secret"), (None, None)])
def test_key(serve: Serve, key: str | None, header: str | None) -> None:
    """The key goes along as a bearer token, if there is one."""
    upstream = serve(completion("hello"))
    list(UpstreamModel(upstream.base_url, key).reply(make_request()))
    assert upstream.headers[0].get("Authorization") == header


@pytest.mark.parametrize(
    "status, code",
    [
        (429, "rate_limit_exceeded"),
        (500, "server_error"),
        (503, "server_error"),
        (400, "server_error"),
        (401, "server_error"),
    ],
)
def test_refusal(serve: Serve, status: int, code: str) -> None:
    """A refusal fails the reply with the upstream's own words; too many requests are told apart."""
    upstream = serve({"error": {"message": "Slow down, try again in 2s."}}, status)
    assert failure(upstream) == (code, "the upstream model refused: Slow down, try again in 2s.")


@pytest.mark.parametrize(
    "answer, said",
    [
        ({"error": "no such model"}, "no such model"),
        ({"message": "not now"}, "not now"),
        ("[1]", "[1]"),
    ],
)
def test_refusal_in_other_words(serve: Serve, answer: object, said: str) -> None:
    """Other servers' shapes of refusals are understood as well."""
    assert failure(serve(answer, 500))[1] == f"the upstream model refused: {said}"


@pytest.mark.parametrize(
    "status, code",
    [(200, "server_error"), (429, "rate_limit_exceeded"), (502, "server_error")],
)
def test_no_json(serve: Serve, status: int, code: str) -> None:
    """An answer that is no JSON fails the reply by its status."""
    assert failure(serve("<html>Bad gateway</html>", status))[0] == code


def test_no_json_is_told_by_status(serve: Serve) -> None:
    """A refusal that is no JSON is told with its status."""
    assert "502" in failure(serve("<html>Bad gateway</html>", 502))[1]


def test_no_object(serve: Serve) -> None:
    """An answer that is JSON but no object fails the reply."""
    assert failure(serve("[1]"))[0] == "server_error"


def test_connection_refused() -> None:
    """An upstream that is not there fails the reply."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        model = UpstreamModel(f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
        with pytest.raises(ModelError) as caught:
            list(model.reply(make_request()))
    assert caught.value.code == "server_error"
    assert caught.value.message.startswith("the upstream model failed: ")


# Behind the server.


@pytest.fixture
def front() -> Iterator[Callable[[Upstream], WireClient]]:
    """Give a maker of clients of servers that hand on to an upstream."""
    made: list[tuple[WireClient, EmbeddedServer]] = []

    def make(upstream: Upstream) -> WireClient:
        engine = make_engine(":memory:", upstream=upstream.base_url, upstream_api_key="secret")
        server = EmbeddedServer(engine)
        client = WireClient(server.base_url)
        made.append((client, server))
        return client

    yield make
    for client, server in made:
        client.close()
        server.stop()


def test_run_over_upstream(serve: Serve, front: Callable[[Upstream], WireClient]) -> None:
    """A run of a model that is not the demo is answered by the upstream."""
    upstream = serve(completion("hello"))
    wire = front(upstream)
    thread_id = wire.thread("hi")
    wire.rested(thread_id, wire.start(thread_id, instructions="Be kind."))
    assert wire.texts(thread_id) == ["hi", "hello"]
    assert upstream.headers[0]["Authorization"] == "Bearer secret"


def test_plain_run_sends_nothing_that_chats_refuse(
    serve: Serve, front: Callable[[Upstream], WireClient]
) -> None:
    """A run that asks for nothing in particular sends model and messages only."""
    upstream = serve(completion("hello"))
    wire = front(upstream)
    thread_id = wire.thread("hi")
    wire.rested(thread_id, wire.start(thread_id))
    assert upstream.requests == [{"model": "any", "messages": [{"role": "user", "content": "hi"}]}]


def test_tools_over_upstream(serve: Serve, front: Callable[[Upstream], WireClient]) -> None:
    """The upstream's tool calls are asked of the client, and answered to the upstream."""
    upstream = serve(completion(None, ("add", '{"a": 1}')))
    wire = front(upstream)
    thread_id = wire.thread("hi")
    run = wire.rested(thread_id, wire.start(thread_id, tools=[TOOL]))
    wire.answer(thread_id, run, "2")
    wire.rested(thread_id, run["id"])
    calls = calls_of(run)
    assert upstream.requests[1]["messages"][1:] == [
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": calls[0]["id"], "content": "2"},
    ]


def test_demo_stays_at_home(serve: Serve, front: Callable[[Upstream], WireClient]) -> None:
    """The demo model answers by itself, upstream or not."""
    upstream = serve(completion("hello"))
    wire = front(upstream)
    thread_id = wire.thread("hi")
    wire.rested(thread_id, wire.start(thread_id, assistant_id=wire.assistant(model="demo")))
    assert upstream.requests == []
