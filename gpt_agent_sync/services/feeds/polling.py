"""The feed that polls its run, quickly at first."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable

import attrs

from gpt_agent_sync.records import FeedUpdate, Message, Pause, RunSnapshot
from gpt_agent_sync.services.base import Feed
from gpt_agent_sync.services.feeds.pacing import Pace
from gpt_agent_sync.services.feeds.run_streams import RunStream
from gpt_agent_sync.services.http.closing import Closing, FeedClosed


@attrs.frozen
class PollResult:
    """What one poll of a run showed, or the request that started it.

    Attributes:
        snapshot: The run.
        poll_after: Seconds to wait before the next poll, where the server says.
        stream: The run's updates from here on, where the service streams them.
    """

    snapshot: RunSnapshot
    poll_after: float | None = None
    stream: RunStream | None = None


_YIELDED_ONCE = frozenset({"queued", "in_progress"})
"""The statuses that are not yielded for each of the polls in a row that show them."""

YIELDED_AGAIN = 60.0
"""Seconds after which such a status is yielded again."""

FirstRequest = Callable[[Pause], PollResult]
"""Makes the request that a feed begins with: one that starts a run, submits outputs, or polls."""


@attrs.frozen(kw_only=True)
class RunSource:
    """The requests by which a feed gets its run; each may raise ``ServiceError``, ``FeedClosed``.

    Attributes:
        begin: Makes the first request.
        poll: Polls the run of an id.
        read_messages: Returns the messages of a run that is final.
        pace: When to poll.
        deadline: When the run is given up, monotonic seconds; ``None`` for never.
        starts_work: Whether the first request starts the run, or submits what it waited for. A
            run that is final in the answer to that is yielded as in progress before its messages
            are read, so that trouble with reading them does not count as trouble with the request.
    """

    begin: FirstRequest
    poll: Callable[[str, Pause], PollResult]
    read_messages: Callable[[RunSnapshot, Pause], Iterable[Message]]
    pace: Pace
    deadline: float | None = None
    starts_work: bool = True

    def seconds_left(self) -> float | None:
        """Return the seconds until the run is given up; ``None`` for any number."""
        return None if self.deadline is None else self.deadline - time.monotonic()


class PollingFeed(Feed):
    """A feed that polls.

    Args:
        source: How to get the run.
    """

    def __init__(self, source: RunSource) -> None:
        self._source = source
        self._closing = Closing()
        # A generator, so that nothing is requested before the first ``next()``.
        self._updates = self._follow()

    def __next__(self) -> FeedUpdate:
        """Return the next update."""
        if self._closing.closed:
            # Closed from another thread between two updates: the generator lets go of what it
            # holds on this one, which is the only thread that may run it.
            self._updates.close()
            raise StopIteration
        try:
            return next(self._updates)
        except FeedClosed:
            raise StopIteration from None

    def close(self) -> None:
        """End the feed: a pause is cut short, and so is a poll or a stream under way."""
        self._closing.close()

    def _follow(self) -> Generator[FeedUpdate]:
        yield from self._follow_begun(self._source.begin(self._closing))

    def _follow_begun(self, result: PollResult) -> Generator[FeedUpdate]:
        self._source.pace.begin()
        if self._source.starts_work and result.snapshot.is_final:
            yield attrs.evolve(result.snapshot, status="in_progress")
        yield from self._poll_from(result)

    def _poll_from(self, result: PollResult) -> Generator[FeedUpdate]:
        """Poll until the run is final or waits for something, from the poll before on."""
        source, yielded_status, yielded_at = self._source, None, 0.0
        while not result.snapshot.is_final:
            snapshot, now = result.snapshot, time.monotonic()
            left = source.seconds_left()
            is_news = snapshot.status != yielded_status or snapshot.status not in _YIELDED_ONCE
            # Whether it takes too long is for the reader to decide, who needs to see it for that.
            if is_news or now - yielded_at >= YIELDED_AGAIN or (left is not None and left <= 0):
                yield snapshot
                yielded_status, yielded_at = snapshot.status, now
            if snapshot.ends_feed:
                source.pace.end()
                return
            pause = source.pace.pause(result.poll_after)
            self._closing(pause if left is None or left <= 0 else min(pause, left))
            result = source.poll(snapshot.id, self._closing)
        source.pace.end()
        # Read when the run is final only: a live run's list may hold a message without its text.
        yield from source.read_messages(result.snapshot, self._closing)
        yield result.snapshot
