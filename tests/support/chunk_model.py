"""A model that answers everybody in the same chunks, at the pace of a test."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from gpt_agent_sync.server.models.base import Model, ModelChunk, ModelRequest


class ChunkModel(Model):
    """A model that always answers in the same chunks, under any name.

    Args:
        chunks: Its answer.
        held: Whether each chunk, and the end, waits until a test calls ``go_on``.
    """

    def __init__(self, *chunks: ModelChunk, held: bool = False) -> None:
        self._chunks = chunks
        self._held = held
        self._permits = threading.Semaphore(0)

    def serves(self, name: str) -> bool:
        """Return ``True``: it has every name."""
        return True

    def reply(self, request: ModelRequest) -> Iterator[ModelChunk]:
        """Yield the chunks, one after the other."""
        for chunk in self._chunks:
            self._wait()
            yield chunk
        self._wait()

    def go_on(self, steps: int = 1) -> None:
        """Let it yield more chunks, or come to its end."""
        self._permits.release(steps)

    def _wait(self) -> None:
        assert not self._held or self._permits.acquire(timeout=30)
