"""What a Responses service remembers of conversations; all of it can be read from there again."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from gpt_agent_sync import forks
from gpt_agent_sync.services.responses.chain import Trail

MOST_REMEMBERED = 5_000
"""Conversations; the ones not used for longest are forgotten first."""


@attrs.frozen(kw_only=True)
class Remembered:
    """Hold what is known of a conversation.

    Attributes:
        metadata: Its metadata, as last read or written; ``None`` while unknown.
        newest_item_id: The newest item that we know to be in it.
        trail: Its newest run, if it may be under way.
    """

    metadata: Mapping[str, Any] | None = None
    newest_item_id: str | None = None
    trail: Trail | None = None


class Memory:
    """Hold what is known of the conversations used last; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Remembered] = OrderedDict()
        _memories.add(self)

    def get(self, thread_id: str) -> Remembered | None:
        """Give what is known of a conversation."""
        with self._lock:
            known = self._known.get(thread_id)
            if known is not None:
                self._known.move_to_end(thread_id)
            return known

    def change(self, thread_id: str, change: Callable[[Remembered], Remembered]) -> Remembered:
        """Put what a pure function makes of it in place of what is known, and give that."""
        with self._lock:
            known = self._known[thread_id] = change(self._known.get(thread_id) or Remembered())
            self._known.move_to_end(thread_id)
            while len(self._known) > MOST_REMEMBERED:
                self._known.popitem(last=False)
            return known

    def forget(self) -> None:
        """Begin anew, in a forked child: what the parent does goes on without us."""
        self._lock = threading.Lock()
        self._known = OrderedDict()


_memories: weakref.WeakSet[Memory] = weakref.WeakSet()


def _after_fork() -> None:
    for memory in list(_memories):
        memory.forget()


forks.in_child(_after_fork)
