"""Requests as services make them: checked arguments, safe repeats, errors with a name."""

from __future__ import annotations

import json
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode, urlsplit

import attrs

from gpt_agent_sync.decisions.rate_limits import is_quota
from gpt_agent_sync.errors import (
    ConfigurationError,
    RateLimitError,
    ServiceError,
    ServiceUnavailableError,
)
from gpt_agent_sync.records import Pause
from gpt_agent_sync.services.answers import Answer, read_answer

if TYPE_CHECKING:
    from gpt_agent_sync.services.http import Transport

logger = logging.getLogger(__name__)

FIRST_BACKOFF = 0.5
LONGEST_BACKOFF = 8.0
SHORTEST_SECRET = 8
"""Characters: a shorter key is a word of everyday, which a refusal may hold by chance."""

LONGEST_RETRY_AFTER = 60.0
"""Seconds: a service that asks for a longer pause gets its error told instead."""

T = TypeVar("T")


@attrs.frozen
class Limits:
    """Hold the bounds of a request.

    Attributes:
        connect_timeout: Seconds to open a connection.
        read_timeout: Seconds of silence.
        retries: How often a request is repeated where that is safe.
    """

    connect_timeout: float
    read_timeout: float
    retries: int


def check_base_url(base_url: object, name: str = "base_url") -> str:
    """Give the base URL without a trailing slash.

    Raises:
        ConfigurationError: If it is not an ``http`` or ``https`` URL with a host, or has a user or
            password in it, which errors and logs would show.
    """
    wanted = f"{name} must be an http or https URL such as 'http://host/v1'"
    if not isinstance(base_url, str) or not base_url.strip():
        raise ConfigurationError(f"{wanted}, not {base_url!r}")
    try:
        parts = urlsplit(base_url.strip())
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        secret = parts.username or parts.password
    except ValueError:
        usable, secret = False, None
    if secret:
        raise ConfigurationError(f"{name} must not hold a user or password; pass them in headers")
    if not usable:
        raise ConfigurationError(f"{wanted}, not {base_url!r}")
    return base_url.strip().rstrip("/")


def check_api_key(api_key: object) -> str | None:
    """Give the key if it can go into a header; the error does not show it.

    Raises:
        ConfigurationError: If it is not a text, blank, or has characters no header takes.
    """
    if api_key is None:
        return None
    if not isinstance(api_key, str) or not api_key.strip():
        raise ConfigurationError("api_key must be a non-blank string")
    key = api_key.strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigurationError("api_key has characters that no HTTP header can carry")
    return key


def check_headers(headers: Mapping[str, str | None]) -> dict[str, str]:
    """Give the headers that are set, if HTTP can carry them.

    Raises:
        ConfigurationError: If a name or value is no text, or has characters no header takes; the
            value is not shown.
    """
    checked = {name: value for name, value in headers.items() if value is not None}
    for name, value in checked.items():
        texts = isinstance(name, str) and isinstance(value, str)
        if not texts or not name.isascii() or not value.isascii() or not value.isprintable():
            raise ConfigurationError(f"header {name!r} has a value that no HTTP header can carry")
    return checked


def wait_on_this_thread(seconds: float) -> None:
    """Pause on a caller's thread, where no feed can be closed."""
    threading.Event().wait(seconds)


