"""What a failure of ``requests`` means: above all, whether the service may have the request."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any

import requests
from requests.exceptions import InvalidHeader, InvalidSchema, InvalidURL, MissingSchema
from urllib3.exceptions import (
    ClosedPoolError,
    ConnectTimeoutError,
    LocationValueError,
    NewConnectionError,
    ReadTimeoutError,
)

from gpt_agent_sync.errors import ConfigurationError, GptAgentError, ServiceUnavailableError

UNUSABLE = (
    InvalidHeader,
    InvalidSchema,
    InvalidURL,
    LocationValueError,
    MissingSchema,
    UnicodeError,
)
"""What is raised for an address, a proxy or a header that no request can have."""

_NEVER_SENT = (
    ClosedPoolError,
    ConnectTimeoutError,
    NewConnectionError,
    requests.ConnectTimeout,
    ssl.SSLCertVerificationError,
)
_MAY_HAVE_ARRIVED = (ConnectionResetError, BrokenPipeError, HTTPException)

_BEFORE_THE_REQUEST = ("Tunnel connection failed", "handshake operation timed out")
"""Words of failures on the way to a connection that have no class of their own."""


def failure(exc: BaseException, what: str, *, sent: bool | None = None) -> GptAgentError:
    """Return the error that says what became of a request.

    Args:
        exc: What requests or urllib3 raised.
        what: Method and address, for the message.
        sent: Whether it was sent, where that is known.
    """
    causes = list(_causes(exc))
    if any(isinstance(cause, UNUSABLE) for cause in causes):
        # Not in the library's words, which quote the header or the proxy, password and all.
        return ConfigurationError(
            f"{what} cannot be made: an address, proxy or header of the session is unusable "
            f"({type(exc).__name__})"
        )
    in_doubt = may_have_arrived(causes) if sent is None else sent
    late = any(isinstance(cause, (requests.ReadTimeout, ReadTimeoutError)) for cause in causes)
    # What lies at the bottom has the words that people know.
    root = causes[-1]
    return ServiceUnavailableError(
        f"{what} failed: {type(root).__name__}: {root}",
        in_doubt=in_doubt,
        timed_out=in_doubt and late,
    )


def may_have_arrived(causes: list[BaseException]) -> bool:
    """Return whether the service may have got a request that failed before its answer.

    requests has one class for a connection that was refused and one that broke off; what lies
    below tells them apart. A class of its own says little of a proxy: urllib3 blames the proxy too
    where the server behind it dropped the connection with the request. Certificates are judged
    before anything is sent.
    """
    if any(isinstance(cause, _MAY_HAVE_ARRIVED) for cause in causes):
        return True
    early = any(words in str(cause) for cause in causes for words in _BEFORE_THE_REQUEST)
    return not (early or any(isinstance(cause, _NEVER_SENT) for cause in causes))


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """Return an exception and what it wraps, outermost first.

    Its context is not followed: that may be any error in whose handling the request was made.
    """
    seen: list[BaseException] = []
    cause: BaseException | None = exc
    while cause is not None and cause not in seen:
        seen.append(cause)
        yield cause
        inner: list[Any] = [getattr(cause, "reason", None), *cause.args, cause.__cause__]
        cause = next((each for each in inner if isinstance(each, BaseException)), None)
