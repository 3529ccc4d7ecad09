"""The messages that conversations hold, and whose they are."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from gpt_agent_sync.records import Message
from gpt_agent_sync.services.http.client import wait_on_this_thread
from gpt_agent_sync.services.responses.cache import ConversationCache
from gpt_agent_sync.services.responses.resources import Conversations, Responses
from gpt_agent_sync.services.responses.wire import read_messages

logger = logging.getLogger(__name__)

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

    def messages_after(self, thread_id: str, message_id: str) -> list[Message]:
        """Return the messages after one; after a user's one, those of the response it asked for."""
        response = None
        if message_id.startswith(RESPONSE_PREFIX):
            response = self._responses.get(message_id, wait_on_this_thread)[0]
            if response is None:
                logger.warning(
                    "what came after %s in %s cannot be told: the service has no such response",
                    *(message_id, thread_id),
                )
                return []
        if response is None:
            items = self._conversations.items_after(thread_id, message_id)
        else:
            items = self._conversations.items_from(thread_id, frozenset(response.item_ids)) or []
            if not items:
                logger.warning(
                    "what came after %s in %s cannot be told: that response left nothing there",
                    *(message_id, thread_id),
                )
        return self._with_runs(thread_id, message_id, items)

    def _with_runs(
        self, thread_id: str, message_id: str, items: Sequence[Mapping[str, Any]]
    ) -> list[Message]:
        """Read messages, and say which are those of the run under way, and which are not."""
        cached = self._cache.get(thread_id)
        chain = cached.chain if cached is not None else None
        own_ids = chain.message_ids if chain is not None else frozenset()
        # The user's message of a run comes into the conversation with the run's end only, so that
        # its place would mislead. Runs of others go by the id of their turn's first item, as do
        # runs that no response is known of.
        turn_id, messages = message_id, []
        for item in items:
            if item.get("role") == "user":
                turn_id = str(item.get("id") or turn_id)
            for message in read_messages([item], turn_id):
                is_own = chain is not None and (message.id in own_ids or turn_id == chain.run_id)
                run_id = chain.run_id if chain is not None and is_own else turn_id
                messages.append(attrs.evolve(message, run_id=run_id))
        return messages
