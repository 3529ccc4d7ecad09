"""The way of a run through its responses: a run is a response and those that go on from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from gpt_agent_sync.records import Message, RunSnapshot, ToolCall, Usage
from gpt_agent_sync.services.responses.bodies import content_of
from gpt_agent_sync.services.responses.wire import Note, ResponseSeen, Tail, added, same_content


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
        passed: The ids of the responses before it.
        messages: Their messages.
        spent: What they used.
        began_at: When this process began to follow it, monotonic seconds.
        submitting: Whether outputs are on their way.
        started: Whether the agent has been told of it.
        over: Whether it was cancelled while it waited for outputs.
    """

    run_id: str
    response_id: str | None
    assistant_id: str | None = None
    given: tuple[dict[str, Any], ...] | None = None
    seen: ResponseSeen | None = None
    passed: frozenset[str] = frozenset()
    messages: tuple[Message, ...] = ()
    spent: Usage | None = None
    began_at: float = 0.0
    submitting: bool = False
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
    def is_live(self) -> bool:
        """Tell whether the service was seen to be at work on it."""
        return not self.over and (self.seen is None or not self.seen.is_final)

    @property
    def has_failed(self) -> bool:
        """Tell whether it was seen to have failed."""
        return self.seen is not None and self.seen.status == "failed"

    @property
    def note(self) -> Note | None:
        """What the conversation's metadata say of the run."""
        if self.response_id is None:
            return None
        return Note(
            run_id=self.run_id,
            response_id=self.response_id,
            assistant_id=self.assistant_id,
            over=self.over,
        )

    def snapshot(self) -> RunSnapshot:
        """Give the run as it was last seen."""
        seen = self.seen
        if self.over:
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
        latest = self.seen.messages if self.seen is not None else ()
        return [
            attrs.evolve(message, run_id=self.run_id, assistant_id=self.assistant_id)
            for message in (*self.messages, *latest)
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
            messages=(*self.messages, *(latest.messages if latest else ())),
            spent=added(self.spent, latest.usage if latest else None),
            submitting=False,
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
    """Give the run that waits for the calls without outputs, if there are any and it does."""
    waiting = {call.id for call in tail.waiting}
    if not waiting:
        return None
    if trail is not None and waiting <= trail.waiting_ids:
        return None if trail.over else trail
    return trail_left(tail, None)


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
        seen=seen,
        messages=(),
        spent=None,
        submitting=False,
    )
