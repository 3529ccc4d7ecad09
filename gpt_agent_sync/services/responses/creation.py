"""The creation of each response once: in the background where it can be, on a free conversation."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from gpt_agent_sync.errors import (
    GptAgentError,
    ServiceBusyError,
    ServiceError,
    ServiceUnavailableError,
)
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.records import (
    AssistantDefinition,
    Pause,
    RunOptions,
    RunRequest,
    UserMessage,
)
from gpt_agent_sync.services.feeds.run_streams import RunStream
from gpt_agent_sync.services.http.answers import Answer
from gpt_agent_sync.services.http.client import Opens
from gpt_agent_sync.services.responses.bodies import Item, response_body
from gpt_agent_sync.services.responses.chain import ResponseChain
from gpt_agent_sync.services.responses.modes import ResponseModes
from gpt_agent_sync.services.responses.resources import Responses
from gpt_agent_sync.services.responses.stream import ResponsesTranslation
from gpt_agent_sync.services.responses.tracking import RunTracker
from gpt_agent_sync.services.responses.wire import read_response

logger = get_logger(__name__)

SHORTEST_LOCK_PAUSE, LONGEST_LOCK_PAUSE = 0.1, 2.0

LOCKED = "conversation_locked"
"""The code of the refusal that shows that a service locks conversations."""

LOCKING_HOSTS = ("api.openai.com",)
"""Services that are known to."""

OWN_LOCK_PATIENCE = 600.0
"""Seconds to wait for a lock that may be that of our own response, whose answer was lost."""

SUBMISSION_PATIENCE = 600.0
"""Seconds that tool outputs wait for a conversation that another caller's response holds."""

Find = Callable[[], ResponseChain | None]


@attrs.frozen(kw_only=True)
class NewResponse:
    """A response that is to be created.

    Attributes:
        request: What its run is for.
        definition: The assistant.
        options: What the run does differently.
        input_items: The new items: the user's message, or tool outputs.
        find: Searches the conversation for the items of a response whose answer was lost.
        find_elsewhere: Finds the run, while the conversation is locked, as another process has
            gone on with it.
        message: The user's message, if the response answers one.
        continues: The run that it continues, if it does.
        answers: What of the conversation it answers, where it has no new items.
    """

    request: RunRequest
    definition: AssistantDefinition
    options: RunOptions
    input_items: tuple[Item, ...]
    find: Find
    find_elsewhere: Find = lambda: None
    message: UserMessage | None = None
    continues: ResponseChain | None = None
    answers: Sequence[Mapping[str, Any]] = ()

    def body(self, background: bool) -> dict[str, Any]:
        """Return the request's body.

        Args:
            background: Whether the service is to answer at once.
        """
        continues, message = self.continues, self.message
        return response_body(
            self.request.thread_id,
            self.definition,
            self.options,
            self.request.tools,
            self.input_items,
            background=background,
            run_id=continues.run_id if continues else None,
            previous_id=continues.response_id if continues else None,
            metadata=message.metadata if message else None,
        )

    def chain(self, answer: Answer) -> ResponseChain:
        """Return the run with the response that the service has created."""
        response, now = read_response(answer.data, answer.request), time.monotonic()
        if self.continues is not None:
            return self.continues.continued(response, self.input_items, now)
        return ResponseChain(
            run_id=response.id,
            response_id=response.id,
            assistant_id=self.request.assistant_id,
            input_items=self.input_items,
            latest=response,
            followed_since=now,
        )


@attrs.frozen
class CreatedResponse:
    """A run with a response that was created for it.

    Attributes:
        chain: The run.
        stream: The response's updates, where the service streams them.
    """

    chain: ResponseChain
    stream: RunStream | None = None

    def close_stream(self) -> None:
        """Let go of the stream, when somebody else follows the run, or nobody."""
        if self.stream is not None:
            self.stream.close()


