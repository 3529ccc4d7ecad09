"""The way of a run through its responses: a run is a response and those that go on from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from gpt_agent_sync.records import Message, RunSnapshot, ToolCall, Usage
from gpt_agent_sync.services.responses.bodies import content_of
from gpt_agent_sync.services.responses.notes import Note
from gpt_agent_sync.services.responses.turns import Tail, same_content
from gpt_agent_sync.services.responses.wire import ResponseSeen, added


@attrs.frozen(kw_only=True)
class Trail:
    """Hold the way of a run through its responses.

    Attributes:
        run_id: The run: the id of its first response.
        response_id: The response now going, or the last one; ``None`` when it is only known by
            what it left in the conversation.
        assistant_id: The assistant, where known.
        given: The items that this response was made from, where known.
        seen: What the last look at this response showed.
        fields: What its responses are made with, when another process began it.
        passed: The ids of the responses before it.
        earlier_calls: The ids of the calls in those.
        messages: Their messages.
        spent: What they used.
        began_at: When this process began to follow it, monotonic seconds.
        submitting: Whether outputs are on their way.
        refused: The outputs that a rate limit kept out: the run is told as failed, and may be
            begun again with them.
        started: Whether the agent has been told of it.
        over: Whether it was ended before its calls were answered.
    """

    run_id: str
    response_id: str | None
    assistant_id: str | None = None
    given: tuple[dict[str, Any], ...] | None = None
    seen: ResponseSeen | None = None
    fields: Mapping[str, Any] | None = None
    passed: frozenset[str] = frozenset()
    earlier_calls: frozenset[str] = frozenset()
    messages: tuple[Message, ...] = ()
    spent: Usage | None = None
    began_at: float = 0.0
    submitting: bool = False
    refused: tuple[dict[str, Any], ...] | None = None
    started: bool = True
    over: bool = False

    @property
    def waiting(self) -> tuple[ToolCall, ...]:
        """The calls that the run was seen to wait for."""
        return self.seen.waiting if self.seen is not None else ()

    @property
    def waiting_ids(self) -> frozenset[str]:
        """Their ids."""
        return frozenset(call.id for call in self.waiting)

    @property
    def is_going(self) -> bool:
        """Tell whether the service was seen to be at work on its response."""
        return self.seen is None or not self.seen.is_final

    @property
    def is_live(self) -> bool:
        """Tell whether it goes on by itself."""
        return self.is_going and not self.over

    @property
    def may_begin_again(self) -> bool:
        """Tell whether it failed, and nobody ended it."""
        failed = self.seen is not None and self.seen.status == "failed"
        return (failed or self.refused is not None) and not self.over

    @property
    def written(self) -> tuple[Message, ...]:
        """The messages that its responses wrote, as far as they are known."""
        return (*self.messages, *(self.seen.messages if self.seen is not None else ()))

    @property
    def own_items(self) -> frozenset[str]:
        """The ids of those messages."""
        return frozenset(message.id for message in self.written)

    @property
    def leaves_calls(self) -> bool:
        """Tell whether it ended, other than by completion, with calls that have no outputs.

        A response that fails or is cancelled does not take the outputs it was given with it into
        the conversation.
        """
        seen = self.seen
        ended = seen is not None and seen.status in ("failed", "cancelled", "incomplete")
        return ended and bool(self.own_calls)

    @property
    def note(self) -> Note | None:
        """What the conversation's metadata say of the run."""
        if self.response_id is None:
            return None
        return Note(
            run_id=self.run_id,
            response_id=self.response_id,
            assistant_id=self.assistant_id,
            over=self.over or self.leaves_calls,
        )

    @property
    def own_calls(self) -> frozenset[str]:
        """The ids of all its calls, as far as they are known."""
        seen = self.seen.calls if self.seen is not None else ()
        answered = (str(item["call_id"]) for item in self.given or () if "call_id" in item)
        return self.earlier_calls.union(answered, (call.id for call in seen))

    def is_noted_by(self, note: Note) -> bool:
        """Tell whether a note of the run says what we know; it may lack the assistant."""
        ours = self.note
        return ours is not None and (note.response_id, note.over) == (ours.response_id, ours.over)

    def snapshot(self) -> RunSnapshot:
        """Give the run as it was last seen."""
        seen = self.seen
        if self.over and (seen is None or seen.waiting or seen.status != "completed"):
            return RunSnapshot(id=self.run_id, status="cancelled", assistant_id=self.assistant_id)
        if seen is None:
            return RunSnapshot(id=self.run_id, status="in_progress", assistant_id=self.assistant_id)
        return RunSnapshot(
            id=self.run_id,
            status="requires_action" if seen.waiting else seen.status,
            assistant_id=self.assistant_id,
            tool_calls=seen.waiting,
            error_code=seen.error_code,
            error_message=seen.error_message,
            usage=added(self.spent, seen.usage) if seen.is_final else None,
        )

    def all_messages(self) -> list[Message]:
        """Give the assistant's messages of the run so far."""
        return [
            attrs.evolve(message, run_id=self.run_id, assistant_id=self.assistant_id)
            for message in self.written
            if message.role == "assistant"
        ]

    def at(self, seen: ResponseSeen) -> Trail:
        """Give the trail as a further look showed it."""
        return attrs.evolve(self, seen=seen)

    def after(self, earlier: ResponseSeen) -> Trail:
        """Give the trail with a response that came before all others."""
        return attrs.evolve(
            self,
            passed=self.passed | {earlier.id},
            earlier_calls=self.earlier_calls.union(call.id for call in earlier.calls),
            messages=(*earlier.messages, *self.messages),
            spent=added(self.spent, earlier.usage),
        )

    def continued(self, seen: ResponseSeen, given: tuple[dict[str, Any], ...], now: float) -> Trail:
        """Give the trail with a further response."""
        latest = self.seen
        return attrs.evolve(
            self,
            response_id=seen.id,
            given=given,
            seen=seen,
            passed=self.passed | {latest.id} if latest else self.passed,
            earlier_calls=self.own_calls,
            messages=self.written,
            spent=added(self.spent, latest.usage if latest else None),
            submitting=False,
            refused=None,
            began_at=now,
        )


