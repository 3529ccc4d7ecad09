"""The submission of tool outputs: the response that continues a run with them."""

from __future__ import annotations

import time
from collections.abc import Sequence

import attrs

from gpt_agent_sync.decisions.rate_limits import is_quota
from gpt_agent_sync.errors import RateLimitError, RequestRejectedError
from gpt_agent_sync.records import Pause, RunRequest, RunSnapshot, ToolOutput
from gpt_agent_sync.services.feeds.polling import PollResult
from gpt_agent_sync.services.http.client import wait_on_this_thread
from gpt_agent_sync.services.http.errors import lacks_calls, too_long
from gpt_agent_sync.services.responses import bodies
from gpt_agent_sync.services.responses.cancelling import RunCanceller
from gpt_agent_sync.services.responses.chain import ResponseChain, is_recorded
from gpt_agent_sync.services.responses.creation import (
    CreatedResponse,
    NewResponse,
    ResponseCreator,
)
from gpt_agent_sync.services.responses.definitions import RegisteredAssistants
from gpt_agent_sync.services.responses.resources import Conversations, Responses
from gpt_agent_sync.services.responses.tracking import (
    ITEMS_DELAY,
    ITEMS_DELAY_PAUSE,
    RunTracker,
)
from gpt_agent_sync.services.responses.wire import LONGEST_OUTPUT


class OutputSubmitter:
    """The requests that continue runs with tool outputs.

    Args:
        conversations: The conversations.
        responses: The responses.
        tracker: Where runs are.
        canceller: Releases the conversations of runs that were cancelled meanwhile.
        creator: Creates responses.
        assistants: The assistants at hand.
    """

    def __init__(
        self,
        conversations: Conversations,
        responses: Responses,
        tracker: RunTracker,
        canceller: RunCanceller,
        creator: ResponseCreator,
        assistants: RegisteredAssistants,
    ) -> None:
        self._conversations = conversations
        self._responses = responses
        self._tracker = tracker
        self._canceller = canceller
        self._creator = creator
        self._assistants = assistants

    def submit(
        self, request: RunRequest, run_id: str, outputs: Sequence[ToolOutput], pause: Pause
    ) -> PollResult:
        """Answer the calls that a run waits for, by the response that continues it."""
        thread_id = request.thread_id
        chain = self._tracker.get_chain(thread_id, run_id, pause)
        ids = {output.tool_call_id for output in outputs}
        if chain.recorded_outputs is not None and not chain.ended_early:
            # An earlier submission has failed, and may have arrived all the same.
            chain = self._tracker.check_waiting(thread_id, chain, pause)
            self._tracker.keep(thread_id, chain)
        if chain.ended_early or not ids & chain.waiting_call_ids:
            return self._tracker.poll(thread_id, run_id, pause)
        # From here on a cancel leaves the calls to this thread: two outputs for one call would
        # make the conversation unusable.
        input_items = tuple(bodies.output_item(output) for output in outputs)
        chain = attrs.evolve(chain, recorded_outputs=input_items)
        chain = self._tracker.keep(thread_id, chain, submitting=True)
        created = CreatedResponse(chain)
        try:
            if not chain.ended_early:
                created = self._continue(request, chain, input_items, pause)
        except RateLimitError as exc:
            refused = attrs.evolve(chain, refused_outputs=input_items)
            return self._rate_limited(thread_id, refused, exc, pause)
        except RequestRejectedError as exc:
            kept = self._tracker.keep(thread_id, chain, submitting=False)
            if kept.ended_early:
                return self._cancelled(thread_id, kept)
            result = self._tracker.poll(thread_id, run_id, pause)
            if ids & {call.id for call in result.snapshot.tool_calls}:
                raise too_long(exc, LONGEST_OUTPUT) from exc
            return result
        except BaseException:
            kept = self._tracker.keep(thread_id, chain, submitting=False)
            if kept.ended_early:
                self._cancelled(thread_id, kept)
            raise
        return self._continued(thread_id, created, pause)

    def _continue(
        self,
        request: RunRequest,
        chain: ResponseChain,
        input_items: tuple[bodies.Item, ...],
        pause: Pause,
    ) -> CreatedResponse:
        """Create the response that continues a run."""
        thread_id = request.thread_id

        def find() -> ResponseChain | None:
            turn = self._conversations.latest_turn(thread_id, pause)
            return chain.ended_with(turn) if is_recorded(input_items, turn) else None

        def find_elsewhere() -> ResponseChain | None:
            other = self._tracker.check_waiting(thread_id, chain, pause)
            return None if other is chain else other

        definition, options = self._assistants.of_run(request, chain)
        new = NewResponse(
            request=request,
            definition=definition,
            options=options,
            input_items=input_items,
            find=find,
            find_elsewhere=find_elsewhere,
            continues=chain,
        )
        until = time.monotonic() + ITEMS_DELAY
        while True:
            try:
                return self._creator.create(new, pause)
            except RequestRejectedError as exc:
                # The items of a response may come into its conversation a little after its end.
                if not lacks_calls(exc) or time.monotonic() > until or find() is not None:
                    raise
            pause(ITEMS_DELAY_PAUSE)

    def _continued(self, thread_id: str, created: CreatedResponse, pause: Pause) -> PollResult:
        chain = self._tracker.keep(thread_id, created.chain, submitting=False)
        if chain.ended_early:
            created.close_stream()
            return self._cancelled(thread_id, chain)
        self._tracker.write_note(thread_id, chain, pause)
        return PollResult(chain.snapshot(), stream=created.stream)

    def _cancelled(self, thread_id: str, chain: ResponseChain) -> PollResult:
        """Clean up after a run that was cancelled while its outputs were on their way.

        It is done although nobody may want the feed any more, which the cancel closes.
        """
        if chain.is_in_progress and chain.response_id is not None:
            self._responses.cancel(chain.response_id)
        ended = attrs.evolve(chain, ended_early=True)
        self._canceller.release_conversation(thread_id, ended, wait_on_this_thread)
        return PollResult(ended.snapshot())

    def _rate_limited(
        self, thread_id: str, chain: ResponseChain, limit: RateLimitError, pause: Pause
    ) -> PollResult:
        """Report a run as failed whose outputs were refused; it waits for them all the same.

        Kept as failed it would be lost to other processes, which see it waiting.
        """
        kept = self._tracker.keep(thread_id, chain, submitting=False)
        if kept.ended_early:
            return self._cancelled(thread_id, kept)
        if is_quota(limit.code, limit.message):  # nobody will try again
            ended = attrs.evolve(kept, ended_early=True)
            self._canceller.release_conversation(thread_id, ended, pause)
        return PollResult(_failed_by(limit, kept.snapshot()))


def _failed_by(limit: RateLimitError, snapshot: RunSnapshot) -> RunSnapshot:
    """Return the run as the other wire shows one that met a rate limit."""
    delay = "" if limit.retry_after is None else f" (try again in {limit.retry_after:g}s)"
    return attrs.evolve(
        snapshot,
        status="failed",
        tool_calls=(),
        error_code=limit.code or "rate_limit_exceeded",
        error_message=f"{limit.message}{delay}",
    )
