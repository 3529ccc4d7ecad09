"""What a failure of ``requests`` means: above all, whether the service may have the request."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from http.client import HTTPException
from types import TracebackType
from typing import Any, NoReturn

import requests
from requests.exceptions import InvalidHeader, InvalidSchema, InvalidURL, MissingSchema
from urllib3.exceptions import (
    ClosedPoolError,
    ConnectTimeoutError,
    LocationValueError,
    NewConnectionError,
    ReadTimeoutError,
)

from gpt_agent_sync.errors import ConfigurationError, ServiceUnavailableError
from gpt_agent_sync.secret import redact

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

_NETWORK = frozenset(
    {"socket", "ssl", "http", "urllib3", "requests", "gevent", "eventlet", "OpenSSL", "socks"}
)
"""The packages that raise what happens to connections."""

_BEFORE_THE_REQUEST = ("Tunnel connection failed", "handshake operation timed out")
"""Words of failures on the way to a connection that have no class of their own."""


def raise_failure(exc: BaseException, what: str, *, sent: bool | None = None) -> NoReturn:
    """Raise the error that says what became of a request.

    Args:
        exc: What requests or urllib3 raised.
        what: Method and address, for the message.
        sent: Whether it was sent, where that is known.

    Raises:
        ServiceUnavailableError: If there was no answer, or not all of it.
        ConfigurationError: If the session has an address, proxy or header that cannot be used.
        OSError: If a signal handler of the program raised it.
    """
    causes = list(_causes(exc))
    for cause in causes:
        if _is_programs(cause):
            raise cause
    forget_frames(exc)
    if any(isinstance(cause, UNUSABLE) for cause in causes):
        # Not in the library's words, which quote the header or the proxy, password and all.
        remedy = (
            "a SOCKS proxy needs a package: pip install 'requests[socks]'"
            if any("SOCKS" in str(cause) for cause in causes)
            else "an address, proxy (of the environment, too) or header of the session is unusable "
            f"({type(exc).__name__})"
        )
        raise ConfigurationError(f"{what} cannot be made: {remedy}") from None
    unreadable = next((cause for cause in causes if _is_no_certificate(cause)), None)
    if unreadable is not None:
        raise ConfigurationError(
            f"{what} cannot be made: a file of certificates that the session or the environment "
            f"names holds none that can be read ({unreadable})"
        ) from exc
    in_doubt = may_have_arrived(causes) if sent is None else sent
    late = any(isinstance(cause, (requests.ReadTimeout, ReadTimeoutError)) for cause in causes)
    # What lies at the bottom has the words that people know.
    root = causes[-1]
    raise ServiceUnavailableError(
        f"{what} failed: {type(root).__name__}: {redact(str(root))}",
        in_doubt=in_doubt,
        timed_out=in_doubt and late,
    ) from exc


def _is_no_certificate(cause: BaseException) -> bool:
    """Return whether a file that was to hold certificates, or a key, holds none."""
    if not isinstance(cause, ssl.SSLError):
        return False
    return cause.library in ("X509", "PEM") or "PEM lib" in str(cause)


def forget_frames(exc: BaseException) -> None:
    """Drop the tracebacks of what libraries raised, and of ours that passed through them.

    Error trackers keep the variables of each frame, and those of the libraries have the headers
    and the addresses of proxies in them, keys and passwords included.
    """
    seen: list[BaseException] = []
    rest: list[BaseException | None] = [exc]
    while rest:
        error = rest.pop()
        if error is None or error in seen:
            continue
        seen.append(error)
        if error is not exc and _package(error.__traceback__) not in _NETWORK:
            continue  # in whose handling the request was made
        error.__traceback__ = None
        if isinstance(error, requests.RequestException):
            error.request = error.response = None  # which has the headers
        rest += [error.__cause__, error.__context__]
        rest += [each for each in error.args if isinstance(each, BaseException)]


def _package(traceback: TracebackType | None) -> str:
    """Return the package in which something was raised."""
    module = ""
    while traceback is not None:
        module, traceback = traceback.tb_frame.f_globals.get("__name__", ""), traceback.tb_next
    return module.partition(".")[0]


def _is_programs(cause: BaseException) -> bool:
    """Return whether an error is not the network's: a signal handler of the program raised it.

    Those run within whatever the main thread is doing, and what they raise there, ``TimeoutError``
    by custom, looks like the network's own to the libraries, which wrap it.
    """
    if not isinstance(cause, OSError) or isinstance(cause, requests.RequestException):
        return False
    return _package(cause.__traceback__) not in _NETWORK | {""}


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
