"""The WSGI server: waitress, which reads requests and writes answers on one thread of its own.

A client that is slow, or says half of what it wants, takes no thread of the application. What is
adapted here: threads come and go with what is to be done, streams keep their connection, requests
whose length is said in two ways are refused, and a close reaches the client though a forked child
has inherited the connection.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser, ParsingError
from waitress.server import BaseWSGIServer, create_server
from waitress.task import ErrorTask, ThreadedTaskDispatcher, WSGITask

from gpt_agent_sync.server.admission import MOST_BODY_BYTES, too_large
from gpt_agent_sync.server.errors import WireError
from gpt_agent_sync.server.pauses import wait_while
from gpt_agent_sync.server.strict_json import encode

logger = logging.getLogger(__name__)

LEAST_THREADS, MOST_THREADS = 4, 1000
"""Threads that answer requests; each open stream takes one."""

IDLE_SECONDS = 30.0
"""After which a thread ends that has nothing to do."""

MOST_CONNECTIONS = 10_000

SILENCE_SECONDS = 120
"""After which a connection is closed on which nothing comes."""

LOOK_SECONDS = 1.0
"""Between two looks for connections to be closed."""

SMALL_BODY = 1024

FIELD_BYTES = 64 * 1024
"""How large the head of a request may be."""


class Dispatcher(ThreadedTaskDispatcher):
    """The threads that answer requests: as many as there is work for.

    Args:
        most: How many there may be.

    Attributes:
        on_end: Called by the last thread, when it ends.
    """

    def __init__(self, most: int = MOST_THREADS) -> None:
        super().__init__()
        self.on_end: Callable[[], object] = _do_nothing
        self._least = min(LEAST_THREADS, most)
        self._most = most
        self._next = 0
        self.set_thread_count(self._least)

    def add_task(self, task: Any) -> None:
        """Have a request answered, by a new thread where all others have work."""
        with self.lock:
            self.queue.append(task)
            living = len(self.threads) - self.stop_count
            # One that was woken and has not yet begun counts as idle, and its task is waiting.
            if len(self.queue) > living - self.active_count and living < self._most:
                self._add_thread()
            self.queue_cv.notify()

    def _add_thread(self) -> None:
        while self._next in self.threads:
            self._next += 1
        number = self._next
        self.threads.add(number)
        self.active_count += 1
        try:
            self.start_new_thread(self.handler_thread, number)
        except RuntimeError:
            # There is none to be had: the request waits for another one.
            self.threads.discard(number)
            self.active_count -= 1

    def start_new_thread(self, target: Callable[[int], None], thread_no: int) -> None:
        """Start a thread."""
        name = f"gpt-agent-server-request-{thread_no}"
        threading.Thread(target=target, name=name, args=(thread_no,), daemon=True).start()

    def handler_thread(self, thread_no: int) -> None:
        """Answer requests, until there are none for long."""
        while True:
            with self.lock:
                while not self.queue and not self.stop_count:
                    self.active_count -= 1
                    woken = self.queue_cv.wait(IDLE_SECONDS)
                    self.active_count += 1
                    is_spare = len(self.threads) - self.stop_count > self._least
                    if not woken and not self.queue and is_spare:
                        self._end(thread_no)
                        return
                if self.stop_count:
                    self.stop_count -= 1
                    self._end(thread_no)
                    return
                task = self.queue.popleft()
            try:
                task.service()
            except BaseException:
                self.logger.exception("a request could not be answered")
            # Nothing of it is held while this waits for the next one.
            del task

    def _end(self, thread_no: int) -> None:
        self.active_count -= 1
        self.threads.discard(thread_no)
        self.thread_exit_cv.notify()
        if not self.threads:
            self.on_end()


def _do_nothing() -> None:
    """Do nothing."""


class _Parser(HTTPRequestParser):
    """A parser that takes no request whose length is said in two ways (RFC 9112, section 6.3)."""

    def parse_header(self, header_plus: bytes) -> None:
        try:
            super().parse_header(header_plus)
        except ValueError as exc:
            # Of a number, or an address, that Python does not read.
            raise ParsingError("a line of the head cannot be read") from exc
        # By the headers, as they were: the library forgets a length beside the other.
        names = [line.partition(b":")[0].strip().lower() for line in header_plus.split(b"\n")]
        if b"content-length" in names and b"transfer-encoding" in names:
            raise ParsingError("Content-Length and Transfer-Encoding in one request")
        if names.count(b"host") > 1:
            raise ParsingError("more than one Host header")


class _Task(WSGITask):
    """A task after whose answer of unknown length the connection stays open."""

    def set_close_on_finish(self) -> None:
        # Called while the head is made only for want of a length, which chunks do not need.
        if not (self.chunked_response and not self.wrote_header):
            super().set_close_on_finish()


class _ErrorTask(ErrorTask):
    """The refusal of a request that cannot be read, in the words of the wires."""

    def execute(self) -> None:
        """Write it."""
        error = self.request.error
        kind = "invalid_request_error" if error.code < 500 else "server_error"
        refusal = WireError(error.code, f"{error.reason}: {error.body}", kind=kind)
        if error.code == 413:
            most = self.channel.server.adj.max_request_body_size - SMALL_BODY
            refusal = too_large(most // 2)
        body = encode(refusal.body()).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        self.content_length = len(body)
        self.set_close_on_finish()
        self.write(body)


class _Channel(HTTPChannel):
    """A connection."""

    task_class = _Task
    error_task_class = _ErrorTask

    def add_channel(self, map: Any = None) -> None:
        """Have the loop wait for it."""
        super().add_channel(map)
        self.server.fresh.add(self)

    parser_class = _Parser

    def handle_close(self) -> None:
        """Close it, for the client too where a forked child has it as well."""
        if self.socket is not None and self.connected:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
        super().handle_close()


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: The name or address.
        port: The port; 0 lets the system choose.

    Raises:
        OSError: If it cannot; the name, or the port, is of no use.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":
            # Else a port that was just in use is not to be had for a minute.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            with contextlib.suppress(OSError):
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener


def most_connections() -> int:
    """Return how many connections there may be, as far as the system gives descriptors for them."""
    try:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    except (ImportError, OSError, ValueError):
        return MOST_CONNECTIONS
    # What is left is for the database, files, and requests to the upstream.
    return MOST_CONNECTIONS if soft < 0 else max(32, min(MOST_CONNECTIONS, soft * 3 // 4))


class WsgiServer:
    """A WSGI application served on sockets that listen, by threads of this process.

    Args:
        app: The application.
        listeners: The sockets.
        threads: How many threads may answer requests.
        most_body: Bytes that a request's body may have.

    Attributes:
        port: The port of the first socket.
    """

    def __init__(
        self,
        app: Callable[..., Any],
        listeners: Sequence[socket.socket],
        *,
        threads: int = MOST_THREADS,
        most_body: int = MOST_BODY_BYTES,
    ) -> None:
        self._listeners = list(listeners)
        self.port = int(self._listeners[0].getsockname()[1])
        self._dispatcher = Dispatcher(threads)
        self._map: dict[int, Any] = {}
        self._server = create_server(
            app,
            map=self._map,
            _dispatcher=self._dispatcher,
            sockets=self._listeners,
            threads=threads,
            ident="gpt_agent_sync",
            connection_limit=most_connections(),
            channel_timeout=SILENCE_SECONDS,
            asyncore_use_poll=True,
            # It then reads on while an answer is made, and so sees that a client has gone.
            channel_request_lookahead=1,
            # Chunks are counted with what is around them: the application has the last word.
            max_request_body_size=2 * most_body + SMALL_BODY,
            max_request_header_size=FIELD_BYTES,
            clear_untrusted_proxy_headers=True,
        )
        self._loop = _Loop(self._map, self._servers())
        self._dispatcher.on_end = self._loop.close_pipes
        self._thread = threading.Thread(target=self._loop.run, name="gpt-agent-server", daemon=True)

    def _servers(self) -> list[BaseWSGIServer]:
        return [each for each in self._map.values() if isinstance(each, BaseWSGIServer)]

    @property
    def is_alive(self) -> bool:
        """Whether it is serving."""
        return self._thread.is_alive()

    @property
    def is_busy(self) -> bool:
        """Whether there are requests that are still to be answered."""
        return any(channel.requests for channel in self._channels())

    def start(self) -> None:
        """Serve, on a thread."""
        self._thread.start()

    def stop_listening(self) -> None:
        """Take no more connections; those there are go on."""
        self._loop.call(self._stop_listening)

    def _stop_listening(self) -> None:
        for server in self._loop.servers:
            server.accepting = False
            with contextlib.suppress(OSError, KeyError, AttributeError):
                server.del_channel()
        for listener in self._listeners:
            listener.close()

    def stop(self) -> None:
        """Close all connections, and end the threads."""
        self._loop.call(self._halt)
        if self._thread.ident is not None:
            self._thread.join(10)
        self._dispatcher.shutdown(cancel_pending=True, timeout=0.05)

    def _halt(self) -> None:
        self._stop_listening()
        for channel in self._channels():
            channel.handle_close()
        self._loop.end()

    def abandon(self) -> None:
        """Let go of the sockets in a forked child, where none of the threads is."""
        # Else the port would stay open after the parent's end, and nobody answer there.
        for listener in self._listeners:
            listener.close()
        for channel in self._channels():
            with contextlib.suppress(OSError, AttributeError):
                channel.socket.close()
        self._loop.abandon()

    def drain(self, seconds: float) -> None:
        """Wait until no request is being answered any more.

        Args:
            seconds: How long at most.
        """
        wait_while(lambda: self.is_busy and self.is_alive, seconds)

    def _channels(self) -> list[Any]:
        return [each for each in list(self._map.values()) if isinstance(each, HTTPChannel)]


class _Loop:
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
            server.channel_class = _Channel
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
            server.trigger._physical_pull = _do_nothing
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
