"""What feeds yield, in short."""

from __future__ import annotations

from collections.abc import Iterable

from gpt_agent_sync.records import FeedUpdate, Message, RunSnapshot, TextDelta


def follow(feed: Iterable[FeedUpdate]) -> tuple[list[str], RunSnapshot]:
    """Read a feed to its end, and return the texts of its messages, and its last snapshot."""
    updates = list(feed)
    last = updates[-1]
    assert isinstance(last, RunSnapshot)
    return [update.content for update in updates if isinstance(update, Message)], last


def texts(feed: Iterable[FeedUpdate]) -> list[str]:
    """Read a feed to its end, and return the texts of its messages."""
    return follow(feed)[0]


def last_of(feed: Iterable[FeedUpdate]) -> RunSnapshot:
    """Read a feed to its end, and return its last snapshot."""
    return follow(feed)[1]


def shown(updates: Iterable[FeedUpdate]) -> list[str]:
    """Return updates in short: statuses, deltas in quotes, messages in brackets."""
    return [_shown(update) for update in updates]


def _shown(update: FeedUpdate) -> str:
    if isinstance(update, TextDelta):
        return f"'{update.text}'"
    if isinstance(update, Message):
        return f"[{update.content}]"
    return update.status
