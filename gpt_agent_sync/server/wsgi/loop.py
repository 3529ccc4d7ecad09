"""The loop that waits for the sockets."""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import BaseWSGIServer

from gpt_agent_sync.server.wsgi.channels import Channel
from gpt_agent_sync.server.wsgi.threads import do_nothing

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""Between two looks for connections to be closed."""


class Loop:
    """The loop that waits for the sockets.

    With epoll, where there is one, it costs nothing to have a thousand connections that are idle;
    the library's own looks at each in every turn.

    Args:
        map: The connections and listeners, by their descriptors.
        servers: The listeners.
    """

    def __init__(self, map: dict[int, Any], servers: Sequence[BaseWSGIServer]) -> None:
        self.servers = list(servers)
        self._map = map
        self._ended = False
        self._fresh: set[Any] = set()
        self._paused_until = 0.0
        for server in self.servers:
            server.channel_class = Channel
            server.fresh = self._fresh
            server.accept = functools.partial(self._accept, server.accept)
        self._calls: list[Callable[[], None]] = []
        self._lock = threading.Lock()
        self._epoll: Any = None

    def _accept(self, accept: Callable[[], Any]) -> Any:
        """Accept a connection; where there are no descriptors left it is tried again later."""
        if time.monotonic() < self._paused_until:
            return None
        try:
            return accept()
        except OSError as exc:
            if exc.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self._paused_until = time.monotonic() + LOOK_SECONDS
            logger.warning("no connection can be taken: %s", exc.strerror)
            return None

    def call(self, call: Callable[[], None]) -> None:
        """Have something called on the loop's thread; nothing is when it has ended."""
        with self._lock:
            self._calls.append(call)
        self.servers[0].trigger.pull_trigger()

    def end(self) -> None:
        """End the loop, on its thread."""
        self._ended = True

    def abandon(self) -> None:
        """Close what else a forked child has inherited."""
        if self._epoll is not None:
            self._epoll.close()
        for server in self.servers:
            for descriptor in server.trigger._fds:
                with contextlib.suppress(OSError):
                    os.close(descriptor)

    def run(self) -> None:
        """Wait for the sockets until it is ended, or none is left."""
        try:
            if hasattr(select, "epoll"):
                self._run_epoll()
            else:
                while self._map and not self._ended:
                    wasyncore.loop(timeout=LOOK_SECONDS, map=self._map, use_poll=True, count=1)
                    self._do_calls()
                    self._fresh.clear()
        finally:
            self._close_all()

    def _close_all(self) -> None:
        # The pipes that wake the loop stay open as long as a thread may write into one: what has
        # its number by then would get it.
        for server in self.servers:
            server.trigger._physical_pull = do_nothing
            self._map.pop(server.trigger._fileno, None)
        wasyncore.close_all(self._map)

    def close_pipes(self) -> None:
        """Close the pipes that wake the loop, when no thread is left that does."""
        for server in self.servers:
            with contextlib.suppress(OSError):
                server.trigger.close()

    def _do_calls(self) -> None:
        with self._lock:
            calls, self._calls = self._calls, []
        for call in calls:
            call()

    def _run_epoll(self) -> None:
        with select.epoll() as epoll:
            self._epoll = epoll
            flagged: dict[int, tuple[object, int]] = {}
            watched: set[Any] = set(self._map.values())
            looked: Any = None
            while self._map and not self._ended:
                self._flag(epoll, flagged, watched)
                due = [server.next_channel_cleanup for server in self.servers]
                # A look may have condemned connections that are idle.
                if due != looked:
                    looked = due
                    watched.update(self._map.values())
                for descriptor, events in self._events(epoll):
                    found = self._map.get(descriptor)
                    if found is not None:
                        wasyncore.readwrite(found, events)
                        watched.add(found)
                self._do_calls()
                # Those that were accepted meanwhile.
                watched.update(self._fresh)
                self._fresh.clear()

    def _events(self, epoll: Any) -> list[tuple[int, int]]:
        try:
            return list(epoll.poll(LOOK_SECONDS))
        except OSError as exc:
            if exc.errno == errno.EINTR:
                return []
            raise

    def _flag(self, epoll: Any, flagged: dict[int, tuple[object, int]], watched: set[Any]) -> None:
        """Tell what is waited for, of the sockets about which that may have changed."""
        found: Any
        for found in list(watched):
            descriptor = found._fileno
            if id(self._map.get(descriptor)) != id(found):
                watched.discard(found)
                continue
            # Before the flags: a thread may end its answer in between.
            is_busy = not isinstance(found, HTTPChannel) or _is_busy(found)
            waits = found.accepting and time.monotonic() < self._paused_until
            is_readable = found.readable() and not waits
            wanted = select.EPOLLIN | select.EPOLLPRI if is_readable else 0
            if found.writable() and not found.accepting:
                wanted |= select.EPOLLOUT
            known, flags = flagged.get(descriptor, (None, 0))
            # A descriptor that was closed has left, and may be another's by now.
            if known is not found:
                with contextlib.suppress(FileExistsError):
                    epoll.register(descriptor, wanted)
                epoll.modify(descriptor, wanted)
            elif flags != wanted:
                epoll.modify(descriptor, wanted)
            flagged[descriptor] = found, wanted
            if not is_busy:
                watched.discard(found)
        if len(flagged) > 2 * len(self._map) + 100:
            for descriptor in flagged.keys() - self._map.keys():
                del flagged[descriptor]


def _is_busy(channel: Any) -> bool:
    return bool(
        channel.requests
        or channel.total_outbufs_len
        or channel.will_close
        or channel.close_when_flushed
    )
