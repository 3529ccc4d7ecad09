"""Following a run by its feed, on the worker's thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import attrs

from gpt_agent_sync.agent.mailbox import Mailbox
from gpt_agent_sync.decisions import runs
from gpt_agent_sync.decisions.state import DecisionContext, Phase
from gpt_agent_sync.decisions.verbs import current_turn
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.records import RunSnapshot
from gpt_agent_sync.services.base import Feed

logger = get_logger(__name__)


@attrs.define
class _OpenFeed:
    """The feed that is followed.

    Attributes:
        feed: The feed.
        turn: The number of the turn it was opened for.
        origin: The phase of the turn then.
        interrupted: Whether it was closed so that the run is polled at once.
        complete: Whether its last snapshot is the last that there is.
    """

    feed: Feed
    turn: int
    origin: Phase
    interrupted: bool = False
    complete: bool = False


class RunFollower:
    """The feed of the run in progress, whose updates it hands to the decisions.

    Used on the worker's thread alone, ``stop()`` and ``interrupt()`` excepted.

    Args:
        mailbox: The agent's progress.
        context: Returns the context of a decision made now.
        failed: Takes in that a request failed: the turn's number, its phase when the feed was
            opened, and the error.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        context: Callable[[], DecisionContext],
        failed: Callable[[int, Phase, Exception], None],
    ) -> None:
        self._mailbox = mailbox
        self._context = context
        self._failed = failed
        self._open: _OpenFeed | None = None
        self._stopping = threading.Event()

    @property
    def is_open(self) -> bool:
        """Whether there is a feed to follow."""
        return self._open is not None

    def open(self, number: int, origin: Phase, open_feed: Callable[[], Feed]) -> None:
        """Follow a feed of the turn's run from now on, in place of the former one."""
        self.drop()
        try:
            feed = open_feed()
        except Exception as exc:
            self._failed(number, origin, exc)
            return
        self._open = _OpenFeed(feed, number, origin)
        if self._stopping.is_set():
            # stop() may have come just before there was this feed to close.
            feed.close()

    def advance(self) -> None:
        """Wait for the feed's next update, and decide what follows from it."""
        followed = self._open
        assert followed is not None
        number, origin = followed.turn, followed.origin
        try:
            update = next(followed.feed)
            if isinstance(update, RunSnapshot):
                logger.debug("run %s is %s", update.id, update.status)
                followed.complete = update.ends_feed
            self._mailbox.apply(runs.feed_update, number, origin, update, self._context())
            if not followed.complete and current_turn(self._mailbox.progress, number) is None:
                # Given up by that decision: read on, it would hold up the next turn's steps.
                self.drop()
        except StopIteration:
            # A feed is followed to its end and not dropped at its last snapshot: only a stream
            # that was read to the end leaves a connection that can be used again.
            self.drop()
            if followed.complete:
                return
            self._mailbox.apply(
                runs.feed_ended, number, origin, self._context(), interrupted=followed.interrupted
            )
        except Exception as exc:
            self.drop()
            self._failed(number, origin, exc)

    def drop(self) -> None:
        """Close the feed, if there is one."""
        followed, self._open = self._open, None
        if followed is None:
            return
        if not followed.complete:
            followed.feed.close()
        with contextlib.suppress(Exception):
            next(followed.feed, None)  # only its reader may release what a closed feed holds

    def stop(self) -> None:
        """End the wait for an update, now and in feeds opened later; from any thread."""
        self._stopping.set()
        followed = self._open
        if followed is not None:
            followed.feed.close()

    def interrupt(self, turn: int) -> None:
        """End the wait for an update of this turn, so that its run is polled; from any thread."""
        followed = self._open
        # Late, it must not close the feed of the next turn.
        if followed is not None and followed.turn == turn:
            followed.interrupted = True
            followed.feed.close()
