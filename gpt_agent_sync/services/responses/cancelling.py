"""Runs ended before their time: cancelled, and the calls that they abandon."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

import attrs

from gpt_agent_sync.errors import RequestRejectedError, ServiceBusyError, ServiceError
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.records import Pause, RunRequest
from gpt_agent_sync.services.http.client import wait_on_this_thread
from gpt_agent_sync.services.http.errors import missing_call
from gpt_agent_sync.services.responses import bodies
from gpt_agent_sync.services.responses.cache import CachedConversation
from gpt_agent_sync.services.responses.calls import OpenCall, call_of
from gpt_agent_sync.services.responses.chain import ResponseChain
from gpt_agent_sync.services.responses.resources import Conversations, Responses
from gpt_agent_sync.services.responses.tracking import RunTracker
from gpt_agent_sync.services.responses.turns import turn_with_calls
from gpt_agent_sync.services.responses.wire import read_note

logger = get_logger(__name__)

CLOSING_DELAY, CLOSING_PAUSE = 3.0, 0.2
"""Seconds in which outputs must show up whose request's answer was lost, and between two looks."""

MAX_ATTEMPTS = 5
"""How often a cancel follows a run that goes on from response to response meanwhile."""


class RunCanceller:
    """The cancelling of runs, and the outputs for calls that they abandon.

    Args:
        conversations: The conversations.
        responses: The responses.
        tracker: Where runs are.
    """

    def __init__(
        self, conversations: Conversations, responses: Responses, tracker: RunTracker
    ) -> None:
        self._conversations = conversations
        self._responses = responses
        self._tracker = tracker

    def outputs_for_abandoned_calls(
        self, request: RunRequest, refusal: RequestRejectedError, pause: Pause
    ) -> list[bodies.Item]:
        """Return outputs for the calls that a run of ours abandoned; another run's are left alone.

        There are none to be sent where some that were lost have come after all.

        Args:
            request: The run that cannot start before those calls have outputs.
            refusal: The service's refusal, which may name a call.
            pause: Waits between repeats.

        Raises:
            ServiceBusyError: If the calls are those of a run that somebody may still answer.
        """
        thread_id, named = request.thread_id, missing_call(refusal)
        turn = self._conversations.latest_turn(thread_id, pause)
        if turn.open_calls and self._are_closed(thread_id, pause):
            return []
        if named is not None and named[1] not in turn.call_ids:
            # Of two responses at once each may have left calls.
            items = self._conversations.latest_items(thread_id, pause)
            turn = turn_with_calls(items, {named[1]}) or turn
        # A server may go by a log of its own, which lacks items added to the conversation.
        waiting = turn.open_calls or ((call_of(*named),) if named else ())
        if not waiting:
            raise refusal
        run_id, answered_by = turn.run_id, None
        is_ours = bool(turn.open_calls) and run_id == request.last_run_id
        for chain in self._known_runs(thread_id, pause):
            if chain.call_ids.issuperset(call.id for call in waiting):
                run_id, answered_by = chain.run_id, chain
                nobody_answers = chain.ended_early or chain.abandons_calls
                is_ours = nobody_answers or run_id == request.last_run_id
                break
        # One of our own whose caller was told of the doubt, or that it is given up.
        is_ours = is_ours or self._tracker.was_abandoned(thread_id, turn, run_id)
        if not is_ours:
            run = f"run {run_id}" if run_id else "a run"
            raise ServiceBusyError(
                f"{refusal.message} ({run} of another caller waits for it; shut the agent "
                "down and connect again to go on with that run)",
                run_id=run_id or None,
                status=refusal.status,
                code=refusal.code,
            )
        return _closing_items(waiting, answered_by)

    def _are_closed(self, thread_id: str, pause: Pause) -> bool:
        """Wait for outputs that may be on their way, and return whether they have come."""
        cached = self._tracker.cache.get(thread_id)
        until = cached.closing_until if cached is not None else 0.0
        while time.monotonic() < until:
            pause(CLOSING_PAUSE)
            if not self._conversations.latest_turn(thread_id, pause).open_calls:
                return True
        return False

    def _known_runs(self, thread_id: str, pause: Pause) -> Iterator[ResponseChain]:
        """Yield the run that is cached, and then the one that the conversation names."""
        cached = self._tracker.cache.get(thread_id)
        if cached is not None and cached.chain is not None:
            yield cached.chain
        note = read_note(self._conversations.metadata(thread_id, pause))
        named = self._tracker.load_chain(note, pause) if note is not None else None
        if named is not None:
            yield named

    def cancel(self, thread_id: str, run_id: str) -> None:
        """Cancel the response in progress, or free the conversation of calls not answered."""
        try:
            self._cancel(thread_id, run_id)
        except BaseException:
            self._tracker.abandon_run(thread_id, run_id)
            raise

    def _cancel(self, thread_id: str, run_id: str) -> None:
        for _ in range(MAX_ATTEMPTS):
            chain = self._tracker.get_chain(thread_id, run_id, wait_on_this_thread)
            is_final = not chain.is_in_progress and not chain.waiting_call_ids
            if chain.ended_early or is_final:
                return
            if self._cancel_as_seen(thread_id, chain):
                return

    def _cancel_as_seen(self, thread_id: str, chain: ResponseChain) -> bool:
        """Cancel a run as it was last seen, and return whether it was still so.

        Raises:
            RequestRejectedError: If the service refuses, and the run goes on.
        """
        pause = wait_on_this_thread
        if chain.waiting_call_ids:
            now = self._tracker.check_waiting(thread_id, chain, pause)
            if now is chain:
                return self._cancel_waiting(thread_id, chain, pause)
            self._tracker.keep(thread_id, now)
            return False
        if chain.response_id is None:
            return True  # only known by the items it left: nothing is in progress
        refusal = self._responses.cancel(chain.response_id)
        latest = None
        # A cancelled response takes no outputs into the conversation: the calls that it was to
        # continue from are abandoned, and the note has to show it.
        if refusal is not None or chain.earlier_call_ids:
            is_gone = refusal is not None and refusal.status == 404
            latest = self._responses.get(chain.response_id, pause, known=not is_gone)[0]
        if latest is None:
            return True
        if refusal is not None and not latest.is_final:
            raise refusal
        kept = self._tracker.keep(thread_id, chain.with_latest(latest))
        self._tracker.write_note(thread_id, kept, pause)
        return False

    def _cancel_waiting(self, thread_id: str, chain: ResponseChain, pause: Pause) -> bool:
        """End a run that waits for outputs, and return whether it still did.

        A thread that submits outputs meanwhile sees it too, and cancels what comes of them.
        """
        is_ours = moved = False

        # Decided under the cache's lock: outputs may be on their way since the run was read.
        def change(cached: CachedConversation) -> CachedConversation:
            nonlocal is_ours, moved
            same_run = cached.chain is not None and cached.chain.run_id == chain.run_id
            latest = cached.chain if cached.chain is not None and same_run else chain
            moved = latest.response_id != chain.response_id
            is_ours = not moved and not latest.ended_early
            if not is_ours:
                return cached
            return attrs.evolve(cached, chain=attrs.evolve(latest, ended_early=True))

        ended = self._tracker.cache.update(thread_id, change).chain
        if is_ours and ended is not None and not ended.submitting:
            self.release_conversation(thread_id, ended, pause)
        return not moved

    def release_conversation(self, thread_id: str, chain: ResponseChain, pause: Pause) -> None:
        """Have the conversation say that a run has ended, and free it of the run's calls."""
        # The note comes first: two callers that answered one call would make the conversation
        # unusable, and with the note others leave these calls alone.
        self._tracker.write_note(thread_id, chain, pause)
        if self._tracker.may_be_recorded(thread_id, chain.recorded_outputs):
            # They would stand there twice, should the request that had them still be worked on.
            logger.info("the calls of run %s wait for the next message", chain.run_id)
            return
        try:
            waiting = self._conversations.latest_turn(thread_id, pause).open_calls
            own = [call for call in waiting if call.id in chain.call_ids]
            self._conversations.add(thread_id, _closing_items(own, chain))
        except ServiceError as exc:
            logger.info("the calls of run %s wait for the next message: %s", chain.run_id, exc)
            if exc.in_doubt:
                self._tracker.note_closing(thread_id, time.monotonic() + CLOSING_DELAY)


def _closing_items(calls: Iterable[OpenCall], chain: ResponseChain | None) -> list[bodies.Item]:
    """Return what closes calls that nobody will answer; outputs that were recorded go first."""
    recorded = (chain.recorded_outputs if chain is not None else None) or ()
    by_call = {str(item["call_id"]): item for item in recorded}
    return [by_call.get(call.id) or call.closing() for call in calls]
