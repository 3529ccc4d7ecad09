"""The routes of models: which there are, and ``/chat/completions`` and ``/embeddings``.

What the upstream serves is passed on to it as it comes; the other models are asked here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response, request

from gpt_agent_sync.foreign_json import read_foreign_json
from gpt_agent_sync.server.bodies import Json, read_json
from gpt_agent_sync.server.chat_bodies import read_chat
from gpt_agent_sync.server.clients import client_is_there
from gpt_agent_sync.server.engine import Engine
from gpt_agent_sync.server.errors import WireError, interrupted, missing, not_answered
from gpt_agent_sync.server.features import unsupported
from gpt_agent_sync.server.listing import list_object
from gpt_agent_sync.server.models.base import (
    Finish,
    ModelChunk,
    ModelError,
    ModelRequest,
    TextDelta,
)
from gpt_agent_sync.server.models.cancellation import Cancellation, ReplyCancelledError
from gpt_agent_sync.server.models.upstream import COMPLETIONS
from gpt_agent_sync.server.paths import DEPLOYMENT
from gpt_agent_sync.server.storage.collection import new_id
from gpt_agent_sync.server.strict_json import encode, respond

EMBEDDINGS = "/embeddings"

_FINISH_REASONS = {"max_completion_tokens": "length", "content_filter": "content_filter"}


def register(blueprint: Blueprint, engine: Engine) -> None:
    """Add the routes to ``blueprint``."""

    @blueprint.get("/models")
    def list_models() -> Response:
        names = [*engine.model_names, *_upstream_models(engine)]
        return respond(list_object([_model(name) for name in dict.fromkeys(names)]))

    @blueprint.get("/models/<path:name>")
    def get_model(name: str) -> Response:
        if name not in (*engine.model_names, *_upstream_models(engine)):
            raise WireError(
                404,
                f"The model '{name}' does not exist.",
                param="model",
                code="model_not_found",
            )
        return respond(_model(name))

    @blueprint.post(COMPLETIONS)
    def create_chat_completion() -> Response:
        body = read_json(request.get_data())
        model = _resolve(engine, body)
        if engine.is_upstream(model):
            return _forwarded(engine, COMPLETIONS, {**body, "model": model})
        return _answered(engine, body, model)

    @blueprint.post(EMBEDDINGS)
    def create_embeddings() -> Response:
        body = read_json(request.get_data())
        model = _resolve(engine, body)
        if not engine.is_upstream(model):
            raise unsupported("model", f"embeddings of '{model}'")
        return _forwarded(engine, EMBEDDINGS, {**body, "model": model})


def _resolve(engine: Engine, body: Json) -> str:
    # On Azure the deployment in the path answers, whatever the body says.
    name = request.environ.get(DEPLOYMENT) or body.get("model")
    if not isinstance(name, str):
        raise missing("model")
    return engine.resolve_model(name)


def _model(name: str) -> Json:
    return {"id": name, "object": "model", "created": 0, "owned_by": "gpt_agent_sync"}


def _upstream_models(engine: Engine) -> list[str]:
    """Return the names that the upstream lists; none where it does not answer."""
    if engine.upstream is None:
        return []
    try:
        answer = engine.upstream.endpoint.forward("GET", "/models", None, Cancellation())
        listed = read_foreign_json(b"".join(answer.pieces))
    except (ModelError, ValueError, OSError):
        return []
    data = listed.get("data") if isinstance(listed, dict) else None
    found = data if isinstance(data, list) else []
    return [str(each["id"]) for each in found if isinstance(each, dict) and each.get("id")]


def _forwarded(engine: Engine, path: str, body: Json) -> Response:
    assert engine.upstream is not None
    cancellation = Cancellation()
    try:
        # A client that goes while the model thinks takes its request along.
        with engine.watching(cancellation, client_is_there(request.environ)):
            answer = engine.upstream.endpoint.forward("POST", path, body, cancellation)
    except ModelError as exc:
        raise not_answered(exc) from None
    except ReplyCancelledError:
        raise interrupted() from None
    response = Response(_until_closed(answer.pieces, cancellation))
    response.headers["Content-Type"] = answer.content_type
    response.headers["Cache-Control"] = "no-cache"
    return response


def _until_closed(pieces: Iterator[bytes], cancellation: Cancellation) -> Iterator[bytes]:
    try:
        yield from pieces
    finally:
        cancellation.cancel()


def _answered(engine: Engine, body: Json, model: str) -> Response:
    chat = read_chat(body)
    cancellation = Cancellation()
    asked = ModelRequest(
        model=model,
        messages=tuple(body["messages"]),
        tools=tuple(chat.tools or ()),
        tool_choice=chat.tool_choice or "auto",
        options=chat.options(),
        cancellation=cancellation,
    )
    completion_id, created = new_id("chatcmpl"), int(engine.clock())
    head = {"id": completion_id, "created": created, "model": model}
    try:
        if chat.stream:
            tells_usage = chat.stream_options is not None and chat.stream_options.include_usage
            head["object"] = "chat.completion.chunk"
            chunks = _streamed(engine.reply(asked), head, tells_usage)
            return Response(_until_closed(chunks, cancellation), mimetype="text/event-stream")
        with engine.watching(cancellation, client_is_there(request.environ)):
            return respond(_completion(list(engine.reply(asked)), head))
    except ModelError as exc:
        raise not_answered(exc) from None
    except ReplyCancelledError:
        raise interrupted() from None


def _call(number: int, name: str, arguments: str) -> Json:
    function = {"name": name, "arguments": arguments}
    return {"index": number, "id": new_id("call"), "type": "function", "function": function}


def _completion(chunks: list[ModelChunk], head: Json) -> Json:
    texts, calls, end = list[str](), list[Json](), Finish()
    for chunk in chunks:
        if isinstance(chunk, Finish):
            end = chunk
        elif isinstance(chunk, TextDelta):
            texts.append(chunk.text)
        else:
            calls.append(_call(len(calls), chunk.name, chunk.arguments))
    message: Json = {"role": "assistant", "content": "".join(texts) or None, "refusal": None}
    if calls:
        message["tool_calls"] = [
            {name: value for name, value in call.items() if name != "index"} for call in calls
        ]
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": _finish_reason(end, bool(calls)),
        "logprobs": None,
    }
    return {**head, "object": "chat.completion", "choices": [choice], "usage": end.usage}


def _finish_reason(end: Finish, has_calls: bool) -> str:
    default = "tool_calls" if has_calls else "stop"
    return _FINISH_REASONS.get(end.reason, default)


def _streamed(chunks: Iterator[ModelChunk], head: Json, tells_usage: bool) -> Iterator[bytes]:
    calls = 0
    yield _event(head, {"role": "assistant", "content": ""})
    try:
        for chunk in chunks:
            if isinstance(chunk, TextDelta):
                yield _event(head, {"content": chunk.text})
            elif isinstance(chunk, Finish):
                yield _event(head, {}, _finish_reason(chunk, bool(calls)))
                if tells_usage:
                    yield _line({**head, "choices": [], "usage": chunk.usage})
            else:
                yield _event(head, {"tool_calls": [_call(calls, chunk.name, chunk.arguments)]})
                calls += 1
    except ReplyCancelledError:
        return
    except ModelError as exc:
        yield _line(not_answered(exc).body())
        return
    yield b"data: [DONE]\n\n"


def _event(head: Json, delta: Json, finish_reason: str | None = None) -> bytes:
    choice: dict[str, Any] = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return _line({**head, "choices": [choice]})


def _line(data: Json) -> bytes:
    return f"data: {encode(data)}\n\n".encode()
