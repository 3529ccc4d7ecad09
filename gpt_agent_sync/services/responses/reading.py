"""Reading where a run is, from what the service shows of its responses and their conversation."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import attrs

from gpt_agent_sync.errors import RequestRejectedError
from gpt_agent_sync.records import Message, Pause
from gpt_agent_sync.services.client import wait_on_this_thread
from gpt_agent_sync.services.polling import Look
from gpt_agent_sync.services.responses import wire
from gpt_agent_sync.services.responses.conversations import Conversations
from gpt_agent_sync.services.responses.memory import Memory, Remembered
from gpt_agent_sync.services.responses.responses import Responses
from gpt_agent_sync.services.responses.trails import Trail, left_behind, stands, waiting_trail
from gpt_agent_sync.services.responses.wire import Note

logger = logging.getLogger(__name__)

LONGEST_RESPONSE = 7200.0
"""Seconds after which a response that is still going is given up: servers forget some."""

LEAVES_ITEMS = ("completed", "incomplete")
"""The statuses of responses whose items come into the conversation."""

RESPONSE_PREFIX = "resp"

MOST_ROUNDS = 1000
"""How far back the responses of a run are followed."""


class RunReader:
    """Find runs, look at them, and remember the way they took.

    Args:
        conversations: The conversations.
        responses: The responses.
    """

    def __init__(self, conversations: Conversations, responses: Responses) -> None:
        self._conversations = conversations
        self._responses = responses
        self.memory = Memory()

    # finding a run

    def find_live(self, thread_id: str, metadata: Mapping[str, Any]) -> Trail | None:
        """Give a conversation's newest run if it is under way.

        The note in the metadata names the response now going. Calls without outputs are found
        in the conversation itself, whoever's they are.
        """
        note = wire.read_note(metadata)
        trail = self._trail_of(note, wait_on_this_thread) if note else None
        newest = None
        if trail is None or trail.seen is None or trail.seen.is_final:
            tail = self._conversations.tail(thread_id)
            newest = tail.item_ids[-1] if tail.item_ids else ""
            trail = waiting_trail(tail, trail)
        self.memory.change(
            thread_id,
            lambda known: Remembered(metadata=metadata, newest_item_id=newest, trail=trail),
        )
        return trail

    def _trail_of(self, note: Note, pause: Pause) -> Trail | None:
        """Follow a note to its response, and back from there; ``None`` when that is gone."""
        seen = self._responses.see(note.response_id, pause)[0]
        if seen is None:
            return None
        trail = Trail(
            run_id=note.run_id,
            response_id=note.response_id,
            assistant_id=note.assistant_id,
            seen=seen,
            began_at=time.monotonic(),
            over=note.over,
        )
        earlier_id = seen.previous_id if note.response_id != note.run_id else None
        for _ in range(MOST_ROUNDS):
            earlier = self._responses.see(earlier_id, pause)[0] if earlier_id else None
            if earlier is None:
                break
            trail = trail.after(earlier)
            earlier_id = earlier.previous_id if earlier.id != note.run_id else None
        return trail

    def recall(self, thread_id: str, run_id: str, pause: Pause) -> Trail:
        """Give the way of a run as it was last seen, read from the service where forgotten."""
        known = self.memory.get(thread_id)
        if known is not None and known.trail is not None and known.trail.run_id == run_id:
            return known.trail
        metadata = self._conversations.metadata(thread_id, pause)
        note = wire.read_note(metadata)
        if note is None or note.run_id != run_id:
            note = Note(run_id=run_id, response_id=run_id)
        trail = self._trail_of(note, pause) or Trail(run_id=run_id, response_id=None)
        self.memory.change(
            thread_id, lambda known: attrs.evolve(known, metadata=metadata, trail=trail)
        )
        return trail

    # looking

    def look(self, thread_id: str, run_id: str, pause: Pause) -> Look:
        """Look at a run."""
        trail = self.recall(thread_id, run_id, pause)
        if trail.over:
            return Look(trail.snapshot())
        poll_after = None
        if trail.waiting and not trail.submitting:
            trail = self.still_waiting(thread_id, trail, pause)
        elif trail.response_id is None:
            trail = left_behind(trail, self._conversations.tail(thread_id, pause))
        else:
            seen, poll_after = self._responses.see(trail.response_id, pause)
            trail = self._gone(thread_id, trail, pause) if seen is None else trail.at(seen)
        trail = self.keep(thread_id, trail)
        if trail.is_live and time.monotonic() - trail.began_at > LONGEST_RESPONSE:
            return self._give_up(trail)
        return Look(trail.snapshot(), poll_after)

    def still_waiting(self, thread_id: str, trail: Trail, pause: Pause) -> Trail:
        """Look whether somebody else has answered the calls, or ended the run."""
        metadata = self._conversations.metadata(thread_id, pause)
        note = wire.read_note(metadata)
        if note is not None and note.run_id == trail.run_id and note != trail.note:
            # A note that names a response before ours is an old one: ours could not be written.
            moved = None if note.response_id in trail.passed else self._trail_of(note, pause)
            if moved is not None:
                return moved
        tail = self._conversations.tail(thread_id, pause)
        if trail.waiting_ids <= tail.answered:
            return left_behind(trail, tail)
        return trail

    def _gone(self, thread_id: str, trail: Trail, pause: Pause) -> Trail:
        """Go by what a response that the service has no more left in the conversation."""
        tail = self._conversations.tail(thread_id, pause)
        if trail.given is not None and not stands(trail.given, tail):
            raise RequestRejectedError(
                f"the service has no response {trail.response_id!r} any more", status=404
            )
        return left_behind(trail, tail)

    def _give_up(self, trail: Trail) -> Look:
        if trail.response_id is not None:
            self._responses.cancel(trail.response_id)
        snapshot = attrs.evolve(
            trail.snapshot(),
            status="expired",
            error_message=f"the response had not ended after {LONGEST_RESPONSE:.0f} s",
        )
        return Look(snapshot)

    def keep(self, thread_id: str, trail: Trail) -> Trail:
        """Remember a run as it is now; that it was cancelled meanwhile is not forgotten."""

        def change(known: Remembered) -> Remembered:
            kept = trail
            if known.trail is not None and known.trail.run_id == trail.run_id and known.trail.over:
                kept = attrs.evolve(trail, over=True)
            seen = kept.seen
            newest = known.newest_item_id
            if seen is not None and seen.item_ids and seen.status in LEAVES_ITEMS:
                newest = seen.item_ids[-1]
            return attrs.evolve(known, trail=kept, newest_item_id=newest)

        kept = self.memory.change(thread_id, change).trail
        assert kept is not None
        return kept

    def note(self, thread_id: str, trail: Trail, pause: Pause) -> None:
        """Have the conversation name the run, where another process could have to go on."""
        if trail.note is None or not (trail.is_live or trail.waiting or trail.over):
            return
        known = self.memory.get(thread_id)
        before = known.metadata if known is not None else None
        metadata = self._conversations.keep_note(thread_id, before, trail.note, pause)
        self.memory.change(thread_id, lambda known: attrs.evolve(known, metadata=metadata))

    def messages_after(self, thread_id: str, message_id: str) -> list[Message]:
        """Give the messages after one; after a user's one, those of the response it asked for."""
        seen = None
        if message_id.startswith(RESPONSE_PREFIX):
            seen = self._responses.see(message_id, wait_on_this_thread)[0]
        if seen is None:
            return self._conversations.messages_after(thread_id, message_id)
        listed = self._conversations.items_from(thread_id, frozenset(seen.item_ids))
        if listed is None:
            logger.info("response %s has left nothing in %s", message_id, thread_id)
        return list(wire.read_messages(listed or (), message_id))

    def finish(self, thread_id: str, run_id: str) -> list[Message]:
        """Give the assistant's messages of a run that is over."""
        known = self.memory.get(thread_id)
        if known is None or known.trail is None or known.trail.run_id != run_id:
            return []
        return known.trail.all_messages()
