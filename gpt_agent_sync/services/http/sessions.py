"""Sessions: those of programs, checked, and our own, whose pools fit any number of agents."""

from __future__ import annotations

import collections
import contextlib
import functools
import queue
import socket
import time
import weakref
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from requests.cookies import RequestsCookieJar
from urllib3.connection import HTTPConnection

from gpt_agent_sync import forks
from gpt_agent_sync.errors import ConfigurationError
from gpt_agent_sync.services.http.calls import Call
from gpt_agent_sync.threads import ThreadValue
from gpt_agent_sync.version import __version__

IDLE_SECONDS = 30.0
"""Seconds after which a connection that nobody used is closed, when another one comes back."""

IDLE_CONNECTIONS = 10
"""Connections that are kept at rest; while more requests are live than that, as many as those."""

USER_AGENT = f"gpt_agent_sync/{__version__}"


def check_session(session: object) -> requests.Session:
    """Return a program's session.

    Raises:
        ConfigurationError: If it is none.
    """
    if not isinstance(session, requests.Session):
        raise ConfigurationError(f"session must be a requests.Session, not {session!r}")
    return session


def new_session(trust_environment: bool) -> requests.Session:
    """Return a session for one service, which is not changed any more.

    Args:
        trust_environment: Whether proxies and certificates are taken from the environment.
    """
    session = requests.Session()
    session.trust_env = trust_environment
    session.headers.clear()
    session.headers["User-Agent"] = USER_AGENT
    session.cookies = _NoCookies()
    adapter = _Adapter()
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    _sessions[id(session)] = session
    return session


# Weakly: it is for the end of the process alone.
_sessions: weakref.WeakValueDictionary[int, requests.Session] = weakref.WeakValueDictionary()

# A child knows none of its parent's: what locks they have may be held there for ever.
forks.in_child(_sessions.clear)


def close_all() -> None:
    """Close the connections of our sessions that are idle, and each other one when it will be."""
    for session in list(_sessions.values()):
        session.close()


class _NoCookies(RequestsCookieJar):
    """A jar that keeps nothing: a cookie of one request would go with those of other threads.

    Nor does it take its lock for each answer, where a thousand agents would queue.
    """

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Look for none."""


class _AsItIs(AuthBase):
    """An auth that leaves a request's headers as they are."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


AS_IT_IS = _AsItIs()
"""Keeps requests from looking for another one, in .netrc say."""


class IdleConnections:
    """A pool's idle connections; the one used last is used next.

    It takes the place of urllib3's queue, whose fixed size either closes connections that the
    next of a thousand agents could use, with a warning each, or keeps a burst's for ever. At most
    as many stay idle as are in use, or ``IDLE_CONNECTIONS``, and none for long.

    Args:
        maxsize: The size that urllib3 passes, which means nothing here.
    """

    def __init__(self, maxsize: int = 0) -> None:
        # No lock: the garbage collector may close a dropped stream in the middle of any of this,
        # which puts its connection here, and a forked child may find one held. What each line does
        # to a deque is atomic; between lines a connection too many or too few may stay.
        self._idle: collections.deque[tuple[float, HTTPConnection]] = collections.deque()
        self._in_use: collections.deque[None] = collections.deque()

    def qsize(self) -> int:
        """Return how many are idle; VCR.py looks at that."""
        return len(self._idle)

    def get(self, block: bool = False, timeout: float | None = None) -> HTTPConnection:
        """Return the connection used last.

        Raises:
            queue.Empty: If there is none; the pool then makes one.
        """
        self._in_use.append(None)
        try:
            return self._idle.pop()[1]
        except IndexError:
            raise queue.Empty from None

    def put(self, connection: HTTPConnection | None, block: bool = False) -> None:
        """Take a connection back; ``None`` is for one that was closed."""
        now = time.monotonic()
        # The pool begins by putting a None for each place it thinks it has.
        with contextlib.suppress(IndexError):
            self._in_use.pop()
        if connection is not None:
            self._idle.append((now, connection))
        while (stale := self._pop_stale(now)) is not None:
            stale.close()

    def _pop_stale(self, now: float) -> HTTPConnection | None:
        """Return the connection idle for longest, if it is one too many or too long idle."""
        try:
            since, connection = self._idle.popleft()
        except IndexError:
            return None
        too_many = len(self._idle) >= max(IDLE_CONNECTIONS, len(self._in_use))
        if too_many or now - since > IDLE_SECONDS:
            return connection
        self._idle.appendleft((since, connection))
        return None


