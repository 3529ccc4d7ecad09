"""What a Responses service knows of conversations; all of it can be read from there again."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from gpt_agent_sync import forks
from gpt_agent_sync.services.responses.chain import ResponseChain

CAPACITY = 5_000
"""Conversations; the ones not used for longest are dropped first."""


@attrs.frozen(kw_only=True)
class CachedConversation:
    """What is known of a conversation.

    Attributes:
        metadata: Its metadata, as last read or written; ``None`` while unknown.
        newest_item_id: The newest item that is known to be in it.
        chain: Its newest run, if it may be under way.
    """

    metadata: Mapping[str, Any] | None = None
    newest_item_id: str | None = None
    chain: ResponseChain | None = None


class ConversationCache:
    """The conversations used last; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, CachedConversation] = OrderedDict()
        _caches.add(self)

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

    def clear(self) -> None:
        """Begin anew, in a forked child: the parent goes on with these runs, and not the child."""
        self._lock = threading.Lock()
        self._entries = OrderedDict()


_caches: weakref.WeakSet[ConversationCache] = weakref.WeakSet()


def _after_fork() -> None:
    for cache in list(_caches):
        cache.clear()


forks.in_child(_after_fork)
