"""The events of a turn that other processes have not got yet."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import attrs

from gpt_agent_sync.event_log import START
from gpt_agent_sync.events import Event, EventsMissed

MOST = 1000
"""Events that are kept for a backplane that is away; the oldest are dropped first."""

DROPPED = 100
"""How many are dropped at once, with one event that says so."""


@attrs.define(eq=False)
class Unsent:
    """An event that others have not got yet.

    Attributes:
        event: The event.
        key: The key of its turn's message.
        told: Whether it was told here.
    """

    event: Event
    key: str | None
    told: bool = False


class Outbox:
    """What waits to be appended to a thread's log, in order; its owner has the lock."""

    def __init__(self) -> None:
        self._unsent: list[Unsent] = []
        self._in_doubt = 0

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._unsent)

    def add(self, event: Event, key: str | None, *, sends: bool) -> tuple[Unsent, int]:
        """Add an event; where there are too many, drop the oldest.

        Args:
            event: The event.
            key: The key of its turn's message.
            sends: Whether some are being sent, so that none may be dropped now.

        Returns:
            What waits now, and how many events were dropped.
        """
        waiting = Unsent(event, key)
        self._unsent.append(waiting)
        if len(self._unsent) <= MOST or sends:
            return waiting, 0
        first = self._in_doubt
        dropped = self._unsent[first : first + DROPPED]
        self._unsent[first : first + DROPPED] = [_missed(dropped)]
        return waiting, len(dropped)

    def next_batch(self) -> Sequence[Unsent]:
        """Return what is to be sent next; it stays until it ``is_sent()``.

        What may have arrived is sent again as it was, or it would stand there twice.
        """
        batch = self._unsent[: self._in_doubt] or _first_batch(self._unsent)
        self._in_doubt = len(batch)
        return batch

    def is_sent(self, batch: Sequence[Unsent]) -> None:
        """Take out what others have now."""
        self._unsent = [each for each in self._unsent if each not in batch]
        self._in_doubt = 0

    def told_alone(self) -> tuple[Event, ...]:
        """Return the events that were told here and nowhere else."""
        return tuple(each.event for each in self._unsent if each.told)

    def clear(self) -> None:
        """Forget all."""
        self._unsent, self._in_doubt = [], 0


def _missed(dropped: Sequence[Unsent]) -> Unsent:
    """Return what is told in place of events that were dropped."""
    first, last = dropped[0].event, dropped[-1]
    missed = EventsMissed(
        thread_id=first.thread_id, after=first.cursor or START, cursor=last.event.cursor
    )
    return Unsent(missed, last.key)


def _first_batch(unsent: Sequence[Unsent]) -> list[Unsent]:
    """Return the first of the events that may go together: those of one message's turn."""
    return list(next(itertools.groupby(unsent, lambda each: each.key))[1])