class ResponseCreator:
    """The requests that create responses.

    Args:
        modes: Sends the requests, in the mode that the service takes.
        responses: The responses.
        tracker: Takes in what streams show of them.
        locks: Whether the service is known to lock a conversation while a response runs. A
            message comes into the conversation with the end of its response only, so that a look
            which finds nothing may be too early. With a lock the message can be sent again all the
            same: while the first response runs that is refused, and once it has ended it is found.
            Without one it would stand twice. (Outputs do not: they are refused, or dropped.)
        lock_patience: Returns the seconds that a message waits for a locked conversation.
    """

    def __init__(
        self,
        modes: ResponseModes,
        responses: Responses,
        tracker: RunTracker,
        locks: bool,
        lock_patience: Callable[[], float],
    ) -> None:
        self._modes = modes
        self._responses = responses
        self._tracker = tracker
        self._locks = locks
        self._lock_patience = lock_patience

    def create(self, new: NewResponse, pause: Pause) -> CreatedResponse:
        """Create a response, or find that it was created.

        Args:
            new: The response.
            pause: Waits between the tries.

        Raises:
            ServiceBusyError: If the conversation stays locked.
            ServiceError: If the service refuses or fails.
        """
        attempt = _Attempt(new)
        try:
            return self._create(new, attempt, pause)
        except BaseException as exc:
            # Ctrl-C may come in the middle of a request.
            ours = isinstance(exc, GptAgentError) and exc.in_doubt
            if ours or attempt.in_doubt or not isinstance(exc, Exception):
                items = new.input_items or new.answers
                self._tracker.abandon_input(new.request.thread_id, items)
            raise

    def _create(self, new: NewResponse, attempt: _Attempt, pause: Pause) -> CreatedResponse:
        request = new.request
        translation = ResponsesTranslation(
            "POST /responses", self._responses.events_after, request.wants_deltas
        )
        opens = translation.open if request.streaming else None
        try:
            made = self._send_when_free(new, attempt, opens, pause)
        except GptAgentError as exc:
            if not attempt.in_doubt:
                raise
            if not isinstance(exc, ServiceError):  # the caller's time is up, or the agent stops
                raise ServiceUnavailableError(
                    f"given up while the service may be at work on it: {exc}", in_doubt=True
                ) from exc
            exc.in_doubt = True
            raise
        if attempt.may_be_there and isinstance(made, Answer):
            made = self._drop_duplicate(new, made)
        if isinstance(made, ResponseChain):
            return CreatedResponse(made)
        chain = new.chain(made)
        if made.events is None:
            return CreatedResponse(chain)
        thread_id, run_id = request.thread_id, chain.run_id
        translation.attach(lambda latest: self._tracker.take_in(thread_id, run_id, latest))
        return CreatedResponse(chain, RunStream(made.events, translation))

    def _send_when_free(
        self, new: NewResponse, attempt: _Attempt, opens: Opens | None, pause: Pause
    ) -> Answer | ResponseChain:
        """Send the request, waiting for a conversation that another response holds."""
        patience = self._patience(new)
        began, lock_pause = time.monotonic(), SHORTEST_LOCK_PAUSE
        while True:
            try:
                made: Answer | ResponseChain = self._modes.send(
                    new.body,
                    opens,
                    new.request.wants_deltas,
                    find=attempt.find,
                    pause=pause,
                    sure=self._locks or new.message is None,
                )
                return made
            except ServiceBusyError as exc:
                self._locks = self._locks or exc.code == LOCKED
                # The lock may be that of this response, which was created by a lost request.
                longest = max(patience, OWN_LOCK_PATIENCE) if attempt.in_doubt else patience
                if time.monotonic() - began + lock_pause > longest:
                    raise
                logger.info("waiting for the conversation: %s", exc)
            pause(lock_pause)
            lock_pause = min(lock_pause * 1.5, LONGEST_LOCK_PAUSE)
            found = (new.find() if attempt.may_be_there else None) or new.find_elsewhere()
            if found is not None:
                return found

    def _patience(self, new: NewResponse) -> float:
        """Return the seconds to wait for a conversation that another caller's response holds."""
        if new.continues is not None:
            return SUBMISSION_PATIENCE
        return self._lock_patience() if new.request.waits_for_lock else 0.0

    def _drop_duplicate(self, new: NewResponse, made: Answer) -> Answer | ResponseChain:
        """Cancel a response that was created again while the first one came to its end after all.

        A response's items come into the conversation with its end only, so that the search after a
        lost answer may be too early.
        """
        response = read_response(made.data, made.request)
        found = None if response.is_final else new.find()
        if found is None:
            return made
        if made.events is not None:
            made.events.close()
        self._responses.cancel(response.id)
        return found


class _Attempt:
    """The requests for one response, and whether one of them may have created it.

    Args:
        new: The response.
    """

    def __init__(self, new: NewResponse) -> None:
        self._new = new
        self.in_doubt = False

    @property
    def may_be_there(self) -> bool:
        """Whether the response may be there by a request of this process or an earlier one."""
        return self.in_doubt or self._new.request.may_be_posted

    def find(self) -> ResponseChain | None:
        """Look for what a request created whose answer was lost."""
        self.in_doubt = True
        return self._new.find()
