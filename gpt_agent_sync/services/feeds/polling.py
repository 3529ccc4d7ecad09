"""A feed that looks at a run again and again, quickly at first."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable

import attrs

from gpt_agent_sync.records import FeedUpdate, Message, Pause, RunSnapshot
from gpt_agent_sync.services.base import Feed
from gpt_agent_sync.services.feeds.pacing import Pace
from gpt_agent_sync.services.feeds.run_streams import RunStream
from gpt_agent_sync.services.http.closing import Closing, FeedClosed


@attrs.frozen
class Look:
    """Hold what one look at a run showed.

    Attributes:
        snapshot: The run.
        poll_after: Seconds to wait before the next look, where the server says.
        stream: What the service tells of the run from here on, where it streams.
    """

    snapshot: RunSnapshot
    poll_after: float | None = None
    stream: RunStream | None = None


_SAYS_NO_MORE = frozenset({"queued", "in_progress"})
"""The statuses that are told once, however often they are seen."""

First = Callable[[Pause], Look]
"""Makes the request that a feed begins with, and gives what its answer showed."""


@attrs.frozen(kw_only=True)
class Ways:
    """Hold how a feed asks for its run; each may raise ``ServiceError`` and ``FeedClosed``.

    Attributes:
        first: Makes the first request (start, submit or look) and gives what it showed.
        look: Looks again.
        finish: Gives the messages of a run that is over.
        pace: Tells when to look.
        begins: Whether the first request starts the run, or gives it what it waited for. A run
            that is over in the answer to that is shown as begun before its messages are read,
            so that trouble with reading them does not count as trouble with the request.
    """

    first: First
    look: Callable[[str, Pause], Look]
    finish: Callable[[RunSnapshot, Pause], Iterable[Message]]
    pace: Pace
    begins: bool = True


class PollingFeed(Feed):
    """Follow a run by looking at it.

    Args:
        ways: How to ask for it.
    """

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        self._closing = Closing()
        self._updates = self._follow()

    def __next__(self) -> FeedUpdate:
        """Give the next update."""
        if self._closing.closed:
            self._updates.close()
            raise StopIteration
        try:
            return next(self._updates)
        except FeedClosed:
            raise StopIteration from None

    def close(self) -> None:
        """End the feed: a pause is cut short, and so is a look or a stream under way."""
        self._closing.close()

    def _follow(self) -> Generator[FeedUpdate]:
        yield from self._poll_from_the_beginning(self._ways.first(self._closing))

    def _poll_from_the_beginning(self, seen: Look) -> Generator[FeedUpdate]:
        self._ways.pace.begin()
        if self._ways.begins and seen.snapshot.is_final:
            yield attrs.evolve(seen.snapshot, status="in_progress")
        yield from self._poll(seen)

    def _poll(self, seen: Look) -> Generator[FeedUpdate]:
        """Look until the run is over or waits for something; ``seen`` is the look before."""
        ways, told = self._ways, None
        while not seen.snapshot.is_final:
            snapshot = seen.snapshot
            if snapshot.status != told or snapshot.status not in _SAYS_NO_MORE:
                yield snapshot
            told = snapshot.status
            if snapshot.ends_feed:
                ways.pace.end()
                return
            self._closing(ways.pace.pause(seen.poll_after))
            seen = ways.look(snapshot.id, self._closing)
        ways.pace.end()
        yield from ways.finish(seen.snapshot, self._closing)
        yield seen.snapshot
