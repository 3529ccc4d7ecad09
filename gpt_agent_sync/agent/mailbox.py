"""An agent's progress behind its one lock, and the steps that its worker takes."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable
from typing import Any

from gpt_agent_sync import forks, waits
from gpt_agent_sync.decisions.state import (
    ForgetMessage,
    Progress,
    SettleTurn,
    Step,
    TakeOver,
    Transition,
)
from gpt_agent_sync.events import Event

Decision = Callable[..., Transition]
"""A pure function whose first argument is a ``Progress``."""


class _Waiting:
    """A caller that waits until a condition holds.

    Args:
        condition: The condition, asked under the mailbox's lock.
    """

    def __init__(self, condition: Callable[[Progress, bool], bool]) -> None:
        self.condition = condition
        # A lock as a gate: a condition would be a second lock, taken under the mailbox's.
        self._gate = threading.Lock()
        self._gate.acquire()
        self._woken = False

    def wake(self) -> None:
        """Let the caller go on; with the mailbox's lock held."""
        if not self._woken:
            self._woken = True
            self._gate.release()

    def wait(self, timeout: float | None) -> bool:
        """Wait to be woken, at most that many seconds; return whether that came."""
        return waits.wait(
            lambda seconds: self._gate.acquire(timeout=-1 if seconds is None else seconds), timeout
        )


class Mailbox:
    """An agent's progress, swapped together with the steps that follow from it.

    Decisions are pure, so they run under the lock; what they lead to is done by the worker, outside
    of it. Steps come out in the order in which the decisions were made.

    Args:
        first: The first progress and its steps.
    """

    def __init__(self, first: Transition) -> None:
        self._renew_lock()
        self._progress = first.progress
        self._steps: collections.deque[Step] = collections.deque(first.steps)
        self._is_inherited = False
        self._taken = False
        self._woken_up = False
        self._changed_at = time.monotonic()

    @property
    def progress(self) -> Progress:
        """The progress now; a frozen value, so it is read without the lock."""
        forks.check()
        return self._progress

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked child, and the agent the parent's."""
        return self._is_inherited

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
        forks.check()
        with self._lock:
            # Kept until the lock is released: a destructor of what only the old progress holds
            # may need it.
            before = self._progress
            transition = self._swap(decide(self._progress, *arguments, **keywords))
            self._changed_at = time.monotonic()
        del before
        return transition.result

    def apply_if_quiet_since(
        self, changed_at: float, decide: Decision, *arguments: Any, **keywords: Any
    ) -> None:
        """Make a decision only if nothing has changed since ``changed_at``.

        So an agent found idle is not stopped while somebody connects to it.
        """
        with self._lock:
            before = self._progress
            if self._changed_at == changed_at:
                self._swap(decide(self._progress, *arguments, **keywords))
        del before

    def _swap(self, transition: Transition) -> Transition:
        if transition.drops:
            self._steps = collections.deque(filter(_outlasts_turn, self._steps))
        if transition.steps:
            self._steps.extend(transition.steps)
            # A worker at work takes the step anyway, and a wake-up costs a switch of threads.
            if self._idle:
                self._notify_worker()
        # Callers' conditions are asked only when their answer can be another than before.
        if transition.progress is not self._progress:
            self._progress = transition.progress
            self._wake_callers()
        return transition

    def _renew_lock(self) -> None:
        """Set up the one lock, and what the worker and callers wait for under it."""
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._idle = False
        self._waiting: list[_Waiting] = []

    def _wake_callers(self) -> None:
        """Wake those callers whose condition holds now, and no others.

        A condition that wakes all would cost each of them a switch of threads for every step.
        """
        quiet = not self._steps and not self._taken
        for waiting in self._waiting:
            if waiting.condition(self._progress, quiet):
                waiting.wake()

    def wake_worker(self) -> None:
        """Have the worker's ``take()`` return, so that it asks its clocks again."""
        with self._lock:
            self._woken_up = True
            self._notify_worker()

    def _notify_worker(self) -> None:
        # All, though nobody else waits: a notify() in which Ctrl-C has struck may leave the waiter
        # that it has woken in its list, and the next one would wake that again, and nobody.
        self._work.notify_all()

    def take(self, timeout: float | None) -> Step | None:
        """Return the worker's next step; its last one is done when it calls again.

        Args:
            timeout: Seconds to wait for one; ``None`` for ever.

        Returns:
            The step; ``None`` when the time is up, or after ``wake_worker()``.
        """
        with self._lock:
            if self._taken:
                # Idleness counts from the end of a step: a callback may outlast the timeout.
                self._taken = False
                self._changed_at = time.monotonic()
                if not self._steps:
                    self._wake_callers()
            if not self._steps and not self._woken_up and timeout != 0:
                self._idle = True
                try:
                    self._work.wait_for(lambda: self._steps or self._woken_up, _bounded(timeout))
                finally:
                    self._idle = False
            self._woken_up = False
            if not self._steps:
                return None
            self._taken = True
            return self._steps.popleft()

    def finish(self) -> None:
        """Note that the worker has ended, and with it its last step."""
        with self._lock:
            self._taken = False
            self._wake_callers()

    def after_fork(self, decide: Decision, *arguments: Any) -> None:
        """Make a last decision in a forked child, where the lock may be held for ever.

        Its steps are not taken: the parent's worker takes them there.
        """
        self._is_inherited = True
        self._renew_lock()
        self._progress = decide(self._progress, *arguments).progress
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
        forks.check()
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


def _outlasts_turn(step: Step) -> bool:
    """Return whether a step stays although another process has the turn."""
    # What others told has its place, and how the turn came out its caller may know.
    kept = isinstance(step, (SettleTurn, ForgetMessage, TakeOver))
    return kept or (isinstance(step, Event) and step.cursor is not None)


def _bounded(timeout: float | None) -> float | None:
    """Return a timeout that the system's clocks can count."""
    # Locks refuse longer ones with an OverflowError.
    return None if timeout is None else min(timeout, threading.TIMEOUT_MAX)
