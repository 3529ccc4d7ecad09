"""The demo model behind a key, as other people's clients meet it, and what it was asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gpt_agent_sync.server.hosting import EmbeddedServer
from gpt_agent_sync.server.models.base import ModelChunk, ModelRequest
from gpt_agent_sync.server.models.demo import DemoModel

KEY = "key"

ASK = "call get_weather for Paris"
"""What the demo answers by a call of the tool."""

ANSWER = "The demo model asked for help: get_weather gave sunny in Paris."
"""What it says when the tool has answered."""

PARAMETERS: dict[str, object] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}

CHAT_TOOL: Any = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Weather.", "parameters": PARAMETERS},
}
"""The tool as Assistants and chat completions have it."""

RESPONSES_TOOL: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Weather.",
    "parameters": PARAMETERS,
    "strict": True,
}
"""The tool as Responses has it."""


def echo(text: str) -> str:
    """Return the demo's answer to a text that no tool is for."""
    return f"This is the offline demo model. You said: {text}"


class RecordedDemo(DemoModel):
    """The demo model, which keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[ModelRequest] = []

    def reply(self, request: ModelRequest) -> Iterator[ModelChunk]:
        """Answer as the demo does."""
        self.requests.append(request)
        return super().reply(request)


class DemoServer:
    """A server that asks for a key, and the demo model that answers.

    ``gpt-4.1`` is one more name of it, for clients that refuse what is not OpenAI's.
    """

    def __init__(self) -> None:
        self.model = RecordedDemo()
        self._server = EmbeddedServer.start(
            ":memory:", api_key=KEY, models=[self.model], names={"gpt-4.1": "demo"}
        )
        self.base_url = self._server.base_url
        self.root = self.base_url.removesuffix("/v1")

    @property
    def was_told(self) -> list[tuple[str, str]]:
        """Role and text of the messages that the model was asked last."""
        return [
            (message["role"], _text_of(message.get("content")))
            for message in self.model.requests[-1].messages
        ]

    def stop(self) -> None:
        """Stop."""
        self._server.stop()


def _text_of(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""
