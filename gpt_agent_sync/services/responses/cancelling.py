"""Runs ended before their time: cancelled, and the calls that they abandon."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import attrs

from gpt_agent_sync.errors import RequestRejectedError, ServiceBusyError, ServiceError
from gpt_agent_sync.records import Pause, RunRequest, ToolOutput
from gpt_agent_sync.services.http.client import wait_on_this_thread
from gpt_agent_sync.services.http.errors import missing_call
from gpt_agent_sync.services.responses import bodies
from gpt_agent_sync.services.responses.cache import CachedConversation
from gpt_agent_sync.services.responses.chain import ResponseChain
from gpt_agent_sync.services.responses.resources import Conversations, Responses
from gpt_agent_sync.services.responses.tracking import RunTracker
from gpt_agent_sync.services.responses.wire import read_note

logger = logging.getLogger(__name__)

ABANDONED = '{"error": "The run was ended before this call was answered."}'
"""The output of calls that nobody will answer, so that the conversation can go on."""

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

        Args:
            request: The run that cannot start before those calls have outputs.
            refusal: The service's refusal, which may name a call.
            pause: Waits between repeats.

        Raises:
            ServiceBusyError: If the calls are those of a run that somebody may still answer.
        """
        turn = self._conversations.latest_turn(request.thread_id, pause)
        named = missing_call(refusal)
        # A server may go by a log of its own, which lacks items added to the conversation.
        waiting = [call.id for call in turn.unanswered_calls] or ([named] if named else [])
        if not waiting:
            raise refusal
        run_id = turn.run_id
        is_ours = bool(turn.unanswered_calls) and run_id == request.last_run_id
        for chain in self._known_runs(request.thread_id, pause):
            if chain.call_ids.issuperset(waiting):
                run_id = chain.run_id
                nobody_answers = chain.ended_early or chain.abandons_calls
                is_ours = nobody_answers or run_id == request.last_run_id
                break
        if not is_ours:
            run = f"run {run_id}" if run_id else "a run"
            raise ServiceBusyError(
                f"{refusal.message} ({run} of another caller waits for it; shut the agent "
                "down and connect again to go on with that run)",
                run_id=run_id or None,
                status=refusal.status,
                code=refusal.code,
            )
        return [_abandoned_output(call_id) for call_id in waiting]

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
        for _ in range(MAX_ATTEMPTS):
            chain = self._tracker.get_chain(thread_id, run_id, wait_on_this_thread)
            is_final = not chain.is_in_progress and not chain.waiting_calls
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
        if chain.waiting_calls:
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
            latest = self._responses.get(chain.response_id, pause)[0]
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
        try:
            waiting = self._conversations.latest_turn(thread_id, pause).unanswered_calls
            outputs = [_abandoned_output(call.id) for call in waiting if call.id in chain.call_ids]
            self._conversations.add(thread_id, outputs)
        except ServiceError as exc:
            logger.info("the calls of run %s wait for the next message: %s", chain.run_id, exc)


def _abandoned_output(call_id: str) -> bodies.Item:
    return bodies.output_item(ToolOutput(tool_call_id=call_id, output=ABANDONED))
