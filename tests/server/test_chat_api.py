"""Models, chat completions and embeddings: answered here, or passed to the upstream."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
import requests

from gpt_agent_sync.server.app import make_engine
from gpt_agent_sync.server.hosting import EmbeddedServer
from gpt_agent_sync.testing import CallTools, Fail, Hold, Incomplete, Reply
from tests.support.polling import wait_for
from tests.support.scripted_model import ScriptedModel
from tests.support.stub import Answerer, Request, Response, StubServer
from tests.support.wire_client import Json, WireClient

HI = [{"role": "user", "content": "hi"}]
CHAT = {"model": "demo", "messages": HI}
ADD: Any = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}

Serve = Callable[..., str]
MakeStub = Callable[[Answerer], StubServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Yield a maker of servers, by the options of their engines; they are stopped."""
    servers: list[EmbeddedServer] = []

    def make(**options: Any) -> str:
        servers.append(EmbeddedServer(make_engine(":memory:", **options)))
        return servers[-1].base_url

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def connect(serve: Serve) -> Iterator[Callable[..., openai.OpenAI]]:
    """Yield a maker of OpenAI's clients of a server whose model follows steps."""
    clients: list[openai.OpenAI] = []

    def make(*steps: Any) -> openai.OpenAI:
        url = serve(models=[ScriptedModel(steps)])
        clients.append(openai.OpenAI(base_url=url, api_key="x", max_retries=0))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def chat(client: openai.OpenAI, **fields: Any) -> Any:
    """Create a chat completion."""
    return client.chat.completions.create(model="any", messages=HI, **fields)  # type: ignore[arg-type]


def test_completion(connect: Callable[..., openai.OpenAI]) -> None:
    """A model here answers a chat, in the shape that OpenAI's types demand."""
    completion = chat(connect(Reply("Hel", "lo")))
    choice = completion.choices[0]
    assert (choice.message.content, choice.finish_reason) == ("Hello", "stop")
    assert type(completion).model_validate(completion.to_dict()) == completion


def test_calls(connect: Callable[..., openai.OpenAI]) -> None:
    """Calls come with ids, and as the reason why the answer ends."""
    choice = chat(connect(CallTools(("add", {"a": 1}), ("add", {"a": 2}))), tools=[ADD]).choices[0]
    calls = choice.message.tool_calls
    assert [call.function.arguments for call in calls] == ['{"a": 1}', '{"a": 2}']
    assert (choice.finish_reason, len({call.id for call in calls})) == ("tool_calls", 2)


def test_streamed(connect: Callable[..., openai.OpenAI]) -> None:
    """A streamed answer comes piece by piece, its usage last."""
    told = {"include_usage": True}
    chunks = list(chat(connect(Reply("Hel", "lo")), stream=True, stream_options=told))
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert (texts, chunks[-1].choices) == (["", "Hel", "lo", None], [])
    assert chunks[-1].usage is not None
    assert chunks[-2].choices[0].finish_reason == "stop"


def test_streamed_calls(connect: Callable[..., openai.OpenAI]) -> None:
    """A streamed call comes whole."""
    client = connect(CallTools(("add", {"a": 1})))
    chunks = list(chat(client, tools=[ADD], stream=True))
    calls = [
        call for chunk in chunks for each in chunk.choices for call in each.delta.tool_calls or ()
    ]
    assert [(call.index, call.function.name) for call in calls] == [(0, "add")]


def test_cut_short(connect: Callable[..., openai.OpenAI]) -> None:
    """An answer that met its limit says so in this wire's word."""
    client = connect(Incomplete("max_completion_tokens", "Hel"))
    assert chat(client).choices[0].finish_reason == "length"


@pytest.mark.parametrize("code, status", [("server_error", 502), ("rate_limit_exceeded", 429)])
def test_model_that_fails(connect: Callable[..., openai.OpenAI], code: str, status: int) -> None:
    """A model that cannot answer is an error of the gateway, or a rate limit."""
    with pytest.raises(openai.APIStatusError, match="No.") as caught:
        chat(connect(Fail(code, "No.")))
    assert (caught.value.status_code, caught.value.code) == (status, code)


def test_model_that_fails_in_a_stream(connect: Callable[..., openai.OpenAI]) -> None:
    """A stream that has begun tells a failure by an event, and then ends."""
    with pytest.raises(openai.APIError, match="No."):
        list(chat(connect(Fail("server_error", "No.")), stream=True))


