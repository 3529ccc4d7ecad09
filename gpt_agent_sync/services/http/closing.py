"""Waits and requests that another thread can end."""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Generator


class FeedClosed(Exception):
    """Nobody wants the answer of a request any more."""


class Interruptible(ABC):
    """A request under way, or an answer that is still to come."""

    @abstractmethod
    def end(self) -> None:
        """End it, from any thread, waking who waits for it; idempotent."""


class Closing:
    """A ``Pause`` that can be closed, which ends the wait or the call under way.

    One thread waits and calls; any thread closes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended: threading.Event | None = None
        self._closed = False
        self._call: Interruptible | None = None

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def close(self) -> None:
        """End the wait and the call under way, from any thread; idempotent."""
        with self._lock:
            self._closed = True
            ended, call = self._ended, self._call
        # Outside the lock: ending a call reaches into a library, and the reader it wakes may come
        # here at once.
        if ended is not None:
            ended.set()
        if call is not None:
            call.end()

    def __call__(self, seconds: float) -> None:
        """Wait.

        Raises:
            FeedClosed: If it is closed before the time is up.
        """
        with self._lock:
            if self._ended is None:
                self._ended = threading.Event()
            ended = self._ended
            if self._closed:
                raise FeedClosed
        if ended.wait(seconds):
            raise FeedClosed

    @contextlib.contextmanager
    def watching(self, call: Interruptible) -> Generator[None]:
        """End a call, too, when it is closed while the block runs.

        Raises:
            FeedClosed: If it is closed.
        """
        with self._lock:
            if self._closed:
                raise FeedClosed
            before, self._call = self._call, call
        try:
            yield
        finally:
            with self._lock:
                self._call = before
