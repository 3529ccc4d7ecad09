"""How responses are made: in the background or the foreground, streamed or not."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from gpt_agent_sync.errors import RequestRejectedError
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.services.feeds.streaming import Streaming
from gpt_agent_sync.services.http.client import Opens

logger = get_logger(__name__)

PATH = "/responses"

Body = Callable[[bool], Mapping[str, Any]]
"""Returns a request's body, for a response in the background or not."""


class ResponseModes:
    """The modes that a service takes, as far as it has shown, and the requests in the best one.

    That is the background with a stream. Where a service refuses the two together, it is the
    foreground with a stream for those who listen to text, and the background for all others.

    Args:
        post: Writes to a path, as ``RemoteService`` does.
        wanted: Whether to make responses in the background: always, never, or, with ``None``, where
            the service takes it and nobody would miss a stream.
        streaming: Whether the service streams responses that are made in the background.
        foreground_streaming: Whether it streams those that are not.
        foreground_timeout: Returns the seconds of silence while a server makes a whole response.
    """

    def __init__(
        self,
        post: Callable[..., Any],
        wanted: bool | None,
        streaming: Streaming,
        foreground_streaming: Streaming,
        foreground_timeout: Callable[[], float],
    ) -> None:
        self._post = post
        self._wanted = wanted
        self._streaming = streaming
        self._foreground_streaming = foreground_streaming
        self._foreground_timeout = foreground_timeout
        self._background = wanted is not False

    def send(
        self,
        body: Body,
        opens: Opens | None,
        listens: Callable[[], bool],
        **how: Any,
    ) -> Any:
        """Send the request for a response, and return what posting gives.

        Args:
            body: Returns the request's body.
            opens: Finds the response in the first events of a stream; ``None`` for no stream.
            listens: Returns whether anybody listens to text as it comes.
            how: What else posting takes.

        Raises:
            ServiceError: If the service refuses or fails.
        """
        try:
            return self._send_in_best(body, opens, listens, how)
        except RequestRejectedError as exc:
            may_leave = self._background and self._wanted is None
            if not may_leave or "background" not in exc.message.lower():
                raise
            # Remembered for all later responses of the service.
            logger.info("making responses in the foreground, because: %s", exc)
            self._background = False
        return self.send(body, opens, listens, **how)

    def _send_in_best(
        self, body: Body, opens: Opens | None, listens: Callable[[], bool], how: Mapping[str, Any]
    ) -> Any:
        without_stream = functools.partial(self._plain, body, self._background, how)
        if opens is None:
            return without_stream()
        streamed = functools.partial(self._streamed, body, opens, how)
        if self._background and self._wanted is None and listens():
            return streamed(True, functools.partial(streamed, False, without_stream))
        return streamed(self._background, without_stream)

    def _plain(self, body: Body, background: bool, how: Mapping[str, Any]) -> Any:
        timeout = self._read_timeout(background)
        return self._post(PATH, body(background), read_timeout=timeout, **how)

    def _streamed(
        self,
        body: Body,
        opens: Opens,
        how: Mapping[str, Any],
        background: bool,
        otherwise: Callable[[], Any],
    ) -> Any:
        streaming = self._streaming if background else self._foreground_streaming
        return streaming.begin(
            self._post,
            PATH,
            body(background),
            opens,
            otherwise=otherwise,
            read_timeout=self._read_timeout(background),
            **how,
        )

    def _read_timeout(self, background: bool) -> float | None:
        return None if background else self._foreground_timeout()
