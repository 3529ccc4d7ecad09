"""The model behind another server's ``/chat/completions``, streamed or not."""

from __future__ import annotations

import json
import pathlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from gpt_agent_sync import event_parser
from gpt_agent_sync.server.app import make_engine
from gpt_agent_sync.server.hosting import EmbeddedServer
from gpt_agent_sync.server.models import bounded
from gpt_agent_sync.server.models import upstream as upstreams
from gpt_agent_sync.server.models.base import (
    ContextLengthError,
    Finish,
    ModelChunk,
    ModelError,
    ModelRequest,
    TextDelta,
    ToolCall,
)
from gpt_agent_sync.server.models.cancellation import ReplyCancelledError
from gpt_agent_sync.server.models.upstream import UpstreamModel
from tests.support import hostile
from tests.support.hostile import HostileServer
from tests.support.wire_client import Json, WireClient, calls_of

TOOL = {"type": "function", "function": {"name": "add"}}

STREAMED = {"stream": True, "stream_options": {"include_usage": True}}


def completion(content: str | None = None, *calls: tuple[str, Any], **fields: Any) -> Json:
    """Return an answer of ``/chat/completions``."""
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
    """An upstream on a loopback port that answers every request the same way.

    Args:
        status: The HTTP status.
        answer: The body: text as it is, anything else as JSON.
        location: Where it redirects to.
    """

    def __init__(self, status: int, answer: object, location: str | None = None) -> None:
        self.requests: list[Json] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self._answer = status, answer
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                asked = json.loads(self.rfile.read(length))
                upstream.requests.append(asked)
                status, answer = upstream.answer_to(asked)
                body = (answer if isinstance(answer, str) else json.dumps(answer)).encode()
                upstream.headers.append(dict(self.headers))
                upstream.paths.append(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                if location is not None:
                    self.send_header("Location", location)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                """Log nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def answer_to(self, body: Json) -> tuple[int, object]:
        """Return status and body of the answer to a request."""
        return self._answer

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
    """Yield a maker of upstreams; they are stopped."""
    upstreams: list[Upstream] = []

    def make(answer: object, status: int = 200, **options: Any) -> Upstream:
        upstream = Upstream(status, answer, **options)
        upstreams.append(upstream)
        return upstream

    yield make
    for upstream in upstreams:
        upstream.stop()


def make_request(**fields: Any) -> ModelRequest:
    """Return a request of one user's message."""
    messages = ({"role": "user", "content": "hi"},)
    return ModelRequest(**{"model": "llama", "messages": messages, **fields})


def reply(upstream: Upstream, **fields: Any) -> list[ModelChunk]:
    """Return the whole reply of an upstream."""
    return list(UpstreamModel(upstream.base_url).reply(make_request(**fields)))


def failure(upstream: Upstream) -> tuple[str, str]:
    """Return code and message of an upstream's failure."""
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
        TextDelta("hello"),
        Finish(prompt_tokens=4, completion_tokens=3),
    ]


@pytest.mark.parametrize(
    "arguments, text",
    [('{"a": 1}', '{"a": 1}'), ({"a": 1}, '{"a": 1}'), (None, "{}")],
    ids=["text", "object", "null"],
)
def test_tool_call(serve: Serve, arguments: object, text: str) -> None:
    """A tool call's arguments are JSON text, though some servers send objects."""
    chunks = reply(serve(completion(None, ("add", arguments))))
    assert chunks[:-1] == [ToolCall("add", text)]


def test_text_and_tool_calls(serve: Serve) -> None:
    """A reply may hold a text and several calls."""
    chunks = reply(serve(completion("wait", ("add", "{}"), ("sub", "{}"))))
    assert chunks[:-1] == [TextDelta("wait"), ToolCall("add", "{}"), ToolCall("sub", "{}")]


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
    """Why a reply ended is in the wire's words."""
    chunks = reply(serve(completion("hello", finish_reason=finish)))
    assert isinstance(chunks[-1], Finish)
    assert chunks[-1].reason == reason


@pytest.mark.parametrize(
    "answer", [{"choices": [{}]}, {"choices": [{"message": None}], "usage": None}]
)
def test_empty_answers(serve: Serve, answer: Json) -> None:
    """An answer without a message is an empty reply."""
    assert reply(serve(answer)) == [Finish()]


@pytest.mark.parametrize(
    "answer",
    [
        *({}, {"choices": []}, {"choices": None}, {"choices": {}}, {"choices": ["hi"]}),
        *({"choices": [{"message": "hi"}]}, {"choices": [{"message": {"content": 1}}]}),
        *({"choices": [{"message": {"tool_calls": "add"}}]}, "pong", "[1]", '{"choices": [{"'),
        *(completion(None, ("", "{}")), {"object": "list", "data": []}),
    ],
)
def test_answers_that_are_no_replies(serve: Serve, answer: object) -> None:
    """An answer with status 200 that cannot be understood is none, and no empty reply."""
    assert failure(serve(answer)) == ("server_error", "The upstream model's answer cannot be read.")


@pytest.mark.parametrize(
    "answer",
    [
        *({"error": "busy"}, {"error": {"message": "busy"}}, {"detail": "busy"}),
        *({"object": "error", "message": "busy"}, completion("no", finish_reason="error")),
        {"choices": [{"error": {"message": "busy"}, "message": {"content": "no"}}]},
    ],
)
def test_errors_with_status_200(serve: Serve, answer: Json) -> None:
    """An answer with status 200 that says that it failed is a failure."""
    assert failure(serve(answer)) == ("server_error", "The upstream model failed.")


