"""The clock of a process: calls that are due at some time, on one thread for all."""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable

import attrs

from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.threads import Thread

logger = get_logger(__name__)

LINGER = 5.0
"""Seconds that the thread stays when there is nothing to do."""


@attrs.define(order=True)
class _Due:
    at: float
    number: int
    call: Callable[[], object] = attrs.field(order=False)


class Timer:
    """Calls in the future; a daemon thread makes them, and is only there while it is needed.

    Args:
        name: The thread's name.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._condition = threading.Condition(threading.Lock())
        self._due: list[_Due] = []
        self._numbers = itertools.count()
        self._runs = self._closed = False

    def call_in(self, seconds: float, call: Callable[[], object]) -> None:
        """Have something called once; it is not to block for long, and what it raises is logged.

        Raises:
            RuntimeError: If no thread can be started.
        """
        due = _Due(time.monotonic() + seconds, next(self._numbers), call)
        with self._condition:
            if self._closed:
                return
            heapq.heappush(self._due, due)
            starts, self._runs = not self._runs, True
            self._condition.notify_all()  # Ctrl-C: see Mailbox
        if starts:
            try:
                Thread(self._run, self._name).start()
            except BaseException:
                with self._condition:
                    self._runs = False
                raise

    def close(self) -> None:
        """Drop all calls, those to come too, and let the thread end."""
        with self._condition:
            self._closed = True
            self._due.clear()
            self._condition.notify_all()

    def _run(self) -> None:
        while (call := self._next()) is not None:
            try:
                call()
            except Exception:
                logger.exception("a timed call failed")

    def _next(self) -> Callable[[], object] | None:
        idle_since = time.monotonic()
        with self._condition:
            while True:
                now = time.monotonic()
                if self._due and self._due[0].at <= now:
                    return heapq.heappop(self._due).call
                if self._closed or (not self._due and now - idle_since >= LINGER):
                    self._runs = False
                    return None
                self._condition.wait(self._due[0].at - now if self._due else LINGER)
