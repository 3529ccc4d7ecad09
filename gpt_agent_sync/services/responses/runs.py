"""Runs made of responses: begun, and gone on with."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

import attrs

from gpt_agent_sync.decisions.rate_limits import is_quota
from gpt_agent_sync.errors import (
    RateLimitError,
    RequestRejectedError,
    ServiceUnavailableError,
)
from gpt_agent_sync.records import (
    AssistantDefinition,
    Pause,
    RunOptions,
    RunRequest,
    RunSnapshot,
    ToolOutput,
    UserMessage,
)
from gpt_agent_sync.services.feeds.polling import Look
from gpt_agent_sync.services.feeds.run_streams import RunStream
from gpt_agent_sync.services.http.answers import Answer
from gpt_agent_sync.services.http.client import wait_on_this_thread
from gpt_agent_sync.services.http.errors import lacks_calls, lacks_outputs
from gpt_agent_sync.services.responses import bodies, wire
from gpt_agent_sync.services.responses.cancelling import RunEnder
from gpt_agent_sync.services.responses.chain import (
    Trail,
    left_behind,
    same_given,
    stands,
    trail_left,
)
from gpt_agent_sync.services.responses.conversations import Conversations
from gpt_agent_sync.services.responses.creation import Making
from gpt_agent_sync.services.responses.definitions import RegisteredAssistants
from gpt_agent_sync.services.responses.notes import read_note
from gpt_agent_sync.services.responses.reading import LAGGING, LAGGING_PAUSE, RunReader
from gpt_agent_sync.services.responses.responses import Responses
from gpt_agent_sync.services.responses.stream import ResponsesTranslation

logger = logging.getLogger(__name__)

SUBMISSION_PATIENCE = 600.0
"""Seconds to wait for a conversation that another caller's response holds."""

Items = tuple[bodies.Item, ...]
Find = Callable[[], Trail | None]
Recipe = tuple[AssistantDefinition, RunOptions]


@attrs.frozen
class Made:
    """Hold a run with a response that was made for it.

    Attributes:
        trail: The run.
        stream: What the service tells of the response, where it does.
    """

    trail: Trail
    stream: RunStream | None = None

    def drop(self) -> None:
        """Let go of the stream, when somebody else follows the run, or nobody."""
        if self.stream is not None:
            self.stream.close()


