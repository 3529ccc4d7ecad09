"""Reading where a run is, from what the service shows of its responses and their conversation."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from gpt_agent_sync.errors import RequestRejectedError
from gpt_agent_sync.records import Message, Pause, RunSnapshot
from gpt_agent_sync.services.feeds.polling import Look
from gpt_agent_sync.services.http.client import wait_on_this_thread
from gpt_agent_sync.services.http.paging import PAGE
from gpt_agent_sync.services.responses import wire
from gpt_agent_sync.services.responses.cache import Memory, Remembered
from gpt_agent_sync.services.responses.chain import Trail, left_behind, stands, waiting_trail
from gpt_agent_sync.services.responses.conversations import Conversations
from gpt_agent_sync.services.responses.notes import Note, read_note
from gpt_agent_sync.services.responses.responses import Responses
from gpt_agent_sync.services.responses.turns import Tail, turn_with
from gpt_agent_sync.services.responses.wire import ResponseSeen

logger = logging.getLogger(__name__)

LONGEST_RESPONSE = 7200.0
"""Seconds after which a response that is still going is given up: servers forget some."""

LAGGING = 3.0
"""Seconds in which the items of a completed response must have come into its conversation."""

LAGGING_PAUSE = 0.1

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
        note = read_note(metadata)
        trail = self.trail_of(note, wait_on_this_thread) if note else None
        newest = None
        if trail is None or trail.seen is None or trail.seen.is_final:
            try:
                tail = self._settled_tail(thread_id, trail)
            except RequestRejectedError as exc:
                logger.info("cannot tell whether calls wait in %s: %s", thread_id, exc)
                trail = trail if trail is not None and trail.waiting and not trail.over else None
            else:
                newest = tail.item_ids[-1] if tail.item_ids else ""
                trail = waiting_trail(tail, trail)
        self.memory.change(
            thread_id,
            lambda known: Remembered(metadata=metadata, newest_item_id=newest, trail=trail),
        )
        return trail

    def _settled_tail(self, thread_id: str, trail: Trail | None) -> Tail:
        """Give the newest turn, with the items of a response that has only just ended."""
        pause, until = wait_on_this_thread, time.monotonic() + LAGGING
        while True:
            tail = self._conversations.tail(thread_id)
            wanted = trail.waiting_ids if trail is not None and not trail.over else frozenset()
            if not wanted or wanted & tail.call_ids or time.monotonic() > until:
                return tail
            recent = self._conversations.recent(thread_id, pause)
            if len(recent) >= PAGE or turn_with(recent, wanted) is not None:
                return tail
            pause(LAGGING_PAUSE)

    def trail_of(self, note: Note, pause: Pause) -> Trail | None:
        """Follow a note to its response, and back from there; ``None`` when that is gone."""
        seen = self._responses.see(note.response_id, pause)[0]
        if seen is None:
            return None
        trail = Trail(
            run_id=note.run_id,
            response_id=note.response_id,
            assistant_id=note.assistant_id,
            fields=seen.fields,
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
        note = read_note(metadata)
        if note is None or note.run_id != run_id:
            note = Note(run_id=run_id, response_id=run_id)
        trail = self.trail_of(note, pause) or Trail(run_id=run_id, response_id=None)
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
        trail = self._keep_shown(thread_id, trail, pause)
        if trail.is_live and time.monotonic() - trail.began_at > LONGEST_RESPONSE:
            return self._give_up(trail)
        return Look(trail.snapshot(), poll_after)

    def take(self, thread_id: str, run_id: str, seen: ResponseSeen) -> RunSnapshot:
        """Take in what a stream shows of the response now going, and give the run with it."""
        pause = wait_on_this_thread
        trail = self.recall(thread_id, run_id, pause)
        if trail.over or trail.response_id != seen.id:
            return trail.snapshot()
        return self._keep_shown(thread_id, trail.at(seen), pause).snapshot()

    def _keep_shown(self, thread_id: str, trail: Trail, pause: Pause) -> Trail:
        trail = self.keep(thread_id, trail)
        if trail.leaves_calls:
            self.note(thread_id, trail, pause)
        return trail

    def still_waiting(self, thread_id: str, trail: Trail, pause: Pause) -> Trail:
        """Look whether somebody else has answered the calls, or ended the run."""
        metadata = self._conversations.metadata(thread_id, pause)
        note = read_note(metadata)
        if note is not None and note.run_id == trail.run_id and not trail.is_noted_by(note):
            # A note that names a response before ours is an old one: ours could not be written.
            moved = None if note.response_id in trail.passed else self.trail_of(note, pause)
            if moved is not None:
                return moved
        tail = self._conversations.tail(thread_id, pause)
        if trail.waiting_ids & tail.call_ids:
            return left_behind(trail, tail) if trail.waiting_ids <= tail.answered else trail
        turn = turn_with(self._conversations.recent(thread_id, pause), trail.waiting_ids)
        if turn is not None:
            # Somebody answered, and the conversation has gone on.
            return left_behind(trail, turn) if trail.waiting_ids <= turn.answered else trail
        if note is not None and note.run_id != trail.run_id:
            return trail.at(_superseded(trail, note))
        return trail  # its items are still to come

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

    def keep(self, thread_id: str, trail: Trail, *, submitting: bool | None = None) -> Trail:
        """Remember a run as it is now, and give it as it is remembered.

        What another thread knew better is not forgotten: that the run was cancelled, that its
        outputs are on their way, that it has gone on to a further response.

        Args:
            thread_id: The conversation.
            trail: The run.
            submitting: Whether its outputs are on their way; ``None`` leaves that as it is.
        """

        def change(known: Remembered) -> Remembered:
            kept, before = trail, known.trail
            if before is not None and before.run_id == trail.run_id:
                if trail.response_id in before.passed:
                    return known
                goes_on = before.submitting and before.response_id == trail.response_id
                kept = attrs.evolve(trail, over=before.over or trail.over, submitting=goes_on)
            if submitting is not None:
                kept = attrs.evolve(kept, submitting=submitting)
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
        note, known = trail.note, self.memory.get(thread_id)
        before = known.metadata if known is not None else None
        if note is None:
            return
        named = read_note(before)
        outdated = (
            named is not None and named.run_id == note.run_id and not trail.is_noted_by(named)
        )
        if not (trail.is_live or trail.waiting or note.over or outdated):
            return
        metadata = self._conversations.keep_note(thread_id, before, note, pause)
        self.memory.change(thread_id, lambda known: attrs.evolve(known, metadata=metadata))

    def messages_after(self, thread_id: str, message_id: str) -> list[Message]:
        """Give the messages after one; after a user's one, those of the response it asked for."""
        seen = None
        if message_id.startswith(RESPONSE_PREFIX):
            seen = self._responses.see(message_id, wait_on_this_thread)[0]
            if seen is None:
                logger.warning(
                    "what came after %s in %s cannot be told: the service has no such response",
                    *(message_id, thread_id),
                )
                return []
        if seen is None:
            items = self._conversations.items_after(thread_id, message_id)
        else:
            items = self._conversations.items_from(thread_id, frozenset(seen.item_ids)) or []
            if not items:
                logger.warning(
                    "what came after %s in %s cannot be told: that response left nothing there",
                    *(message_id, thread_id),
                )
        return self._with_runs(thread_id, message_id, items)

    def _with_runs(
        self, thread_id: str, message_id: str, items: Sequence[Mapping[str, Any]]
    ) -> list[Message]:
        """Read messages, and say which are those of the run under way, and which are not.

        The user's message of a run comes into the conversation with the run's end only, so that
        its place would tell the wrong thing. What stands for the others' runs is the id of
        their turn's first item, as it does for runs that no response tells of.
        """
        known = self.memory.get(thread_id)
        trail = known.trail if known is not None else None
        own = trail.own_items if trail is not None else frozenset()
        turn_id, told = message_id, []
        for item in items:
            if item.get("role") == "user":
                turn_id = str(item.get("id") or turn_id)
            for message in wire.read_messages([item], turn_id):
                ours = trail is not None and (message.id in own or turn_id == trail.run_id)
                run_id = trail.run_id if ours and trail is not None else turn_id
                told.append(attrs.evolve(message, run_id=run_id))
        return told

    def finish(self, thread_id: str, run_id: str, pause: Pause) -> list[Message]:
        """Give the assistant's messages of a run that is over."""
        return self.recall(thread_id, run_id, pause).all_messages()


def _superseded(trail: Trail, note: Note) -> ResponseSeen:
    """Have a run end whose conversation has gone on without it, and without a trace of it."""
    return ResponseSeen(
        id=trail.response_id or trail.run_id,
        status="failed",
        error_code="superseded",
        error_message=f"the conversation has gone on with run {note.run_id}",
    )
