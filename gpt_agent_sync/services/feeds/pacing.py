"""When to look at a run: early at first, seldom as it ages, and by what runs took lately."""

from __future__ import annotations

import random
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Hashable

from gpt_agent_sync import forks

FIRST_PAUSE = 0.03
"""Seconds between the start of a run and the first look at it."""

GROWTH = 0.15
"""How long to pause, as a share of the time the run has taken so far."""

EARLY_SHARE = 0.5
"""When to look first, as a share of what the quickest of the last runs took."""

EXPECTED_SHARE = 0.95
"""From when on to look as often as without knowing, as a share of that."""

SHORTEST_HINT = 0.01
"""Seconds: a shorter pause that a server asks for is taken as this."""

LONGEST_HINT = 60.0
"""Seconds: a longer pause that a server asks for is taken as this."""

JITTER = 0.1
"""How much longer or shorter a pause is made, as a share of it."""

RUNS_REMEMBERED = 8
KINDS_REMEMBERED = 1000


def next_pause(
    age: float, heartbeat: float, asked: float | None, expected: float | None = None
) -> float:
    """Give the seconds until the next look.

    The server's wish rules. Without one the pauses grow with the run's age, so that a run's
    end is noticed late by a steady share of its length, and at most by the heartbeat. Where
    runs of its kind are known to take longer there is one early look, and further ones only
    a heartbeat apart until then: a run that is much quicker is noticed late by that at most.

    Args:
        age: Seconds since the run was started, or first looked at.
        heartbeat: The longest pause.
        asked: What the server asks for.
        expected: What the quickest of the last runs of its kind took, where known.
    """
    if asked is not None:
        return min(max(asked, SHORTEST_HINT), LONGEST_HINT)
    pause = max(FIRST_PAUSE, age * GROWTH)
    if expected is not None:
        early, due = expected * EARLY_SHARE, expected * EXPECTED_SHARE
        pause = max(pause, (early if age < early / 2 else due) - age)
    return min(pause, heartbeat)


class RunTimes:
    """Remember what the last runs of each kind took; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: OrderedDict[Hashable, tuple[float, ...]] = OrderedDict()
        _all_times.add(self)

    def shortest(self, kind: Hashable) -> float | None:
        """Give what the quickest of the last runs took, in seconds."""
        with self._lock:
            times = self._times.get(kind)
        return min(times) if times else None

    def note(self, kind: Hashable, seconds: float) -> None:
        """Remember what a run took."""
        with self._lock:
            times = (*self._times.pop(kind, ()), seconds)
            self._times[kind] = times[-RUNS_REMEMBERED:]
            while len(self._times) > KINDS_REMEMBERED:
                self._times.popitem(last=False)

    def renew(self) -> None:
        """Have a lock of its own, in a forked child."""
        self._lock = threading.Lock()


_all_times: weakref.WeakSet[RunTimes] = weakref.WeakSet()


def _after_fork() -> None:
    for times in list(_all_times):
        times.renew()


forks.in_child(_after_fork)


class Pace:
    """Tell one feed when to look next.

    Args:
        heartbeat: The longest pause, seconds.
        times: What runs took lately.
        kind: What kind of run it is; ``None`` for one that was found already going.
    """

    def __init__(self, heartbeat: float, times: RunTimes, kind: Hashable | None = None) -> None:
        self._heartbeat = heartbeat
        self._times = times
        self._kind = kind
        self._expected = None if kind is None else times.shortest(kind)
        self._began = time.monotonic()
        self._unfinished_at = 0.0

    def begin(self) -> None:
        """Note that the run begins now."""
        self._began = time.monotonic()

    def pause(self, asked: float | None) -> float:
        """Give the seconds until the next look, after one that showed the run going on.

        Args:
            asked: What the server asks for.
        """
        self._unfinished_at = time.monotonic() - self._began
        pause = next_pause(self._unfinished_at, self._heartbeat, asked, self._expected)
        return pause if asked is not None else pause * random.uniform(1 - JITTER, 1 + JITTER)

    def end(self) -> None:
        """Note that the run has ended, or waits: some time after it was last seen going."""
        if self._kind is not None:
            seen_at = time.monotonic() - self._began
            self._times.note(self._kind, (self._unfinished_at + seen_at) / 2)
