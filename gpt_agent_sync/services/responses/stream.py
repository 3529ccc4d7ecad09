"""What Responses streams of a run, read as updates.

Names and shapes are those of OpenAI's published description (``ResponseStreamEvent``). The name
stands in the data too, and servers may send nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gpt_agent_sync.errors import ProtocolError
from gpt_agent_sync.records import FeedUpdate, Pause, RunSnapshot, TextDelta
from gpt_agent_sync.services.feeds.run_streams import Translation
from gpt_agent_sync.services.http.errors import error_from_event
from gpt_agent_sync.services.http.shapes import as_object, as_objects, as_word
from gpt_agent_sync.services.http.sse import (
    ServerEvents,
    ServerSentEvent,
    StreamLost,
    is_object,
    read_object,
)
from gpt_agent_sync.services.responses.wire import ResponseSeen, read_response

_DELTAS = frozenset({"response.output_text.delta", "response.refusal.delta"})
_ITEM_DONE = "response.output_item.done"
_ERROR = "error"
_RESPONSE = frozenset(
    f"response.{status}"
    for status in (
        "created",
        "queued",
        "in_progress",
        "completed",
        "failed",
        "incomplete",
        "cancelled",
    )
)
_OF_INTEREST = _DELTAS | _RESPONSE | {_ITEM_DONE, _ERROR}

_NUMBER = re.compile(r'"sequence_number": ?(\d+)')

Take = Callable[[ResponseSeen], RunSnapshot]
"""Takes in what a response shows, and gives the run as it is with that."""

EventsAfter = Callable[[str, int, Pause], ServerEvents | None]
"""Gives the events of a response after the one of a number, where the service has them."""


class ResponsesTranslation(Translation):
    """Read the events of one response of a run.

    Args:
        request: Method and path of the request, for messages.
        events_after: Asks for the events after one.
        wants_deltas: Tells whether anybody listens to text as it comes.
    """

    def __init__(
        self, request: str, events_after: EventsAfter, wants_deltas: Callable[[], bool]
    ) -> None:
        self._request = request
        self._wants_deltas = wants_deltas
        self._events_after = events_after
        self._take: Take | None = None
        self._response_id = ""
        self._number: int | None = None
        self._items: list[Mapping[str, Any]] = []

    def open(self, event: ServerSentEvent) -> Mapping[str, Any] | None:
        """Give the response, if the event tells of one; the first that does opens the stream.

        Raises:
            ServiceError: If it tells of an error.
            StreamLost: If it cannot be read.
        """
        if not is_object(event):
            return None
        data = read_object(event)
        kind = data.get("type") or event.name
        if kind == _ERROR:
            raise error_from_event(self._request, data)
        number = data.get("sequence_number")
        self._number = number if isinstance(number, int) else None
        if kind not in _RESPONSE:
            return None
        response = as_object(data.get("response"))
        self._response_id = as_word(response.get("id")) or ""
        return response

    def follow(self, take: Take) -> None:
        """Say who takes in what the response shows from now on."""
        self._take = take

    def read(self, event: ServerSentEvent) -> Sequence[FeedUpdate]:
        """Give what an event shows; see ``Translation``."""
        if (event.name and event.name not in _OF_INTEREST) or not is_object(event):
            return ()
        if event.name in _DELTAS and not self._wants_deltas():
            found = _NUMBER.search(event.data)
            self._is_news(None if found is None else int(found[1]))
            return ()
        data = read_object(event)
        if not self._is_news(data.get("sequence_number")):
            return ()
        kind = data.get("type") or event.name
        if kind in _DELTAS:
            text = data.get("delta")
            message_id = as_word(data.get("item_id"))
            return (TextDelta(message_id=message_id, text=text),) if text else ()
        if kind == _ITEM_DONE:
            self._items.append(as_object(data.get("item")))
        elif kind == _ERROR:
            raise StreamLost(str(error_from_event(self._request, data)))
        elif kind in _RESPONSE and self._take is not None:
            return (self._take(self._seen(as_object(data.get("response")))),)
        return ()

    def resume(self, pause: Pause) -> ServerEvents | None:
        """Ask for the events after the last one that was read; see ``Translation``."""
        if self._number is None:
            return None
        return self._events_after(self._response_id, self._number, pause)

    def _seen(self, response: Mapping[str, Any]) -> ResponseSeen:
        if self._items and not as_objects(response.get("output")):
            response = {**response, "output": self._items}
        try:
            return read_response(response, self._request)
        except ProtocolError as exc:
            raise StreamLost(str(exc)) from exc

    def _is_news(self, number: Any) -> bool:
        """Note an event's number; tell whether it comes after the others, as far as it says."""
        if not isinstance(number, int):
            return True
        if self._number is not None and number <= self._number:
            return False
        self._number = number
        return True
