"""The start of runs: a user's message, and the response that it asks for."""

from __future__ import annotations

import attrs

from gpt_agent_sync.errors import RequestRejectedError, ServiceUnavailableError
from gpt_agent_sync.records import Pause, RunRequest, UserMessage
from gpt_agent_sync.services.feeds.polling import PollResult
from gpt_agent_sync.services.http.errors import lacks_calls, lacks_outputs
from gpt_agent_sync.services.responses import bodies
from gpt_agent_sync.services.responses.cancelling import RunCanceller
from gpt_agent_sync.services.responses.chain import (
    ResponseChain,
    chain_of_turn,
    is_recorded,
    same_input,
)
from gpt_agent_sync.services.responses.creation import (
    CreatedResponse,
    Find,
    NewResponse,
    ResponseCreator,
)
from gpt_agent_sync.services.responses.definitions import RegisteredAssistants
from gpt_agent_sync.services.responses.resources import Conversations, Responses
from gpt_agent_sync.services.responses.tracking import RECORDED_STATUSES, RunTracker
from gpt_agent_sync.services.responses.turns import ConversationTurn
from gpt_agent_sync.services.responses.wire import read_note

Items = tuple[bodies.Item, ...]

MAX_CLOSINGS = 100
"""Outputs for abandoned calls after which no more are looked for."""


