"""Calls of tools that nobody has offered: answered to the model, as no client could."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence

import attrs

from gpt_agent_sync.server.models.base import (
    ChatObject,
    Finish,
    Model,
    ModelChunk,
    ModelError,
    ModelRequest,
    TextDelta,
    ToolCall,
)

MOST_ANSWERS = 4
"""How often in a row a model is told that it has no such tool."""


class OfferedOnly(Model):
    """A model that calls the tools it is offered, and no others, whatever the one behind it does.

    Where that one calls nothing but tools that it was not offered, it is told so and asked again.
    Beside calls of offered ones they are left out.

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
            ModelError: If it cannot answer, or calls such tools again and again.
        """
        names = {tool["function"]["name"] for tool in request.tools}
        read = written = 0
        for answers in itertools.count():
            offered: list[ToolCall] = []
            unknown: list[ToolCall] = []
            texts, end = list[str](), Finish()
            for chunk in self._model.reply(request):
                if isinstance(chunk, Finish):
                    end = chunk
                elif isinstance(chunk, TextDelta):
                    texts.append(chunk.text)
                    yield chunk
                else:
                    (offered if chunk.name in names else unknown).append(chunk)
            read, written = read + end.prompt_tokens, written + end.completion_tokens
            if offered or not unknown or end.cut_short:
                break
            if answers == MOST_ANSWERS:
                raise ModelError("server_error", "The model calls tools that it was not offered.")
            told = _told("".join(texts), unknown, sorted(names))
            request = attrs.evolve(request, messages=(*request.messages, *told))
        yield from offered
        yield attrs.evolve(end, prompt_tokens=read, completion_tokens=written)


def _told(text: str, calls: Sequence[ToolCall], names: Sequence[str]) -> list[ChatObject]:
    """Return the messages that answer calls of tools that there are not."""
    messages: list[ChatObject] = [{"role": "assistant", "content": text or None, "tool_calls": []}]
    for number, call in enumerate(calls):
        call_id = f"call_unknown_{number}"
        function = {"name": call.name, "arguments": call.arguments}
        messages[0]["tool_calls"].append({"id": call_id, "type": "function", "function": function})
        known = f"the tools are {', '.join(names)}" if names else "there are no tools"
        error = json.dumps({"error": f"there is no tool {call.name!r}: {known}"})
        messages.append({"role": "tool", "tool_call_id": call_id, "content": error})
    return messages
