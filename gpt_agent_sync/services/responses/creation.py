"""Making a response once: in the background where that is had, when the conversation is free."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from gpt_agent_sync.errors import RequestRejectedError, ServiceBusyError, ServiceUnavailableError
from gpt_agent_sync.records import Pause
from gpt_agent_sync.services.feeds.streaming import Streaming
from gpt_agent_sync.services.http.answers import Answer
from gpt_agent_sync.services.http.client import Opens
from gpt_agent_sync.services.responses.chain import Trail
from gpt_agent_sync.services.responses.wire import read_response

logger = logging.getLogger(__name__)

SHORTEST_LOCK_PAUSE, LONGEST_LOCK_PAUSE = 0.1, 2.0
DOUBTFUL_PATIENCE = 600.0
"""Seconds to wait for a lock that may be that of our own response, whose answer was lost."""


class Making:
    """Make responses.

    Args:
        post: Writes to a path, as ``RemoteService`` does.
        cancel: Cancels a response.
        foreground_timeout: Gives the seconds of silence while a server makes a whole response.
        streaming: What is known of the service's streams.
    """

    def __init__(
        self,
        post: Callable[..., Any],
        cancel: Callable[[str], object],
        foreground_timeout: Callable[[], float],
        streaming: Streaming,
    ) -> None:
        self._post = post
        self._cancel = cancel
        self._foreground_timeout = foreground_timeout
        self._streaming = streaming
        self._background = True

    def make(
        self,
        body: Callable[[bool], Mapping[str, Any]],
        find: Callable[[], Trail | None],
        pause: Pause,
        patience: float,
        moved: Callable[[], Trail | None] | None = None,
        *,
        opens: Opens | None = None,
        tells_doubt: bool = False,
    ) -> Answer | Trail:
        """Make a response, or find that it was made.

        Args:
            body: Gives the request's body, for the background or not.
            find: Looks in the conversation for what a response made, whose answer was lost.
            pause: Waits between the tries.
            patience: Seconds to wait for a conversation that is locked.
            moved: Looks, while it is locked, whether there is nothing left to do.
            opens: Finds the response in the first events of a stream; ``None`` wants no stream.
            tells_doubt: Whether a wait that is given up says so when the response may have been
                made.

        Raises:
            ServiceBusyError: If the conversation stays locked.
            ServiceError: If the service refuses or fails.
        """
        doubtful = False

        def look() -> Trail | None:
            nonlocal doubtful
            doubtful = True
            return find()

        def wait(seconds: float) -> None:
            try:
                pause(seconds)
            except Exception as exc:
                if not doubtful or not tells_doubt:
                    raise
                raise ServiceUnavailableError(
                    "given up while the service may have the message", in_doubt=True
                ) from exc

        began, lock_pause = time.monotonic(), SHORTEST_LOCK_PAUSE
        while True:
            try:
                made = self._send(body, look, wait, opens)
                break
            except ServiceBusyError as exc:
                longest = max(patience, DOUBTFUL_PATIENCE) if doubtful else patience
                if time.monotonic() - began + lock_pause > longest:
                    raise
                logger.info("waiting for the conversation: %s", exc)
            wait(lock_pause)
            lock_pause = min(lock_pause * 1.5, LONGEST_LOCK_PAUSE)
            found = (find() if doubtful else None) or (moved() if moved else None)
            if found is not None:
                return found
        if doubtful and isinstance(made, Answer):
            return self._first_of_two(made, find)
        return made

    def _first_of_two(self, made: Answer, find: Callable[[], Trail | None]) -> Answer | Trail:
        """Drop a response that was made again while the first one, after all, came to its end."""
        seen = read_response(made.data, made.request)
        found = None if seen.is_final else find()
        if found is None:
            return made
        if made.events is not None:
            made.events.close()
        self._cancel(seen.id)
        return found

    def _send(
        self,
        body: Callable[[bool], Mapping[str, Any]],
        look: Callable[[], Trail | None],
        pause: Pause,
        opens: Opens | None,
    ) -> Answer | Trail:
        background = self._background
        post = self._post if opens is None else self._streamed(opens)
        try:
            made: Answer | Trail = post(
                "/responses",
                body(background),
                find=look,
                pause=pause,
                read_timeout=None if background else self._foreground_timeout(),
                repeat_after_timeout=False,
            )
            return made
        except RequestRejectedError as exc:
            if not background or "background" not in exc.message.lower():
                raise
            logger.info("making responses in the foreground, because: %s", exc)
            self._background = False
        return self._send(body, look, pause, opens)

    def _streamed(self, opens: Opens) -> Callable[..., Any]:
        def post(path: str, body: Mapping[str, Any], **how: Any) -> Any:
            return self._streaming.begin(self._post, path, body, opens, **how)

        return post
