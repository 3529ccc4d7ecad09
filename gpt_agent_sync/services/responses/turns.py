"""The turns of a conversation: from a user's message to before the next one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import attrs

from gpt_agent_sync.arguments import ContentParts
from gpt_agent_sync.records import Message, ToolCall
from gpt_agent_sync.services.http.shapes import as_word, join_texts
from gpt_agent_sync.services.responses.calls import (
    FUNCTION_CALL,
    OpenCall,
    answered_ids,
    open_unsupported_calls,
    unsupported_calls,
)
from gpt_agent_sync.services.responses.wire import read_call, read_message, read_messages


@attrs.frozen(kw_only=True)
class ConversationTurn:
    """The items of one turn, from the user's message on.

    Attributes:
        items: The items, oldest first.
    """

    items: tuple[Mapping[str, Any], ...] = ()

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The ids of the items."""
        return tuple(item["id"] for item in self.items if isinstance(item.get("id"), str))

    @property
    def run_id(self) -> str:
        """The id of its first item: the run's, when no response is known."""
        return as_word(self.items[0].get("id")) or "" if self.items else ""

    @property
    def user_content(self) -> ContentParts | None:
        """The user's message, ``None`` when the items do not begin with one."""
        if not self.items or self.items[0].get("role") != "user":
            return None
        return read_message(self.items[0], "").parts

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """Its function calls."""
        return tuple(call for call in map(read_call, self.items) if call is not None)

    @property
    def call_ids(self) -> frozenset[str]:
        """The ids of its calls, of all kinds."""
        unsupported = frozenset(call.id for call in unsupported_calls(self.items))
        return unsupported.union(call.id for call in self.calls)

    @property
    def answered_call_ids(self) -> frozenset[str]:
        """The ids of the calls that have outputs, of all kinds."""
        return answered_ids(self.items)

    @property
    def unanswered_calls(self) -> tuple[ToolCall, ...]:
        """The function calls that have no output."""
        answered = self.answered_call_ids
        return tuple(call for call in self.calls if call.id not in answered)

    @property
    def unsupported_calls(self) -> tuple[OpenCall, ...]:
        """The calls of other kinds that have none."""
        return open_unsupported_calls(self.items)

    @property
    def open_calls(self) -> tuple[OpenCall, ...]:
        """The calls of all kinds that have none."""
        functions = (OpenCall(kind=FUNCTION_CALL, id=call.id) for call in self.unanswered_calls)
        return (*functions, *self.unsupported_calls)

    def without(self, earlier: ConversationTurn) -> ConversationTurn:
        """Return the items that another turn, this one at an earlier time, did not have."""
        known = frozenset(earlier.item_ids)
        new = tuple(item for item in self.items if item.get("id") not in known)
        return ConversationTurn(items=new)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The assistant's messages."""
        read = read_messages(self.items, self.run_id)
        return tuple(message for message in read if message.role == "assistant")


def latest_turn(newest: Sequence[Mapping[str, Any]]) -> ConversationTurn | None:
    """Return the newest turn of a conversation, ``None`` when it begins before these items.

    Args:
        newest: The newest items, newest first.
    """
    for place, item in enumerate(newest):
        if item.get("role") == "user":
            return ConversationTurn(items=tuple(newest[place::-1]))
    return None


def turn_with_calls(
    items: Sequence[Mapping[str, Any]], call_ids: Set[str]
) -> ConversationTurn | None:
    """Return the turn that holds calls: from a user's message to before the next one.

    Args:
        items: Items of a conversation, oldest first.
        call_ids: The calls.
    """
    turn: list[Mapping[str, Any]] = []
    for item in items:
        if item.get("role") == "user":
            if ConversationTurn(items=tuple(turn)).call_ids & call_ids:
                break
            turn = []
        turn.append(item)
    found = ConversationTurn(items=tuple(turn))
    return found if found.call_ids & call_ids else None


def same_content(one: ContentParts, other: ContentParts) -> bool:
    """Return whether two messages have the same texts, and the same images where both name them.

    OpenAI leaves the address of an image out unless it is asked for.
    """
    return len(one) == len(other) and all(map(_same_part, one, other))


def _same_part(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if one.get("type") != "input_image" or other.get("type") != "input_image":
        return join_texts((dict(one),)) == join_texts((dict(other),))
    return all(
        one.get(name) == other.get(name) or not one.get(name) or not other.get(name)
        for name in ("image_url", "file_id")
    )
