"""A model behind an OpenAI-compatible ``/chat/completions``: Ollama, llama.cpp, vLLM, OpenAI."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import requests

from gpt_agent_sync.server.models.base import (
    Finish,
    Model,
    ModelChunk,
    ModelError,
    ModelRequest,
    TextDelta,
    ToolCall,
)

CONNECT_TIMEOUT, READ_TIMEOUT = 5.0, 600.0
"""Seconds; a local model may think for long."""

_FINISH_REASONS = {"length": "max_completion_tokens", "content_filter": "content_filter"}


class UpstreamModel(Model):
    """The models of another server.

    Args:
        base_url: Where ``/chat/completions`` lies below, such as ``http://127.0.0.1:11434/v1``.
        api_key: The bearer key, if it wants one.
    """

    def __init__(self, base_url: str, api_key: str | None = None) -> None:
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def serves(self, name: str) -> bool:
        """Return ``True``: the upstream knows which models it has."""
        return True

    def reply(self, request: ModelRequest) -> Iterator[ModelChunk]:
        """Ask the upstream, and yield what it answers as it comes."""
        with self._ask(_body(request)) as response:
            # Some servers ignore that a stream is asked for, and answer whole.
            completions = _events(response) if _is_stream(response) else iter([_json(response)])
            yield from _chunks(completions)

    def _ask(self, body: Mapping[str, Any]) -> requests.Response:
        try:
            # No session: one is not promised to be thread-safe, and beside a model's time the new
            # connection costs nothing.
            response = requests.post(
                self._url,
                json=body,
                headers=self._headers,
                timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
                stream=True,
            )
            # The HTTP library takes an interim answer, such as 103, for the answer, which is still
            # to come: on this connection nothing more can be read.
            if response.status_code < 200:
                response.close()
                raise _failed(f"HTTP {response.status_code} is not a final answer")
            if response.ok:
                return response
            with response:
                message = _error_text(_json(response))
        except requests.RequestException as exc:
            raise _failed(exc) from exc
        if response.status_code == 429:
            raise ModelError("rate_limit_exceeded", message)
        raise ModelError("server_error", message)


def _is_stream(response: requests.Response) -> bool:
    # Media types have no case, and parameters may follow, with or without a space before.
    media_type, _, _ = response.headers.get("Content-Type", "").partition(";")
    return media_type.strip().lower() == "text/event-stream"


def _json(response: requests.Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except requests.JSONDecodeError:
        answer = None
    except requests.RequestException as exc:
        raise _failed(exc) from exc
    if isinstance(answer, dict):
        return answer
    message = f"HTTP {response.status_code}, and no JSON" if answer is None else str(answer)
    if response.ok:
        raise ModelError("server_error", _error_text(message))
    return {"error": message}


def _events(response: requests.Response) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a stream; all other lines, ``[DONE]`` say, are ignored."""
    # Not by the rules of event streams: here every event is one line of JSON, and some servers
    # leave out the blank lines between events.
    try:
        for line in response.iter_lines():
            field, _, data = line.partition(b":")
            if field != b"data":
                continue
            try:
                event = json.loads(data)
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event
    except requests.RequestException as exc:
        raise _failed(exc) from exc


def _chunks(completions: Iterator[dict[str, Any]]) -> Iterator[ModelChunk]:
    """Yield the chunks of a reply: text at once, tool calls when they are whole.

    Args:
        completions: The whole completion, or its parts as they come.
    """
    calls = _ToolCalls()
    reason, usage = "stop", dict[str, Any]()
    for completion in completions:
        # A stream that has begun with status 200 can only fail by an event.
        if completion.get("error"):
            raise ModelError("server_error", _error_text(completion))
        # The usage comes in a last part of its own, without choices, or with any part before.
        usage = completion.get("usage") or usage
        choice: dict[str, Any] = next(iter(completion.get("choices") or ()), {})
        reason = str(choice.get("finish_reason") or reason)
        message = choice.get("delta") or choice.get("message") or {}
        if message.get("content"):
            yield TextDelta(str(message["content"]))
        for position, part in enumerate(message.get("tool_calls") or ()):
            calls.add(part, position)
    yield from calls.chunks()
    yield Finish(
        # Replies with calls end by "tool_calls" or, on some servers, by "stop".
        reason=_FINISH_REASONS.get(reason, "stop"),
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        completion_tokens=int(usage.get("completion_tokens") or 0),
    )


class _ToolCalls:
    """The tool calls of a reply, put together from their parts."""

    def __init__(self) -> None:
        self._calls: list[dict[str, Any]] = []
        self._by_index: dict[int, dict[str, Any]] = {}

    def add(self, part: Mapping[str, Any], position: int) -> None:
        """Add the beginning of a call, or more of it.

        Args:
            part: The part.
            position: Its index, if it does not have one itself.
        """
        index = part.get("index")
        index = position if index is None else index
        function = part.get("function") or {}
        call = self._by_index.get(index)
        if call is None or self._is_other(call, part.get("id"), function.get("name")):
            call = {"id": part.get("id"), "name": None, "arguments": ""}
            self._by_index[index] = call
            self._calls.append(call)
        call["name"] = function.get("name") or call["name"]
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            call["arguments"] += arguments
        # Some servers send an object in place of JSON text, and null for no arguments.
        elif arguments:
            call["arguments"] += json.dumps(arguments)

    def _is_other(self, call: Mapping[str, Any], call_id: object, name: object) -> bool:
        # Ollama gives all calls the index 0: only a new id with a name is the next call's.
        return bool(call_id and name) and call_id != call["id"]

    def chunks(self) -> Iterator[ToolCall]:
        """Yield the calls, in the order in which they began."""
        for call in self._calls:
            yield ToolCall(str(call["name"]), call["arguments"] or "{}")


def _failed(reason: object) -> ModelError:
    return ModelError("server_error", f"the upstream model failed: {reason}")


def _body(request: ModelRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": request.model,
        "messages": list(request.messages),
        "stream": True,
        # Without it OpenAI's streams end without usage.
        "stream_options": {"include_usage": True},
    }
    if request.tools:
        body["tools"] = list(request.tools)
        body["tool_choice"] = request.tool_choice
    body.update(request.options)
    # Some servers refuse every word about tools where there are none.
    if not request.tools:
        body.pop("parallel_tool_calls", None)
    return body


def _error_text(answer: Any) -> str:
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    message = error.get("message") if isinstance(error, dict) else error
    return f"the upstream model refused: {message}"
