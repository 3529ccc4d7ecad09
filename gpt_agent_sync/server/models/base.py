"""The contract between the server and a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

Chat = dict[str, Any]


@attrs.frozen(kw_only=True)
class ModelRequest:
    """Hold what a model is asked.

    Attributes:
        model: The model's name.
        messages: The conversation as ``/chat/completions`` spells it, the system text first.
        tools: The function tools on offer, likewise.
        tool_choice: ``"auto"``, ``"none"``, ``"required"`` or an object naming a function.
        options: Further parameters by their ``/chat/completions`` names.
    """

    model: str
    messages: tuple[Chat, ...]
    tools: tuple[Chat, ...] = ()
    tool_choice: str | Mapping[str, Any] = "auto"
    options: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class TextPiece:
    """Hold the next piece of the reply's text."""

    text: str


@attrs.frozen
class CallPiece:
    """Hold a tool call, whole.

    Attributes:
        name: The function.
        arguments: JSON text.
    """

    name: str
    arguments: str


@attrs.frozen
class Finish:
    """Hold the end of a reply, its last piece.

    Attributes:
        reason: ``"stop"``, or why it was cut short: ``"max_completion_tokens"``,
            ``"content_filter"``.
        prompt_tokens: Tokens read.
        completion_tokens: Tokens written.
    """

    reason: str = "stop"
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def cut_short(self) -> str | None:
        """Why the reply ends early; ``None`` when it does not."""
        return None if self.reason == "stop" else self.reason

    @property
    def usage(self) -> dict[str, int]:
        """The tokens as the wire counts them."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


Piece = TextPiece | CallPiece | Finish


class ModelError(Exception):
    """Tell that the model cannot answer; the run fails with this code and message.

    Attributes:
        code: ``"server_error"``, ``"rate_limit_exceeded"`` or ``"invalid_prompt"``.
        message: The reason.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Model(ABC):
    """Answer conversations; called from many threads at once."""

    @abstractmethod
    def serves(self, name: str) -> bool:
        """Tell whether this model answers to ``name``."""

    @abstractmethod
    def reply(self, request: ModelRequest) -> Iterator[Piece]:
        """Give the reply piece by piece, ``Finish`` last.

        Raises:
            ModelError: If it cannot answer.
        """
