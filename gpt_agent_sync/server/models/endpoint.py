"""The other server's address: requests to it, and what its refusals mean.

Clients are told in fixed words why it fails: what the upstream says may hold its key, its address,
or another client's text. That goes to the log: the kind at WARNING, the words at DEBUG.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import requests

from gpt_agent_sync.secret import Secret, conceal, redact
from gpt_agent_sync.server.models.base import ContextLengthError, ModelError
from gpt_agent_sync.server.models.bounded import read_pieces, read_whole
from gpt_agent_sync.server.models.cancellation import Cancellation
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
UNREADABLE = "The upstream model's answer cannot be read."
_REDIRECTED = "The upstream redirects elsewhere, which is not followed."
FAILED = "The upstream model failed."
_LIMITED = "The upstream's rate limit is reached."

_LOADING = re.compile(r"\bloading\b", re.IGNORECASE)

_DELAY = re.compile(r"try again in (\d{1,6}(?:\.\d{1,6})?) ?(ms|s|m|h)\b")

MOST_READ = 65536
"""Characters of it in which the key is looked for."""

MOST_LOGGED = 1000
"""Characters of what an upstream says that are logged."""

_TOO_LONG = re.compile(
    r"context_length_exceeded|exceed_context_size|"
    r"\b(?:maximum|available|model's) context\b|\bcontext ?(?:length|size|window)",
    re.IGNORECASE,
)
"""How upstreams say that a conversation is longer than their model's context."""

_CONTEXT = "The conversation is longer than the model's context."

logger = logging.getLogger(__name__)


class UpstreamError(Exception):
    """Why the upstream does not answer.

    Attributes:
        message: The fixed words for clients.
        kind: The kind of failure, for the log.
        words: What the upstream, or the HTTP library, says of it.
        code: The error's code.
        status: The HTTP status, where there was an answer.
    """

    def __init__(
        self,
        message: str,
        kind: str,
        words: object,
        code: str = "server_error",
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.kind = kind
        self.words = words
        self.code = code
        self.status = status

    @property
    def text(self) -> str:
        """The beginning of the words."""
        return str(self.words)[:MOST_READ]

    @property
    def is_loading(self) -> bool:
        """Whether the upstream is still loading the model."""
        return self.status == 503 and _LOADING.search(self.text) is not None

    @property
    def is_too_long(self) -> bool:
        """Whether the conversation is longer than the model's context."""
        # Words in the middle of an answer have no status; those of a success mean nothing.
        is_refusal = self.status in (None, 400, 413, 422)
        return is_refusal and _TOO_LONG.search(self.text) is not None


@attrs.frozen
class Forwarded:
    """An upstream's answer, to be passed on.

    Attributes:
        content_type: Its media type.
        pieces: Its body as it comes; reading or closing it to its end lets the connection go.
    """

    content_type: str
    pieces: Iterator[bytes]


class Endpoint:
    """An upstream's address, and the key that it wants.

    Args:
        base_url: Where its paths lie below, such as ``http://127.0.0.1:11434/v1``.
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

    def request(
        self, session: requests.Session, method: str, path: str, body: Mapping[str, Any] | None
    ) -> requests.Response:
        """Return an answer, its body still to be read.

        Args:
            session: What makes the request.
            method: The HTTP method.
            path: The path below its address.
            body: The JSON body.

        Raises:
            UpstreamError: If there is none, or it is a refusal.
        """
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
            raise UpstreamError(_LATE, type(exc).__name__, exc) from exc
        except requests.RequestException as exc:
            raise UpstreamError(_UNREACHABLE, type(exc).__name__, exc) from exc
        status = response.status_code
        if 200 <= status < 300:
            return response
        with response:
            # The HTTP library takes an interim answer, such as 103, for the answer, which is still
            # to come: on this connection nothing more can be read.
            if status < 200:
                raise UpstreamError(UNREADABLE, f"HTTP {status}", "an interim answer")
            if status < 400:
                location = response.headers.get("Location")
                raise UpstreamError(_REDIRECTED, f"HTTP {status}", location)
            words = _words(response)
        if status == 429:
            code, message = "rate_limit_exceeded", _limited(words)
        else:
            code = "server_error"
            message = _REFUSALS.get(status, FAILED if status >= 500 else _REFUSALS[400])
        raise UpstreamError(message, f"HTTP {status}", words, code, status)

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
            response = self.request(session, method, path, body)
            stack.callback(response.close)
            return Forwarded(
                response.headers.get("Content-Type", "application/json"),
                _passed_on(read_pieces(response), stack),
            )
        except BaseException as exc:
            stack.close()
            if isinstance(exc, UpstreamError):
                raise self.failure(exc, cancellation) from None
            raise

    def failure(self, error: UpstreamError, cancellation: Cancellation) -> ModelError:
        """Log why the upstream does not answer, and return the error that clients are told.

        Raises:
            ReplyCancelledError: If nobody wants the answer any more.
        """
        # What is cut by a cancel breaks off, too, which is no news.
        cancellation.check()
        logger.warning("%s (%s)", error.message, error.kind)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("the upstream: %s", self._loggable(error))
        if error.is_too_long:
            return ContextLengthError("invalid_prompt", _CONTEXT)
        return ModelError(error.code, error.message)

    def _loggable(self, error: UpstreamError) -> str:
        """Return what an upstream says on one line, without the key."""
        known = () if self._key is None else (self._key.reveal(),)
        return repr(redact(error.text, known)[:MOST_LOGGED])

    def _authorize(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # As an auth of ours: without one the HTTP library takes a key out of .netrc.
        if self._key is not None:
            request.headers["Authorization"] = f"Bearer {self._key.reveal()}"
        return request


def _passed_on(pieces: Iterator[bytes], stack: contextlib.ExitStack) -> Iterator[bytes]:
    # Whoever asked hears by the broken body that it is not whole.
    with stack:
        yield from pieces


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
