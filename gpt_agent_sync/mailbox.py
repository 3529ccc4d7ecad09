"""An agent's progress behind its one lock, and the steps its worker takes from it."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable
from typing import Any

from gpt_agent_sync.state import Progress, Step, Transition

Decision = Callable[..., Transition]
"""A pure function whose first argument is a ``Progress``."""


class Mailbox:
    """Swap the progress and queue what follows from it, in one motion.

    Decisions are pure, so they run under the lock; whatever they ask for is done
    by the worker, outside of it. Steps come out in the order in which the decisions were made.
    """

    def __init__(self, first: Transition) -> None:
        self._condition = threading.Condition(threading.Lock())
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
        with self._condition:
            transition = self._swap(decide(self._progress, *arguments, **keywords))
            self._changed_at = time.monotonic()
        return transition.result

    def apply_if_quiet_since(
        self, changed_at: float, decide: Decision, *arguments: Any, **keywords: Any
    ) -> None:
        """Make a decision only if nothing has changed since ``changed_at``.

        So that an agent found idle is not stopped under the hands of who just connected to it.
        """
        with self._condition:
            if self._changed_at == changed_at:
                self._swap(decide(self._progress, *arguments, **keywords))

    def _swap(self, transition: Transition) -> Transition:
        self._progress = transition.progress
        self._steps.extend(transition.steps)
        self._condition.notify_all()
        return transition

    def poke(self) -> None:
        """Wake the worker, so that it looks at its clocks again."""
        with self._condition:
            self._poked = True
            self._condition.notify_all()

    def take(self, timeout: float | None) -> Step | None:
        """Give the worker its next step; its last one is done when it calls again.

        Args:
            timeout: Seconds to wait for one; ``None`` for ever.

        Returns:
            The step; ``None`` when the time is up, or after ``poke()``.
        """
        with self._condition:
            if self._taken:
                self._taken = False
                self._changed_at = time.monotonic()
                if not self._steps:
                    self._condition.notify_all()
            if not self._steps and not self._poked and timeout != 0:
                self._condition.wait_for(lambda: self._steps or self._poked, _bounded(timeout))
            self._poked = False
            if not self._steps:
                return None
            self._taken = True
            return self._steps.popleft()

    def finish(self) -> None:
        """Note that the worker has done its last step."""
        with self._condition:
            self._taken = False
            self._condition.notify_all()

    def forget(self, last: Transition) -> None:
        """Begin anew with ``last``, in a forked child whose lock may have been held."""
        self._condition = threading.Condition(threading.Lock())
        self._progress = last.progress
        self._steps.clear()
        self._taken = False

    def wait_until(
        self, condition: Callable[[Progress, bool], bool], timeout: float | None
    ) -> bool:
        """Wait until ``condition`` holds.

        Args:
            condition: A pure function of the progress, and of whether every step has been done.
            timeout: Seconds; ``None`` for ever.

        Returns:
            Whether it came true in time.
        """
        with self._condition:
            return self._condition.wait_for(
                lambda: condition(self._progress, not self._steps and not self._taken),
                _bounded(timeout),
            )


def _bounded(timeout: float | None) -> float | None:
    """Give a timeout that the system's clocks can count."""
    return None if timeout is None else min(timeout, threading.TIMEOUT_MAX)
