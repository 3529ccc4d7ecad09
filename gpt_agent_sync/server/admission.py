"""Which requests are let in: by key, host, origin, content type and size.

A server on loopback is open to every web page that the user visits: a page cannot read what it
answers, but could send, from a form as ``text/plain``, or under a name that leads here (DNS
rebinding). Pages name their origin, cannot send JSON without asking first, and do not know the key.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from urllib.parse import urlsplit

from flask import request

from gpt_agent_sync.secret import Secret
from gpt_agent_sync.server.errors import WireError

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
"""The names of this host for itself."""

MOST_BODY_BYTES = 16 * 1024 * 1024
"""How large a request's body may be."""

ANY = "*"
"""As an allowed host: any."""


class Admission:
    """The rules by which requests are let in.

    Args:
        key: The key that is asked for, as a bearer token or in ``api-key``; ``None`` asks for none.
        hosts: The names under which the server may be asked, without ports; ``"*"`` for any.
            Without them any name will do where a key is asked for, and else loopback's.
        origins: The origins of pages that may ask it, such as ``https://example.com``, beside its
            own; ``"*"`` for any.
        max_body: Bytes that a request's body may have.
    """

    def __init__(
        self,
        key: Secret | None = None,
        hosts: Iterable[str] | None = None,
        origins: Iterable[str] = (),
        max_body: int = MOST_BODY_BYTES,
    ) -> None:
        self._key = key
        default = LOOPBACK if key is None else {ANY}
        self._hosts = frozenset(default if hosts is None else (host.lower() for host in hosts))
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)
        self._max_body = max_body

    def check(self) -> None:
        """Let the current request in.

        Raises:
            WireError: If it is not to be.
        """
        host = request.headers.get("Host", "")
        if ANY not in self._hosts and host_name(host) not in self._hosts:
            raise WireError(
                403, f"The server may not be asked as '{host[:200]}'.", code="host_not_allowed"
            )
        origin = request.headers.get("Origin")
        if origin is not None and not self._knows(origin, host):
            raise WireError(
                403, f"Pages of '{origin[:200]}' may not ask it.", code="origin_not_allowed"
            )
        if self._key is not None and not _has_key(self._key):
            raise WireError(401, "Incorrect API key provided.", code="invalid_api_key")
        length = request.content_length
        if length is not None and length > self._max_body:
            raise too_large(self._max_body)
        if request.method in ("POST", "PUT", "PATCH") and not _is_json(length):
            kind = request.mimetype or "none"
            raise WireError(
                415,
                f"Unsupported content type: {kind[:100]!r}. Send the body as 'application/json'.",
                code="unsupported_content_type",
            )

    def _knows(self, origin: str, host: str) -> bool:
        asked = origin.lower()
        _, slashes, own = asked.partition("://")
        return bool(slashes and own == host.lower()) or self.allows(origin)

    def allows(self, origin: str) -> bool:
        """Return whether pages of a foreign origin may ask the server."""
        return ANY in self._origins or origin.lower() in self._origins

    def headers(self) -> dict[str, str]:
        """Return what tells a browser that a page of a foreign origin may read the answer."""
        origin = request.headers.get("Origin")
        if origin is None or not self.allows(origin):
            return {}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Expose-Headers": "x-request-id, openai-poll-after-ms",
            "Vary": "Origin",
        }

    def preflight(self) -> dict[str, str] | None:
        """Return the answer's headers where a browser asks whether a page may ask; else ``None``.

        Such a question has no key.
        """
        if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
            return None
        headers = self.headers()
        if not headers:
            return None
        wanted = request.headers.get("Access-Control-Request-Headers", "")
        return {
            **headers,
            "Access-Control-Allow-Methods": "GET, POST, DELETE",
            "Access-Control-Allow-Headers": wanted[:1000],
            "Access-Control-Max-Age": "600",
        }


def too_large(most: int) -> WireError:
    """Return the error for a body that is too large."""
    return WireError(
        413, f"The request body is too large: {most} bytes are the most.", code="request_too_large"
    )


def host_name(host: str) -> str:
    """Return the name in a ``Host`` header, without its port and in lower case."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_json(length: int | None) -> bool:
    # Requests without fields may come without a body, and then say nothing of what it is.
    if not length and not request.headers.get("Transfer-Encoding"):
        return True
    kind = request.mimetype
    return kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )


def _has_key(key: Secret) -> bool:
    """Return whether the request has the key; a frame of its own, which no traceback keeps."""
    wanted = key.reveal().encode()
    # Azure's clients have a header of their own.
    bearer, _, token = request.headers.get("Authorization", "").partition(" ")
    given = [token if bearer.lower() == "bearer" else "", request.headers.get("api-key", "")]
    # Compared in constant time, so that answers do not tell how much of a guess was right.
    return sum(hmac.compare_digest(each.strip().encode(), wanted) for each in given) > 0
