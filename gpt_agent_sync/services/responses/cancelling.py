"""Runs ended before their time: cancelled, and the calls they leave without outputs."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import attrs

from gpt_agent_sync.errors import RequestRejectedError, ServiceBusyError, ServiceError
from gpt_agent_sync.records import Pause, RunRequest, ToolOutput
from gpt_agent_sync.services.http.client import wait_on_this_thread
from gpt_agent_sync.services.http.errors import missing_call
from gpt_agent_sync.services.responses import bodies
from gpt_agent_sync.services.responses.cache import Remembered
from gpt_agent_sync.services.responses.chain import Trail
from gpt_agent_sync.services.responses.conversations import Conversations
from gpt_agent_sync.services.responses.notes import read_note
from gpt_agent_sync.services.responses.reading import RunReader
from gpt_agent_sync.services.responses.responses import Responses

logger = logging.getLogger(__name__)

GIVEN_UP = '{"error": "The run was ended before this call was answered."}'
"""What answers the calls of a run that is over, so that the conversation can go on."""

MOST_MOVES = 5
"""How often a run that is to be cancelled is run after while it goes from response to response."""


class RunEnder:
    """End runs, and answer for them.

    Args:
        conversations: The conversations.
        responses: The responses.
        reader: Tells where a run is.
    """

    def __init__(
        self, conversations: Conversations, responses: Responses, reader: RunReader
    ) -> None:
        self._conversations = conversations
        self._responses = responses
        self._reader = reader

    def leftovers(
        self, request: RunRequest, refusal: RequestRejectedError, pause: Pause
    ) -> list[bodies.Item]:
        """Answer the calls that a run of ours left behind; another one is left in peace.

        Raises:
            ServiceBusyError: If the calls are those of a run that somebody may still answer.
        """
        tail = self._conversations.tail(request.thread_id, pause)
        named = missing_call(refusal)
        # A server may go by a log of its own, in which items added later do not stand.
        waiting = [call.id for call in tail.waiting] or ([named] if named else [])
        if not waiting:
            raise refusal
        run_id = tail.run_id
        ours = bool(tail.waiting) and run_id == request.last_run_id
        for trail in self._known_runs(request.thread_id, pause):
            if trail.own_calls.issuperset(waiting):
                run_id = trail.run_id
                ours = trail.over or trail.leaves_calls or run_id == request.last_run_id
                break
        if not ours:
            named_run = f"run {run_id}" if run_id else "a run"
            raise ServiceBusyError(
                f"{refusal.message} ({named_run} of another caller waits for it; shut the agent "
                "down and connect again to go on with that run)",
                run_id=run_id or None,
                status=refusal.status,
                code=refusal.code,
            )
        return [_given_up(call_id) for call_id in waiting]

    def _known_runs(self, thread_id: str, pause: Pause) -> Iterator[Trail]:
        """Give the run that we know of, and the one that the conversation names."""
        known = self._reader.memory.get(thread_id)
        if known is not None and known.trail is not None:
            yield known.trail
        note = read_note(self._conversations.metadata(thread_id, pause))
        noted = self._reader.trail_of(note, pause) if note is not None else None
        if noted is not None:
            yield noted

    def cancel(self, thread_id: str, run_id: str) -> None:
        """Cancel the response now going, or free the conversation of calls not answered."""
        for _ in range(MOST_MOVES):
            trail = self._reader.recall(thread_id, run_id, wait_on_this_thread)
            if trail.over or (trail.seen is not None and trail.seen.is_final and not trail.waiting):
                return
            if self._cancel_seen(thread_id, trail):
                return

    def _cancel_seen(self, thread_id: str, trail: Trail) -> bool:
        """Cancel a run as it was last seen; tell whether it was still so.

        Raises:
            RequestRejectedError: If the service refuses, and the run goes on.
        """
        pause = wait_on_this_thread
        if trail.waiting:
            now = self._reader.still_waiting(thread_id, trail, pause)
            if now is trail:
                return self._end_waiting(thread_id, trail, pause)
            self._reader.keep(thread_id, now)
            return False
        if trail.response_id is None:
            return True
        refusal = self._responses.cancel(trail.response_id)
        seen = None
        if refusal is not None or trail.earlier_calls:
            seen = self._responses.see(trail.response_id, pause)[0]
        if seen is None:
            return True
        if refusal is not None and not seen.is_final:
            raise refusal
        self._reader.note(thread_id, self._reader.keep(thread_id, trail.at(seen)), pause)
        return False

    def _end_waiting(self, thread_id: str, trail: Trail, pause: Pause) -> bool:
        """Have a run be over that waits for outputs; tell whether it still did.

        Whoever sends outputs at this moment sees it too, and cancels what comes of them.
        """
        ours = moved = False

        def change(known: Remembered) -> Remembered:
            nonlocal ours, moved
            latest = known.trail if known.trail and known.trail.run_id == trail.run_id else trail
            moved = latest.response_id != trail.response_id
            ours = not moved and not latest.over
            return attrs.evolve(known, trail=attrs.evolve(latest, over=True)) if ours else known

        ended = self._reader.memory.change(thread_id, change).trail
        if ours and ended is not None and not ended.submitting:
            self.settle(thread_id, ended, pause)
        return not moved

    def settle(self, thread_id: str, trail: Trail, pause: Pause) -> None:
        """Have the conversation say that a run is over, and free it of the run's calls."""
        self._reader.note(thread_id, trail, pause)
        try:
            waiting = self._conversations.tail(thread_id, pause).waiting
            left = [_given_up(call.id) for call in waiting if call.id in trail.own_calls]
            self._conversations.add(thread_id, left)
        except ServiceError as exc:
            logger.info("the calls of run %s wait for the next message: %s", trail.run_id, exc)


def _given_up(call_id: str) -> bodies.Item:
    return bodies.output_item(ToolOutput(tool_call_id=call_id, output=GIVEN_UP))
