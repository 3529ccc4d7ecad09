"""How many tokens a message has: an estimate, as each model counts by its own rules; pure.

It is one from above for what is mostly letters.
"""

from __future__ import annotations

from gpt_agent_sync.server.models.base import ChatObject

CHARACTERS_PER_TOKEN = 3
"""Of what is mostly letters; English has four and more."""

TOKENS_PER_MESSAGE = 4
"""What a message costs beside its text."""

TOKENS_PER_IMAGE = 800
"""What an image costs, more or less."""


def tokens(message: ChatObject) -> int:
    """Return about how many tokens a message has."""
    content = message.get("content")
    characters, images = 0, 0
    for part in content if isinstance(content, list) else [{"text": content or ""}]:
        characters += len(str(part.get("text", "")))
        images += "text" not in part
    for call in message.get("tool_calls") or ():
        characters += len(call["function"]["name"]) + len(call["function"]["arguments"])
    text = -(-characters // CHARACTERS_PER_TOKEN)
    return TOKENS_PER_MESSAGE + text + images * TOKENS_PER_IMAGE