class _Adapter(HTTPAdapter):
    """The adapter of our own sessions: its pools grow and shrink with the live requests.

    The pool of a host is looked up once, as proxies and certificates of our sessions do not change.
    """

    def __init__(self) -> None:
        self._pools: dict[str, Any] = {}
        super().__init__(max_retries=0)

    def get_connection_with_tls_context(
        self, request: requests.PreparedRequest, *arguments: Any, **keywords: Any
    ) -> Any:
        url = str(request.url)
        origin = url[: url.find("/", len("https://"))]
        pool = self._pools.get(origin)
        if pool is None:
            pool = super().get_connection_with_tls_context(request, *arguments, **keywords)
            self._pools[origin] = pool
        return pool

    def close(self) -> None:
        # Before the pools are closed: a closed one takes no connection any more.
        self._pools.clear()
        super().close()

    def init_poolmanager(self, *arguments: Any, **keywords: Any) -> None:
        super().init_poolmanager(*arguments, **keywords)
        _adapt_pools(self.poolmanager)

    def proxy_manager_for(self, *arguments: Any, **keywords: Any) -> Any:
        manager = super().proxy_manager_for(*arguments, **keywords)
        _adapt_pools(manager)
        return manager


current_call: ThreadValue[Call] = ThreadValue()
"""The request that a thread is making: nothing of ours goes with it to its connection."""


class _Known:
    """A connection that the request which uses it knows of; goes before a class of urllib3's.

    Until an answer's head has come there is nothing else that could be shut down.
    """

    sock: socket.socket | None

    def connect(self) -> None:
        """Connect; with a proxy that includes an answer of the proxy's."""
        call = current_call.get()
        if call is not None:
            call.comes_to(self._stop_reading, may_be_sent=False)
        super().connect()  # type: ignore[misc]  # the other class has it
        if call is not None:
            # It may have been ended when there was no socket yet. What is sent is sent from now on.
            call.comes_to(self._shut_down, may_be_sent=True)

    def putrequest(self, *arguments: Any, **keywords: Any) -> None:
        """Begin a request; where there is no connection yet it is made after this."""
        call = current_call.get()
        if call is not None and self.sock is not None:
            call.comes_to(self._shut_down, may_be_sent=True)
        super().putrequest(*arguments, **keywords)  # type: ignore[misc]  # likewise

    def getresponse(self) -> Any:
        """Wait for the head of the answer."""
        response = super().getresponse()  # type: ignore[misc]  # likewise
        call = current_call.get()
        if call is not None:
            # That one knows when the connection is back in its pool, where it is another's.
            call.is_answered(response.shutdown)
        return response

    def _stop_reading(self) -> None:
        # A proxy's answer that is cut short may look whole: TLS comes next, and has to notice.
        if self.sock is not None:
            self.sock.shutdown(socket.SHUT_RD)

    def _shut_down(self) -> None:
        # Not reading alone: it may wait for a server that does not take a large body either.
        if self.sock is not None:
            self.sock.shutdown(socket.SHUT_RDWR)


def _adapt_pools(manager: Any) -> None:
    """Make a manager's pools, those of SOCKS too, keep their connections our way."""
    manager.pool_classes_by_scheme = {
        scheme: pool if pool.QueueCls is IdleConnections else _adapted(pool)
        for scheme, pool in manager.pool_classes_by_scheme.items()
    }


def _adapted(pool: Any) -> Any:
    # Asked for with each connection: what stands in for urllib3's in tests comes and goes.
    connection_class = property(lambda self: _known(pool.ConnectionCls))
    names = {"QueueCls": IdleConnections, "ConnectionCls": connection_class}
    return type(pool.__name__, (pool,), names)


@functools.cache
def _known(kind: Any) -> Any:
    """Return the class of connections that their requests know of, of a class of urllib3's."""
    is_urllib3s = kind.__module__.startswith("urllib3.")
    return type(kind.__name__, (_Known, kind), {}) if is_urllib3s else kind
