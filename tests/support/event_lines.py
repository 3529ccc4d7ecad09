"""Reading server-sent events off an answer, line by line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import attrs
import requests


@attrs.frozen
class ReceivedEvent:
    """Hold an event as it came.

    Attributes:
        name: Its name.
        data: Its data: what the JSON says, or ``[DONE]`` as it is.
    """

    name: str
    data: Any


class EventReader(Iterator[ReceivedEvent]):
    """Give the events of an answer as they come, and pass comments over.

    Args:
        answer: The answer, not read yet.
    """

    def __init__(self, answer: requests.Response) -> None:
        assert answer.ok, answer.text
        self.answer = answer
        self._lines = answer.iter_lines(chunk_size=None)

    def __next__(self) -> ReceivedEvent:
        name = ""
        for line in self._lines:
            field, _, value = line.decode().partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                return ReceivedEvent(name, value if value == "[DONE]" else json.loads(value))
        raise StopIteration

    def until(self, name: str) -> ReceivedEvent:
        """Read on to an event of a name, and give it."""
        return next(event for event in self if event.name == name)

    def rest(self) -> list[ReceivedEvent]:
        """Give all events that are left."""
        return list(self)

    def names(self) -> list[str]:
        """Give the names of all events that are left."""
        return [event.name for event in self]

    def close(self) -> None:
        """Hang up."""
        self.answer.close()
