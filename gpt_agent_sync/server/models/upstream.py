"""A model behind an OpenAI-compatible ``/chat/completions``: Ollama, llama.cpp, vLLM, OpenAI."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import requests

from gpt_agent_sync.server.models.base import (
    CallPiece,
    Finish,
    Model,
    ModelError,
    ModelRequest,
    Piece,
    TextPiece,
)

CONNECT_TIMEOUT, READ_TIMEOUT = 5.0, 600.0
"""Seconds: a local model may think for long."""

_CUT_SHORT = {"length": "max_completion_tokens", "content_filter": "content_filter"}


class UpstreamModel(Model):
    """Hand every conversation on to another server.

    Args:
        base_url: Where ``/chat/completions`` lies below, such as ``http://127.0.0.1:11434/v1``.
        api_key: The bearer key, if it wants one.
    """

    def __init__(self, base_url: str, api_key: str | None = None) -> None:
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def serves(self, name: str) -> bool:
        """Answer to every name: the upstream knows which it has."""
        return True

    def reply(self, request: ModelRequest) -> Iterator[Piece]:
        """Ask the upstream, and pass on what it says as it comes."""
        with self._ask(_body(request)) as response:
            answers = _streamed(response) if _is_stream(response) else iter([_json(response)])
            yield from _pieces(answers)

    def _ask(self, body: Mapping[str, Any]) -> requests.Response:
        try:
            response = requests.post(
                self._url,
                json=body,
                headers=self._headers,
                timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
                stream=True,
            )
            if response.ok:
                return response
            with response:
                told = _error_text(_json(response))
        except requests.RequestException as exc:
            raise _broken(exc) from exc
        if response.status_code == 429:
            raise ModelError("rate_limit_exceeded", told)
        raise ModelError("server_error", told)


def _is_stream(response: requests.Response) -> bool:
    return response.headers.get("Content-Type", "").startswith("text/event-stream")


def _json(response: requests.Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except requests.JSONDecodeError:
        answer = None
    except requests.RequestException as exc:
        raise _broken(exc) from exc
    if isinstance(answer, dict):
        return answer
    message = f"HTTP {response.status_code}, and no JSON" if answer is None else str(answer)
    if response.ok:
        raise ModelError("server_error", _error_text(message))
    return {"error": message}


def _streamed(response: requests.Response) -> Iterator[dict[str, Any]]:
    """Give the chunks of a stream; what is no JSON object, ``[DONE]`` say, is passed over."""
    try:
        for line in response.iter_lines():
            field, _, data = line.partition(b":")
            if field != b"data":
                continue
            try:
                chunk = json.loads(data)
            except ValueError:
                continue
            if isinstance(chunk, dict):
                yield chunk
    except requests.RequestException as exc:
        raise _broken(exc) from exc


def _pieces(answers: Iterator[dict[str, Any]]) -> Iterator[Piece]:
    """Read answers, which are whole or chunks of one: text at once, calls when they are whole."""
    calls = _Calls()
    reason, usage = "stop", dict[str, Any]()
    for answer in answers:
        if answer.get("error"):
            raise ModelError("server_error", _error_text(answer))
        usage = answer.get("usage") or usage
        choice: dict[str, Any] = next(iter(answer.get("choices") or ()), {})
        reason = str(choice.get("finish_reason") or reason)
        said = choice.get("delta") or choice.get("message") or {}
        if said.get("content"):
            yield TextPiece(str(said["content"]))
        for place, call in enumerate(said.get("tool_calls") or ()):
            calls.add(call, place)
    yield from calls.pieces()
    yield Finish(
        reason=_CUT_SHORT.get(reason, "stop"),
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        completion_tokens=int(usage.get("completion_tokens") or 0),
    )


class _Calls:
    """Put the tool calls of an answer together."""

    def __init__(self) -> None:
        self._all: list[dict[str, Any]] = []
        self._by_index: dict[int, dict[str, Any]] = {}

    def add(self, said: Mapping[str, Any], place: int) -> None:
        """Add what is said of a call.

        Args:
            said: Its beginning, or more of it.
            place: Its index, if it does not say that itself.
        """
        index = said.get("index")
        index = place if index is None else index
        function = said.get("function") or {}
        call = self._by_index.get(index)
        if call is None or self._is_other(call, said.get("id"), function.get("name")):
            call = {"id": said.get("id"), "name": None, "arguments": ""}
            self._by_index[index] = call
            self._all.append(call)
        call["name"] = function.get("name") or call["name"]
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            call["arguments"] += arguments
        elif arguments:
            call["arguments"] += json.dumps(arguments)

    def _is_other(self, call: Mapping[str, Any], call_id: object, name: object) -> bool:
        """Tell a new call from more of one: Ollama gives all calls the index 0."""
        return bool(call_id and name) and call_id != call["id"]

    def pieces(self) -> Iterator[CallPiece]:
        """Give the calls, in the order in which they began."""
        for call in self._all:
            yield CallPiece(str(call["name"]), call["arguments"] or "{}")


def _broken(exc: requests.RequestException) -> ModelError:
    return ModelError("server_error", f"the upstream model failed: {exc}")


def _body(request: ModelRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": request.model,
        "messages": list(request.messages),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.tools:
        body["tools"] = list(request.tools)
        body["tool_choice"] = request.tool_choice
    body.update(request.options)
    if not request.tools:
        body.pop("parallel_tool_calls", None)
    return body


def _error_text(answer: Any) -> str:
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    message = error.get("message") if isinstance(error, dict) else error
    return f"the upstream model refused: {message}"
