"""The messages that conversations hold, and whose they are."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import attrs

from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.records import Message, Order
from gpt_agent_sync.services.http.client import wait_on_this_thread
from gpt_agent_sync.services.http.paging import PAGE, Entry
from gpt_agent_sync.services.http.shapes import as_word, is_unwritten
from gpt_agent_sync.services.responses.cache import ConversationCache
from gpt_agent_sync.services.responses.resources import FIRST_PAGE, Conversations, Responses
from gpt_agent_sync.services.responses.wire import read_messages

logger = get_logger(__name__)

RESPONSE_PREFIX = "resp"
"""What ids of responses begin with: user's messages have those, and all others their items'."""


class MessageHistory:
    """The messages of conversations, each with its run.

    Args:
        conversations: The conversations.
        responses: The responses.
        cache: What is known of the runs under way.
    """

    def __init__(
        self, conversations: Conversations, responses: Responses, cache: ConversationCache
    ) -> None:
        self._conversations = conversations
        self._responses = responses
        self._cache = cache

    def messages(
        self, thread_id: str, after: str | None, order: Order, limit: int | None
    ) -> Iterator[Message]:
        """Yield the messages, page by page, as ``Service.messages()`` does."""
        # Not all items are messages, and a turn is read whole: pages are larger than the limit.
        first = PAGE if limit is None else min(max(limit, FIRST_PAGE), PAGE)
        if after is not None and after.startswith(RESPONSE_PREFIX):
            items = self._items_after_response(thread_id, after, order)
        else:
            items = self._conversations.items(thread_id, order, after, first=first)
        by_turn = _newest_by_turn(items) if order == "desc" else _oldest_by_turn(items, after)
        return itertools.islice(self._read(thread_id, by_turn), limit)

    def _items_after_response(self, thread_id: str, after: str, order: Order) -> Iterator[Entry]:
        """Yield what comes after the user's message that a response answers."""
        response = self._responses.get(after, wait_on_this_thread)[0]
        if response is None:
            _log_unknown_place(thread_id, after, "the service has no such response")
            return
        item_ids, found = frozenset(response.item_ids), False
        if order == "asc":
            listed = self._conversations.items_from(thread_id, item_ids) or []
            found = bool(listed)
            yield from listed
        else:
            items = self._conversations.items(thread_id, "desc")
            for item in items:
                found = found or item.get("id") in item_ids
                if found and item.get("role") == "user":
                    break
            yield from items
        if not found and response.is_final:
            _log_unknown_place(thread_id, after, "that response left nothing there")

    def _read(
        self, thread_id: str, by_turn: Iterable[tuple[str | None, Entry]]
    ) -> Iterator[Message]:
        """Read messages, and say which are those of the run under way, and which are not."""
        cached = self._cache.get(thread_id)
        chain = cached.chain if cached is not None else None
        own_ids = chain.message_ids if chain is not None else frozenset()
        # The user's message of a run comes into the conversation with the run's end only, so that
        # its place would mislead. Runs of others go by the id of their turn's first item, as do
        # runs that no response is known of.
        for turn_id, item in by_turn:
            for message in read_messages([item], turn_id or ""):
                if is_unwritten(item, message.parts):
                    continue
                is_own = chain is not None and (message.id in own_ids or turn_id == chain.run_id)
                run_id = chain.run_id if chain is not None and is_own else turn_id
                by_run = message.role == "assistant"
                yield attrs.evolve(message, run_id=run_id if by_run else None)


def _oldest_by_turn(
    items: Iterable[Entry], turn_id: str | None
) -> Iterator[tuple[str | None, Entry]]:
    """Yield items, oldest first, each with the id that its turn goes by.

    Args:
        items: The items.
        turn_id: What the turn goes by that the first of them may be in the midst of.
    """
    for item in items:
        if turn_id is None or item.get("role") == "user":
            turn_id = as_word(item.get("id")) or turn_id
        yield turn_id, item


def _newest_by_turn(items: Iterable[Entry]) -> Iterator[tuple[str | None, Entry]]:
    """Yield items, newest first, each with the id that its turn goes by."""
    turn: list[Entry] = []
    for item in items:
        turn.append(item)
        if item.get("role") == "user":
            yield from ((as_word(item.get("id")), member) for member in turn)
            turn = []
    yield from ((as_word(turn[-1].get("id")), member) for member in turn)


def _log_unknown_place(thread_id: str, message_id: str, reason: str) -> None:
    logger.warning("what comes after %s in %s cannot be told: %s", message_id, thread_id, reason)
