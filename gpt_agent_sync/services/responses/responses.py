"""Responses over HTTP: looked at, cancelled."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from gpt_agent_sync.errors import RequestRejectedError, ServiceError
from gpt_agent_sync.records import Pause
from gpt_agent_sync.services.http.answers import Answer
from gpt_agent_sync.services.http.paging import PAGE
from gpt_agent_sync.services.http.shapes import read_list
from gpt_agent_sync.services.http.sse import ServerEvents
from gpt_agent_sync.services.responses import bodies, wire
from gpt_agent_sync.services.responses.wire import ResponseSeen

logger = logging.getLogger(__name__)


class Responses:
    """Speak of responses that are there.

    Args:
        get: Reads a path, as ``RemoteService`` does.
        post: Writes to a path, likewise.
    """

    def __init__(self, get: Callable[..., Answer], post: Callable[..., Any]) -> None:
        self._get = get
        self._post = post

    def see(self, response_id: str, pause: Pause) -> tuple[ResponseSeen | None, float | None]:
        """Look at a response: give it, and the seconds the service asks to wait.

        It is ``None`` when the service has it no more.
        """
        try:
            answer = self._get(_path_of(response_id), None, pause)
        except RequestRejectedError as exc:
            if exc.status in (400, 404):
                return None, None
            raise
        return wire.read_response(answer.data, answer.request), answer.poll_after

    def events_after(self, response_id: str, number: int, pause: Pause) -> ServerEvents | None:
        """Give the events of a response after one, where the service has them.

        It has those of responses that were made in the background and streamed.
        """
        query = {"stream": "true", "starting_after": number}
        try:
            return self._get(_path_of(response_id), query, pause, streams=True, retries=0).events
        except ServiceError as exc:
            logger.info("response %s is looked at: %s", response_id, exc)
            return None

    def given_to(self, response_id: str, pause: Pause) -> tuple[bodies.Item, ...]:
        """Give the items that a response was made from."""
        query = {"order": "desc", "limit": PAGE, "include[]": "message.input_image.image_url"}
        answer = self._get(f"{_path_of(response_id)}/input_items", query, pause)
        newest = read_list(answer.data, answer.request, lambda item: item)
        return bodies.newest_input(newest[::-1])

    def cancel(self, response_id: str) -> RequestRejectedError | None:
        """Cancel a response; give the service's refusal if it does not."""
        try:
            self._post(f"{_path_of(response_id)}/cancel", {}, find=lambda: None)
        except RequestRejectedError as exc:
            logger.info("response %s is not cancelled: %s", response_id, exc)
            return exc
        return None


def _path_of(response_id: str) -> str:
    return f"/responses/{quote(response_id, safe='')}"
