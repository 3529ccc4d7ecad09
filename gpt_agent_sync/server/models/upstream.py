"""A model behind an OpenAI-compatible ``/chat/completions``: Ollama, llama.cpp, vLLM, OpenAI.

Clients are told in fixed words why it fails: what the upstream says may hold its key, its address,
or another client's text. That goes to the log: the kind at WARNING, the words at DEBUG.
"""

from __future__ import annotations

import itertools
import logging
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import requests

from gpt_agent_sync.event_parser import EventParser, StreamLost
from gpt_agent_sync.secret import Secret, conceal, redact
from gpt_agent_sync.server.models import completions
from gpt_agent_sync.server.models.base import Model, ModelChunk, ModelError, ModelRequest
from gpt_agent_sync.server.models.bounded import join, read_pieces, read_whole
from gpt_agent_sync.server.models.completions import (
    Completion,
    CompletionError,
    CutOffError,
    SaidError,
    UnreadableError,
)
from gpt_agent_sync.server.models.connections import Line, open_session

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

_WORDS: Mapping[type[CompletionError], str] = {
    SaidError: _FAILED,
    UnreadableError: _UNREADABLE,
    CutOffError: _BROKEN,
}

LOADING_PATIENCE, LOADING_PAUSE = 300.0, 1.0
"""Seconds in which an upstream may load its model, and between two questions whether it has."""

_LOADING = re.compile(r"\bloading\b", re.IGNORECASE)

_EVENT_BEGINS = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:event|data|error)?:")
"""How a body of server-sent events begins: with a field, or with a comment."""

_DELAY = re.compile(r"try again in (\d{1,6}(?:\.\d{1,6})?) ?(ms|s|m|h)\b")

MOST_READ = 65536
"""Characters of it in which the key is looked for."""

MOST_LOGGED = 1000
"""Characters of what an upstream says that are logged."""

logger = logging.getLogger(__name__)


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
        line = Line()
        try:
            with (
                request.cancellation.ending(line.cut),
                open_session(line) as session,
                self._answer(session, request) as response,
            ):
                yield from _chunks(response)
        except _UpstreamError as exc:
            # What is cut by a cancel breaks off, too, which is no news.
            request.cancellation.check()
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

    def _answer(self, session: requests.Session, request: ModelRequest) -> requests.Response:
        """Ask, again and again while the model is being loaded."""
        until = time.monotonic() + LOADING_PATIENCE
        while True:
            try:
                return self._ask(session, _body(request))
            except _LoadingError as exc:
                if time.monotonic() + LOADING_PAUSE > until:
                    raise
                logger.debug("the upstream loads the model (%s)", exc.kind)
            request.cancellation.wait(LOADING_PAUSE)

    def _ask(self, session: requests.Session, body: Mapping[str, Any]) -> requests.Response:
        try:
            response = session.post(
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
        if status == 503 and _LOADING.search(str(words)[:MOST_READ]):
            raise _LoadingError(_FAILED, f"HTTP {status}", words)
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


class _LoadingError(_UpstreamError):
    """The upstream is still loading the model."""


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


def _chunks(response: requests.Response) -> Iterator[ModelChunk]:
    """Yield the chunks of a reply: text at once, tool calls when all of it is there."""
    completion = Completion()
    try:
        pieces = read_pieces(response)
        # Some servers name no media type, or a wrong one; and some ignore that a stream is asked
        # for, and answer whole.
        first = next(pieces, b"")
        pieces = itertools.chain([first], pieces)
        if _is_stream(response.headers.get("Content-Type", ""), first):
            yield from _streamed(_until_over(pieces, completion), completion)
        else:
            yield from completion.add(completions.read_whole(join(pieces)))
            yield from completion.end(whole=True)
    except requests.RequestException as exc:
        raise _UpstreamError(_BROKEN, type(exc).__name__, exc) from exc
    except StreamLost as exc:
        raise _UpstreamError(_UNREADABLE, "a large event", exc) from exc
    except CompletionError as exc:
        raise _UpstreamError(_WORDS[type(exc)], exc.kind, exc.words) from exc


def _until_over(pieces: Iterable[bytes], completion: Completion) -> Iterator[bytes]:
    try:
        yield from pieces
    except requests.RequestException as exc:
        # After its last word an answer may end as it likes.
        if not completion.has_ended:
            raise
        logger.debug("the upstream's connection broke after its answer: %s", type(exc).__name__)


def _streamed(pieces: Iterable[bytes], completion: Completion) -> Iterator[ModelChunk]:
    parser = EventParser(error_lines=True)
    # Some servers leave out the blank line after the last event.
    for piece in itertools.chain(pieces, [b"\n\n"]):
        for event in parser.feed(piece):
            if event.data.strip() != completions.DONE:
                for part in completions.read_event(event):
                    yield from completion.add(part)
            if completions.ends_stream(event):
                yield from completion.end(whole=True)
                return
    yield from completion.end(whole=False)


def _is_stream(content_type: str, begin: bytes) -> bool:
    # Media types have no case, and parameters may follow, with or without a space before.
    media_type, _, _ = content_type.partition(";")
    return media_type.strip().lower() == "text/event-stream" or bool(_EVENT_BEGINS.match(begin))


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
