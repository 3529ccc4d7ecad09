"""A model whose text comes when a test says so."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from gpt_agent_sync.server.models.base import (
    Finish,
    Model,
    ModelChunk,
    ModelError,
    ModelRequest,
    TextDelta,
    ToolCall,
)

NAME = "paced"

PATIENCE = 60.0


class PacedModel(Model):
    """A model that does what the user's message says.

    - ``say a|b|c`` is said piece by piece; after each but the last one it waits for ``go_on()``.
    - ``note x`` calls the tool ``add_note``, and tells what it gave.
    - ``fail`` fails.
    """

    def __init__(self) -> None:
        self._permits = threading.Semaphore(0)

    def go_on(self, pieces: int = 1) -> None:
        """Let that many further pieces come."""
        self._permits.release(pieces)

    def serves(self, name: str) -> bool:
        """Return whether it is this model's."""
        return name == NAME

    def reply(self, request: ModelRequest) -> Iterator[ModelChunk]:
        """Yield the pieces."""
        last = request.messages[-1]
        asked = next(each for each in reversed(request.messages) if each["role"] == "user")
        verb, _, rest = str(asked["content"]).partition(" ")
        if verb == "fail":
            raise ModelError("server_error", "The model broke.")
        if verb == "note" and last["role"] == "user":
            yield ToolCall("add_note", f'{{"text": "{rest}"}}')
            yield Finish()
            return
        pieces = [f"It was {last['content']}."] if verb == "note" else rest.split("|")
        for number, piece in enumerate(pieces):
            if number:
                assert self._permits.acquire(timeout=PATIENCE)
            yield TextDelta(piece)
        yield Finish()
