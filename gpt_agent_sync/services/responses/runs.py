"""Runs made of responses: begun, answered, cancelled."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import attrs

from gpt_agent_sync.errors import (
    RateLimitError,
    RequestRejectedError,
    ServiceBusyError,
    ServiceUnavailableError,
)
from gpt_agent_sync.records import (
    AssistantDefinition,
    Pause,
    RunOptions,
    RunRequest,
    ToolOutput,
    UserMessage,
)
from gpt_agent_sync.services.answers import Answer
from gpt_agent_sync.services.client import wait_on_this_thread
from gpt_agent_sync.services.polling import Look
from gpt_agent_sync.services.refusals import lacks_calls, lacks_outputs
from gpt_agent_sync.services.responses import bodies, wire
from gpt_agent_sync.services.responses.conversations import Conversations
from gpt_agent_sync.services.responses.making import Making
from gpt_agent_sync.services.responses.memory import Remembered
from gpt_agent_sync.services.responses.reading import RunReader
from gpt_agent_sync.services.responses.registered import RegisteredAssistants
from gpt_agent_sync.services.responses.responses import Responses
from gpt_agent_sync.services.responses.trails import Trail, left_behind, stands, trail_left
from gpt_agent_sync.services.responses.wire import ResponseSeen

logger = logging.getLogger(__name__)

LAGGING = 3.0
"""Seconds in which the items of a completed response must have come into its conversation."""

LAGGING_PAUSE = 0.1

SUBMISSION_PATIENCE = 600.0
"""Seconds to wait for a conversation that another caller's response holds."""

GIVEN_UP = '{"error": "The run was ended before this call was answered."}'
"""What answers the calls of a run that is over, so that the conversation can go on."""

Items = tuple[bodies.Item, ...]
Find = Callable[[], Trail | None]


