"""The contract between the server and a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from gpt_agent_sync.server.models.cancellation import Cancellation

ChatObject = dict[str, Any]
"""A message or a tool of ``/chat/completions``."""


@attrs.frozen(kw_only=True)
class ModelRequest:
    """What a model is asked.

    Attributes:
        model: The model's name.
        messages: The conversation as ``/chat/completions`` has it, the system text first.
        tools: The function tools on offer, likewise.
        tool_choice: ``"auto"``, ``"none"``, ``"required"`` or an object naming a function.
        options: Further parameters by their ``/chat/completions`` names.
        may_shorten: Whether the oldest messages may be left out where there are too many.
        cancellation: Tells whether the reply is still wanted.
    """

    model: str
    messages: tuple[ChatObject, ...]
    tools: tuple[ChatObject, ...] = ()
    tool_choice: str | Mapping[str, Any] = "auto"
    options: Mapping[str, Any] = attrs.field(factory=dict)
    may_shorten: bool = False
    cancellation: Cancellation = attrs.field(factory=Cancellation, eq=False, repr=False)


@attrs.frozen
class TextDelta:
    """The next part of the reply's text."""

    text: str


@attrs.frozen
class ToolCall:
    """A tool call, whole.

    Attributes:
        name: The function.
        arguments: JSON text.
    """

    name: str
    arguments: str


@attrs.frozen
class Finish:
    """The end of a reply, its last chunk.

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


ModelChunk = TextDelta | ToolCall | Finish
"""What a model's reply comes in."""


class ModelError(Exception):
    """The model cannot answer; the run fails with this code and message.

    Attributes:
        code: ``"server_error"``, ``"rate_limit_exceeded"`` or ``"invalid_prompt"``.
        message: The reason.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class ContextLengthError(ModelError):
    """A conversation is longer than the model's context."""


class Model(ABC):
    """Something that answers conversations.

    Both methods are called from many threads at once: that of each request, and that of each run.
    """

    @abstractmethod
    def serves(self, name: str) -> bool:
        """Return whether this model answers to ``name``."""

    @abstractmethod
    def reply(self, request: ModelRequest) -> Iterator[ModelChunk]:
        """Yield the reply in chunks, ``Finish`` last.

        Called on the thread of the run, which reads the chunks as they come. When the request is
        cancelled no more are read; a model that waits for long should end its wait by
        ``request.cancellation``, as its run's work goes on until it has.

        Raises:
            ModelError: If it cannot answer.
            ReplyCancelledError: If the request is cancelled meanwhile.
        """
