"""When to poll a run: often while it is young, seldom as it ages, and by what runs took lately."""

from __future__ import annotations

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Hashable

from gpt_agent_sync import forks

# The two constants below go together. A run's end is noticed late by half a pause in the middle:
# by a seventh of the run's length, or 30 ms for the quickest. A run of 2 s costs 12 polls, and 14
# when jitter makes each pause the shortest. Half the growth would cost half as many polls again,
# to notice the end a seventh of a second earlier.

FIRST_PAUSE = 0.0625
"""Seconds between the start of a run and the first poll; no pause is shorter."""

GROWTH = 0.3
"""How long to pause, as a share of the time the run has taken so far."""

EARLY_SHARE = 0.5
"""When to poll first, as a share of what the quickest of the last runs took."""

DUE_SHARE = 0.05
"""How long to pause when a run is due, as a share of that; longer, the longer it is overdue."""

HASTE = 0.97
"""By how much less a run is expected to take when the last one was over as soon as it was due."""

SHORTEST_HINT = 0.01
"""Seconds: a shorter pause that a server asks for is taken as this."""

LONGEST_HINT = 60.0
"""Seconds: a longer pause that a server asks for is taken as this."""

JITTER = 0.1
"""How much longer or shorter a pause is made, as a share of it."""

RUNS_KEPT = 8
KINDS_KEPT = 1000


def next_pause(
    age: float, heartbeat: float, poll_after: float | None, expected: float | None = None
) -> float:
    """Return the seconds until the next poll.

    The server's wish rules. Without one the pauses grow with the run's age, so that a run's
    end is noticed late by a steady share of its length, and at most by the heartbeat. Where
    runs of its kind are known to take longer there is one early poll, and further ones only
    a heartbeat apart until it is due: a run that is much quicker is noticed late by that at most.
    From then on it is polled closely, and ever less so as it is overdue.

    Args:
        age: Seconds since the run was started, or first polled.
        heartbeat: The longest pause, seconds.
        poll_after: What the server asks for, seconds.
        expected: What the quickest of the last runs of its kind took, where known, seconds.
    """
    if poll_after is not None:
        return min(max(poll_after, SHORTEST_HINT), LONGEST_HINT)
    if expected is None:
        return min(max(FIRST_PAUSE, age * GROWTH), heartbeat)
    early = expected * EARLY_SHARE
    if age >= expected:
        pause = max(expected * DUE_SHARE, (age - expected) * GROWTH)
    else:
        # Jitter puts the early poll a little before or after its time: past half of that it counts
        # as made, or it would be made twice.
        pause = (early if age < early / 2 else expected) - age
    return min(max(FIRST_PAUSE, pause), heartbeat)


class RunTimes:
    """The seconds that the last runs of each kind took; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._times: OrderedDict[Hashable, tuple[float, ...]] = OrderedDict()
        forks.renew_in_child(self)

    def shortest(self, kind: Hashable) -> float | None:
        """Return what the quickest of the last runs took, in seconds."""
        with self._lock:
            times = self._times.get(kind)
        return min(times) if times else None

    def add(self, kind: Hashable, seconds: float) -> None:
        """Add what a run took."""
        with self._lock:
            # Put in anew at the end: the kind whose last run is longest ago is dropped first.
            times = (*self._times.pop(kind, ()), seconds)
            self._times[kind] = times[-RUNS_KEPT:]
            while len(self._times) > KINDS_KEPT:
                self._times.popitem(last=False)

    def _after_fork(self) -> None:
        """Have a free lock in a forked child: another thread may have held it."""
        self._lock = threading.Lock()


class Pace:
    """The pauses between one feed's polls.

    Args:
        heartbeat: The longest pause, seconds.
        times: What runs took lately.
        kind: What kind of run it is; ``None`` for one that was found already in progress.
    """

    def __init__(self, heartbeat: float, times: RunTimes, kind: Hashable | None = None) -> None:
        self._heartbeat = heartbeat
        self._times = times
        self._kind = kind
        self._expected = None if kind is None else times.shortest(kind)
        self._began = time.monotonic()
        self._unfinished_at = 0.0

    def begin(self) -> None:
        """Start the clock: the run begins now."""
        self._began = time.monotonic()

    def pause(self, poll_after: float | None) -> float:
        """Return the seconds until the next poll, after one that found the run in progress.

        Args:
            poll_after: What the server asks for, seconds.
        """
        self._unfinished_at = time.monotonic() - self._began
        pause = next_pause(self._unfinished_at, self._heartbeat, poll_after, self._expected)
        if poll_after is not None:
            return pause
        # Agents that were started together would otherwise poll in step for ever. Where the end is
        # expected a poll a little late is one that finds it, and one too early is one too many.
        shortest = 1.0 if self._expected is not None else 1 - JITTER
        return pause * random.uniform(shortest, 1 + JITTER)

    def end(self) -> None:
        """Record what the run took, when it has ended or waits for tool outputs."""
        if self._kind is None:
            return
        # It ended between the last two polls, nobody knows when: when it was expected to, or as
        # near to that as they allow. The middle would be far off where the one before was the early
        # one. A little less than expected, as runs that have become quicker would not show it.
        seen_at = time.monotonic() - self._began
        middle = (self._unfinished_at + seen_at) / 2
        likely = middle if self._expected is None else self._expected * HASTE
        self._times.add(self._kind, min(max(likely, self._unfinished_at), seen_at))