class HttpClient:
    """Make requests below one base URL.

    Safe to share between threads. After ``fork()`` the child opens connections of its own.

    Args:
        headers: Gives the headers of a request; called before each one.
        limits: Gives the bounds in force; called before each request.
        query: Parameters that go with every request.
        trust_environment: Whether proxies and certificates are taken from the environment.
    """

    def __init__(
        self,
        headers: Callable[[], Mapping[str, str]],
        limits: Callable[[], Limits],
        *,
        query: Mapping[str, str] | None = None,
        trust_environment: bool = True,
    ) -> None:
        self._headers = headers
        self._limits = limits
        self._query = dict(query or {})
        self._trust_environment = trust_environment
        self._transport: Transport | None = None

    def get(
        self,
        url: str,
        params: Mapping[str, Any] | None = None,
        pause: Pause = wait_on_this_thread,
    ) -> Answer:
        """Read; repeated on 408, 429, 5xx and broken connections.

        Raises:
            ServiceError: If the service refuses, or still fails after the retries.
        """
        return self._repeat(lambda: self._send("GET", url, params, None), lambda error: None, pause)

    def post(
        self,
        url: str,
        body: Mapping[str, Any],
        *,
        find: Callable[[], T | None] | None = None,
        pause: Pause = wait_on_this_thread,
        read_timeout: float | None = None,
        repeat_after_timeout: bool = True,
        retries: int | None = None,
    ) -> Answer | T:
        """Write; repeated only when the service cannot have handled the request.

        Args:
            url: Where to.
            body: The JSON object.
            find: Looks whether a request that may have been handled was: gives what it made, or
                ``None`` when it was not, and the request is repeated. Without it such a request
                fails.
            pause: Waits between the tries.
            read_timeout: Seconds of silence, in place of the usual bound.
            repeat_after_timeout: Whether a request is repeated that may still be worked on.
            retries: How often it is repeated, in place of the usual bound.

        Raises:
            ServiceError: If the service refuses, or still fails after the retries.
        """

        def recover(error: ServiceUnavailableError) -> T | None:
            if not error.in_doubt:
                return None
            if find is None:
                raise error
            found = find()
            if found is None and error.timed_out and not repeat_after_timeout:
                raise error
            return found

        return self._repeat(
            lambda: self._send("POST", url, None, body, read_timeout), recover, pause, retries
        )

    def close(self) -> None:
        """Close the pooled connections; later requests open new ones."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()

    def _repeat(
        self,
        attempt: Callable[[], Answer],
        recover: Callable[[ServiceUnavailableError], T | None],
        pause: Pause,
        most: int | None = None,
    ) -> Answer | T:
        retries = self._limits().retries if most is None else most
        tries = 0
        while True:
            try:
                return attempt()
            except ServiceUnavailableError as exc:
                found = recover(exc)
                if found is not None:
                    return found
                error: ServiceError = exc
                asked = None
            except RateLimitError as exc:
                error = exc
                asked = exc.retry_after
            tries += 1
            hopeless = isinstance(error, RateLimitError) and is_quota(error.code, error.message)
            if tries > retries or (asked or 0.0) > LONGEST_RETRY_AFTER or hopeless:
                raise error
            delay = backoff(tries) if asked is None else asked
            logger.warning("%s; repeat %d of %d in %.2f s", error, tries, retries, delay)
            pause(delay)

    def _send(
        self,
        method: str,
        url: str,
        params: Mapping[str, Any] | None,
        body: Mapping[str, Any] | None,
        read_timeout: float | None = None,
    ) -> Answer:
        request = f"{method} {url}"
        query = urlencode({**self._query, **(params or {})})
        headers = {"Accept": "application/json", **self._headers()}
        content = None
        if body is not None:
            content = json.dumps(body, allow_nan=False).encode()
            headers["Content-Type"] = "application/json"
        limits = self._limits()
        began = time.monotonic()
        answer = self._get_transport(url).send(
            method,
            f"{url}?{query}" if query else url,
            headers,
            content,
            (limits.connect_timeout, read_timeout or limits.read_timeout),
        )
        logger.debug("%s -> %d in %.3f s", request, answer.status, time.monotonic() - began)
        told = answer.body if answer.status < 400 else _without_key(answer.body, headers)
        return read_answer(request, answer.status, answer.headers, told)

    def _get_transport(self, url: str) -> Transport:
        # Imported here, as ``requests`` costs most of the import time of all we need.
        from gpt_agent_sync.services.http import Transport

        transport = self._transport
        if transport is None or transport.pid != os.getpid():
            transport = self._transport = Transport(url, self._trust_environment)
        return transport


def _without_key(body: bytes, headers: Mapping[str, str]) -> bytes:
    """Give a refusal without the key: some servers tell which one they refuse."""
    key = headers.get("Authorization", "").removeprefix("Bearer ").encode()
    return body.replace(key, b"***") if len(key) >= SHORTEST_SECRET else body


def backoff(tries: int) -> float:
    """Give the seconds before the next try: exponential with full-range jitter above half."""
    ceiling = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** (tries - 1))
    return ceiling * random.uniform(0.5, 1.0)
