"""What Assistants v2 streams of a run, read as updates.

Names and shapes are those of OpenAI's published description (``AssistantStreamEvent``). Where an
event has no name, the ``object`` of its data tells what it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gpt_agent_sync.errors import ProtocolError
from gpt_agent_sync.records import FINAL_STATUSES, FeedUpdate, RunSnapshot, TextDelta
from gpt_agent_sync.services.assistants.wire import read_message, read_run
from gpt_agent_sync.services.feeds.run_streams import Translation
from gpt_agent_sync.services.http.errors import error_from_event
from gpt_agent_sync.services.http.shapes import as_object, as_objects, as_word, join_texts
from gpt_agent_sync.services.http.sse import ServerSentEvent, StreamLost, is_object, read_object

_STEP = "thread.run.step."
_RUN = "thread.run."
_MESSAGE = "thread.message."
_THREAD = "thread."
_NAMELESS = ("", "message")
_DELTA = "thread.message.delta"
_CREATED = "thread.message.created"
_FINISHED = ("thread.message.completed", "thread.message.incomplete")
_MESSAGE_ID = re.compile(r'"id": ?"([^"]+)"')
_SAYS_NOTHING = frozenset({"thread.created", "thread.message.in_progress"})


class AssistantsTranslation(Translation):
    """Read the events of one leg of a run: from its start, or its outputs, on.

    Args:
        request: Method and path of the request, for messages.
        known: Whether all messages of the legs before were seen.
        wants_deltas: Tells whether anybody listens to text as it comes.
    """

    def __init__(
        self, request: str, *, known: bool = True, wants_deltas: Callable[[], bool]
    ) -> None:
        self._request = request
        self._known = known
        self._wants_deltas = wants_deltas
        self._begun = 0
        self._written: set[str] = set()
        self._finished: set[str] = set()
        self._is_over = False
        self._unchanged = ""

    @property
    def complete(self) -> bool:
        """Whether all messages were given; a run that ends without any may be told so by none."""
        seen = self._begun <= len(self._finished) and self._written <= self._finished
        return self._known and seen and (bool(self._finished) or not self._is_over)

    def open(self, event: ServerSentEvent) -> Mapping[str, Any] | None:
        """Give the run, if the event tells of one; the first that does opens the stream.

        Raises:
            ServiceError: If it tells of an error.
            StreamLost: If it cannot be read.
        """
        if not is_object(event):
            return None
        data = read_object(event)
        kind = _kind(event, data)
        if kind == "error":
            raise error_from_event(self._request, data)
        if not kind.startswith(_RUN) or kind.startswith(_STEP):
            self._known = self._known and not kind.startswith(_MESSAGE)  # it is passed over
            return None
        self._is_over = data.get("status") in FINAL_STATUSES
        self._unchanged = _same_news(data.get("status"))
        return data

    def read(self, event: ServerSentEvent) -> Sequence[FeedUpdate]:
        """Give what an event shows; see ``Translation``."""
        name = event.name
        if name.startswith(_STEP) or name in _SAYS_NOTHING or not _is_known(name):
            return ()
        if name == _CREATED:
            self._begun += 1
            return ()
        if name == self._unchanged:
            return ()
        if name == _DELTA and not self._wants_deltas():
            self._note_written(event.data)
            return ()
        if not is_object(event):
            return ()
        data = read_object(event)
        kind = _kind(event, data)
        if kind == "error":
            raise StreamLost(str(error_from_event(self._request, data)))
        if kind == _DELTA:
            return self._delta(data)
        if kind in _FINISHED:
            return self._message(data)
        if kind.startswith(_RUN) and not kind.startswith(_STEP):
            return (self._run(data),)
        return ()

    def _run(self, data: Mapping[str, Any]) -> RunSnapshot:
        try:
            snapshot = read_run(data, self._request)
        except ProtocolError as exc:
            raise StreamLost(str(exc)) from exc
        self._is_over = snapshot.is_final
        self._unchanged = _same_news(snapshot.status)
        return snapshot

    def _note_written(self, text: str) -> None:
        found = _MESSAGE_ID.search(text)
        if found is not None:
            self._written.add(found[1])

    def _delta(self, data: Mapping[str, Any]) -> list[TextDelta]:
        message_id = as_word(data.get("id"))
        if message_id is not None:
            self._written.add(message_id)
        text = join_texts(as_objects(as_object(data.get("delta")).get("content")))
        return [TextDelta(message_id=message_id, text=text)] if text else []

    def _message(self, data: Mapping[str, Any]) -> Sequence[FeedUpdate]:
        message = read_message(data)
        if message is None or message.role != "assistant":
            return ()
        if not message.content and message.id in self._written:
            return ()  # the list has its text
        self._finished.add(message.id)
        return (message,)


def _is_known(name: str) -> bool:
    return name.startswith(_THREAD) or name in _NAMELESS or name == "error"


def _kind(event: ServerSentEvent, data: Mapping[str, Any]) -> str:
    """Give an event's name, or one for what it holds."""
    if event.name not in _NAMELESS:
        return event.name
    if data.get("error"):
        return "error"
    told = str(data.get("object") or "")
    # "thread.run" and "thread.message" are objects, whose status tells which event it is.
    return told if told == _DELTA else f"{told}.{data.get('status')}"


def _same_news(status: object) -> str:
    """Give the name of an event that would say no more than what is known already."""
    return f"{_RUN}{status}" if status in ("queued", "in_progress") else ""
