"""Where runs are, by what the service shows of their responses and conversations."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from gpt_agent_sync.errors import RequestRejectedError
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.records import Message, Pause, RunSnapshot
from gpt_agent_sync.services.feeds.polling import PollResult
from gpt_agent_sync.services.http.client import wait_on_this_thread
from gpt_agent_sync.services.http.errors import lacks_route
from gpt_agent_sync.services.http.paging import PAGE
from gpt_agent_sync.services.responses.cache import (
    DOUBT_SECONDS,
    AbandonedRun,
    CachedConversation,
    ConversationCache,
)
from gpt_agent_sync.services.responses.chain import ResponseChain, is_recorded, waiting_chain
from gpt_agent_sync.services.responses.resources import Conversations, Responses
from gpt_agent_sync.services.responses.turns import ConversationTurn, turn_with_calls
from gpt_agent_sync.services.responses.wire import ResponseSnapshot, RunNote, read_note

logger = get_logger(__name__)

LONGEST_RESPONSE = 7200.0
"""Seconds after which a response that is still in progress is given up: servers forget some."""

ITEMS_DELAY = 3.0
"""Seconds in which the items of a completed response must have come into its conversation."""

ITEMS_DELAY_PAUSE = 0.1
"""Seconds between two requests for them."""

NOTE_DELAY, NOTE_DELAY_PAUSE = 2.0, 0.2
"""Seconds in which a note must name the response that asked for calls, and between two looks."""

NOTED_RETRIES = 2
"""How often the response that a note names is asked for again where it is said to be gone."""

RECORDED_STATUSES = ("completed", "incomplete")
"""The statuses of responses whose items come into the conversation."""

MAX_ROUNDS = 1000
"""How many responses of a run are followed back."""


class RunTracker:
    """The runs of all conversations, found, polled and cached.

    Args:
        conversations: The conversations.
        responses: The responses.
    """

    def __init__(self, conversations: Conversations, responses: Responses) -> None:
        self._conversations = conversations
        self._responses = responses
        self.cache = ConversationCache()

    def find_live(self, thread_id: str, metadata: Mapping[str, Any]) -> ResponseChain | None:
        """Return a conversation's newest run if it is under way.

        The note in the metadata names the response in progress. Calls without outputs are found
        in the conversation itself, whoever's they are.
        """
        chain, until = self._find_live(thread_id, metadata), time.monotonic() + NOTE_DELAY
        # Whoever had the response made is about to name it. The run would have two ids, and its
        # calls be made by two processes, if this one did not wait for that.
        while chain is not None and chain.is_unnamed and time.monotonic() < until:
            wait_on_this_thread(NOTE_DELAY_PAUSE)
            before, metadata = metadata, self._conversations.metadata(thread_id)
            if metadata != before:
                chain = self._find_live(thread_id, metadata)
        return chain

    def _find_live(self, thread_id: str, metadata: Mapping[str, Any]) -> ResponseChain | None:
        note = read_note(metadata)
        chain = self.load_chain(note, wait_on_this_thread) if note else None
        newest = None
        if chain is None or not chain.is_in_progress:
            try:
                turn = self._settled_turn(thread_id, chain)
            except RequestRejectedError as exc:
                if not lacks_route(exc):
                    raise
                logger.info("cannot tell whether calls wait in %s: %s", thread_id, exc)
                waits = chain is not None and chain.waiting_call_ids and not chain.ended_early
                chain = chain if waits else None
            else:
                # An empty text is a conversation without items, ``None`` one that nobody has read:
                # with the first a message that is found there later is known to be new.
                newest = turn.item_ids[-1] if turn.item_ids else ""
                chain = waiting_chain(turn, chain)
        self.cache.update(
            thread_id,
            lambda cached: CachedConversation(
                metadata=metadata, newest_item_id=newest, chain=chain, abandoned=cached.abandoned
            ),
        )
        return chain

    def _settled_turn(self, thread_id: str, chain: ResponseChain | None) -> ConversationTurn:
        """Return the newest turn, with the items of a response that has only just ended."""
        pause, until = wait_on_this_thread, time.monotonic() + ITEMS_DELAY
        waits = chain is not None and not chain.ended_early
        wanted = chain.waiting_call_ids if chain is not None and waits else frozenset()
        while True:
            turn = self._conversations.latest_turn(thread_id)
            if not wanted or wanted & turn.call_ids or time.monotonic() > until:
                return turn
            latest = self._conversations.latest_items(thread_id, pause)
            # They may be in an older turn, too, when the conversation has gone on since.
            if len(latest) >= PAGE or turn_with_calls(latest, wanted) is not None:
                return turn
            pause(ITEMS_DELAY_PAUSE)

    def load_chain(self, note: RunNote, pause: Pause) -> ResponseChain | None:
        """Read the response that a note names and those before it; ``None`` when it is gone."""
        # It may be gone for good, as services drop them after a while: asked for a few times only.
        named = self._responses.get(note.response_id, pause, known=True, retries=NOTED_RETRIES)
        latest = named[0]
        if latest is None:
            return None
        chain = ResponseChain(
            run_id=note.run_id,
            response_id=note.response_id,
            assistant_id=note.assistant_id,
            parameters=latest.parameters,
            latest=latest,
            followed_since=time.monotonic(),
            ended_early=note.ended_early,
        )
        # Metadata are anybody's to change: whatever they say, this comes to an end.
        earlier_id = latest.previous_id if note.response_id != note.run_id else None
        for _ in range(MAX_ROUNDS):
            earlier = self._responses.get(earlier_id, pause)[0] if earlier_id else None
            if earlier is None:
                break
            chain = chain.with_earlier(earlier)
            earlier_id = earlier.previous_id if earlier.id != note.run_id else None
        return chain

    def get_chain(self, thread_id: str, run_id: str, pause: Pause) -> ResponseChain:
        """Return a run as it was last seen, read from the service where it is not cached."""
        cached = self.cache.get(thread_id)
        if cached is not None and cached.chain is not None and cached.chain.run_id == run_id:
            return cached.chain
        metadata = self._conversations.metadata(thread_id, pause)
        note = read_note(metadata)
        if note is None or note.run_id != run_id:
            # The note could not be written, or is a later run's: ask for the first response.
            note = RunNote(run_id=run_id, response_id=run_id)
        chain = self.load_chain(note, pause) or ResponseChain(run_id=run_id, response_id=None)
        self.cache.update(
            thread_id, lambda cached: attrs.evolve(cached, metadata=metadata, chain=chain)
        )
        return chain

    def poll(self, thread_id: str, run_id: str, pause: Pause) -> PollResult:
        """Poll a run."""
        chain = self.get_chain(thread_id, run_id, pause)
        if chain.ended_early:
            return PollResult(chain.snapshot())
        poll_after = None
        # While outputs are on their way, what the conversation shows of them is the submission's
        # to judge.
        if chain.waiting_call_ids and not chain.submitting:
            chain = self.check_waiting(thread_id, chain, pause)
        elif chain.response_id is None:
            chain = chain.ended_with(self._conversations.latest_turn(thread_id, pause))
        else:
            latest, poll_after = self._responses.get(chain.response_id, pause, known=True)
            if latest is None:
                chain = self._without_response(thread_id, chain, pause)
            else:
                chain = chain.with_latest(latest)
        chain = self._keep_and_note(thread_id, chain, pause)
        if chain.is_live and time.monotonic() - chain.followed_since > LONGEST_RESPONSE:
            return self._expire(chain)
        return PollResult(chain.snapshot(), poll_after)

    def take_in(self, thread_id: str, run_id: str, latest: ResponseSnapshot) -> RunSnapshot:
        """Take in what a stream shows of the response in progress, and return the run with it."""
        pause = wait_on_this_thread
        chain = self.get_chain(thread_id, run_id, pause)
        if chain.ended_early or chain.response_id != latest.id:
            # The run was cancelled meanwhile, or another thread has continued it.
            return chain.snapshot()
        return self._keep_and_note(thread_id, chain.with_latest(latest), pause).snapshot()

    def _keep_and_note(self, thread_id: str, chain: ResponseChain, pause: Pause) -> ResponseChain:
        chain = self.keep(thread_id, chain)
        if chain.abandons_calls:
            # The next message finds calls without outputs: the note shows that nobody will answer.
            self.write_note(thread_id, chain, pause)
        return chain

    def check_waiting(self, thread_id: str, chain: ResponseChain, pause: Pause) -> ResponseChain:
        """Return a run that waits for outputs as it is now; the same object if it still does.

        Somebody else may have answered its calls, or ended it.
        """
        metadata = self._conversations.metadata(thread_id, pause)
        note = read_note(metadata)
        if note is not None and note.run_id == chain.run_id and not chain.matches_note(note):
            # A note that names a response before ours is an old one: ours could not be written.
            is_old = note.response_id in chain.earlier_response_ids
            moved = None if is_old else self.load_chain(note, pause)
            if moved is not None:
                return moved
        waiting, newest = chain.waiting_call_ids, self._conversations.latest_turn(thread_id, pause)
        turn: ConversationTurn | None = newest
        if not waiting & newest.call_ids:
            # Somebody may have answered, and the conversation gone on.
            turn = turn_with_calls(self._conversations.latest_items(thread_id, pause), waiting)
        if turn is not None:
            return chain.ended_with(turn) if waiting <= turn.answered_call_ids else chain
        if note is not None and note.run_id != chain.run_id:
            return chain.with_latest(_superseded(chain, note))
        return chain  # its items are still to come

    def _without_response(
        self, thread_id: str, chain: ResponseChain, pause: Pause
    ) -> ResponseChain:
        """Return a run whose response is gone by what that left in the conversation."""
        turn = self._conversations.latest_turn(thread_id, pause)
        if chain.input_items is not None and not is_recorded(chain.input_items, turn):
            raise RequestRejectedError(
                f"the service has no response {chain.response_id!r} any more", status=404
            )
        return chain.ended_with(turn)

    def _expire(self, chain: ResponseChain) -> PollResult:
        # A response whose stream has lost its client stays in progress for ever on some servers.
        if chain.response_id is not None:
            self._responses.cancel(chain.response_id)
        snapshot = attrs.evolve(
            chain.snapshot(),
            status="expired",
            error_message=f"the response had not ended after {LONGEST_RESPONSE:.0f} s",
        )
        return PollResult(snapshot)

    def keep(
        self,
        thread_id: str,
        chain: ResponseChain,
        *,
        submitting: bool | None = None,
        begins: bool = False,
    ) -> ResponseChain:
        """Cache a run as it is now, and return it as it is cached.

        What another thread knew better stays: that the run was cancelled, that its outputs are
        on their way, that it has gone on to a further response.

        Args:
            thread_id: The conversation.
            chain: The run.
            submitting: Whether its outputs are on their way; ``None`` leaves that as it is.
            begins: Whether it is a new run, which takes the place of the one before.
        """

        def change(cached: CachedConversation) -> CachedConversation:
            kept, before = chain, cached.chain
            if before is not None and before.run_id != chain.run_id and not begins:
                # A poll of a run that was given up comes late: the conversation has gone on.
                return cached
            if before is not None and before.run_id == chain.run_id:
                if chain.response_id in before.earlier_response_ids:
                    # The poll of a feed that is slower than the one that has gone on.
                    return cached
                same = before.response_id == chain.response_id
                kept = attrs.evolve(
                    chain,
                    ended_early=before.ended_early or chain.ended_early,
                    submitting=before.submitting and same,
                )
            if submitting is not None:
                kept = attrs.evolve(kept, submitting=submitting)
            newest, latest = cached.newest_item_id, kept.latest
            if latest is not None and latest.item_ids and latest.status in RECORDED_STATUSES:
                newest = latest.item_ids[-1]
            return attrs.evolve(cached, chain=kept, newest_item_id=newest)

        kept = self.cache.update(thread_id, change).chain
        return kept if kept is not None and kept.run_id == chain.run_id else chain

    def abandon_input(self, thread_id: str, input_items: Sequence[Mapping[str, Any]]) -> None:
        """Keep that a run was given up of which nobody knows whether it was created."""
        self._abandon(thread_id, lambda _: {"input_items": input_items})

    def abandon_run(self, thread_id: str, run_id: str) -> None:
        """Keep that a run was given up whose cancel has failed."""

        def named(cached: CachedConversation) -> dict[str, Any]:
            chain = cached.chain
            known = chain.input_items if chain is not None and chain.run_id == run_id else None
            return {"run_id": run_id, "input_items": known or ()}

        self._abandon(thread_id, named)

    def _abandon(
        self, thread_id: str, named: Callable[[CachedConversation], dict[str, Any]]
    ) -> None:
        now = time.monotonic()

        def change(cached: CachedConversation) -> CachedConversation:
            return cached.abandon(AbandonedRun(until=now + DOUBT_SECONDS, **named(cached)), now)

        self.cache.update(thread_id, change)

    def was_abandoned(self, thread_id: str, turn: ConversationTurn, run_id: str) -> bool:
        """Return whether a turn, or the run that its calls are of, was given up here."""
        cached, now = self.cache.get(thread_id), time.monotonic()
        abandoned = cached.abandoned if cached is not None else ()
        return any(now < each.until and each.has(turn, run_id) for each in abandoned)

    def may_be_recorded(self, thread_id: str, outputs: Sequence[Mapping[str, Any]] | None) -> bool:
        """Return whether nobody knows whether the service has some outputs."""
        cached = self.cache.get(thread_id)
        abandoned = cached.abandoned if cached is not None else ()
        return bool(outputs) and any(each.input_items == outputs for each in abandoned)

    def note_closing(self, thread_id: str, until: float) -> None:
        """Keep that outputs for abandoned calls may show up until some time."""
        self.cache.update(thread_id, lambda cached: attrs.evolve(cached, closing_until=until))

    def write_note(self, thread_id: str, chain: ResponseChain, pause: Pause) -> None:
        """Have the conversation name the run, where another process could have to go on."""
        note, cached = chain.note, self.cache.get(thread_id)
        metadata = cached.metadata if cached is not None else None
        if note is None:
            return
        named = read_note(metadata)
        outdated = (
            named is not None and named.run_id == note.run_id and not chain.matches_note(named)
        )
        # A run that was final in its first answer needs none: it is one request less a turn.
        if not (chain.is_live or chain.waiting_call_ids or note.ended_early or outdated):
            return
        # Written over the metadata as they were last known: reading them first would be another
        # request a turn, at the price of pairs that others change meanwhile.
        written = self._conversations.write_note(thread_id, metadata, note, pause)
        self.cache.update(thread_id, lambda cached: attrs.evolve(cached, metadata=written))

    def messages_of_run(self, thread_id: str, run_id: str, pause: Pause) -> list[Message]:
        """Return the assistant's messages of a run that is final."""
        return self.get_chain(thread_id, run_id, pause).assistant_messages()


def _superseded(chain: ResponseChain, note: RunNote) -> ResponseSnapshot:
    """Return the end of a run whose conversation has gone on without it, leaving no trace."""
    return ResponseSnapshot(
        id=chain.response_id or chain.run_id,
        status="failed",
        error_code="superseded",
        error_message=f"the conversation has gone on with run {note.run_id}",
    )
