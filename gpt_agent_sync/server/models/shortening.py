"""Conversations that are too long for a model: their oldest messages are left out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from gpt_agent_sync.server.models.base import (
    ChatObject,
    ContextLengthError,
    Model,
    ModelChunk,
    ModelRequest,
)

SHARE = 3
"""One in so many of the messages that may be left out is, each time that they are too many."""


class Shortening(Model):
    """A model that is asked again with less, where the request allows that.

    How long a model's context is nobody tells; that it is too short it says itself.

    Args:
        model: The one behind it.
    """

    def __init__(self, model: Model) -> None:
        self._model = model

    def serves(self, name: str) -> bool:
        """Return whether the one behind it serves a name."""
        return self._model.serves(name)

    def reply(self, request: ModelRequest) -> Iterator[ModelChunk]:
        """Yield its reply.

        Raises:
            ModelError: If it cannot answer; a ``ContextLengthError`` where nothing may be left
                out, or nothing that may be is left.
        """
        while True:
            has_begun = False
            try:
                for chunk in self._model.reply(request):
                    has_begun = True
                    yield chunk
                return
            except ContextLengthError:
                shorter = shortened(request.messages)
                if has_begun or not request.may_shorten or shorter is None:
                    raise
            request = attrs.evolve(request, messages=shorter)


def shortened(messages: Sequence[ChatObject]) -> tuple[ChatObject, ...] | None:
    """Return messages without the oldest of those that may go; ``None`` where none may.

    The instructions stay, and the newest message of the user's with all that follows it. Calls and
    their outputs go together.
    """
    begin = next(
        (place for place, each in enumerate(messages) if each["role"] != "system"), len(messages)
    )
    end = max(
        (place for place, each in enumerate(messages) if each["role"] == "user"), default=begin
    )
    if end <= begin:
        return None
    left = begin + max(1, (end - begin) // SHARE)
    while left < end and messages[left]["role"] == "tool":
        left += 1
    return (*messages[:begin], *messages[left:])