class RunStarter:
    """The requests that start runs, and restart failed ones.

    Args:
        conversations: The conversations.
        responses: The responses.
        tracker: Where runs are.
        canceller: Answers calls that an earlier run abandoned.
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

    def post(self, request: RunRequest, message: UserMessage, pause: Pause) -> CreatedResponse:
        """Create the response that a user's message asks for.

        The message travels in that one request: added to the conversation beforehand, it could
        be left there without a run, and some servers would not show it to the model.
        """
        item = bodies.message_item(message)
        new = NewResponse(
            request=request,
            definition=self._assistants.require(request.assistant_id),
            options=request.options,
            input_items=(item,),
            find=self._message_finder(request, item, pause),
            message=message,
        )
        created = self._create(new, pause)
        # By the note another process finds the run, should this one be killed now.
        started = attrs.evolve(created.chain, reported=False)
        chain = self._tracker.keep(request.thread_id, started, begins=True)
        self._tracker.write_note(request.thread_id, chain, pause)
        return attrs.evolve(created, chain=chain)

    def _create(self, new: NewResponse, pause: Pause) -> CreatedResponse:
        """Create a response, with outputs for the calls that an earlier run abandoned."""
        request, closing, are_closed = new.request, Items(), False
        while True:
            asked = attrs.evolve(new, input_items=(*closing, *new.input_items))
            try:
                return self._creator.create(asked, pause)
            except RequestRejectedError as exc:
                if exc.in_doubt:
                    raise
                # Another caller, a cancel say, has closed them since they were missed.
                if closing and not are_closed and lacks_calls(exc):
                    closing, are_closed = Items(), True
                    continue
                if not lacks_outputs(exc):
                    raise self._assistants.explained(exc, request.assistant_id) from exc
                outputs = self._canceller.outputs_for_abandoned_calls(request, exc, pause)
                more = [item for item in outputs if item not in closing]
                if (outputs and not more) or len(closing) > MAX_CLOSINGS:
                    raise
                closing = (*closing, *more)

    def _message_finder(self, request: RunRequest, item: bodies.Item, pause: Pause) -> Find:
        """Return a search for the run of a message whose request's answer was lost."""
        # The words may have been said before: what was the newest item then tells the two apart.
        cached = self._tracker.cache.get(request.thread_id)
        before = {request.last_message_id, cached.newest_item_id if cached else None} - {None}

        def find() -> ResponseChain | None:
            turn = self._conversations.latest_turn(request.thread_id, pause)
            if not is_recorded((item,), turn):
                return None
            if not before and not request.may_be_posted:
                raise ServiceUnavailableError(
                    "the service may have the message: it cannot be told from an older one",
                    in_doubt=True,
                )
            is_older = any(item_id in before for item_id in turn.item_ids)
            return None if is_older else chain_of_turn(turn, request.assistant_id)

        return find

    def start(self, request: RunRequest, pause: Pause) -> PollResult:
        """Return the run that a message has started, restarted if it has failed, or a new one."""
        if request.posted is None and request.run_id is None:
            created = self._answer(request, pause)
        else:
            created = self._started(request, pause)
        started = attrs.evolve(created.chain, reported=True)
        started = self._tracker.keep(request.thread_id, started, begins=True)
        return PollResult(started.snapshot(), stream=created.stream)

    def _answer(self, request: RunRequest, pause: Pause) -> CreatedResponse:
        """Create a response to what the conversation has, without a new message."""
        before = self._conversations.latest_turn(request.thread_id, pause)
        kept = self._unanswered(request.thread_id, before, pause)
        new = NewResponse(
            # When another caller's response is over, there is something else to answer.
            request=attrs.evolve(request, waits_for_lock=False),
            definition=self._assistants.require(request.assistant_id),
            options=request.options,
            input_items=kept,
            answers=kept or before.items[:1],
            find=self._restart_finder(request, kept, before, pause),
        )
        created = self._create(new, pause)
        self._tracker.write_note(request.thread_id, created.chain, pause)
        return created

    def _unanswered(self, thread_id: str, newest: ConversationTurn, pause: Pause) -> Items:
        """Return the message that was lost with its response, if it is the newest there was.

        A response that fails or is cancelled does not take its input into the conversation.
        """
        cached = self._tracker.cache.get(thread_id)
        chain = cached.chain if cached else None
        if cached is None or chain is None:
            return ()
        before, latest = cached.newest_item_id, chain.latest
        if before is not None and before not in (newest.item_ids or ("",)):
            return ()  # the conversation has gone on without it
        if chain.is_in_progress and chain.response_id is not None:  # given up by us
            latest = self._responses.get(chain.response_id, pause, known=True)[0]
        if latest is None or not latest.is_final or latest.status in RECORDED_STATUSES:
            return ()
        messages = tuple(item for item in self._input_of(chain, pause) if item["type"] == "message")
        return () if is_recorded(messages, newest) else messages

    def _started(self, request: RunRequest, pause: Pause) -> CreatedResponse:
        """Return the run that a message has started, restarted if it has failed."""
        cached, posted = self._tracker.cache.get(request.thread_id), request.posted
        chain = cached.chain if cached else None
        if chain is None:
            run_id = posted.message_id if posted else ""
            chain = self._tracker.get_chain(request.thread_id, request.run_id or run_id, pause)
        created = CreatedResponse(chain, posted.receipt if posted else None)
        if chain.reported:
            # The agent starts it again, after a failure: its stream has been read.
            created.close_stream()
            created = CreatedResponse(chain)
            if chain.can_restart:
                created = self._restart(request, chain, pause)
        return created

    def _restart(self, request: RunRequest, failed: ResponseChain, pause: Pause) -> CreatedResponse:
        """Create a failed response once more, as a new run, as on the other wire."""
        definition, options = self._assistants.of_run(request, failed)
        kept = self._input_of(failed, pause)

        def find_elsewhere() -> ResponseChain | None:
            return self._restarted_elsewhere(request, failed, kept, pause)

        other = find_elsewhere()
        if other is not None:
            return CreatedResponse(other)
        turn = self._conversations.latest_turn(request.thread_id, pause)
        # A service may or may not have kept what the failed response was created from.
        stays = is_recorded(kept, turn) and not turn.messages and not turn.open_calls
        new = NewResponse(
            request=request,
            definition=definition,
            options=options,
            input_items=() if stays else kept,
            answers=kept,
            find=self._restart_finder(request, kept, turn, pause),
            find_elsewhere=find_elsewhere,
        )
        try:
            created = self._creator.create(new, pause)
        except RequestRejectedError as exc:
            other = find_elsewhere() if lacks_calls(exc) else None
            if other is None:
                raise
            return CreatedResponse(other)
        other = find_elsewhere() if created.chain.is_in_progress else None
        if other is not None:
            # Another process was quicker by the time of a request: one of the two is enough.
            created.close_stream()
            self._responses.cancel(created.chain.run_id)
            return CreatedResponse(other)
        chain = attrs.evolve(created.chain, input_items=kept)
        self._tracker.write_note(request.thread_id, chain, pause)
        return attrs.evolve(created, chain=chain)

    def _input_of(self, failed: ResponseChain, pause: Pause) -> Items:
        """Return what a failed response was created from, or was to be."""
        known = failed.refused_outputs or failed.input_items
        if known is None:
            known = self._responses.input_of(failed.response_id or "", pause)
        return known

    def _restart_finder(
        self, request: RunRequest, input_items: Items, before: ConversationTurn, pause: Pause
    ) -> Find:
        """Return a search for a run whose request's answer was lost, by what was there before."""

        def find() -> ResponseChain | None:
            turn = self._conversations.latest_turn(request.thread_id, pause)
            # What was there before is an older turn, maybe one with the same words.
            is_ours = turn != before and (not input_items or is_recorded(input_items, turn))
            turn = turn.without(before)
            if not is_ours or not (turn.messages or turn.open_calls):
                return None
            return chain_of_turn(turn, request.assistant_id)

        return find

    def _restarted_elsewhere(
        self, request: RunRequest, failed: ResponseChain, input_items: Items, pause: Pause
    ) -> ResponseChain | None:
        """Return the run that another process has made of a failed one before us.

        Raises:
            RequestRejectedError: If the conversation has gone on with something else.
        """
        note = read_note(self._conversations.metadata(request.thread_id, pause))
        if note is None or note.run_id == failed.run_id:
            return None
        other = self._tracker.load_chain(note, pause)
        if other is None:
            return None
        if same_input(input_items, self._responses.input_of(note.run_id, pause)):
            return other
        raise RequestRejectedError(
            f"the conversation has gone on with run {note.run_id}", code="superseded"
        )
