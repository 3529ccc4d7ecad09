"""The stream events of a response, read as updates of its run.

Names and shapes are those of OpenAI's published description (``ResponseStreamEvent``). The name
stands in the data too, and servers may send nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gpt_agent_sync.errors import ProtocolError
from gpt_agent_sync.event_parser import ServerSentEvent, StreamLost
from gpt_agent_sync.records import FeedUpdate, Pause, RunSnapshot, TextDelta
from gpt_agent_sync.services.feeds.run_streams import ERROR, Translation
from gpt_agent_sync.services.http.shapes import as_object, as_objects, as_word
from gpt_agent_sync.services.http.sse import ServerEvents, is_object
from gpt_agent_sync.services.responses.wire import ResponseSnapshot, read_response

_DELTAS = frozenset({"response.output_text.delta", "response.refusal.delta"})
_ITEM_DONE = "response.output_item.done"
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
_OF_INTEREST = _DELTAS | _RESPONSE | {_ITEM_DONE, ERROR}

# Found without parsing: most of what a stream costs is JSON of deltas that nobody listens to.
_NUMBER = re.compile(r'"sequence_number": ?(\d+)')

ToRun = Callable[[ResponseSnapshot], RunSnapshot]
"""Takes in what a response shows, and returns its run as it is with that."""

EventsAfter = Callable[[str, int, Pause], ServerEvents | None]
"""Returns the events of a response after the one of a number, where the service has them."""


class ResponsesTranslation(Translation):
    """The events of one response of a run.

    Args:
        request: Method and path of the request, for messages.
        events_after: Asks for the events after one.
        wants_deltas: Returns whether anybody listens to text as it comes.
    """

    def __init__(
        self, request: str, events_after: EventsAfter, wants_deltas: Callable[[], bool]
    ) -> None:
        super().__init__(request, wants_deltas)
        self._events_after = events_after
        self._to_run: ToRun | None = None
        self._response_id = ""
        self._number: int | None = None
        self._items: list[Mapping[str, Any]] = []

    def attach(self, to_run: ToRun) -> None:
        """Set the run that the response belongs to, once it is known which one that is."""
        self._to_run = to_run

    def resume(self, pause: Pause) -> ServerEvents | None:
        """Ask for the events after the last one that was read; see ``Translation``."""
        if self._number is None:
            return None
        return self._events_after(self._response_id, self._number, pause)

    def _kind_of(self, event: ServerSentEvent, data: Mapping[str, Any]) -> str:
        return str(data.get("type") or event.name)

    def _open(self, kind: str, data: Mapping[str, Any]) -> Mapping[str, Any] | None:
        number = data.get("sequence_number")
        self._number = number if isinstance(number, int) else None
        if kind not in _RESPONSE:
            return None
        response = as_object(data.get("response"))
        self._response_id = as_word(response.get("id")) or ""
        return response

    def _skips(self, event: ServerSentEvent) -> bool:
        if event.name and event.name not in _OF_INTEREST:
            return True
        if event.name in _DELTAS and is_object(event) and not self._wants_deltas():
            # Its number counts all the same: a resumed stream would begin before it.
            found = _NUMBER.search(event.data)
            self._is_new_number(None if found is None else int(found[1]))
            return True
        return False

    def _is_new(self, data: Mapping[str, Any]) -> bool:
        return self._is_new_number(data.get("sequence_number"))

    def _is_new_number(self, number: Any) -> bool:
        """Keep an event's number; return whether it comes after the others, as far as it says."""
        if not isinstance(number, int):
            return True
        if self._number is not None and number <= self._number:
            # Some servers begin a resumed stream anew.
            return False
        self._number = number
        return True

    def _read(self, kind: str, data: Mapping[str, Any]) -> Sequence[FeedUpdate]:
        if kind in _DELTAS:
            text = data.get("delta")
            message_id = as_word(data.get("item_id"))
            return (TextDelta(message_id=message_id, text=text),) if text else ()
        if kind == _ITEM_DONE:
            self._items.append(as_object(data.get("item")))
        elif kind in _RESPONSE and self._to_run is not None:
            return (self._to_run(self._read_response(as_object(data.get("response")))),)
        return ()

    def _read_response(self, response: Mapping[str, Any]) -> ResponseSnapshot:
        if self._items and not as_objects(response.get("output")):
            # Some servers leave the output out of the closing event.
            response = {**response, "output": self._items}
        try:
            return read_response(response, self._request)
        except ProtocolError as exc:
            raise StreamLost(str(exc)) from exc
