"""A model that says the same pieces to everybody, at the pace of a test."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from gpt_agent_sync.server.models.base import Model, ModelChunk, ModelRequest


class ChunkModel(Model):
    """Say the same pieces, under any name.

    Args:
        pieces: What it says.
        held: Whether each piece, and the end, waits until a test says ``go_on``.
    """

    def __init__(self, *pieces: ModelChunk, held: bool = False) -> None:
        self._pieces = pieces
        self._held = held
        self._leave = threading.Semaphore(0)

    def serves(self, name: str) -> bool:
        """Answer to every name."""
        return True

    def reply(self, request: ModelRequest) -> Iterator[ModelChunk]:
        """Say the pieces, one after the other."""
        for piece in self._pieces:
            self._wait()
            yield piece
        self._wait()

    def go_on(self, steps: int = 1) -> None:
        """Let it say more pieces, or come to its end."""
        self._leave.release(steps)

    def _wait(self) -> None:
        assert not self._held or self._leave.acquire(timeout=30)
