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
        """Ask the upstream."""
        answer = self._ask(_body(request))
        choice: dict[str, Any] = next(iter(answer.get("choices") or ()), {})
        message = choice.get("message") or {}
        if message.get("content"):
            yield TextPiece(str(message["content"]))
        for call in message.get("tool_calls") or ():
            function = call.get("function") or {}
            arguments = function.get("arguments")
            yield CallPiece(
                str(function.get("name")),
                arguments if isinstance(arguments, str) else json.dumps(arguments or {}),
            )
        usage = answer.get("usage") or {}
        yield Finish(
            reason=_CUT_SHORT.get(str(choice.get("finish_reason")), "stop"),
            prompt_tokens=int(usage.get("prompt_tokens") or 0),
            completion_tokens=int(usage.get("completion_tokens") or 0),
        )

    def _ask(self, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            response = requests.post(
                self._url,
                json=body,
                headers=self._headers,
                timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
            )
        except requests.RequestException as exc:
            raise ModelError("server_error", f"the upstream model failed: {exc}") from exc
        try:
            answer = response.json()
        except ValueError:
            answer = f"HTTP {response.status_code}, and no JSON"
        if response.status_code == 429:
            raise ModelError("rate_limit_exceeded", _error_text(answer))
        if not response.ok or not isinstance(answer, dict):
            raise ModelError("server_error", _error_text(answer))
        return answer


def _body(request: ModelRequest) -> dict[str, Any]:
    body: dict[str, Any] = {"model": request.model, "messages": list(request.messages)}
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
