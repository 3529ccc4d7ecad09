"""Deadlines of what blocks in a read: one thread that ends what has taken too long.

A socket's own timeout counts silence, so that an answer that trickles never meets it, and it
belongs to the library that opened the socket.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import threading
import time
from collections.abc import Iterator

from gpt_agent_sync import forks
from gpt_agent_sync.services.http.closing import Interruptible

TICK = 0.25
"""Seconds that a deadline may be met late, and that the thread sleeps while there is none.

To be woken for each deadline, and then to find it kept, would cost a busy process two switches of
threads a turn.
"""

LINGER = 2.0
"""Seconds the thread waits for another deadline before it ends."""


class Deadlines:
    """The deadlines of a process, kept by one daemon thread that is there while they are."""

    def __init__(self) -> None:
        self._counter = itertools.count()
        self._begin()

    def _begin(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._due: list[tuple[float, int]] = []
        self._calls: dict[int, Interruptible] = {}
        self._thread: threading.Thread | None = None
        self._wakes_at = 0.0
        self._closing = False

    @contextlib.contextmanager
    def at(self, seconds: float, call: Interruptible) -> Iterator[None]:
        """End ``call`` if the block takes longer, or a little later.

        Args:
            seconds: How long it may take.
            call: What is ended then, on the deadlines' thread.
        """
        number = next(self._counter)
        due = time.monotonic() + seconds
        with self._condition:
            self._closing = False
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="gpt-agent-deadlines", daemon=True)
                thread.start()
                self._thread = thread
            self._calls[number] = call
            heapq.heappush(self._due, (due, number))
            if due + TICK < self._wakes_at:
                self._condition.notify()
        try:
            yield
        finally:
            with self._condition:
                self._calls.pop(number, None)

    def close(self, timeout: float) -> None:
        """End the thread once it has no deadline to keep; a later one starts another.

        Args:
            timeout: Seconds to wait for its end.
        """
        with self._condition:
            self._closing = True
            thread = self._thread
            self._condition.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def forget(self) -> None:
        """Begin anew, in a forked child that has no such thread."""
        self._begin()

    def _run(self) -> None:
        idle_since = time.monotonic()
        while True:
            with self._condition:
                late = self._late()
                if not late:
                    now = time.monotonic()
                    idle_since = now if self._calls else idle_since
                    if not self._calls and (self._closing or now - idle_since >= LINGER):
                        self._thread = None
                        return
                    pause = max(0.0, self._due[0][0] - now) if self._due else TICK
                    self._wakes_at = now + pause
                    self._condition.wait(pause)
            # Outside the lock: ending reaches into a library, and may take a lock there.
            for call in late:
                call.end()

    def _late(self) -> list[Interruptible]:
        """Return what is past its deadline; what was done in time is forgotten."""
        now, late = time.monotonic(), []
        while self._due and (self._due[0][0] <= now or self._due[0][1] not in self._calls):
            call = self._calls.pop(heapq.heappop(self._due)[1], None)
            if call is not None:
                late.append(call)
        return late


deadlines = Deadlines()
"""The deadlines of this process."""

forks.in_child(deadlines.forget)
