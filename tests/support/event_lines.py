"""Reading server-sent events off an answer, line by line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import attrs
import requests


@attrs.frozen
class ReceivedEvent:
    """An event as it was received.

    Attributes:
        name: Its name.
        data: Its data: what the JSON says, or ``[DONE]`` as it is.
    """

    name: str
    data: Any


class EventReader(Iterator[ReceivedEvent]):
    """An iterator over the events of an answer as they come; comments are skipped.

    Args:
        answer: The answer, not read yet.
    """

    def __init__(self, answer: requests.Response) -> None:
        assert answer.ok, answer.text
        self.answer = answer
        # Without a chunk size each line is given when it comes, not when 512 bytes are there.
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
        """Read on to an event of a name, and return it."""
        return next(event for event in self if event.name == name)

    def rest(self) -> list[ReceivedEvent]:
        """Return all events that are left."""
        return list(self)

    def names(self) -> list[str]:
        """Return the names of all events that are left."""
        return [event.name for event in self]

    def close(self) -> None:
        """Close the connection."""
        self.answer.close()
