"""The stream events of a run on Assistants v2, read as updates.

Names and shapes are those of OpenAI's published description (``AssistantStreamEvent``). Where an
event has no name, the ``object`` of its data says what it is. Some servers write the event as the
description has it, as an object with ``event`` and ``data``, into the data of a server-sent one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gpt_agent_sync.errors import ProtocolError
from gpt_agent_sync.event_parser import ServerSentEvent, StreamLost
from gpt_agent_sync.records import FINAL_STATUSES, FeedUpdate, RunSnapshot, TextDelta
from gpt_agent_sync.services.assistants.wire import read_message, read_run
from gpt_agent_sync.services.feeds.run_streams import ERROR, Translation
from gpt_agent_sync.services.http.shapes import as_object, as_objects, as_word, join_texts
from gpt_agent_sync.services.http.sse import read_object

_STEP = "thread.run.step."
_RUN = "thread.run."
_MESSAGE = "thread.message."
_THREAD = "thread."
_NAMELESS = ("", "message")
_DELTA = "thread.message.delta"
_CREATED = "thread.message.created"
_FINISHED = ("thread.message.completed", "thread.message.incomplete")
_MESSAGE_ID = re.compile(r'"id": ?"([^"]+)"')
_WRAPPED = re.compile(r'\s*\{\s*"(?:event|data)"\s*:')
_WITHOUT_NEWS = frozenset({"thread.created", "thread.message.in_progress"})


class AssistantsTranslation(Translation):
    """The events of a run from its start on, or from the tool outputs that it waited for.

    Args:
        request: Method and path of the request, for messages.
        messages_known: Whether all messages that the run finished before were yielded.
        wants_deltas: Returns whether anybody listens to text as it comes.
    """

    def __init__(
        self, request: str, *, messages_known: bool = True, wants_deltas: Callable[[], bool]
    ) -> None:
        super().__init__(request, wants_deltas)
        self._earlier_known = messages_known
        self._created_count = 0
        self._written_ids: set[str] = set()
        self._finished_ids: set[str] = set()
        self._is_final = False
        self._known_status_event = ""

    @property
    def messages_known(self) -> bool:
        """Whether all messages were yielded; a final run without any may have left them out."""
        all_finished = (
            self._created_count <= len(self._finished_ids)
            and self._written_ids <= self._finished_ids
        )
        # Some servers stream the statuses only: whether it wrote nothing, the list has to show.
        return (
            self._earlier_known and all_finished and bool(self._finished_ids or not self._is_final)
        )

    def open(self, event: ServerSentEvent) -> Mapping[str, Any] | None:
        """Return the run that opens the stream; see ``Translation``."""
        return super().open(_unwrapped(event))

    def read(self, event: ServerSentEvent) -> Sequence[FeedUpdate]:
        """Return the updates that an event holds; see ``Translation``."""
        return super().read(_unwrapped(event))

    def _kind_of(self, event: ServerSentEvent, data: Mapping[str, Any]) -> str:
        if event.name not in _NAMELESS:
            return event.name
        if data.get("error"):
            return ERROR
        kind = str(data.get("object") or "")
        # "thread.run" and "thread.message" are objects, whose status says which event it is.
        return kind if kind == _DELTA else f"{kind}.{data.get('status')}"

    def _open(self, kind: str, data: Mapping[str, Any]) -> Mapping[str, Any] | None:
        if not kind.startswith(_RUN) or kind.startswith(_STEP):
            # A message before the run's first event is passed over: the list is read for it.
            self._earlier_known = self._earlier_known and not kind.startswith(_MESSAGE)
            return None
        self._note_status(data.get("status"))
        return data

    def _skips(self, event: ServerSentEvent) -> bool:
        name = event.name
        if name.startswith(_STEP) or name in _WITHOUT_NEWS or not _is_of_interest(name):
            return True
        if name == _CREATED:
            self._created_count += 1
            return True
        if name == _DELTA and not self._wants_deltas():
            found = _MESSAGE_ID.search(event.data)
            if found is not None:
                self._written_ids.add(found[1])
            return True
        return name == self._known_status_event

    def _read(self, kind: str, data: Mapping[str, Any]) -> Sequence[FeedUpdate]:
        if kind == _DELTA:
            return self._read_delta(data)
        if kind in _FINISHED:
            return self._read_message(data)
        if kind.startswith(_RUN) and not kind.startswith(_STEP):
            return (self._read_run(data),)
        return ()

    def _read_run(self, data: Mapping[str, Any]) -> RunSnapshot:
        try:
            # The body is believed, not the name: some servers say "completed" of a waiting run.
            snapshot = read_run(data, self._request)
        except ProtocolError as exc:
            raise StreamLost(str(exc)) from exc
        self._note_status(snapshot.status)
        return snapshot

    def _note_status(self, status: object) -> None:
        self._is_final = status in FINAL_STATUSES
        same = status in ("queued", "in_progress")
        self._known_status_event = f"{_RUN}{status}" if same else ""

    def _read_delta(self, data: Mapping[str, Any]) -> list[TextDelta]:
        message_id = as_word(data.get("id"))
        if message_id is not None:
            self._written_ids.add(message_id)
        text = join_texts(as_objects(as_object(data.get("delta")).get("content")))
        return [TextDelta(message_id=message_id, text=text)] if text else []

    def _read_message(self, data: Mapping[str, Any]) -> Sequence[FeedUpdate]:
        message = read_message(data)
        if message is None or message.role != "assistant":
            return ()
        if not message.content and message.id in self._written_ids:
            return ()  # finished without the text that was streamed: the list has it
        self._finished_ids.add(message.id)
        return (message,)


def _is_of_interest(name: str) -> bool:
    return name.startswith(_THREAD) or name in _NAMELESS or name == ERROR


def _unwrapped(event: ServerSentEvent) -> ServerSentEvent:
    """Return the event that the data hold; itself, as nearly always, where they hold none."""
    if not _WRAPPED.match(event.data):
        return event
    wrapper = read_object(event)
    name, data = wrapper.get("event"), wrapper.get("data")
    if not isinstance(name, str) or data is None:
        return event
    return ServerSentEvent(name, data if isinstance(data, str) else json.dumps(data))
