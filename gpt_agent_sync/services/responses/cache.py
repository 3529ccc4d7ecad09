"""What a Responses service knows of conversations; all of it can be read from there again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from gpt_agent_sync import forks
from gpt_agent_sync.services.responses.chain import ResponseChain, is_recorded
from gpt_agent_sync.services.responses.turns import ConversationTurn

CAPACITY = 5_000
"""Conversations; the ones not used for longest are dropped first."""


DOUBT_SECONDS = 600.0
"""For how long a response whose creation is in doubt may show up in its conversation."""

ABANDONED = 32
"""How many abandoned runs of a conversation are remembered."""


@attrs.frozen(kw_only=True)
class AbandonedRun:
    """A run that was given up: nobody answers the calls that it may leave.

    Attributes:
        until: When it is forgotten, monotonic seconds.
        input_items: What its response was to be created from, where that is in doubt.
        run_id: Its id, where that is known and its cancel has failed.
    """

    until: float
    input_items: Sequence[Mapping[str, Any]] = ()
    run_id: str | None = None

    def has(self, turn: ConversationTurn, run_id: str) -> bool:
        """Return whether a turn is its own, or the run that the turn's calls are known to be of."""
        return run_id == self.run_id or is_recorded(self.input_items, turn)


@attrs.frozen(kw_only=True)
class CachedConversation:
    """What is known of a conversation.

    Attributes:
        metadata: Its metadata, as last read or written; ``None`` while unknown.
        newest_item_id: The newest item that is known to be in it.
        chain: Its newest run, if it may be under way.
        abandoned: The runs in it that were given up, as far as they may still show up.
        closing_until: Until when outputs may show up with which abandoned calls were closed,
            monotonic seconds.
    """

    metadata: Mapping[str, Any] | None = None
    newest_item_id: str | None = None
    chain: ResponseChain | None = None
    abandoned: tuple[AbandonedRun, ...] = ()
    closing_until: float = 0.0

    def abandon(self, run: AbandonedRun, now: float) -> CachedConversation:
        """Return the conversation with one more run that was given up."""
        left = [each for each in self.abandoned if each.until > now]
        return attrs.evolve(self, abandoned=(*left, run)[-ABANDONED:])


class ConversationCache:
    """The conversations used last; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, CachedConversation] = OrderedDict()
        forks.renew_in_child(self)

    def get(self, thread_id: str) -> CachedConversation | None:
        """Return what is known of a conversation."""
        with self._lock:
            entry = self._entries.get(thread_id)
            if entry is not None:
                self._entries.move_to_end(thread_id)
            return entry

    def update(
        self, thread_id: str, change: Callable[[CachedConversation], CachedConversation]
    ) -> CachedConversation:
        """Replace what is known by what a pure function makes of it, and return that.

        Args:
            thread_id: The conversation.
            change: Called under the lock, so that no thread's change is lost to another one's.
        """
        with self._lock:
            entry = change(self._entries.get(thread_id) or CachedConversation())
            self._entries[thread_id] = entry
            self._entries.move_to_end(thread_id)
            while len(self._entries) > CAPACITY:
                self._entries.popitem(last=False)
            return entry

    def _after_fork(self) -> None:
        """Begin anew, in a forked child: the parent goes on with these runs, and not the child."""
        self._lock = threading.Lock()
        self._entries = OrderedDict()