@pytest.mark.parametrize("finish", ["eos", "end_turn", "STOP", "tool_calls", "function_call"])
def test_other_words_for_a_good_end(serve: Serve, finish: str) -> None:
    """Whatever word an upstream has for an end that is none of the bad ones, the reply is whole."""
    assert reply(serve(completion("hi", finish_reason=finish)))[0] == TextDelta("hi")


def test_calls_of_a_reply_that_is_cut_short(serve: Serve) -> None:
    """The last call of a reply that met its limit is cut as well: none of them is asked for."""
    answer = completion(None, ("delete", '{"paths": ["a"'), finish_reason="length")
    assert reply(serve(answer)) == [Finish("max_completion_tokens", 4, 3)]


def test_path(serve: Serve) -> None:
    """The request goes to ``/chat/completions`` below the base URL."""
    upstream = serve(completion("hello"))
    list(UpstreamModel(upstream.base_url + "/").reply(make_request()))
    assert upstream.paths == ["/v1/chat/completions"]


def test_body(serve: Serve) -> None:
    """Model, messages and options go along, and a stream is asked for, with its cost."""
    upstream = serve(completion("hello"))
    reply(upstream, options={"temperature": 0.5})
    assert upstream.requests == [
        {
            "model": "llama",
            "messages": [{"role": "user", "content": "hi"}],
            "temperature": 0.5,
            **STREAMED,
        }
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
    assert set(upstream.requests[0]) == {"model", "messages", *STREAMED}


class ChoosyUpstream(Upstream):
    """An upstream that refuses a field by its name, as long as it comes.

    Args:
        field: The field.
        refusal: What it says, with status 400.
    """

    def __init__(self, field: str, refusal: object) -> None:
        self._field = field
        self._refusal = refusal
        super().__init__(200, completion("hello"))

    def answer_to(self, body: Json) -> tuple[int, object]:
        """Return the refusal of a body with the field, and else the answer."""
        return (400, self._refusal) if self._field in body else super().answer_to(body)


MISTRAL = {
    "object": "error",
    "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]},
}
OLD_AZURE = {"error": {"message": "Unrecognized request argument supplied: parallel_tool_calls"}}
NEW_AZURE = {"error": {"message": "Use 'max_completion_tokens' instead.", "param": "max_tokens"}}


@pytest.mark.parametrize(
    "field, refusal, options, instead",
    [
        ("stream_options", MISTRAL, {}, {}),
        ("parallel_tool_calls", OLD_AZURE, {"parallel_tool_calls": True}, {}),
        ("max_tokens", NEW_AZURE, {"max_tokens": 300}, {"max_completion_tokens": 300}),
    ],
)
def test_field_that_an_upstream_does_not_know(
    field: str, refusal: object, options: Json, instead: Json
) -> None:
    """What is refused by its name, and need not be said so, is left out from then on."""
    upstream = ChoosyUpstream(field, refusal)
    model = UpstreamModel(upstream.base_url)
    request = make_request(tools=(TOOL,), options=options)
    try:
        assert [next(iter(model.reply(request))) for _ in range(2)] == [TextDelta("hello")] * 2
    finally:
        upstream.stop()
    assert [field in body for body in upstream.requests] == [True, False, False]
    assert instead.items() <= upstream.requests[-1].items()


OPENAI = {
    "error": {
        "message": "This model's maximum context length is 8192 tokens. However, your messages "
        "resulted in 9000 tokens.",
        "type": "invalid_request_error",
        "code": "context_length_exceeded",
    }
}
LLAMA_CPP = {
    "error": {
        "code": 400,
        "message": "the request exceeds the available context size, try increasing it",
        "type": "exceed_context_size_error",
        "n_ctx": 8192,
    }
}
VLLM = {
    "object": "error",
    "message": "This model's maximum context length is 8192 tokens. However, you requested 9000 "
    "tokens (8000 in the messages, 1000 in the completion).",
    "type": "BadRequestError",
    "code": 400,
}
LM_STUDIO = {
    "error": "Trying to keep the first 9000 tokens when context the overflows. However, "
    "the model is loaded with context length of only 8192 tokens"
}
LITELLM = {
    "error": {
        "message": "litellm.ContextWindowExceededError: litellm.BadRequestError: "
        "ContextWindowExceededError: OpenAIException - prompt is too long",
        "code": "400",
    }
}


@pytest.mark.parametrize(
    "refusal",
    [OPENAI, LLAMA_CPP, VLLM, LM_STUDIO, LITELLM],
    ids=["OpenAI", "llama.cpp", "vLLM", "LM Studio", "LiteLLM"],
)
def test_conversation_that_is_too_long(serve: Serve, refusal: object) -> None:
    """A conversation that is longer than the model's context is told so, in fixed words."""
    with pytest.raises(ContextLengthError) as caught:
        reply(serve(refusal, 400))
    assert (caught.value.code, caught.value.message) == (
        "invalid_prompt",
        "The conversation is longer than the model's context.",
    )


def test_conversation_that_is_too_long_in_a_stream(serve: Serve) -> None:
    """Some say so in the middle of a stream that they have begun."""
    with pytest.raises(ContextLengthError):
        reply(serve(f"data: {json.dumps(LLAMA_CPP)}\n\n"))


def test_value_that_an_upstream_refuses(serve: Serve) -> None:
    """A value that is too large fails the reply, and changes nothing for those after it."""
    upstream = serve({"error": {"message": "max_tokens is too large: 9999"}}, 400)
    with pytest.raises(ModelError, match="refused the request"):
        reply(upstream, options={"max_tokens": 9999})
    assert len(upstream.requests) == 1


def test_refused_field_that_a_client_needs(serve: Serve) -> None:
    """An upstream that makes no calls one at a time fails the reply of who wants them so."""
    upstream = serve(OLD_AZURE, 400)
    with pytest.raises(ModelError, match="refused the request"):
        reply(upstream, tools=(TOOL,), options={"parallel_tool_calls": False})
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("key, header", [("secret", "Bearer secret"), (None, None)])
def test_key(serve: Serve, key: str | None, header: str | None) -> None:
    """The key goes along as a bearer token, if there is one."""
    upstream = serve(completion("hello"))
    list(UpstreamModel(upstream.base_url, key).reply(make_request()))
    assert upstream.headers[0].get("Authorization") == header


SAID = "Incorrect API key secret-key at http://10.0.0.7:9/v1, try again in 2s."


@pytest.mark.parametrize(
    "status, code, message",
    [
        (
            429,
            "rate_limit_exceeded",
            "The upstream's rate limit is reached. Please try again in 2s.",
        ),
        (500, "server_error", "The upstream model failed."),
        (503, "server_error", "The upstream model failed."),
        (504, "server_error", "The upstream model did not answer in time."),
        (400, "server_error", "The upstream model refused the request."),
        (422, "server_error", "The upstream model refused the request."),
        (404, "server_error", "The upstream has no such model."),
        (401, "server_error", "The upstream refused the server's key."),
    ],
)
@pytest.mark.parametrize("answer", [{"error": {"message": SAID}}, {"error": SAID}, SAID])
def test_refusal(serve: Serve, answer: object, status: int, code: str, message: str) -> None:
    """A refusal fails the reply in fixed words by its kind, whatever the upstream says."""
    assert failure(serve(answer, status)) == (code, message)


def test_refusals_are_logged_without_the_key(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the upstream's words at DEBUG, on one line and without the key."""
    caplog.set_level("DEBUG", "gpt_agent_sync.server")
    model = UpstreamModel(serve({"error": f"{SAID}\nERROR forged"}, 401).base_url, "secret-key")
    with pytest.raises(ModelError):
        list(model.reply(make_request()))
    (kind, words) = [record.getMessage() for record in caplog.records if "endpoint" in record.name]
    assert kind == "The upstream refused the server's key. (HTTP 401)"
    assert "Incorrect API key ***" in words
    assert "\n" not in words


@pytest.mark.parametrize("key", ["secret\n", "se\x00cret", "se cret", "\x85secret", "sécret"])
def test_keys_that_no_header_takes(key: str) -> None:
    """A key with a line's end or the like is refused where it is given, and not shown."""
    with pytest.raises(ValueError, match="no HTTP header can carry") as caught:
        UpstreamModel("http://127.0.0.1:1/v1", key)
    assert key not in str(caught.value)


def test_netrc_is_not_read(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    """A password that a file has for the host is not sent."""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    upstream = serve(completion("hello"))
    reply(upstream)
    assert "Authorization" not in upstream.headers[0]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(serve: Serve, status: int) -> None:
    """Neither conversation nor key goes where a redirect points."""
    elsewhere = serve(completion("hello"))
    upstream = serve("", status, location=f"{elsewhere.base_url}/chat/completions")
    with pytest.raises(ModelError) as caught:
        list(UpstreamModel(upstream.base_url, "secret").reply(make_request()))
    assert caught.value.message == "The upstream redirects elsewhere, which is not followed."
    assert elsewhere.paths == []


@pytest.mark.parametrize(
    "status, code",
    [(200, "server_error"), (429, "rate_limit_exceeded"), (502, "server_error")],
)
def test_no_json(serve: Serve, status: int, code: str) -> None:
    """An answer that is no JSON fails the reply by its status."""
    assert failure(serve("<html>Bad gateway</html>", status))[0] == code


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
    assert caught.value.message == "The upstream model cannot be reached."


class InterimUpstream:
    """An upstream on a loopback port that sends an interim answer, and waits for the connection.

    Args:
        status: The interim answer's HTTP status.
    """

    def __init__(self, status: int) -> None:
        self.closed = threading.Event()
        self._head = b"HTTP/1.1 %d Interim\r\nLink: </style.css>\r\n\r\n" % status
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()

    def _answer(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(10)
            connection.recv(65536)
            connection.sendall(self._head)
            # What is left of the request may come first; the end of all bytes is the client's.
            while connection.recv(65536):
                pass
            self.closed.set()

    def stop(self) -> None:
        """Stop listening."""
        self._thread.join(20)
        self._listener.close()


@pytest.fixture(params=[101, 102, 103])
def interim(request: pytest.FixtureRequest) -> Iterator[InterimUpstream]:
    """Yield an upstream that sends an interim answer; it is stopped."""
    upstream = InterimUpstream(request.param)
    yield upstream
    upstream.stop()


def test_interim_answer(interim: InterimUpstream) -> None:
    """An interim answer that is taken for the answer fails the reply, and the connection closes."""
    with pytest.raises(ModelError) as caught:
        list(UpstreamModel(interim.base_url).reply(make_request()))
    assert caught.value.code == "server_error"
    assert caught.value.message == "The upstream model's answer cannot be read."
    assert interim.closed.wait(10)


# Streams.


def completion_chunk(delta: Json | None = None, **fields: Any) -> Json:
    """Return a chunk of a streamed answer."""
    return {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": None, **fields}]}


def text_chunk(text: str) -> Json:
    """Return a chunk of text."""
    return completion_chunk({"content": text})


def call_chunk(index: int | None, call_id: str | None, name: str | None, arguments: Any) -> Json:
    """Return a chunk of a tool call; what is ``None`` is left out."""
    function = {"name": name, "arguments": arguments}
    given = {name: value for name, value in function.items() if value is not None}
    call = {"index": index, "id": call_id, "function": given}
    return completion_chunk(
        {"tool_calls": [{name: value for name, value in call.items() if value is not None}]}
    )


USAGE: Json = {"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 3}}
STOP = completion_chunk(finish_reason="stop")


def lines(*chunks: object) -> bytes:
    """Return a stream as it goes over the wire, with its end."""
    return b"".join(b"data: %s\n\n" % json.dumps(each).encode() for each in chunks) + DONE


DONE = b"data: [DONE]\n\n"


class StreamingUpstream:
    """An upstream on a loopback port that answers every request with the same stream.

    Args:
        parts: What is written, part by part.
        breaks: Whether the connection is closed before the stream is over.
        held: Whether the parts after the first wait for ``go_on``.
        content_type: What the answer is said to be.
    """

    def __init__(
        self,
        parts: Sequence[bytes],
        *,
        breaks: bool = False,
        held: bool = False,
        content_type: str = "text/event-stream",
    ) -> None:
        self.go_on = threading.Event()
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.send_header("Content-Type", content_type)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for place, part in enumerate(parts):
                    if held and place:
                        assert upstream.go_on.wait(30)
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
                self.wfile.write(b"" if breaks else b"0\r\n\r\n")
                self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:
                """Log nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def chunks(self) -> Iterator[ModelChunk]:
        """Ask for a reply."""
        url = f"http://127.0.0.1:{self._server.server_port}/v1"
        return UpstreamModel(url).reply(make_request())

    def failure(self) -> tuple[list[ModelChunk], str, str]:
        """Return the chunks before a failure, and its code and message."""
        chunks: list[ModelChunk] = []
        with pytest.raises(ModelError) as caught:
            chunks.extend(self.chunks())
        return chunks, caught.value.code, caught.value.message

    def stop(self) -> None:
        """Stop listening."""
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


Stream = Callable[..., StreamingUpstream]


@pytest.fixture
def stream() -> Iterator[Stream]:
    """Yield a maker of upstreams that stream; they are stopped."""
    upstreams: list[StreamingUpstream] = []

    def make(*parts: bytes, **options: Any) -> StreamingUpstream:
        upstreams.append(StreamingUpstream(parts, **options))
        return upstreams[-1]

    yield make
    for upstream in upstreams:
        upstream.stop()


def test_streamed_text(stream: Stream) -> None:
    """Each part of text is a delta, and the last part has the usage."""
    upstream = stream(
        lines(
            completion_chunk({"role": "assistant"}),
            text_chunk("Hel"),
            text_chunk("lo"),
            STOP,
            USAGE,
        )
    )
    assert list(upstream.chunks()) == [
        TextDelta("Hel"),
        TextDelta("lo"),
        Finish(prompt_tokens=4, completion_tokens=3),
    ]


def test_text_is_passed_on_as_it_comes(stream: Stream) -> None:
    """A delta is there before the upstream sends the next one."""
    upstream = stream(
        lines(text_chunk("Hel")).removesuffix(DONE), lines(text_chunk("lo"), STOP), held=True
    )
    chunks = upstream.chunks()
    first = next(chunks)
    upstream.go_on.set()
    assert [first, *chunks] == [TextDelta("Hel"), TextDelta("lo"), Finish()]


@pytest.mark.parametrize("size", [1, 2, 7, 64, 1000])
@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_parts_are_cut_anywhere(stream: Stream, size: int, newline: bytes) -> None:
    """However a stream is cut into parts, and whatever ends its lines, it says the same."""
    whole = lines(
        text_chunk("äö😀"),
        call_chunk(0, "a", "add", '{"a"'),
        call_chunk(0, None, None, ":1}"),
        USAGE,
    )
    whole = whole.replace(b"\n", newline)
    parts = [whole[begin : begin + size] for begin in range(0, len(whole), size)]
    assert list(stream(*parts).chunks()) == [
        TextDelta("äö😀"),
        ToolCall("add", '{"a":1}'),
        Finish(prompt_tokens=4, completion_tokens=3),
    ]


@pytest.mark.parametrize(
    "text",
    [
        b"data:%b\n\n",
        b"data: %b\n",
        b"event: x\nid: 1\ndata: %b\n\n",
        b": OPENROUTER PROCESSING\n\ndata: %b\n\n: ping\n\n",
        b"data: %b\r\n\r\n",
        b"\xef\xbb\xbfdata: %b\n\n",
        b"event: ping\ndata:\n\ndata: %b\n\n",
        b'data: {"choices": [], "prompt_filter_results": []}\n\ndata: %b\n\n',
        b"data: %b",
    ],
    ids=[
        *("no space", "no empty line", "other fields", "comments", "CRLF", "BOM", "ping"),
        *("Azure", "no end of line"),
    ],
)
@pytest.mark.parametrize(
    "end", [b"", b"\n\n" + DONE, b"\n" + DONE], ids=["no end", "end", "end on the next line"]
)
def test_streams_written_otherwise(stream: Stream, text: bytes, end: bytes) -> None:
    """Streams that are written otherwise, or without the last event, are understood as well."""
    part = json.dumps(completion_chunk({"content": "hi"}, finish_reason="stop")).encode()
    assert list(stream(text % part + end).chunks()) == [TextDelta("hi"), Finish()]


@pytest.mark.parametrize("kind", ["text/plain", "application/json", "application/octet-stream"])
def test_streams_of_another_media_type(stream: Stream, kind: str) -> None:
    """A stream is known by how it begins, where its media type says otherwise."""
    upstream = stream(lines(text_chunk("hi"), STOP), content_type=kind)
    assert list(upstream.chunks()) == [TextDelta("hi"), Finish()]


@pytest.mark.parametrize(
    "parts",
    [
        [text_chunk("The safe dose is 5")],
        [call_chunk(0, "a", "delete_files", "{}")],
        [completion_chunk({"role": "assistant"})],
        [{"choices": []}],
    ],
    ids=["text", "call", "nothing said", "no choice"],
)
def test_streams_without_their_end(stream: Stream, parts: list[Json]) -> None:
    """A stream that ends in good order without having said so is cut off: its calls are dropped."""
    chunks, code, message = stream(lines(*parts).removesuffix(DONE)).failure()
    assert not [chunk for chunk in chunks if not isinstance(chunk, TextDelta)]
    assert (code, message) == ("server_error", "The upstream model's answer broke off.")


@pytest.mark.parametrize(
    "event",
    [
        b'error: {"code": 500, "message": "slot unavailable"}\n\n',
        b'event: error\ndata: {"message": "busy"}\n\n',
        b'data: {"error": "overloaded"}\n\n',
        b'data: {"object": "error", "message": "busy", "code": 50001}\n\n',
        b'data: {"detail": "busy"}\n\n',
        b'data: {"id": "gen", "error": {"code": "server_error"}, "choices": [{"index": 0, '
        b'"delta": {"content": ""}, "finish_reason": "error"}]}\n\n',
        b'data: {"choices": [{"delta": {}, "finish_reason": "abort"}]}\n\n',
    ],
    ids=["llama.cpp", "event", "string", "FastChat", "FastAPI", "OpenRouter", "vLLM"],
)
def test_errors_within_a_stream(stream: Stream, event: bytes) -> None:
    """A stream that has begun fails by an event, in one of several forms, whatever follows."""
    parts = lines(call_chunk(0, "a", "add", "{}")).removesuffix(DONE) + event + DONE
    assert stream(parts).failure() == ([], "server_error", "The upstream model failed.")


@pytest.mark.parametrize("data", [b"ping", b"1", b'{"choices": [{"del', b"<html>", b"[]"])
def test_events_that_cannot_be_read(stream: Stream, data: bytes) -> None:
    """An event that is no object of the wire may have been a part of the reply."""
    parts = lines(text_chunk("hi")).removesuffix(DONE) + b"data: %b\n\n" % data + lines(STOP)
    chunks, _, message = stream(parts).failure()
    assert chunks == [TextDelta("hi")]
    assert message == "The upstream model's answer cannot be read."


def test_connection_that_breaks_after_the_last_word(stream: Stream) -> None:
    """What breaks after the reason of a reply's end takes nothing from it."""
    upstream = stream(lines(text_chunk("hi"), STOP).removesuffix(DONE), breaks=True)
    assert list(upstream.chunks()) == [TextDelta("hi"), Finish()]


@pytest.mark.parametrize(
    "delta, text",
    [
        ({"refusal": "I cannot."}, "I cannot."),
        ({"content": None, "refusal": "No."}, "No."),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab"),
        (
            {"content": [{"type": "thinking", "thinking": [{"text": "hm"}]}, {"text": "a"}]},
            "a",
        ),
        ({"reasoning_content": "hm", "content": "a"}, "a"),
        ({"reasoning": "hm", "role": "assistant", "content": "a"}, "a"),
    ],
)
def test_what_is_said(stream: Stream, delta: Json, text: str) -> None:
    """A refusal is text, parts are joined, and reasoning is not said."""
    chunks = list(stream(lines(completion_chunk(delta), STOP)).chunks())
    assert chunks == [TextDelta(text), Finish()]


@pytest.mark.parametrize(
    "chunks",
    [
        [STOP],
        [completion_chunk({"content": ""}), STOP],
        [completion_chunk({"content": None})],
        [{"choices": [{"index": 0, "delta": None, "finish_reason": "stop"}]}],
    ],
)
def test_empty_streams(stream: Stream, chunks: list[Json]) -> None:
    """A stream whose message says nothing is an empty reply."""
    assert list(stream(lines(*chunks)).chunks()) == [Finish()]


@pytest.mark.parametrize("chunks", [[], [{"choices": None}], [{"choices": []}]])
def test_streams_without_a_message(stream: Stream, chunks: list[Json]) -> None:
    """A stream without a message is no reply, and no empty one."""
    assert stream(lines(*chunks)).failure()[2] == "The upstream model's answer cannot be read."


@pytest.mark.parametrize(
    "finish, reason",
    [
        ("stop", "stop"),
        ("tool_calls", "stop"),
        ("length", "max_completion_tokens"),
        ("content_filter", "content_filter"),
    ],
)
def test_finish_reasons_of_streams(stream: Stream, finish: str, reason: str) -> None:
    """Why a streamed reply ended is known, though a part comes after that."""
    upstream = stream(lines(text_chunk("hi"), completion_chunk(finish_reason=finish), USAGE))
    *_, last = upstream.chunks()
    assert last == Finish(reason, 4, 3)


def test_usage_of_a_stream_may_come_by_and_by(stream: Stream) -> None:
    """The last usage counts, whatever part it is in."""
    early = {**text_chunk("hi"), "usage": {"prompt_tokens": 4, "completion_tokens": 1}}
    late = {**STOP, "usage": {"prompt_tokens": 4, "completion_tokens": 2}}
    *_, last = stream(lines(early, late, {**STOP, "usage": None})).chunks()
    assert last == Finish("stop", 4, 2)


@pytest.mark.parametrize(
    "chunks, calls",
    [
        ([call_chunk(0, "a", "add", ""), call_chunk(0, None, None, "{}")], [("add", "{}")]),
        (
            [
                call_chunk(0, "a", "add", '{"a"'),
                call_chunk(1, "b", "sub", '{"b"'),
                call_chunk(0, None, None, ": 1}"),
                call_chunk(1, None, None, ": 2}"),
            ],
            [("add", '{"a": 1}'), ("sub", '{"b": 2}')],
        ),
        ([call_chunk(0, "a", "add", None)], [("add", "{}")]),
        ([call_chunk(0, "a", "add", {"a": 1})], [("add", '{"a": 1}')]),
        (
            [call_chunk(0, None, "add", '{"a"'), call_chunk(0, None, "add", ": 1}")],
            [("add", '{"a": 1}')],
        ),
        (
            [call_chunk(0, "a", "add", '{"a"'), call_chunk(0, "a", "add", ": 1}")],
            [("add", '{"a": 1}')],
        ),
        (
            [call_chunk(0, "a", "add", '{"a"'), call_chunk(0, "b", None, ": 1}")],
            [("add", '{"a": 1}')],
        ),
        ([call_chunk(0, "a", "add", "{}"), call_chunk(0, "b", "add", "{}")], [("add", "{}")] * 2),
        (
            [call_chunk(None, "a", "add", "{}"), call_chunk(None, "b", "sub", "{}")],
            [("add", "{}"), ("sub", "{}")],
        ),
        (
            [call_chunk(3, "a", "add", "{}"), call_chunk(1, "b", "sub", "{}")],
            [("add", "{}"), ("sub", "{}")],
        ),
        (
            [call_chunk(0, None, "add", '{"a":1}'), call_chunk(0, None, "add", '{"a":2}')],
            [("add", '{"a":1}'), ("add", '{"a":2}')],
        ),
        (
            [call_chunk(0, "", "add", "{}"), call_chunk(0, "", "sub", '{"b":1}')],
            [("add", "{}"), ("sub", '{"b":1}')],
        ),
        (
            [call_chunk(0, "call_0", "add", '{"a":1}'), call_chunk(0, "call_0", "add", '{"a":2}')],
            [("add", '{"a":1}'), ("add", '{"a":2}')],
        ),
        (
            [call_chunk(0, "a", "add", '{"a":1}'), call_chunk(0, "a", "add", "")],
            [("add", '{"a":1}')],
        ),
        (
            [call_chunk(0, "a", "add", "{}"), call_chunk(0, None, None, '{"a":1}')],
            [("add", '{"a":1}')],
        ),
        ([call_chunk(0, "a", "add", " "), call_chunk(0, None, None, None)], [("add", "{}")]),
        ([call_chunk(0, "a", "add", "null")], [("add", "{}")]),
        (
            [call_chunk(0, "a", "add", '{"a"'), call_chunk(0, "b", "add", ": 1}")],
            [("add", '{"a": 1}')],
        ),
    ],
    ids=[
        "by and by",
        "by turns",
        "no arguments",
        "an object",
        "no ids",
        "the name again",
        "an id for each chunk",
        "one index for all",
        "no index",
        "indexes in any order",
        "one index and no ids",
        "one index, another name",
        "one id for all",
        "the name again at its end",
        "an empty object first",
        "null last",
        "null in words",
        "an id and the name for each chunk",
    ],
)
def test_streamed_calls(stream: Stream, chunks: list[Json], calls: list[tuple[str, str]]) -> None:
    """Tool calls are put together from their chunks, in the order in which they begin."""
    answer = list(stream(lines(*chunks, STOP)).chunks())
    assert answer == [*(ToolCall(name, arguments) for name, arguments in calls), Finish()]


def test_calls_of_one_chunk(stream: Stream) -> None:
    """Calls that come in one chunk without indexes differ by their places."""
    calls = [{"function": {"name": name, "arguments": "{}"}} for name in ("add", "sub")]
    chunks = list(stream(lines(completion_chunk({"tool_calls": calls}), STOP)).chunks())
    assert chunks[:-1] == [ToolCall("add", "{}"), ToolCall("sub", "{}")]


def test_calls_of_one_chunk_with_one_index(stream: Stream) -> None:
    """Calls that come in one chunk under one index are as many as there are names."""
    calls = [{"index": 0, "function": {"name": "add", "arguments": ""}}] * 2
    chunks = list(stream(lines(completion_chunk({"tool_calls": calls}), STOP)).chunks())
    assert chunks[:-1] == [ToolCall("add", "{}"), ToolCall("add", "{}")]


def test_message_beside_its_deltas(stream: Stream) -> None:
    """An upstream that repeats the message so far beside each delta says everything once."""
    first = {"index": 0, "delta": {"content": "Hel"}, "message": {"content": "Hel"}}
    last = {"index": 0, "delta": {}, "message": {"content": "Hello"}, "finish_reason": "stop"}
    chunks = [{"choices": [first]}, text_chunk("lo"), {"choices": [last]}]
    answer = list(stream(lines(*chunks)).chunks())
    assert answer == [TextDelta("Hel"), TextDelta("lo"), Finish()]


def test_null_indexes(stream: Stream) -> None:
    """An index that is null is none."""
    calls = [
        {"index": None, "function": {"name": name, "arguments": "{}"}} for name in ("add", "sub")
    ]
    chunks = list(stream(lines(completion_chunk({"tool_calls": calls}), STOP)).chunks())
    assert chunks[:-1] == [ToolCall("add", "{}"), ToolCall("sub", "{}")]


def test_streamed_text_and_calls(stream: Stream) -> None:
    """Text comes at once, and calls when they are whole."""
    upstream = stream(
        lines(call_chunk(0, "a", "add", "{"), text_chunk("wait"), call_chunk(0, None, None, "}"))
    )
    assert list(upstream.chunks()) == [TextDelta("wait"), ToolCall("add", "{}"), Finish()]


@pytest.mark.parametrize("error", [{"message": "Out of memory.", "code": 500}, "overloaded"])
def test_error_in_a_stream(stream: Stream, error: object) -> None:
    """An error after some text fails the reply in fixed words."""
    upstream = stream(lines(text_chunk("Hel"), {"error": error}, text_chunk("lo")))
    assert upstream.failure() == (
        [TextDelta("Hel")],
        "server_error",
        "The upstream model failed.",
    )


def test_stream_that_breaks_off(stream: Stream) -> None:
    """A connection that breaks after some text fails the reply."""
    chunks, code, message = stream(
        lines(text_chunk("Hel")).removesuffix(DONE), breaks=True
    ).failure()
    assert (chunks, code) == ([TextDelta("Hel")], "server_error")
    assert message == "The upstream model's answer broke off."


def test_calls_of_a_stream_that_breaks_off(stream: Stream) -> None:
    """A call that is not whole when the connection breaks is not asked for."""
    whole = lines(call_chunk(0, "a", "add", '{"a'))
    assert stream(whole.removesuffix(DONE), breaks=True).failure()[0] == []


def test_json_that_breaks_off(stream: Stream) -> None:
    """A whole answer whose connection breaks fails the reply."""
    part = json.dumps(completion("hello")).encode()[:20]
    chunks, code, message = stream(part, breaks=True, content_type="application/json").failure()
    assert (chunks, code) == ([], "server_error")
    assert message == "The upstream model's answer broke off."


@pytest.mark.parametrize(
    "content_type",
    [
        "text/event-stream; charset=utf-8",
        "text/event-stream;charset=utf-8",
        "text/event-stream ; charset=utf-8",
        "Text/Event-Stream; charset=utf-8",
        "TEXT/EVENT-STREAM",
    ],
)
def test_content_types_of_streams(stream: Stream, content_type: str) -> None:
    """A stream is recognised whatever the case and the parameters of its content type."""
    upstream = stream(lines(text_chunk("Hel"), text_chunk("lo"), STOP), content_type=content_type)
    assert list(upstream.chunks()) == [TextDelta("Hel"), TextDelta("lo"), Finish()]


def test_json_in_place_of_a_stream(stream: Stream) -> None:
    """An upstream that does not stream answers as well."""
    whole = json.dumps(completion("hello")).encode()
    assert list(stream(whole, content_type="application/json").chunks()) == [
        TextDelta("hello"),
        Finish(prompt_tokens=4, completion_tokens=3),
    ]


# Nobody wants the answer.


class SilentUpstream:
    """An upstream that takes a request, says ``begin``, and then nothing, until it is hung up on.

    Args:
        begin: What it says.
    """

    def __init__(self, begin: bytes) -> None:
        self.asked, self.left = threading.Event(), threading.Event()
        self._begin = begin
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()

    def _answer(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(20)
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(65536)
            connection.sendall(self._begin)
            self.asked.set()
            while connection.recv(65536):
                pass
            self.left.set()

    def stop(self) -> None:
        """Stop listening."""
        self._thread.join(20)
        self._listener.close()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


@pytest.fixture(params=[b"", HEAD, HEAD + lines(text_chunk("Hel")).removesuffix(DONE)])
def silent(request: pytest.FixtureRequest) -> Iterator[SilentUpstream]:
    """Yield an upstream that is silent from one of several places on."""
    upstream = SilentUpstream(request.param)
    yield upstream
    upstream.stop()


def test_cancel_ends_the_request(silent: SilentUpstream) -> None:
    """A cancel hangs up on the upstream at once, be it before the head of its answer or after."""
    request = make_request()
    ended: list[BaseException] = []

    def ask() -> None:
        try:
            list(UpstreamModel(silent.base_url).reply(request))
        except ReplyCancelledError as exc:
            ended.append(exc)

    asking = threading.Thread(target=ask)
    asking.start()
    assert silent.asked.wait(20)
    request.cancellation.cancel()
    assert silent.left.wait(20)
    asking.join(20)
    assert len(ended) == 1


def test_cancelled_request_is_not_made() -> None:
    """What is cancelled before it is asked is not asked."""
    request = make_request()
    request.cancellation.cancel()
    with pytest.raises(ReplyCancelledError):
        list(UpstreamModel("http://127.0.0.1:1/v1").reply(request))


def test_cancelled_run_hangs_up_on_the_upstream(silent: SilentUpstream) -> None:
    """A run that is cancelled does not keep an upstream that answers one at a time."""
    server = EmbeddedServer(make_engine(":memory:", upstream=silent.base_url))
    wire = WireClient(server.base_url)
    thread_id = wire.thread("hi")
    run_id = wire.start(thread_id)
    assert silent.asked.wait(20)
    wire.post(f"/threads/{thread_id}/runs/{run_id}/cancel")
    assert silent.left.wait(20)
    assert wire.run(thread_id, run_id)["status"] == "cancelled"
    wire.close()
    server.stop()


class LoadingUpstream(Upstream):
    """An upstream that loads its model, and answers when it is asked the third time."""

    def __init__(self) -> None:
        super().__init__(200, completion("hello"))

    def answer_to(self, body: Json) -> tuple[int, object]:
        """Return that it is loading, and then the answer."""
        error = {"message": "Loading model", "type": "unavailable_error", "code": 503}
        return (503, {"error": error}) if len(self.requests) < 3 else super().answer_to(body)


def test_loading_model_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upstream that says that it loads the model is asked again until it has."""
    monkeypatch.setattr(upstreams, "LOADING_PAUSE", 0.01)
    upstream = LoadingUpstream()
    try:
        assert reply(upstream)[0] == TextDelta("hello")
    finally:
        upstream.stop()
    assert len(upstream.requests) == 3


def test_model_that_loads_for_ever(monkeypatch: pytest.MonkeyPatch, serve: Serve) -> None:
    """A model that is never there fails the reply in the end."""
    monkeypatch.setattr(upstreams, "LOADING_PAUSE", 0.01)
    monkeypatch.setattr(upstreams, "LOADING_PATIENCE", 0.05)
    assert failure(serve({"error": "loading"}, 503))[1] == "The upstream model failed."


def test_cancel_while_the_model_loads(serve: Serve) -> None:
    """Nobody waits for a model that is loaded for nobody."""
    upstream = serve({"error": {"message": "Loading model"}}, 503)
    request = make_request()
    canceller = threading.Timer(0.2, request.cancellation.cancel)
    canceller.start()
    with pytest.raises(ReplyCancelledError):
        list(UpstreamModel(upstream.base_url).reply(request))
    canceller.join()
    assert len(upstream.requests) == 1


def test_other_busy_answers_are_no_loading(serve: Serve) -> None:
    """An upstream that is overloaded is not asked again and again."""
    upstream = serve({"error": "overloaded"}, 503)
    assert failure(upstream)[1] == "The upstream model failed."
    assert len(upstream.requests) == 1


# Behind the server.


@pytest.fixture
def front() -> Iterator[Callable[[Upstream], WireClient]]:
    """Yield a maker of clients of servers that hand on to an upstream."""
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
    wire.settled(thread_id, wire.start(thread_id, instructions="Be kind."))
    assert wire.texts(thread_id) == ["hi", "hello"]
    assert upstream.headers[0]["Authorization"] == "Bearer secret"


def test_plain_run_sends_nothing_that_chats_refuse(
    serve: Serve, front: Callable[[Upstream], WireClient]
) -> None:
    """A run that asks for nothing in particular sends model and messages, and asks for a stream."""
    upstream = serve(completion("hello"))
    wire = front(upstream)
    thread_id = wire.thread("hi")
    wire.settled(thread_id, wire.start(thread_id))
    assert upstream.requests == [
        {"model": "any", "messages": [{"role": "user", "content": "hi"}], **STREAMED}
    ]


def test_tools_over_upstream(serve: Serve, front: Callable[[Upstream], WireClient]) -> None:
    """The upstream's tool calls are asked of the client, and answered to the upstream."""
    upstream = serve(completion(None, ("add", '{"a": 1}')))
    wire = front(upstream)
    thread_id = wire.thread("hi")
    run = wire.settled(thread_id, wire.start(thread_id, tools=[TOOL]))
    wire.submit(thread_id, run, "2")
    wire.settled(thread_id, run["id"])
    calls = calls_of(run)
    assert upstream.requests[1]["messages"][1:] == [
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "tool_call_id": calls[0]["id"], "content": "2"},
    ]


def test_demo_stays_at_home(serve: Serve, front: Callable[[Upstream], WireClient]) -> None:
    """The demo model answers by itself, upstream or not."""
    upstream = serve(completion("hello"))
    wire = front(upstream)
    thread_id = wire.thread("hi")
    wire.settled(thread_id, wire.start(thread_id, assistant_id=wire.assistant(model="demo")))
    assert upstream.requests == []


# upstreams that mean harm


@pytest.mark.parametrize(
    "name", [*hostile.TOO_LARGE, *hostile.UNREADABLE, "huge-event", "huge-lines", "stream-bomb"]
)
def test_hostile_upstream_is_an_upstream_that_failed(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Whatever an upstream answers, what a run meets is the model's failure, or an empty reply."""
    monkeypatch.setattr(bounded, "MOST_BYTES", hostile.MIB)
    monkeypatch.setattr(bounded, "MOST_STREAM_BYTES", 2 * hostile.MIB)
    monkeypatch.setattr(event_parser, "MOST_BYTES", hostile.MIB)
    streams = {**hostile.STREAMS, "stream-bomb": hostile.STREAMS["bomb"]}
    server = HostileServer({**streams, **hostile.TOO_LARGE, **hostile.UNREADABLE}[name])
    try:
        with pytest.raises(ModelError) as failed:
            list(UpstreamModel(server.base_url).reply(ModelRequest(model="m", messages=())))
        assert failed.value.code in ("server_error", "rate_limit_exceeded")
    finally:
        server.stop()


@pytest.mark.parametrize("kind", ["application/json", "text/event-stream"])
def test_upstream_that_trickles_is_given_up(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A reply that goes on for ever is given up, though it is never silent."""
    monkeypatch.setattr(bounded, "LONGEST_REPLY", 0.1)
    server = HostileServer(hostile.dripping(hostile.head(kind=kind), b" "))
    try:
        with pytest.raises(ModelError, match="answer broke off"):
            list(UpstreamModel(server.base_url).reply(ModelRequest(model="m", messages=())))
    finally:
        server.stop()