def stands(given: Sequence[Mapping[str, Any]], tail: Tail) -> bool:
    """Tell whether what a response was given stands at the end of the conversation."""
    messages = [item for item in given if item["type"] == "message"]
    if messages:
        content = tail.user_content
        return content is not None and same_content(content, content_of(messages[-1]))
    answered = {str(item["call_id"]) for item in given}
    return bool(answered) and answered <= tail.answered


def waiting_trail(tail: Tail, trail: Trail | None) -> Trail | None:
    """Give the run that waits for the calls without outputs, if there are any and it does.

    Args:
        tail: The newest turn of the conversation.
        trail: The run that the conversation's note names, its last response over.
    """
    if trail is not None and trail.waiting_ids and trail.waiting_ids <= tail.answered:
        # Whoever answered could not write a note any more.
        trail = left_behind(trail, tail)
    waiting = {call.id for call in tail.waiting}
    if not waiting:
        return None
    if trail is None or not waiting <= trail.own_calls:
        return trail_left(tail, None)
    return None if trail.over or trail.leaves_calls else trail


def trail_left(tail: Tail, assistant_id: str | None) -> Trail:
    """Give a run that is known only by what it left in the conversation."""
    trail = Trail(run_id=tail.run_id, response_id=None, assistant_id=assistant_id)
    return left_behind(trail, tail)


def left_behind(trail: Trail, tail: Tail) -> Trail:
    """Give a trail that ends in what stands in the conversation, all messages included."""
    seen = ResponseSeen(
        id=trail.run_id,
        status="completed",
        calls=tail.waiting,
        messages=tail.messages,
        item_ids=tail.item_ids,
    )
    return attrs.evolve(
        trail,
        response_id=None,
        passed=trail.passed | {trail.response_id} if trail.response_id else trail.passed,
        earlier_calls=trail.own_calls,
        seen=seen,
        messages=(),
        spent=None,
        submitting=False,
    )


def same_given(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether two responses were given the same message, or outputs of the same calls."""
    return _gist(one) == _gist(other) and all(
        same_content(content_of(mine), content_of(theirs))
        for mine, theirs in zip(_messages(one), _messages(other), strict=True)
    )


def _gist(given: Sequence[Mapping[str, Any]]) -> tuple[frozenset[str], int]:
    answered = frozenset(str(item["call_id"]) for item in given if "call_id" in item)
    return answered, len(_messages(given))


def _messages(given: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [item for item in given if item["type"] == "message"]
