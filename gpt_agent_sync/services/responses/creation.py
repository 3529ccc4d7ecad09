"""The creation of each response once: in the background where it can be, on a free conversation."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import attrs

from gpt_agent_sync.errors import RequestRejectedError, ServiceBusyError, ServiceUnavailableError
from gpt_agent_sync.records import (
    AssistantDefinition,
    Pause,
    RunOptions,
    RunRequest,
    UserMessage,
)
from gpt_agent_sync.services.feeds.run_streams import RunStream
from gpt_agent_sync.services.feeds.streaming import Streaming
from gpt_agent_sync.services.http.answers import Answer
from gpt_agent_sync.services.http.client import Opens
from gpt_agent_sync.services.responses.bodies import Item, response_body
from gpt_agent_sync.services.responses.chain import ResponseChain
from gpt_agent_sync.services.responses.resources import Post, Responses
from gpt_agent_sync.services.responses.stream import ResponsesTranslation
from gpt_agent_sync.services.responses.tracking import RunTracker
from gpt_agent_sync.services.responses.wire import read_response

logger = logging.getLogger(__name__)

SHORTEST_LOCK_PAUSE, LONGEST_LOCK_PAUSE = 0.1, 2.0

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
    """

    request: RunRequest
    definition: AssistantDefinition
    options: RunOptions
    input_items: tuple[Item, ...]
    find: Find
    find_elsewhere: Find = lambda: None
    message: UserMessage | None = None
    continues: ResponseChain | None = None

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
        post: Writes to a path, as ``RemoteService`` does.
        responses: The responses.
        tracker: Takes in what streams show of them.
        streaming: What is known of the service's streams.
        lock_patience: Returns the seconds that a message waits for a locked conversation.
        foreground_timeout: Returns the seconds of silence while a server makes a whole response.
    """

    def __init__(
        self,
        post: Post,
        responses: Responses,
        tracker: RunTracker,
        streaming: Streaming,
        lock_patience: Callable[[], float],
        foreground_timeout: Callable[[], float],
    ) -> None:
        self._post = post
        self._responses = responses
        self._tracker = tracker
        self._streaming = streaming
        self._lock_patience = lock_patience
        self._foreground_timeout = foreground_timeout
        self._background = True

    def create(self, new: NewResponse, pause: Pause) -> CreatedResponse:
        """Create a response, or find that it was created.

        Args:
            new: The response.
            pause: Waits between the tries.

        Raises:
            ServiceBusyError: If the conversation stays locked.
            ServiceError: If the service refuses or fails.
        """
        request = new.request
        translation = ResponsesTranslation(
            "POST /responses", self._responses.events_after, request.wants_deltas
        )
        opens = translation.open if request.streaming else None
        attempt = _Attempt(new, pause)
        made = self._send_when_free(new, attempt, opens)
        if attempt.in_doubt and isinstance(made, Answer):
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
        self, new: NewResponse, attempt: _Attempt, opens: Opens | None
    ) -> Answer | ResponseChain:
        """Send the request, waiting for a conversation that another response holds."""
        patience = self._lock_patience() if new.continues is None else SUBMISSION_PATIENCE
        began, lock_pause = time.monotonic(), SHORTEST_LOCK_PAUSE
        while True:
            try:
                return self._send(new, attempt, opens)
            except ServiceBusyError as exc:
                # The lock may be that of this response, which was created by a lost request.
                longest = max(patience, OWN_LOCK_PATIENCE) if attempt.in_doubt else patience
                if time.monotonic() - began + lock_pause > longest:
                    raise
                logger.info("waiting for the conversation: %s", exc)
            attempt.wait(lock_pause)
            lock_pause = min(lock_pause * 1.5, LONGEST_LOCK_PAUSE)
            found = (new.find() if attempt.in_doubt else None) or new.find_elsewhere()
            if found is not None:
                return found

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

    def _send(
        self, new: NewResponse, attempt: _Attempt, opens: Opens | None
    ) -> Answer | ResponseChain:
        background = self._background
        body = new.body(background)
        how: dict[str, Any] = {
            "find": attempt.find,
            "pause": attempt.wait,
            "read_timeout": None if background else self._foreground_timeout(),
            # A response may be at work still, and a server without locks would make two.
            "repeat_after_timeout": False,
        }
        made: Answer | ResponseChain
        try:
            if opens is None:
                made = self._post("/responses", body, **how)
            else:
                made = self._streaming.begin(self._post, "/responses", body, opens, **how)
            return made
        except RequestRejectedError as exc:
            if not background or "background" not in exc.message.lower():
                raise
            # Remembered for all later responses of the service.
            logger.info("making responses in the foreground, because: %s", exc)
            self._background = False
        return self._send(new, attempt, opens)


class _Attempt:
    """The requests for one response, and whether one of them may have created it.

    Args:
        new: The response.
        pause: Waits between the tries.
    """

    def __init__(self, new: NewResponse, pause: Pause) -> None:
        self._new = new
        self._pause = pause
        self.in_doubt = False

    def find(self) -> ResponseChain | None:
        """Look for what a request created whose answer was lost."""
        self.in_doubt = True
        return self._new.find()

    def wait(self, seconds: float) -> None:
        """Wait before the next try.

        Raises:
            ServiceUnavailableError: If the wait is given up, and the service may have the
                user's message.
        """
        try:
            self._pause(seconds)
        except Exception as exc:
            # A message's caller has to know; outputs are a feed's, which nobody reads any more.
            if not self.in_doubt or self._new.message is None:
                raise
            raise ServiceUnavailableError(
                "given up while the service may have the message", in_doubt=True
            ) from exc
