"""The model that answers the cells' messages, each by its first word."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from collections.abc import Iterator

from gpt_agent_sync.server.models.base import (
    Finish,
    Model,
    ModelChunk,
    ModelRequest,
    TextDelta,
    ToolCall,
)

COUNT, HOLD, MANUAL, PLAIN = "count", "hold", "manual", "plain"
"""First words of messages: for a call of the tool ``count``, for a reply that waits until it is
released, for a call of a tool that has no handler, and for a reply at once."""

MANUAL_TOOL = "by_hand"

HOLD_PATIENCE = 30.0

LONGEST_THOUGHT = 0.06
"""Seconds that a reply takes at most: longer than a request, as with any model, or as short as one,
so that what a run does shows before it is looked for, and after."""


def reply_to(text: str) -> str:
    """Return what is replied to a message."""
    return f"answer to {text}"


class FaultModel(Model):
    """A model that answers a text by its first word; a text is asked for once in a process.

    Attributes:
        answered: How often each text was answered first, outputs still to come.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._released: dict[str, threading.Event] = {}
        self.answered: Counter[str] = Counter()

    def serves(self, name: str) -> bool:
        """Return that it answers to every name."""
        return True

    def reply(self, request: ModelRequest) -> Iterator[ModelChunk]:
        """Yield the reply to the newest of the user's texts."""
        text, has_outputs = _newest(request)
        word = text.partition(" ")[0]
        if not has_outputs:
            with self._lock:
                self.answered[text] += 1
        if word == HOLD:
            self._gate(text).wait(HOLD_PATIENCE)
        # The same in every run of a cell, as far as its name is.
        threading.Event().wait(random.Random(text).uniform(0.0, LONGEST_THOUGHT))
        if word in (COUNT, MANUAL) and not has_outputs:
            name = COUNT if word == COUNT else MANUAL_TOOL
            yield ToolCall(name, json.dumps({"key": text}))
            yield Finish()
            return
        whole = reply_to(text)
        for piece in (whole[:7], whole[7:]):
            yield TextDelta(piece)
        yield Finish(prompt_tokens=1, completion_tokens=2)

    def release(self, text: str) -> None:
        """Have the reply come that a text waits for."""
        self._gate(text).set()

    def forget(self, text: str) -> None:
        """Drop what is kept of a text."""
        with self._lock:
            self._released.pop(text, None)
            self.answered.pop(text, None)

    def _gate(self, text: str) -> threading.Event:
        with self._lock:
            return self._released.setdefault(text, threading.Event())


def _newest(request: ModelRequest) -> tuple[str, bool]:
    """Return the user's newest text, and whether a tool was called for it."""
    text, has_outputs = "", False
    for message in request.messages:
        if message["role"] == "user":
            text, has_outputs = str(message["content"]), False
        if message["role"] == "tool":
            has_outputs = True
    return text, has_outputs