@pytest.mark.parametrize(
    "body, param",
    [
        ({"messages": HI}, "model"),
        ({"model": "demo"}, "messages"),
        ({"model": "demo", "messages": "hi"}, "messages"),
        ({"model": "demo", "messages": ["hi"]}, "messages[0]"),
        ({"model": "demo", "messages": []}, "messages"),
        ({"model": "demo", "messages": [{"content": "hi"}]}, "messages[0].role"),
        ({"model": "demo", "messages": [{"role": "judge", "content": "hi"}]}, "messages[0].role"),
        ({"model": "demo", "messages": HI, "tools": [{}]}, "tools[0].function"),
        ({"model": "demo", "messages": HI, "tools": 5}, "tools"),
        ({"model": "demo", "messages": HI, "tool_choice": "any"}, "tool_choice"),
        ({"model": "demo", "messages": HI, "temperature": "hot"}, "temperature"),
        ({"model": "demo", "messages": HI, "temperature": 3}, "temperature"),
        ({"model": "demo", "messages": HI, "max_tokens": 0}, "max_tokens"),
        ({"model": "demo", "messages": HI, "store": True}, "store"),
        ({"model": "demo", "messages": HI, "modalities": ["audio"]}, "modalities"),
        ({"model": "demo", "messages": HI, "stream_options": {}}, "stream_options"),
        ({"model": "demo", "messages": HI, "x": 1}, "x"),
        ({**CHAT, "response_format": {"type": "xml"}}, "response_format"),
        (
            {**CHAT, "response_format": {"type": "json_schema", "json_schema": {"name": 5}}},
            "response_format.json_schema.name",
        ),
        (
            {"model": "demo", "messages": HI, "tools": [{"function": {}}]},
            "tools[0].function.name",
        ),
        ({"model": "demo", "messages": HI, "tool_choice": 5}, "tool_choice"),
        ({"model": "demo", "messages": HI, "response_format": "json_object"}, "response_format"),
        (
            {"model": "demo", "messages": [{"role": "tool", "content": "1"}]},
            "messages[0].tool_call_id",
        ),
        (
            {"model": "demo", "messages": [{"role": "assistant", "tool_calls": 5}]},
            "messages[0].tool_calls",
        ),
        (
            {"model": "demo", "messages": [{"role": "assistant", "tool_calls": ["c"]}]},
            "messages[0].tool_calls[0]",
        ),
    ],
)
def test_chats_that_are_none(serve: Serve, body: Json, param: str) -> None:
    """A chat without a model or messages is refused."""
    wire = WireClient(serve())
    status, error = wire.refusal("POST", "/chat/completions", json=body)
    wire.close()
    assert (status, error["param"]) == (400, param)


def test_client_that_goes_stops_the_model(serve: Serve) -> None:
    """A client that hangs up in the middle of a stream stops the model."""
    model = ScriptedModel([Hold(Reply("a", "b"))])
    client = openai.OpenAI(base_url=serve(models=[model]), api_key="x", max_retries=0)
    stream = chat(client, stream=True)
    next(iter(stream))
    wait_for(lambda: model.requests, bool)
    stream.close()
    client.close()
    model.released.set()
    wait_for(lambda: model.requests[0].cancellation.is_cancelled, bool)


def test_client_that_goes_ends_its_chat(serve: Serve) -> None:
    """A client that hangs up while the model thinks stops the model."""
    model = ScriptedModel([Hold()])
    url = serve(models=[model])
    with pytest.raises(requests.Timeout):
        requests.post(
            f"{url}/chat/completions", json={"model": "any", "messages": HI}, timeout=(5, 0.5)
        )
    wait_for(lambda: model.requests[0].cancellation.is_cancelled, bool)
    model.released.set()


@pytest.mark.parametrize(
    "fields", [{"n": 2}, {"stop": "x"}, {"logprobs": True}, {"logit_bias": {"1": 1}}]
)
def test_what_models_here_do_not_do(serve: Serve, fields: Json) -> None:
    """A chat with a model here is refused for what it would not honour."""
    wire = WireClient(serve())
    body = {"model": "demo", "messages": HI, **fields}
    status, error = wire.refusal("POST", "/chat/completions", json=body)
    wire.close()
    assert (status, error["code"]) == (400, "unsupported_parameter")


# The upstream.


def test_passed_to_the_upstream(serve: Serve, make_stub: MakeStub) -> None:
    """What the upstream serves is passed on to it as it is, under the model's name there."""
    answer = {"id": "c", "choices": [], "system_fingerprint": "fp"}
    stub = make_stub(lambda request: Response(answer))
    wire = WireClient(serve(upstream=stub.base_url, names={"gpt-4o": "llama3"}))
    asked = {"model": "gpt-4o", "messages": HI, "logprobs": True, "n": 2}
    found = wire.post("/chat/completions", asked)
    wire.close()
    assert (found, stub.requests[-1].body) == (answer, {**asked, "model": "llama3"})


