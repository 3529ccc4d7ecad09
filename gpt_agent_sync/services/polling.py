"""A feed that looks at a run again and again, quickly at first."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import attrs

from gpt_agent_sync.records import FeedUpdate, Message, Pause, RunSnapshot
from gpt_agent_sync.services.base import Feed, FeedClosed

FIRST_PAUSE = 0.03
"""Seconds between the start of a run and the first look at it."""

GROWTH = 0.15
"""How long to pause, as a share of the time the run has taken so far."""

SHORTEST_HINT = 0.01
"""Seconds: a shorter pause that a server asks for is taken as this."""

LONGEST_HINT = 60.0
"""Seconds: a longer pause that a server asks for is taken as this."""


@attrs.frozen
class Look:
    """Hold what one look at a run showed.

    Attributes:
        snapshot: The run.
        poll_after: Seconds to wait before the next look, where the server says.
    """

    snapshot: RunSnapshot
    poll_after: float | None = None


def next_pause(age: float, heartbeat: float, asked: float | None) -> float:
    """Give the seconds until the next look.

    The server's wish rules. Without one the pauses grow with the run's age, so that a run's
    end is noticed late by a steady share of its length, and at most by the heartbeat.

    Args:
        age: Seconds since the run was started, or first looked at.
        heartbeat: The longest pause.
        asked: What the server asks for.
    """
    if asked is not None:
        return min(max(asked, SHORTEST_HINT), LONGEST_HINT)
    return min(max(FIRST_PAUSE, age * GROWTH), heartbeat)


First = Callable[[Pause], Look]
"""Makes the request that a feed begins with, and gives what its answer showed."""


class PollingFeed(Feed):
    """Follow a run by looking at it.

    Args:
        first: Makes the first request (start, submit or look) and gives what it showed.
        look: Looks again.
        finish: Gives the messages of a run that is over.
        heartbeat: The longest pause between two looks, seconds.
        begins: Whether the first request starts the run, or gives it what it waited for. A run
            that is over in the answer to that is shown as begun before its messages are read,
            so that trouble with reading them does not count as trouble with the request.
    """

    def __init__(
        self,
        first: First,
        look: Callable[[str, Pause], Look],
        finish: Callable[[RunSnapshot, Pause], Iterable[Message]],
        heartbeat: float,
        *,
        begins: bool = True,
    ) -> None:
        self._first = first
        self._look = look
        self._finish = finish
        self._heartbeat = heartbeat
        self._begins = begins
        self._closed = threading.Event()
        self._updates = self._follow()

    def __next__(self) -> FeedUpdate:
        """Give the next update."""
        if self._closed.is_set():
            raise StopIteration
        try:
            return next(self._updates)
        except FeedClosed:
            raise StopIteration from None

    def close(self) -> None:
        """End the feed; a pause is cut short, a request under way is let go."""
        self._closed.set()

    def _pause(self, seconds: float) -> None:
        if self._closed.wait(seconds):
            raise FeedClosed

    def _follow(self) -> Iterator[FeedUpdate]:
        seen = self._first(self._pause)
        began = time.monotonic()
        if self._begins and seen.snapshot.is_final:
            yield attrs.evolve(seen.snapshot, status="in_progress")
        while not seen.snapshot.is_final:
            snapshot = seen.snapshot
            yield snapshot
            if snapshot.status == "requires_action" and (
                snapshot.tool_calls or snapshot.unsupported_action
            ):
                return
            pause = next_pause(time.monotonic() - began, self._heartbeat, seen.poll_after)
            self._pause(pause * random.uniform(0.9, 1.1) if seen.poll_after is None else pause)
            seen = self._look(snapshot.id, self._pause)
        yield from self._finish(seen.snapshot, self._pause)
        yield seen.snapshot
