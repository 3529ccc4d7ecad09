"""The chain of responses that makes up a run: the first one, and those that go on from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from gpt_agent_sync.records import Message, RunSnapshot, Usage
from gpt_agent_sync.services.responses.bodies import content_of
from gpt_agent_sync.services.responses.calls import OpenCall, answered_ids
from gpt_agent_sync.services.responses.turns import ConversationTurn, same_content
from gpt_agent_sync.services.responses.wire import ResponseSnapshot, RunNote, add_usage


@attrs.frozen(kw_only=True)
class ResponseChain:
    """The responses that make up one run.

    Attributes:
        run_id: The run: the id of its first response.
        response_id: The response in progress, or the last one; ``None`` when the run is only
            known by the items that it left in the conversation.
        assistant_id: The assistant, where known.
        input_items: The items that this response was created from, where known.
        latest: This response as it was last seen.
        parameters: What its responses are created with, when another process began it.
        earlier_response_ids: The ids of the responses before it.
        earlier_call_ids: The ids of the calls in those.
        earlier_messages: Their messages.
        earlier_usage: The tokens that they used.
        followed_since: When this process began to follow it, monotonic seconds.
        submitting: Whether outputs are on their way.
        refused_outputs: The outputs that a rate limit kept out: the run is reported as failed,
            and may be restarted with them.
        recorded_outputs: The outputs that are on their way, or could not be submitted: should the
            run be given up, they are what its calls are answered with.
        reported: Whether the agent has got a snapshot of it.
        ended_early: Whether it was ended before its calls were answered.
    """

    run_id: str
    response_id: str | None
    assistant_id: str | None = None
    input_items: tuple[dict[str, Any], ...] | None = None
    latest: ResponseSnapshot | None = None
    parameters: Mapping[str, Any] | None = None
    earlier_response_ids: frozenset[str] = frozenset()
    earlier_call_ids: frozenset[str] = frozenset()
    earlier_messages: tuple[Message, ...] = ()
    earlier_usage: Usage | None = None
    followed_since: float = 0.0
    submitting: bool = False
    refused_outputs: tuple[dict[str, Any], ...] | None = None
    recorded_outputs: tuple[dict[str, Any], ...] | None = None
    reported: bool = True
    ended_early: bool = False

    @property
    def waiting_call_ids(self) -> frozenset[str]:
        """The ids of the calls that it was last seen to end with, of all kinds."""
        latest = self.latest
        ended = latest is not None and latest.status == "completed"
        return latest.call_ids if latest is not None and ended else frozenset()

    @property
    def is_in_progress(self) -> bool:
        """Whether the service was last seen at work on its response."""
        return self.latest is None or not self.latest.is_final

    @property
    def is_live(self) -> bool:
        """Whether it goes on by itself."""
        return self.is_in_progress and not self.ended_early

    @property
    def is_unnamed(self) -> bool:
        """Whether it goes by the id of an item, as no response of it is known."""
        return self.latest is not None and self.run_id in self.latest.item_ids

    @property
    def can_restart(self) -> bool:
        """Whether it failed, and nobody ended it."""
        failed = self.latest is not None and self.latest.status == "failed"
        return (failed or self.refused_outputs is not None) and not self.ended_early

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages that its responses wrote, as far as they are known."""
        latest = self.latest.messages if self.latest is not None else ()
        return (*self.earlier_messages, *latest)

    @property
    def message_ids(self) -> frozenset[str]:
        """The ids of those messages."""
        return frozenset(message.id for message in self.messages)

    @property
    def abandons_calls(self) -> bool:
        """Whether it ended, other than by completion, with calls that have no outputs.

        A response that fails or is cancelled does not take its input into the conversation, the
        outputs of the calls before it among that.
        """
        latest = self.latest
        ended = latest is not None and latest.status in ("failed", "cancelled", "incomplete")
        return ended and bool(self.call_ids)

    @property
    def call_ids(self) -> frozenset[str]:
        """The ids of all its calls, as far as they are known."""
        latest: frozenset[str] = self.latest.call_ids if self.latest is not None else frozenset()
        return self.earlier_call_ids | answered_ids(self.input_items or ()) | latest

    @property
    def note(self) -> RunNote | None:
        """The note on the run that belongs into the conversation's metadata."""
        if self.response_id is None:
            return None
        return RunNote(
            run_id=self.run_id,
            response_id=self.response_id,
            assistant_id=self.assistant_id,
            ended_early=self.ended_early or self.abandons_calls,
        )

    def matches_note(self, note: RunNote) -> bool:
        """Return whether a note on the run is up to date; it may lack the assistant."""
        own = self.note
        return own is not None and (note.response_id, note.ended_early) == (
            own.response_id,
            own.ended_early,
        )

    def snapshot(self) -> RunSnapshot:
        """Return the run as it was last seen."""
        latest = self.latest
        run = RunSnapshot(id=self.run_id, status="in_progress", assistant_id=self.assistant_id)
        if self.ended_early and (
            latest is None or self.waiting_call_ids or latest.status != "completed"
        ):
            return attrs.evolve(run, status="cancelled")
        if latest is None:
            return run
        usage = add_usage(self.earlier_usage, latest.usage) if latest.is_final else None
        if latest.status == "completed" and latest.unsupported_calls:
            return attrs.evolve(run, usage=usage, **_unsupported(latest.unsupported_calls))
        return attrs.evolve(
            run,
            # The wire has no such status: a response that asks for outputs completes.
            status="requires_action" if latest.waiting_calls else latest.status,
            tool_calls=latest.waiting_calls,
            error_code=latest.error_code,
            error_message=latest.error_message,
            usage=usage,
        )

    def assistant_messages(self) -> list[Message]:
        """Return the assistant's messages of the run so far."""
        return [
            attrs.evolve(message, run_id=self.run_id, assistant_id=self.assistant_id)
            for message in self.messages
            if message.role == "assistant"
        ]

    def with_latest(self, snapshot: ResponseSnapshot) -> ResponseChain:
        """Return the chain with its last response as it was seen now."""
        return attrs.evolve(self, latest=snapshot)

    def with_earlier(self, earlier: ResponseSnapshot) -> ResponseChain:
        """Return the chain with a response that came before all others."""
        return attrs.evolve(
            self,
            earlier_response_ids=self.earlier_response_ids | {earlier.id},
            earlier_call_ids=self.earlier_call_ids | earlier.call_ids,
            earlier_messages=(*earlier.messages, *self.earlier_messages),
            earlier_usage=add_usage(self.earlier_usage, earlier.usage),
        )

    def continued(
        self, following: ResponseSnapshot, input_items: tuple[dict[str, Any], ...], now: float
    ) -> ResponseChain:
        """Return the chain with a further response."""
        passed = {self.latest.id} if self.latest else frozenset()
        usage = self.latest.usage if self.latest else None
        return attrs.evolve(
            self,
            response_id=following.id,
            input_items=input_items,
            latest=following,
            earlier_response_ids=self.earlier_response_ids | passed,
            earlier_call_ids=self.call_ids,
            earlier_messages=self.messages,
            earlier_usage=add_usage(self.earlier_usage, usage),
            submitting=False,
            refused_outputs=None,
            recorded_outputs=None,
            followed_since=now,
        )

    def ended_with(self, turn: ConversationTurn) -> ResponseChain:
        """Return the chain that ends with the items of a turn, all messages of the run included.

        That is how a run is read whose last response nobody can get: another process made it
        and could not write its note, or the service has dropped it. Its usage is lost.
        """
        left = ResponseSnapshot(
            id=self.run_id,
            status="completed",
            calls=turn.unanswered_calls,
            unsupported_calls=turn.unsupported_calls,
            messages=turn.messages,
            item_ids=turn.item_ids,
        )
        passed = {self.response_id} if self.response_id else frozenset()
        return attrs.evolve(
            self,
            response_id=None,
            latest=left,
            earlier_response_ids=self.earlier_response_ids | passed,
            earlier_call_ids=self.call_ids,
            earlier_messages=(),
            earlier_usage=None,
            recorded_outputs=None,
            submitting=False,
        )