def test_embeddings(serve: Serve, make_stub: MakeStub) -> None:
    """Embeddings are the upstream's."""
    answer = {"object": "list", "data": [{"embedding": [0.5]}]}
    stub = make_stub(lambda request: Response(answer))
    wire = WireClient(serve(upstream=stub.base_url))
    found = wire.post("/embeddings", {"model": "e", "input": "hi"})
    wire.close()
    assert (found, stub.requests[-1].path) == (answer, "/embeddings")


def test_embeddings_without_an_upstream(serve: Serve) -> None:
    """Without an upstream there are none, and the refusal says so."""
    wire = WireClient(serve())
    status, error = wire.refusal("POST", "/embeddings", json={"model": "demo", "input": "hi"})
    wire.close()
    assert (status, error["code"]) == (400, "unsupported_parameter")


def test_stream_is_passed_on_as_it_comes(serve: Serve, make_stub: MakeStub) -> None:
    """A stream of the upstream's is not held back until it ends."""
    go_on = threading.Event()

    def pieces(request: Request) -> Response:
        def body() -> Iterator[bytes]:
            yield b'data: {"choices": [{"delta": {"content": "Hel"}}]}\n\n'
            assert go_on.wait(20)
            yield b"data: [DONE]\n\n"

        return Response(body(), headers={"Content-Type": "text/event-stream"})

    stub = make_stub(pieces)
    client = openai.OpenAI(base_url=serve(upstream=stub.base_url), api_key="x", max_retries=0)
    stream = chat(client, stream=True)
    assert next(iter(stream)).choices[0].delta.content == "Hel"
    go_on.set()
    client.close()


@pytest.mark.parametrize(
    "status, told", [(400, 502), (401, 502), (404, 502), (429, 429), (500, 502)]
)
def test_refusal_of_the_upstream(serve: Serve, make_stub: MakeStub, status: int, told: int) -> None:
    """What the upstream says of its refusal stays here: it may name keys and addresses."""
    stub = make_stub(lambda request: Response({"error": {"message": "secret-key"}}, status))
    wire = WireClient(serve(upstream=stub.base_url, upstream_api_key="secret-key"))
    answered, error = wire.refusal("POST", "/chat/completions", json={"model": "m", "messages": HI})
    wire.close()
    assert (answered, "secret" in json.dumps(error)) == (told, False)


def test_field_that_the_upstream_refuses(serve: Serve, make_stub: MakeStub) -> None:
    """A field of a client's is not left out: that the upstream refuses it is told."""
    said = {"error": {"message": "Unknown parameter: 'stream_options'."}}
    wire = WireClient(serve(upstream=make_stub(lambda request: Response(said, 400)).base_url))
    fields = {"model": "m", "messages": HI, "stream": True, "stream_options": {}}
    answered, error = wire.refusal("POST", "/chat/completions", json=fields)
    wire.close()
    assert (answered, error["message"]) == (502, "The upstream model refused the request.")


# Models.


def test_models(serve: Serve, make_stub: MakeStub) -> None:
    """Models are those that are known here, and those that the upstream lists."""
    stub = make_stub(lambda request: Response({"data": [{"id": "llama3"}, {"id": "demo"}, 5]}))
    wire = WireClient(serve(upstream=stub.base_url, names={"gpt-4o": "llama3"}))
    names = [model["id"] for model in wire.get("/models")["data"]]
    found = wire.get("/models/gpt-4o")
    wire.close()
    assert names == ["demo", "gpt-4o", "llama3"]
    assert (found["id"], found["object"]) == ("gpt-4o", "model")


@pytest.mark.parametrize("status", [404, 500])
def test_models_of_an_upstream_that_lists_none(
    serve: Serve, make_stub: MakeStub, status: int
) -> None:
    """An upstream that lists no models takes nothing from those that are known here."""
    stub = make_stub(lambda request: Response({}, status))
    wire = WireClient(serve(upstream=stub.base_url))
    assert [model["id"] for model in wire.get("/models")["data"]] == ["demo"]
    wire.close()


def test_unknown_model(serve: Serve) -> None:
    """A model that nobody has is not found."""
    wire = WireClient(serve())
    status, error = wire.refusal("GET", "/models/org/none")
    wire.close()
    assert (status, error["code"]) == (404, "model_not_found")
