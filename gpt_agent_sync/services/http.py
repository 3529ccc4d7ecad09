"""The transport: requests over pooled connections; the only module that imports ``requests``.

It is imported when the first request is made. It uses a transport adapter, which pools
connections and may be shared by threads, rather than a ``Session``, which may not.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import attrs
import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NewConnectionError

from gpt_agent_sync.errors import ServiceUnavailableError

POOLED_CONNECTIONS = 1024


@attrs.frozen
class RawAnswer:
    """Hold an answer as it came.

    Attributes:
        status: The HTTP status.
        headers: The headers, in a mapping that ignores case.
        body: The whole body.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """Hold the connections of one process, and the proxies worked out once.

    Args:
        url: An address of the service, to work the proxies out for.
        trust_environment: Whether proxies and certificates are taken from the environment.
    """

    def __init__(self, url: str, trust_environment: bool) -> None:
        self.pid = os.getpid()
        self._adapter = HTTPAdapter(pool_maxsize=POOLED_CONNECTIONS, max_retries=0)
        with requests.Session() as session:
            session.trust_env = trust_environment
            merged = session.merge_environment_settings(url, {}, None, None, None)
        self._proxies = merged["proxies"]
        self._verify = True if merged["verify"] is None else merged["verify"]
        self._cert = merged["cert"]

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout: tuple[float, float],
    ) -> RawAnswer:
        """Make one request and read its whole answer; redirects are answers too.

        Args:
            method: The HTTP method.
            url: The address, query included.
            headers: The headers.
            body: The body.
            timeout: Seconds to connect, and of silence.

        Raises:
            ServiceUnavailableError: If there was no answer; ``in_doubt`` tells whether the request
                may have arrived.
        """
        try:
            prepared = requests.Request(method, url, headers=dict(headers), data=body).prepare()
            response = self._adapter.send(
                prepared,
                timeout=timeout,
                verify=self._verify,
                cert=self._cert,
                proxies=self._proxies,
            )
            return RawAnswer(response.status_code, response.headers, response.content)
        except requests.RequestException as exc:
            raise ServiceUnavailableError(
                f"{method} {url.partition('?')[0]} failed: {_reason(exc)}",
                in_doubt=not _never_left(exc),
                timed_out=isinstance(exc, requests.ReadTimeout),
            ) from exc

    def close(self) -> None:
        """Close the pooled connections."""
        self._adapter.close()


def _never_left(exc: requests.RequestException) -> bool:
    """Tell whether the request cannot have reached the service."""
    if isinstance(exc, (requests.ConnectTimeout, requests.exceptions.InvalidHeader)):
        return True
    reason = getattr(exc.args[0], "reason", None) if exc.args else None
    return isinstance(exc, requests.exceptions.ProxyError) or isinstance(reason, NewConnectionError)


def _reason(exc: requests.RequestException) -> str:
    cause: object = exc.args[0] if exc.args else exc
    return f"{type(exc).__name__}: {getattr(cause, 'reason', None) or cause}"