def _unsupported(calls: Sequence[OpenCall]) -> dict[str, Any]:
    """Return what a run shows that ended with calls which programs cannot answer."""
    kind = ", ".join(dict.fromkeys(call.kind for call in calls))
    return {
        "status": "failed",
        "unsupported_call": kind,
        "error_code": "unsupported_call",
        "error_message": f"the run ended with a call that programs cannot answer: {kind}",
    }


def chain_of_turn(turn: ConversationTurn, assistant_id: str | None) -> ResponseChain:
    """Return a run that is only known by the items that it left in the conversation."""
    chain = ResponseChain(run_id=turn.run_id, response_id=None, assistant_id=assistant_id)
    return chain.ended_with(turn)


def waiting_chain(turn: ConversationTurn, chain: ResponseChain | None) -> ResponseChain | None:
    """Return the run that waits for a turn's unanswered calls, ``None`` when none does.

    Args:
        turn: The newest turn of the conversation.
        chain: The run that the conversation's note names, its last response final.
    """
    asked_for = chain.waiting_call_ids if chain is not None else frozenset()
    if chain is not None and asked_for and asked_for <= turn.answered_call_ids:
        # Whoever answered could not write a note any more.
        chain = chain.ended_with(turn)
    waiting = {call.id for call in turn.open_calls}
    if not waiting:
        return None
    if chain is None or not waiting <= chain.call_ids:
        return chain_of_turn(turn, None)
    return None if chain.ended_early or chain.abandons_calls else chain


def is_recorded(input_items: Sequence[Mapping[str, Any]], turn: ConversationTurn) -> bool:
    """Return whether the conversation's newest turn holds what a response was created from."""
    messages = [item for item in input_items if item["type"] == "message"]
    if messages:
        # Outputs before the message, for abandoned calls, are in the turn before.
        content = turn.user_content
        return content is not None and same_content(content, content_of(messages[-1]))
    answered = answered_ids(input_items)
    return bool(answered) and answered <= turn.answered_call_ids


def same_input(one: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether two responses got the same message, or outputs of the same calls."""
    mine, theirs = _messages(one), _messages(other)
    return (
        answered_ids(one) == answered_ids(other)
        and len(mine) == len(theirs)
        and all(map(same_content, map(content_of, mine), map(content_of, theirs)))
    )


def _messages(items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [item for item in items if item["type"] == "message"]