class ResponseRuns:
    """Begin, answer and cancel runs.

    Args:
        conversations: The conversations.
        responses: The responses.
        making: Makes responses.
        assistants: The assistants at hand.
        lock_patience: Gives the seconds a message waits for a conversation that is locked.
    """

    def __init__(
        self,
        conversations: Conversations,
        responses: Responses,
        making: Making,
        assistants: RegisteredAssistants,
        lock_patience: Callable[[], float],
    ) -> None:
        self._conversations = conversations
        self._responses = responses
        self._making = making
        self._assistants = assistants
        self._lock_patience = lock_patience
        self.reader = RunReader(conversations, responses)

    def check_options(self, options: RunOptions) -> None:
        """Refuse options that the wire does not have; see ``Service``."""
        bodies.check_options(options)

    def check_message(self, message: UserMessage, options: RunOptions) -> None:
        """Refuse what a message of this wire cannot carry; see ``Service``."""
        bodies.check_message(message, options)

    # beginning

    def begin(self, request: RunRequest, message: UserMessage, pause: Pause) -> Trail:
        """Make the response that a user's message asks for."""
        definition = self._assistants.require(request.assistant_id)
        item = bodies.message_item(message)
        find = self._finder(request, item, pause)
        try:
            made = self._make(request, definition, (item,), find, pause, message=message)
        except RequestRejectedError as exc:
            if not lacks_outputs(exc):
                raise self._assistants.explained(exc, request.assistant_id) from exc
            given = (*self._leftovers(request, exc, pause), item)
            made = self._make(request, definition, given, find, pause, message=message)
        trail = self.reader.keep(request.thread_id, attrs.evolve(made, started=False))
        self.reader.note(request.thread_id, trail, pause)
        return trail

    def _finder(self, request: RunRequest, item: bodies.Item, pause: Pause) -> Find:
        """Give what looks whether a message whose answer was lost came to its end all the same."""
        known = self.reader.memory.get(request.thread_id)
        before = {request.last_message_id, known.newest_item_id if known else None} - {None}

        def find() -> Trail | None:
            tail = self._conversations.tail(request.thread_id, pause)
            if not stands((item,), tail):
                return None
            if not before:
                raise ServiceUnavailableError(
                    "the service may have the message: it cannot be told from an older one",
                    in_doubt=True,
                )
            older = any(item_id in before for item_id in tail.item_ids)
            return None if older else trail_left(tail, request.assistant_id)

        return find

    def _make(
        self,
        request: RunRequest,
        definition: AssistantDefinition,
        given: Items,
        find: Find,
        pause: Pause,
        *,
        message: UserMessage | None = None,
        goes_on: Trail | None = None,
        moved: Find | None = None,
    ) -> Trail:
        """Make a response, or find that it was made, and give the run's way with it."""
        made = self._making.make(
            lambda background: bodies.response_body(
                request.thread_id,
                definition,
                request.options,
                request.tools,
                given,
                background=background,
                run_id=goes_on.run_id if goes_on else None,
                previous_id=goes_on.response_id if goes_on else None,
                metadata=message.metadata if message else None,
            ),
            find,
            pause,
            self._lock_patience() if goes_on is None else SUBMISSION_PATIENCE,
            moved,
        )
        return made if isinstance(made, Trail) else _with(request, made, given, goes_on)

    def _leftovers(
        self, request: RunRequest, refusal: RequestRejectedError, pause: Pause
    ) -> list[bodies.Item]:
        """Answer the calls that a run of ours left behind; another one is left in peace.

        Raises:
            ServiceBusyError: If the calls are those of a run that somebody may still answer.
        """
        tail = self._conversations.tail(request.thread_id, pause)
        if not tail.waiting:
            raise refusal
        note = wire.read_note(self._conversations.metadata(request.thread_id, pause))
        run_id = note.run_id if note else tail.run_id
        if run_id != request.last_run_id and not (note and note.over):
            raise ServiceBusyError(
                f"{refusal.message} (run {run_id} waits for it)",
                run_id=run_id,
                status=refusal.status,
                code=refusal.code,
            )
        return [_given_up(call.id) for call in tail.waiting]

    def start(self, request: RunRequest, pause: Pause) -> Look:
        """Tell of the run that a message has begun; make its response again if that failed."""
        known = self.reader.memory.get(request.thread_id)
        trail = known.trail if known else None
        if trail is None:
            run_id = request.posted.message_id if request.posted else ""
            trail = self.reader.recall(request.thread_id, run_id, pause)
        if trail.started and trail.has_failed:
            trail = self._begin_again(request, trail, pause)
        started = self.reader.keep(request.thread_id, attrs.evolve(trail, started=True))
        return Look(started.snapshot())

    def _begin_again(self, request: RunRequest, trail: Trail, pause: Pause) -> Trail:
        """Make a failed response once more: a service may or may not have kept what it was given.

        It is a new run, as it is on the other wire.
        """
        definition = self._assistants.of_run(request, trail)
        given = trail.given
        if given is None:
            given = self._responses.given_to(trail.response_id or "", pause)
        kept: Items = given
        tail = self._conversations.tail(request.thread_id, pause)
        stays = stands(kept, tail) and not tail.messages and not tail.waiting

        def find() -> Trail | None:
            left = self._conversations.tail(request.thread_id, pause)
            ours = stands(kept, left) and (left.messages or left.waiting)
            return trail_left(left, request.assistant_id) if ours else None

        made = self._make(request, definition, () if stays else kept, find, pause)
        again = attrs.evolve(made, given=kept)
        self.reader.note(request.thread_id, again, pause)
        return again

    # answering

    def submit(
        self, request: RunRequest, run_id: str, outputs: Sequence[ToolOutput], pause: Pause
    ) -> Look:
        """Answer the calls that a run waits for, by the response that goes on from them."""
        thread_id = request.thread_id
        trail = self.reader.recall(thread_id, run_id, pause)
        ids = {output.tool_call_id for output in outputs}
        if trail.over or not ids & trail.waiting_ids:
            return self.reader.look(thread_id, run_id, pause)
        trail = self.reader.keep(thread_id, attrs.evolve(trail, submitting=True))
        given = tuple(bodies.output_item(output) for output in outputs)
        try:
            further = self._go_on(request, trail, given, pause)
        except RateLimitError as exc:
            further = _limited(trail, given, exc)
        except RequestRejectedError:
            self.reader.keep(thread_id, attrs.evolve(trail, submitting=False))
            seen = self.reader.look(thread_id, run_id, pause)
            if ids & {call.id for call in seen.snapshot.tool_calls}:
                raise
            return seen
        except BaseException:
            self.reader.keep(thread_id, attrs.evolve(trail, submitting=False))
            raise
        further = self.reader.keep(thread_id, further)
        if further.over and further.response_id is not None:
            # Cancelled while the outputs were on their way: nobody waits for what comes of them.
            self._responses.cancel(further.response_id)
        self.reader.note(thread_id, further, pause)
        return Look(further.snapshot())

    def _go_on(self, request: RunRequest, trail: Trail, given: Items, pause: Pause) -> Trail:
        definition = self._assistants.of_run(request, trail)

        def find() -> Trail | None:
            tail = self._conversations.tail(request.thread_id, pause)
            return left_behind(trail, tail) if stands(given, tail) else None

        def moved() -> Trail | None:
            other = self.reader.still_waiting(request.thread_id, trail, pause)
            return None if other is trail else other

        until = time.monotonic() + LAGGING
        while True:
            try:
                return self._make(
                    request, definition, given, find, pause, goes_on=trail, moved=moved
                )
            except RequestRejectedError as exc:
                # The items of a response may come into its conversation a little after its end.
                if not lacks_calls(exc) or time.monotonic() > until or find() is not None:
                    raise
            pause(LAGGING_PAUSE)

    # cancelling

    def cancel(self, thread_id: str, run_id: str) -> None:
        """Cancel the response now going, or free the conversation of calls not answered."""
        pause = wait_on_this_thread
        trail = self.reader.recall(thread_id, run_id, pause)
        if trail.is_live and trail.response_id is not None:
            refusal = self._responses.cancel(trail.response_id)
            if refusal is None:
                return
            seen = self._responses.see(trail.response_id, pause)[0]
            if seen is None:
                return
            if not seen.is_final:
                raise refusal
            trail = trail.at(seen)
        if trail.waiting and not trail.over:
            self._end_waiting(thread_id, trail, pause)

    def _end_waiting(self, thread_id: str, trail: Trail, pause: Pause) -> None:
        def change(known: Remembered) -> Remembered:
            submitting = known.trail is not None and known.trail.submitting
            return attrs.evolve(known, trail=attrs.evolve(trail, over=True, submitting=submitting))

        ended = self.reader.memory.change(thread_id, change).trail
        if ended is None or ended.submitting:
            return  # whoever sends the outputs sees that the run is over
        self.reader.note(thread_id, ended, pause)
        try:
            self._conversations.add(thread_id, [_given_up(call.id) for call in trail.waiting])
        except RequestRejectedError as exc:
            logger.info("the calls of run %s wait for the next message: %s", trail.run_id, exc)


def _given_up(call_id: str) -> bodies.Item:
    return bodies.output_item(ToolOutput(tool_call_id=call_id, output=GIVEN_UP))


def _with(request: RunRequest, made: Answer, given: Items, goes_on: Trail | None) -> Trail:
    seen, now = wire.read_response(made.data, made.request), time.monotonic()
    if goes_on is not None:
        return goes_on.continued(seen, given, now)
    return Trail(
        run_id=seen.id,
        response_id=seen.id,
        assistant_id=request.assistant_id,
        given=given,
        seen=seen,
        began_at=now,
    )


def _limited(trail: Trail, given: Items, error: RateLimitError) -> Trail:
    """Have a refused continuation look as on the other wire: a run that has failed.

    It may be begun again from there, with the same outputs.
    """
    named = "" if error.retry_after is None else f" (try again in {error.retry_after:g}s)"
    failed = ResponseSeen(
        id=trail.response_id or trail.run_id,
        status="failed",
        error_code=error.code or "rate_limit_exceeded",
        error_message=f"{error.message}{named}",
    )
    return trail.continued(failed, given, time.monotonic())
