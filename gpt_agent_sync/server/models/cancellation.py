"""Answers that nobody wants any more: what ends the wait for the rest of them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator


class ReplyCancelledError(Exception):
    """Nobody wants the reply any more."""


class Cancellation:
    """Whether a reply is still wanted. Any thread cancels it; the one that reads is woken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = threading.Event()
        self._end: Callable[[], object] | None = None

    @property
    def is_cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """End the reply, from any thread; idempotent."""
        with self._lock:
            self._cancelled.set()
            end = self._end
        # Outside the lock: it reaches into a library, and the reader that it wakes comes here.
        if end is not None:
            # What is ended already has nobody to be woken.
            with contextlib.suppress(OSError, ValueError, RuntimeError):
                end()

    def check(self) -> None:
        """Go on only if the reply is wanted.

        Raises:
            ReplyCancelledError: If it is not.
        """
        if self.is_cancelled:
            raise ReplyCancelledError

    def wait(self, seconds: float) -> None:
        """Wait.

        Raises:
            ReplyCancelledError: If the reply is cancelled meanwhile.
        """
        if self._cancelled.wait(seconds):
            raise ReplyCancelledError

    @contextlib.contextmanager
    def ending(self, end: Callable[[], object]) -> Iterator[None]:
        """Have ``end`` called when the reply is cancelled while the block runs.

        Args:
            end: Wakes whoever waits in the block; called by the thread that cancels.

        Raises:
            ReplyCancelledError: If it is cancelled already.
        """
        with self._lock:
            self.check()
            before, self._end = self._end, end
        try:
            yield
        finally:
            with self._lock:
                self._end = before
