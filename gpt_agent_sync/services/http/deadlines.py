"""Deadlines of what blocks in a read: one thread that ends what has taken too long.

A socket's own timeout counts silence, so that an answer that trickles never meets it, and it
belongs to the library that opened the socket.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Iterator

from gpt_agent_sync import forks
from gpt_agent_sync.services.http.closing import Interruptible
from gpt_agent_sync.threads import Thread

TICK = 0.25
"""Seconds between two looks at the deadlines: one may be met late by that.

To wake the thread for each, mostly to find it kept, would cost a busy process two switches of
threads a turn.
"""

CLOSING_TICK = 0.02
"""The same when the deadlines are closed."""

LINGER = 1.0
"""Seconds the thread waits for another deadline before it ends."""


class Deadlines:
    """The deadlines of a process, kept by one daemon thread that is there while they are."""

    def __init__(self) -> None:
        self._counter = itertools.count()
        self._begin()

    def _begin(self) -> None:
        # The lock is for the thread's start and end alone. Calls come and go by single operations
        # on a dictionary, which are atomic: a thousand runs that end together must not queue here.
        self._lock = threading.Lock()
        self._calls: dict[int, tuple[float, Interruptible]] = {}
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()
        self._pause = threading.Event()  # is never set

    @contextlib.contextmanager
    def at(self, seconds: float, call: Interruptible, *, strict: bool = True) -> Iterator[None]:
        """End ``call`` if the block takes longer, or a little later.

        Args:
            seconds: How long it may take.
            call: What is ended then, on the deadlines' thread.
            strict: Whether the block is not to run without that; else it does, where no thread can
                be started, at exit say.

        Raises:
            RuntimeError: If no thread can be started.
        """
        number = next(self._counter)
        self._calls[number] = time.monotonic() + seconds, call
        try:
            # After the call is there: a thread that is about to end sees it, or is gone by now.
            if self._thread is None:
                try:
                    self._start()
                except RuntimeError:
                    if strict:
                        raise
            yield
        finally:
            self._calls.pop(number, None)

    def end_all(self) -> None:
        """End all that is under way, however long it may still take, from any thread."""
        for number, (_, call) in self._calls.copy().items():
            if self._calls.pop(number, None) is not None:
                call.end()

    def close(self, timeout: float) -> None:
        """End the thread, once it has no deadline to keep; a later one starts another.

        Args:
            timeout: Seconds to wait for its end.
        """
        self._closing.set()
        thread = self._thread
        if thread is None or thread is threading.current_thread() or thread.ident is None:
            return  # without one, or it is only about to start
        thread.join(timeout)

    def forget(self) -> None:
        """Begin anew, in a forked child that has no such thread."""
        self._begin()

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            self._closing.clear()
            self._thread = thread = Thread(self._run, "gpt-agent-deadlines")
        # Outside the lock: it waits for the thread to have begun.
        try:
            thread.start()
        except BaseException:
            self._thread = None
            raise

    def _run(self) -> None:
        used_at = time.monotonic()
        while True:
            if self._closing.wait(TICK) and self._calls:
                # Closed with deadlines still to keep: it stays for them, and not much longer.
                self._pause.wait(CLOSING_TICK)
            now = time.monotonic()
            for number, (due, call) in self._calls.copy().items():
                # Whoever takes it out has it: a block that is done in this moment is not ended.
                if due <= now and self._calls.pop(number, None) is not None:
                    call.end()
            used_at = now if self._calls else used_at
            if self._closing.is_set() or now - used_at >= LINGER:
                with self._lock:
                    if not self._calls:
                        self._thread = None
                        return


deadlines = Deadlines()
"""The deadlines of this process."""

forks.in_child(deadlines.forget)
