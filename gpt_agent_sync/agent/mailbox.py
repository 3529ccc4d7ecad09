"""An agent's progress behind its one lock, and the steps its worker takes from it."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable
from typing import Any

from gpt_agent_sync.decisions.state import Progress, Step, Transition

Decision = Callable[..., Transition]
"""A pure function whose first argument is a ``Progress``."""


SIGNAL_PAUSE = 0.25
"""Seconds after which the main thread, while it waits, looks whether there was a signal."""


class _Waiting:
    """Hold a caller until its condition holds.

    Args:
        condition: The condition.
    """

    def __init__(self, condition: Callable[[Progress, bool], bool]) -> None:
        self.condition = condition
        self._gate = threading.Lock()
        self._gate.acquire()
        self._woken = False

    def wake(self) -> None:
        """Let the caller go; with the mailbox's lock held."""
        if not self._woken:
            self._woken = True
            self._gate.release()

    def wait(self, timeout: float | None) -> bool:
        """Wait to be let go, so many seconds; tell whether that came."""
        if threading.current_thread() is not threading.main_thread():
            return self._gate.acquire(timeout=-1 if timeout is None else timeout)
        # Python's own handlers run on the main thread, and a signal that comes in the moment
        # before it blocks does not wake it: Ctrl-C would be heard when the wait is over.
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            left = SIGNAL_PAUSE if until is None else min(SIGNAL_PAUSE, until - time.monotonic())
            if self._gate.acquire(timeout=max(0.0, left)):
                return True
            if until is not None and time.monotonic() >= until:
                return False


class Mailbox:
    """Swap the progress and queue what follows from it, in one motion.

    Decisions are pure, so they run under the lock; whatever they ask for is done
    by the worker, outside of it. Steps come out in the order in which the decisions were made.
    """

    def __init__(self, first: Transition) -> None:
        self._renew_lock()
        self._progress = first.progress
        self._steps: collections.deque[Step] = collections.deque(first.steps)
        self._taken = False
        self._poked = False
        self._changed_at = time.monotonic()

    @property
    def progress(self) -> Progress:
        """What is true now: a snapshot, read without the lock."""
        return self._progress

    @property
    def changed_at(self) -> float:
        """When a decision was last made, or a step last done, monotonic seconds."""
        return self._changed_at

    def apply(self, decide: Decision, *arguments: Any, **keywords: Any) -> Any:
        """Make a decision: swap the progress, queue the steps, wake who waits.

        Returns:
            The transition's result.

        Raises:
            GptAgentError: What the decision raises; then nothing has changed.
        """
        with self._lock:
            before = self._progress  # what goes with it goes when the lock is not held any more
            transition = self._swap(decide(self._progress, *arguments, **keywords))
            self._changed_at = time.monotonic()
        del before
        return transition.result

    def apply_if_quiet_since(
        self, changed_at: float, decide: Decision, *arguments: Any, **keywords: Any
    ) -> None:
        """Make a decision only if nothing has changed since ``changed_at``.

        So that an agent found idle is not stopped under the hands of who just connected to it.
        """
        with self._lock:
            before = self._progress
            if self._changed_at == changed_at:
                self._swap(decide(self._progress, *arguments, **keywords))
        del before

    def _swap(self, transition: Transition) -> Transition:
        if transition.steps:
            self._steps.extend(transition.steps)
            if self._idle:
                self._work.notify()
        if transition.progress is not self._progress:
            self._progress = transition.progress
            self._wake_callers()
        return transition

    def _renew_lock(self) -> None:
        """Make the one lock, what the worker waits for under it, and room for who else waits."""
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._idle = False
        self._waiting: list[_Waiting] = []

    def _wake_callers(self) -> None:
        """Wake those callers whose condition holds now, and no others."""
        quiet = not self._steps and not self._taken
        for waiting in self._waiting:
            if waiting.condition(self._progress, quiet):
                waiting.wake()

    def poke(self) -> None:
        """Wake the worker, so that it looks at its clocks again."""
        with self._lock:
            self._poked = True
            self._work.notify()

    def take(self, timeout: float | None) -> Step | None:
        """Give the worker its next step; its last one is done when it calls again.

        Args:
            timeout: Seconds to wait for one; ``None`` for ever.

        Returns:
            The step; ``None`` when the time is up, or after ``poke()``.
        """
        with self._lock:
            if self._taken:
                self._taken = False
                self._changed_at = time.monotonic()
                if not self._steps:
                    self._wake_callers()
            if not self._steps and not self._poked and timeout != 0:
                self._idle = True
                try:
                    self._work.wait_for(lambda: self._steps or self._poked, _bounded(timeout))
                finally:
                    self._idle = False
            self._poked = False
            if not self._steps:
                return None
            self._taken = True
            return self._steps.popleft()

    def finish(self) -> None:
        """Note that the worker has done its last step."""
        with self._lock:
            self._taken = False
            self._wake_callers()

    def forget(self, last: Transition) -> None:
        """Begin anew with ``last``, in a forked child whose lock may have been held."""
        self._renew_lock()
        self._progress = last.progress
        self._steps.clear()
        self._taken = False

    def wait_until(
        self, condition: Callable[[Progress, bool], bool], timeout: float | None
    ) -> bool:
        """Wait until ``condition`` holds.

        Args:
            condition: A pure function of the progress, and of whether every step has been done.
                It is asked under the lock by whoever changes one of them.
            timeout: Seconds; ``None`` for ever.

        Returns:
            Whether it came true in time.
        """
        waiting = _Waiting(condition)
        with self._lock:
            if condition(self._progress, not self._steps and not self._taken):
                return True
            self._waiting.append(waiting)
        try:
            return waiting.wait(_bounded(timeout))
        finally:
            with self._lock:
                if waiting in self._waiting:
                    self._waiting.remove(waiting)


def _bounded(timeout: float | None) -> float | None:
    """Give a timeout that the system's clocks can count."""
    return None if timeout is None else min(timeout, threading.TIMEOUT_MAX)
