"""A model behind an OpenAI-compatible ``/chat/completions``: Ollama, llama.cpp, vLLM, OpenAI.

Clients are told in fixed words why it fails: what the upstream says may hold its key, its address,
or another client's text. That goes to the log: the kind at WARNING, the words at DEBUG.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

import requests

from gpt_agent_sync.foreign_json import read_foreign_json
from gpt_agent_sync.secret import Secret, conceal, redact
from gpt_agent_sync.server.models.base import (
    Finish,
    Model,
    ModelChunk,
    ModelError,
    ModelRequest,
    TextDelta,
    ToolCall,
)
from gpt_agent_sync.server.models.bounded import read_lines, read_whole

CONNECT_TIMEOUT, READ_TIMEOUT = 5.0, 600.0
"""Seconds; a local model may think for long."""

_REFUSALS = {
    400: "The upstream model refused the request.",
    401: "The upstream refused the server's key.",
    403: "The upstream refused the server's key.",
    404: "The upstream has no such model.",
    408: "The upstream model did not answer in time.",
    504: "The upstream model did not answer in time.",
}
_UNREACHABLE = "The upstream model cannot be reached."
_LATE = "The upstream model did not answer in time."
_BROKEN = "The upstream model's answer broke off."
_UNREADABLE = "The upstream model's answer cannot be read."
_REDIRECTED = "The upstream redirects elsewhere, which is not followed."
_FAILED = "The upstream model failed."
_LIMITED = "The upstream's rate limit is reached."

_DELAY = re.compile(r"try again in (\d{1,6}(?:\.\d{1,6})?) ?(ms|s|m|h)\b")

MOST_READ = 65536
"""Characters of it in which the key is looked for."""

MOST_LOGGED = 1000
"""Characters of what an upstream says that are logged."""

logger = logging.getLogger(__name__)

_FINISH_REASONS = {"length": "max_completion_tokens", "content_filter": "content_filter"}


class UpstreamModel(Model):
    """The models of another server.

    Args:
        base_url: Where ``/chat/completions`` lies below, such as ``http://127.0.0.1:11434/v1``.
        api_key: The bearer key, if it wants one.

    Raises:
        ValueError: If the key has characters that no header takes; it does not show the key.
    """

    def __init__(self, base_url: str, api_key: str | Secret | None = None) -> None:
        # Rebound before anything can fail: error trackers keep the variables of a frame.
        api_key = key = conceal(api_key or None)
        if key is not None and not re.fullmatch(r"[!-~]+", key.reveal()):
            raise ValueError(
                "the upstream's key has characters that no HTTP header can carry, such as a line's "
                "end: strip it"
            )
        self._url = f"{base_url.rstrip('/')}/chat/completions"
        self._key: Secret | None = key

    def serves(self, name: str) -> bool:
        """Return ``True``: the upstream knows which models it has."""
        return True

    def reply(self, request: ModelRequest) -> Iterator[ModelChunk]:
        """Ask the upstream, and yield what it answers as it comes."""
        try:
            with self._ask(_body(request)) as response:
                # Some servers ignore that a stream is asked for, and answer whole.
                completions = _events(response) if _is_stream(response) else iter([_json(response)])
                yield from _chunks(completions)
        except _UpstreamError as exc:
            logger.warning("%s (%s)", exc.message, exc.kind)
            if logger.isEnabledFor(logging.DEBUG):
                logger.debug("the upstream: %s", self._loggable(exc.words))
            raise ModelError(exc.code, exc.message) from None

    def _loggable(self, words: object) -> str:
        """Return what an upstream says on one line, without the key."""
        known = () if self._key is None else (self._key.reveal(),)
        return repr(redact(str(words)[:MOST_READ], known)[:MOST_LOGGED])

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # As an auth of ours: without one the HTTP library takes a key out of .netrc.
        if self._key is not None:
            request.headers["Authorization"] = f"Bearer {self._key.reveal()}"
        return request

    def _ask(self, body: Mapping[str, Any]) -> requests.Response:
        try:
            # No session: one is not promised to be thread-safe, and beside a model's time the new
            # connection costs nothing.
            response = requests.post(
                self._url,
                json=body,
                auth=self._authorize,
                timeout=(CONNECT_TIMEOUT, READ_TIMEOUT),
                # A conversation, and the key with it, goes where it was meant to, or nowhere.
                allow_redirects=False,
                stream=True,
            )
        except requests.Timeout as exc:
            raise _UpstreamError(_LATE, type(exc).__name__, exc) from exc
        except requests.RequestException as exc:
            raise _UpstreamError(_UNREACHABLE, type(exc).__name__, exc) from exc
        status = response.status_code
        if 200 <= status < 300:
            return response
        with response:
            # The HTTP library takes an interim answer, such as 103, for the answer, which is still
            # to come: on this connection nothing more can be read.
            if status < 200:
                raise _UpstreamError(_UNREADABLE, f"HTTP {status}", "an interim answer")
            if status < 400:
                location = response.headers.get("Location")
                raise _UpstreamError(_REDIRECTED, f"HTTP {status}", location)
            words = _words(response)
        if status == 429:
            raise _UpstreamError(_limited(words), f"HTTP {status}", words, "rate_limit_exceeded")
        message = _REFUSALS.get(status, _FAILED if status >= 500 else _REFUSALS[400])
        raise _UpstreamError(message, f"HTTP {status}", words)


class _UpstreamError(Exception):
    """Why the upstream does not answer.

    Attributes:
        message: The fixed words for clients.
        kind: The kind of failure, for the log.
        words: What the upstream, or the HTTP library, says of it.
        code: The error's code.
    """

    def __init__(self, message: str, kind: str, words: object, code: str = "server_error") -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.words = words
        self.code = code


def _limited(words: object) -> str:
    """Return the words for a rate limit, with the time that the upstream names."""
    found = _DELAY.search(str(words))
    return _LIMITED if found is None else f"{_LIMITED} Please try again in {found[1]}{found[2]}."


def _words(response: requests.Response) -> object:
    """Return what a refusal says."""
    try:
        return read_whole(response).decode("utf-8", "replace")
    except requests.RequestException as exc:
        return exc


def _is_stream(response: requests.Response) -> bool:
    # Media types have no case, and parameters may follow, with or without a space before.
    media_type, _, _ = response.headers.get("Content-Type", "").partition(";")
    return media_type.strip().lower() == "text/event-stream"


def _json(response: requests.Response) -> dict[str, Any]:
    try:
        answer = read_foreign_json(read_whole(response))
    except ValueError as exc:
        raise _UpstreamError(_UNREADABLE, "no JSON", exc) from exc
    except requests.RequestException as exc:
        raise _UpstreamError(_BROKEN, type(exc).__name__, exc) from exc
    if not isinstance(answer, dict):
        raise _UpstreamError(_UNREADABLE, "no JSON object", answer)
    return answer


def _events(response: requests.Response) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a stream; all other lines, ``[DONE]`` say, are ignored."""
    # Not by the rules of event streams: here every event is one line of JSON, and some servers
    # leave out the blank lines between events.
    try:
        for line in read_lines(response):
            field, _, data = line.partition(b":")
            if field != b"data":
                continue
            try:
                event = read_foreign_json(data)
            except ValueError:
                continue
            if isinstance(event, dict):
                yield event
    except requests.RequestException as exc:
        raise _UpstreamError(_BROKEN, type(exc).__name__, exc) from exc


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
            raise _UpstreamError(_FAILED, "an error in its answer", completion["error"])
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
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
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
            call = {"id": part.get("id"), "name": None, "arguments": []}
            self._by_index[index] = call
            self._calls.append(call)
        call["name"] = function.get("name") or call["name"]
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            call["arguments"].append(arguments)
        # Some servers send an object in place of JSON text, and null for no arguments.
        elif arguments:
            call["arguments"].append(json.dumps(arguments))

    def _is_other(self, call: Mapping[str, Any], call_id: object, name: object) -> bool:
        # Ollama gives all calls the index 0: only a new id with a name is the next call's.
        return bool(call_id and name) and call_id != call["id"]

    def chunks(self) -> Iterator[ToolCall]:
        """Yield the calls, in the order in which they began."""
        for call in self._calls:
            yield ToolCall(str(call["name"]), "".join(call["arguments"]) or "{}")


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**53 else 0


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
