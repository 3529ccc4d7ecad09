"""A thread's log of events in a Redis stream."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import attrs

from gpt_agent_sync.backplane import redis_scripts
from gpt_agent_sync.backplane.base import Lease, LeaseLostError
from gpt_agent_sync.event_log import START, Entry, Mark, Page, cursor_of
from gpt_agent_sync.events import Event
from gpt_agent_sync.logs import get_logger

if TYPE_CHECKING:
    import redis

logger = get_logger(__name__)

PAGE = 500
"""Entries that are read at once."""

KEEP_MS = 24 * 3600 * 1000
"""Milliseconds for which a thread's log is kept after its last event."""


@attrs.frozen
class Keys:
    """The keys of one thread.

    Attributes:
        place: What they all begin with.
    """

    place: str

    @property
    def lease(self) -> str:
        """The lease: its fence and its holder's token."""
        return f"{self.place}:lease"

    @property
    def fence(self) -> str:
        """The fence of the last lease."""
        return f"{self.place}:fence"

    @property
    def events(self) -> str:
        """The log."""
        return f"{self.place}:events"

    @property
    def requests(self) -> str:
        """What the owner is asked."""
        return f"{self.place}:requests"

    @property
    def bell(self) -> str:
        """The channel that says that there is something new."""
        return f"{self.place}:bell"

    def answer(self, request_id: str) -> str:
        """Return the key of the owner's answer to a request."""
        return f"{self.place}:answer:{request_id}"


def append(
    client: redis.Redis,
    refusal: type[Exception],
    keys: Keys,
    lease: Lease,
    events: tuple[Event, ...],
    key: str | None,
    keep: int,
) -> None:
    """Append events, and ring the bell, in one round trip.

    Redis takes no entry whose place is not the newest: an earlier one of the same lease that is
    repeated is there already, and else it is the next owner's log by now.

    Raises:
        LeaseLostError: If another has the lease.
    """
    place = events[-1].cursor or ""
    fields = ["b", lease.newest, "e", json.dumps([each.to_dict() for each in events])]
    if key is not None:
        fields += ["k", key]
    try:
        client.register_script(redis_scripts.APPEND)(
            keys=[keys.events], args=[place, keep, KEEP_MS, keys.bell, *fields]
        )
    except refusal as exc:
        if "smaller than" not in str(exc):
            raise
        found = decode(client.xrange(keys.events, place, place))
        if not found or found[0].before != lease.newest or found[0].events != events:
            reason = "another process has the thread"
            raise LeaseLostError(keys.place, "append events", reason) from None
    lease.newest = place


def read(client: redis.Redis, keys: Keys, after: str) -> Page:
    """Return all that is kept after a cursor."""
    entries: list[Entry] = []
    missed, cursor = False, after
    while True:
        found = decode(client.xrange(keys.events, beyond(cursor), "+", count=PAGE))
        page = Page.of(found, cursor)
        missed = missed or (page.missed and not entries)
        entries += page.entries
        if len(found) < PAGE:
            return Page(tuple(entries), missed)
        cursor = found[-1].cursor


def newest(client: redis.Redis, keys: Keys) -> str:
    """Return the newest cursor."""
    found = decode(client.xrevrange(keys.events, "+", "-", count=1))
    return found[0].cursor if found else START


def beyond(cursor: str) -> str:
    """Return a cursor as the place from which entries after it are read."""
    return f"({cursor}" if cursor else "-"


def decode(answer: Any) -> list[Entry]:
    """Return the entries in an answer of Redis."""
    return [
        _entry(text_of(place), {text_of(name): text_of(value) for name, value in fields.items()})
        for place, fields in answer or ()
    ]


def _entry(place: str, fields: Mapping[str, str]) -> Entry:
    events: list[Event] = []
    try:
        told = json.loads(fields.get("e", "[]"))
    except ValueError:
        told = ["no JSON"]
    for data in told:
        try:
            events.append(Event.from_dict(data))
        except (ValueError, TypeError) as exc:
            # Of a newer version's, while processes are replaced one by one.
            logger.warning("an event of another version is left out: %s", exc)
    mark = fields.get("m")
    return Entry(
        cursor=place,
        before=fields.get("b", START),
        events=tuple(events),
        mark=cast("Mark", mark) if mark in ("begun", "settled") else None,
        key=fields.get("k"),
        owner=fields.get("o"),
    )


def text_of(value: Any) -> str:
    """Return a text that a client has read, which may decode answers."""
    return value if isinstance(value, str) else bytes(value).decode()


def mark_place(lease: Lease) -> str:
    """Return the place of the mark that ends a lease."""
    return cursor_of(lease.fence, lease.count + 1)