class ResponseRuns:
    """Begin runs, and answer their calls.

    Args:
        conversations: The conversations.
        responses: The responses.
        reader: Tells where a run is.
        ender: Ends runs.
        making: Makes responses.
        assistants: The assistants at hand.
        lock_patience: Gives the seconds a message waits for a conversation that is locked.
    """

    def __init__(
        self,
        conversations: Conversations,
        responses: Responses,
        reader: RunReader,
        ender: RunEnder,
        making: Making,
        assistants: RegisteredAssistants,
        lock_patience: Callable[[], float],
    ) -> None:
        self._conversations = conversations
        self._responses = responses
        self._making = making
        self._assistants = assistants
        self._lock_patience = lock_patience
        self._reader = reader
        self._ender = ender

    def check_options(self, options: RunOptions) -> None:
        """Refuse options that the wire does not have; see ``Service``."""
        bodies.check_options(options)

    def check_message(self, message: UserMessage, options: RunOptions) -> None:
        """Refuse what a message of this wire cannot carry; see ``Service``."""
        bodies.check_message(message, options)

    # beginning

    def begin(self, request: RunRequest, message: UserMessage, pause: Pause) -> Made:
        """Make the response that a user's message asks for."""
        recipe = self._assistants.require(request.assistant_id), request.options
        item = bodies.message_item(message)
        find = self._finder(request, item, pause)
        try:
            made = self._make(request, recipe, (item,), find, pause, message=message)
        except RequestRejectedError as exc:
            if not lacks_outputs(exc):
                raise self._assistants.explained(exc, request.assistant_id) from exc
            given = (*self._ender.leftovers(request, exc, pause), item)
            made = self._make(request, recipe, given, find, pause, message=message)
        trail = self._reader.keep(request.thread_id, attrs.evolve(made.trail, started=False))
        self._reader.note(request.thread_id, trail, pause)
        return attrs.evolve(made, trail=trail)

    def _finder(self, request: RunRequest, item: bodies.Item, pause: Pause) -> Find:
        """Give what looks whether a message whose answer was lost came to its end all the same."""
        known = self._reader.memory.get(request.thread_id)
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
        recipe: Recipe,
        given: Items,
        find: Find,
        pause: Pause,
        *,
        message: UserMessage | None = None,
        goes_on: Trail | None = None,
        moved: Find | None = None,
    ) -> Made:
        """Make a response, or find that it was made, and give the run's way with it."""
        definition, options = recipe
        translation = ResponsesTranslation(
            "POST /responses", self._responses.events_after, request.wants_deltas
        )
        made = self._making.make(
            lambda background: bodies.response_body(
                request.thread_id,
                definition,
                options,
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
            opens=translation.open if request.streaming else None,
            tells_doubt=message is not None,
        )
        if isinstance(made, Trail):
            return Made(made)
        trail = _with(request, made, given, goes_on)
        if made.events is None:
            return Made(trail)
        thread_id, run_id = request.thread_id, trail.run_id
        translation.follow(lambda seen: self._reader.take(thread_id, run_id, seen))
        return Made(trail, RunStream(made.events, translation))

    def start(self, request: RunRequest, pause: Pause) -> Look:
        """Tell of the run that a message has begun; make its response again if that failed."""
        known = self._reader.memory.get(request.thread_id)
        trail = known.trail if known else None
        if trail is None:
            run_id = request.posted.message_id if request.posted else ""
            trail = self._reader.recall(request.thread_id, run_id, pause)
        made = Made(trail, request.posted.receipt if request.posted else None)
        if trail.started:
            made.drop()  # it has been read
            made = Made(trail)
            if trail.may_begin_again:
                made = self._begin_again(request, trail, pause)
        started = self._reader.keep(request.thread_id, attrs.evolve(made.trail, started=True))
        return Look(started.snapshot(), stream=made.stream)

    def _begin_again(self, request: RunRequest, trail: Trail, pause: Pause) -> Made:
        """Make a failed response once more: a service may or may not have kept what it was given.

        It is a new run, as it is on the other wire.
        """
        recipe = self._assistants.of_run(request, trail)
        given = trail.refused or trail.given
        if given is None:
            given = self._responses.given_to(trail.response_id or "", pause)
        kept: Items = given

        def moved() -> Trail | None:
            return self._begun_elsewhere(request, trail, kept, pause)

        other = moved()
        if other is not None:
            return Made(other)
        tail = self._conversations.tail(request.thread_id, pause)
        stays = stands(kept, tail) and not tail.messages and not tail.waiting

        def find() -> Trail | None:
            left = self._conversations.tail(request.thread_id, pause)
            # What stood there before is an older turn, maybe one with the same words.
            ours = left != tail and stands(kept, left) and (left.messages or left.waiting)
            return trail_left(left, request.assistant_id) if ours else None

        try:
            made = self._make(request, recipe, () if stays else kept, find, pause, moved=moved)
        except RequestRejectedError as exc:
            other = moved() if lacks_calls(exc) else None
            if other is None:
                raise
            return Made(other)
        other = moved() if made.trail.is_going else None
        if other is not None and made.trail.response_id is not None:
            # Another process was quicker by the time of a request: one of the two is enough.
            made.drop()
            self._responses.cancel(made.trail.response_id)
            return Made(other)
        again = attrs.evolve(made.trail, given=kept)
        self._reader.note(request.thread_id, again, pause)
        return attrs.evolve(made, trail=again)

    def _begun_elsewhere(
        self, request: RunRequest, trail: Trail, given: Items, pause: Pause
    ) -> Trail | None:
        """Give the run that another process has made of a failed one before us.

        Raises:
            RequestRejectedError: If the conversation has gone on with something else.
        """
        note = read_note(self._conversations.metadata(request.thread_id, pause))
        if note is None or note.run_id == trail.run_id:
            return None
        other = self._reader.trail_of(note, pause)
        if other is None:
            return None
        theirs = self._responses.given_to(note.run_id, pause)
        if same_given(given, theirs):
            return other
        raise RequestRejectedError(
            f"the conversation has gone on with run {note.run_id}", code="superseded"
        )

    # answering

    def submit(
        self, request: RunRequest, run_id: str, outputs: Sequence[ToolOutput], pause: Pause
    ) -> Look:
        """Answer the calls that a run waits for, by the response that goes on from them."""
        thread_id = request.thread_id
        trail = self._reader.recall(thread_id, run_id, pause)
        ids = {output.tool_call_id for output in outputs}
        if trail.over or not ids & trail.waiting_ids:
            return self._reader.look(thread_id, run_id, pause)
        trail = self._reader.keep(thread_id, trail, submitting=True)
        given = tuple(bodies.output_item(output) for output in outputs)
        made, limit = Made(trail), None
        try:
            if not trail.over:
                made = self._go_on(request, trail, given, pause)
        except RateLimitError as exc:
            made, limit = Made(attrs.evolve(trail, refused=given)), exc
        except RequestRejectedError:
            kept = self._reader.keep(thread_id, trail, submitting=False)
            if kept.over:
                return self._ended(thread_id, kept)
            seen = self._reader.look(thread_id, run_id, pause)
            if ids & {call.id for call in seen.snapshot.tool_calls}:
                raise
            return seen
        except BaseException:
            kept = self._reader.keep(thread_id, trail, submitting=False)
            if kept.over:
                self._ended(thread_id, kept)
            raise
        further = self._reader.keep(thread_id, made.trail, submitting=False)
        if further.over:
            made.drop()
            return self._ended(thread_id, further)
        if limit is not None:
            if is_quota(limit.code, limit.message):  # nobody will try again
                self._ender.settle(thread_id, attrs.evolve(further, over=True), pause)
            return Look(_limited(further.snapshot(), limit))
        self._reader.note(thread_id, further, pause)
        return Look(further.snapshot(), stream=made.stream)

    def _ended(self, thread_id: str, trail: Trail) -> Look:
        """See to a run that was cancelled while its outputs were on their way.

        It is done although nobody may want the feed any more, which the cancel closes.
        """
        if trail.is_going and trail.response_id is not None:
            self._responses.cancel(trail.response_id)
        ended = attrs.evolve(trail, over=True)
        self._ender.settle(thread_id, ended, wait_on_this_thread)
        return Look(ended.snapshot())

    def _go_on(self, request: RunRequest, trail: Trail, given: Items, pause: Pause) -> Made:
        recipe = self._assistants.of_run(request, trail)

        def find() -> Trail | None:
            tail = self._conversations.tail(request.thread_id, pause)
            return left_behind(trail, tail) if stands(given, tail) else None

        def moved() -> Trail | None:
            other = self._reader.still_waiting(request.thread_id, trail, pause)
            return None if other is trail else other

        until = time.monotonic() + LAGGING
        while True:
            try:
                return self._make(request, recipe, given, find, pause, goes_on=trail, moved=moved)
            except RequestRejectedError as exc:
                # The items of a response may come into its conversation a little after its end.
                if not lacks_calls(exc) or time.monotonic() > until or find() is not None:
                    raise
            pause(LAGGING_PAUSE)


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


def _limited(snapshot: RunSnapshot, error: RateLimitError) -> RunSnapshot:
    """Have a continuation that was refused look as on the other wire: a run that has failed."""
    named = "" if error.retry_after is None else f" (try again in {error.retry_after:g}s)"
    return attrs.evolve(
        snapshot,
        status="failed",
        tool_calls=(),
        error_code=error.code or "rate_limit_exceeded",
        error_message=f"{error.message}{named}",
    )
