"""A model behind an OpenAI-compatible ``/chat/completions``: Ollama, llama.cpp, vLLM, OpenAI.

Clients are told in fixed words why it fails: what the upstream says may hold its key, its address,
or another client's text. That goes to the log: the kind at WARNING, the words at DEBUG.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs
import requests

from gpt_agent_sync.event_parser import EventParser, StreamLost, begins_stream
from gpt_agent_sync.secret import Secret, conceal, redact
from gpt_agent_sync.server.models import completions
from gpt_agent_sync.server.models.base import Model, ModelChunk, ModelError, ModelRequest
from gpt_agent_sync.server.models.bounded import join, read_pieces, read_whole
from gpt_agent_sync.server.models.cancellation import Cancellation
from gpt_agent_sync.server.models.completions import (
    Completion,
    CompletionError,
    CutOffError,
    SaidError,
    UnreadableError,
)
from gpt_agent_sync.server.models.connections import Line, open_session

COMPLETIONS = "/chat/completions"

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

_UNKNOWN = re.compile(
    r"unknown|unrecognized|unsupported|not supported|not permitted|extra_forbidden|unexpected|"
    r"cannot find field|instead",
    re.IGNORECASE,
)
"""How upstreams say that they do not know a field, of those that are known to."""

_LOADING = re.compile(r"\bloading\b", re.IGNORECASE)

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
        self._base_url = base_url.rstrip("/")
        self._key: Secret | None = key
        self._refused: set[str] = set()

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
            self._log(exc)
            raise ModelError(exc.code, exc.message) from None

    def forward(
        self, method: str, path: str, body: Mapping[str, Any] | None, cancellation: Cancellation
    ) -> Forwarded:
        """Return what the upstream answers to a request of the same wire, as it comes.

        Args:
            method: The HTTP method.
            path: The path below its base URL, such as ``/embeddings``.
            body: The body.
            cancellation: Ends the wait for the answer, and the answer.

        Raises:
            ModelError: If it refuses, or there is no answer.
        """
        line = Line()
        stack = contextlib.ExitStack()
        try:
            stack.enter_context(cancellation.ending(line.cut))
            session = stack.enter_context(open_session(line))
            response = self._request(session, method, path, body)
            stack.callback(response.close)
            return Forwarded(
                response.headers.get("Content-Type", "application/json"),
                _passed_on(read_pieces(response), stack),
            )
        except BaseException as exc:
            stack.close()
            if isinstance(exc, _UpstreamError):
                cancellation.check()
                self._log(exc)
                raise ModelError(exc.code, exc.message) from None
            raise

    def _log(self, error: _UpstreamError) -> None:
        logger.warning("%s (%s)", error.message, error.kind)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("the upstream: %s", self._loggable(error.words))

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
                return self._request(session, "POST", COMPLETIONS, self._body(request))
            except _FieldRefusedError as exc:
                logger.debug("the upstream knows no %r; it is left out from now on", exc.field)
                self._refused.add(exc.field)
                continue
            except _LoadingError as exc:
                if time.monotonic() + LOADING_PAUSE > until:
                    raise
                logger.debug("the upstream loads the model (%s)", exc.kind)
            request.cancellation.wait(LOADING_PAUSE)

    def _body(self, request: ModelRequest) -> dict[str, Any]:
        """Return the body that asks, without the fields that the upstream has refused."""
        body = _body(request)
        for field in self._refused & body.keys():
            value = body.pop(field)
            if field == "max_tokens":
                body["max_completion_tokens"] = value
        return body

    def _request(
        self, session: requests.Session, method: str, path: str, body: Mapping[str, Any] | None
    ) -> requests.Response:
        try:
            response = session.request(
                method,
                self._base_url + path,
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
        if status in (400, 422) and body is not None:
            self._check_fields(body, str(words)[:MOST_READ])
        message = _REFUSALS.get(status, _FAILED if status >= 500 else _REFUSALS[400])
        raise _UpstreamError(message, f"HTTP {status}", words)

    def _check_fields(self, body: Mapping[str, Any], words: str) -> None:
        """Find a field that an upstream refuses, and that it need not have.

        Raises:
            _FieldRefusedError: If there is one.
        """
        # A value that is too large is named as well, and is no reason to say it otherwise.
        if not _UNKNOWN.search(words):
            return
        for field in ("stream_options", "parallel_tool_calls", "max_tokens"):
            # What a client has said is not left out: calls one at a time, that is.
            is_needed = field == "parallel_tool_calls" and body.get(field) is False
            if field in body and not is_needed and re.search(rf"\b{field}\b", words):
                raise _FieldRefusedError(field)


@attrs.frozen
class Forwarded:
    """An upstream's answer, to be passed on.

    Attributes:
        content_type: Its media type.
        pieces: Its body as it comes; reading or closing it to its end lets the connection go.
    """

    content_type: str
    pieces: Iterator[bytes]


def _passed_on(pieces: Iterator[bytes], stack: contextlib.ExitStack) -> Iterator[bytes]:
    # Whoever asked hears by the broken body that it is not whole.
    with stack:
        yield from pieces


class _FieldRefusedError(Exception):
    """The upstream refuses a field by its name.

    Attributes:
        field: The field.
    """

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


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
    return media_type.strip().lower() == "text/event-stream" or begins_stream(begin)


def _body(request: ModelRequest) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": request.model,
        # Ollama takes no null here, and everybody an empty text.
        "messages": [
            {**message, "content": ""} if message["content"] is None else message
            for message in request.messages
        ],
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
