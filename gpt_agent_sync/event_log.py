"""The log of a thread's events, as values: entries, their places, and what is missing between.

A place is written ``fence-number``, as Redis writes the ids of a stream's entries. The fence is
that of the lease of whoever appended it, and grows from one to the next.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import attrs

from gpt_agent_sync.events import (
    AgentStopped,
    AssistantMessageAdded,
    ClosingEvent,
    Event,
    EventsMissed,
    RunStarted,
    UserMessageAdded,
)

START = ""
"""The cursor before all that there is."""

_PART = re.compile(r"[0-9]{1,18}", re.ASCII)
"""Redis takes numbers of 64 bits, and refuses all that is read together with a larger one."""

Mark = Literal["begun", "settled"]


@attrs.frozen(kw_only=True)
class Entry:
    """What was appended to a thread's log at once.

    Attributes:
        cursor: Its place, that of its last event; places grow.
        before: The place of the entry before it; ``""`` when there was none.
        events: The events, each with its cursor.
        mark: ``"begun"`` when a lease began, ``"settled"`` when it was released; else ``None``.
        key: The key of the queued message whose turn it tells of.
        owner: With the mark ``"begun"``: whose lease it is that began.
    """

    cursor: str
    before: str = START
    events: tuple[Event, ...] = ()
    mark: Mark | None = None
    key: str | None = None
    owner: str | None = None

    @property
    def fence(self) -> int:
        """The fence of the lease that it was appended under."""
        return place_of_cursor(self.cursor)[0]

    @property
    def start(self) -> str:
        """The place before its first event; that of a mark alone."""
        fence, number = place_of_cursor(self.cursor)
        return cursor_of(fence, number - len(self.events))

    def follows(self, cursor: str) -> bool:
        """Return whether nothing is missing between a cursor and this."""
        if cursor == self.before:
            return True
        fence, number = place_of_cursor(cursor)
        own_fence, own_number = place_of_cursor(self.cursor)
        return fence == own_fence and own_number - len(self.events) <= number < own_number

    def after(self, cursor: str) -> Entry:
        """Return the entry without the events up to a cursor."""
        place = place_of_cursor(cursor)
        later = tuple(each for each in self.events if place_of_cursor(each.cursor or "") > place)
        return self if len(later) == len(self.events) else attrs.evolve(self, events=later)


@attrs.frozen
class Page:
    """Entries of a log, oldest first.

    Attributes:
        entries: The entries.
        missed: Whether some before them are gone that come after the cursor they were read from.
    """

    entries: tuple[Entry, ...] = ()
    missed: bool = False

    @classmethod
    def of(cls, kept: Sequence[Entry], after: str) -> Page:
        """Return what of some entries comes after a cursor.

        Args:
            kept: All entries that are kept, or those after the cursor; oldest first.
            after: The cursor.
        """
        place = place_of_cursor(after)
        later = [entry for entry in kept if place_of_cursor(entry.cursor) > place]
        if not later:
            return cls()
        first, *rest = later
        # From the start there is nothing that could have been seen before.
        return cls((first.after(after), *rest), after != START and not first.follows(after))


def before_turn(kept: Sequence[Entry], newest: str) -> str:
    """Return the cursor from which on all events of the turn that is under way come.

    Args:
        kept: All entries of a log that are kept, oldest first. Where the turn's beginning is not
            among them, something is missing after the cursor.
        newest: The log's newest cursor, which it is where no turn is under way.
    """
    begun: Event | None = None
    for entry in kept:
        for event in entry.events:
            if isinstance(event, ClosingEvent):
                begun = None
            elif begun is None and not isinstance(event, _BETWEEN_TURNS):
                begun = event
        if entry.mark == "settled":
            begun = None
    if begun is None or begun.cursor is None:
        return newest
    fence, number = place_of_cursor(begun.cursor)
    is_whole = isinstance(begun, (UserMessageAdded, RunStarted))
    return cursor_of(fence, number - 1 if is_whole else 0)


_BETWEEN_TURNS = AssistantMessageAdded, EventsMissed, AgentStopped
"""Events that do not say that a turn is under way: messages are told when their run has ended."""


def cursor_of(fence: int, number: int) -> str:
    """Return the cursor of an event of a lease, as Redis writes the ids of entries."""
    return f"{fence}-{number}"


def place_of_cursor(cursor: str) -> tuple[int, int]:
    """Return fence and number of a cursor, to compare it by.

    Raises:
        ValueError: If it is none.
    """
    if cursor == START:
        return 0, 0
    fence, dash, number = cursor.partition("-")
    if not (dash and all(_PART.fullmatch(part) for part in (fence, number))):
        raise ValueError(f"a cursor is that of an event, such as '12-3', not {cursor!r}")
    return int(fence), int(number)
