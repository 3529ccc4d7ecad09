"""Conversations made short: a summary takes the place of what was said; pure.

The item that holds it has an ``encrypted_content`` on the wire, which clients hand back as it is.
Here it is only encoded: whoever has it has seen the conversation.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence

from gpt_agent_sync.foreign_json import read_foreign_json
from gpt_agent_sync.server.models.base import ChatObject
from gpt_agent_sync.server.storage.collection import Object, new_id

PREFIX = "gas1."
"""What the content begins with: this server's, first version."""

INSTRUCTIONS = (
    "Summarize the conversation so far, for yourself: you will go on with it from your summary "
    "alone. Keep every fact, name, number, decision, tool result and open question that may "
    "matter. Answer with the summary only."
)

INTRODUCTION = "What was said before, summarized:"


def compacted(items: Sequence[Object], summary: str) -> list[Object]:
    """Return a conversation's short form: the user's messages, and an item with the summary."""
    users = [item for item in items if item["type"] == "message" and item["role"] != "assistant"]
    encoded = base64.urlsafe_b64encode(json.dumps({"summary": summary}).encode()).decode()
    item = {"id": new_id("cmp"), "type": "compaction", "encrypted_content": PREFIX + encoded}
    return [*users, item]


def read_summary(content: str) -> str | None:
    """Return the summary in an item's content; ``None`` where it is none of this server's."""
    if not content.startswith(PREFIX):
        return None
    try:
        found = read_foreign_json(
            base64.b64decode(content[len(PREFIX) :], altchars=b"-_", validate=True)
        )
    except ValueError:
        return None
    summary = found.get("summary") if isinstance(found, dict) else None
    return summary if isinstance(summary, str) else None


def chat_message(item: Object) -> ChatObject:
    """Return the message that tells a model the summary."""
    summary = read_summary(item["encrypted_content"]) or ""
    return {"role": "system", "content": f"{INTRODUCTION}\n{summary}"}
