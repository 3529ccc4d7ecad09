"""Notes: what the metadata of a conversation say of its newest run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

from gpt_agent_sync.services.http.shapes import as_object, as_word
from gpt_agent_sync.services.responses.wire import METADATA_PAIRS, METADATA_VALUE, RUN_KEY


@attrs.frozen(kw_only=True)
class Note:
    """Hold what a conversation's metadata say of its newest run.

    Attributes:
        run_id: The run: its first response.
        response_id: The response now going, or the last one.
        assistant_id: The assistant.
        over: Whether we ended the run while it waited for outputs.
    """

    run_id: str
    response_id: str
    assistant_id: str | None = None
    over: bool = False


def read_note(metadata: Any) -> Note | None:
    """Read the note of a conversation's run, ``None`` when there is none that can be read."""
    try:
        note = as_object(json.loads(as_object(metadata).get(RUN_KEY) or "null"))
    except (TypeError, ValueError):
        return None
    run_id, response_id = as_word(note.get("run")), as_word(note.get("response"))
    if run_id is None or response_id is None:
        return None
    return Note(
        run_id=run_id,
        response_id=response_id,
        assistant_id=as_word(note.get("assistant")),
        over=note.get("over") is True,
    )


def with_note(metadata: Mapping[str, Any], note: Note) -> dict[str, Any] | None:
    """Give a conversation's metadata with the note in them; ``None`` when they have no room."""
    fields: dict[str, Any] = {"run": note.run_id, "response": note.response_id}
    if note.over:
        fields["over"] = True
    text = json.dumps({**fields, "assistant": note.assistant_id}, separators=(",", ":"))
    if note.assistant_id is None or len(text) > METADATA_VALUE:
        text = json.dumps(fields, separators=(",", ":"))
    pairs = {**metadata, RUN_KEY: text}
    return pairs if len(pairs) <= METADATA_PAIRS and len(text) <= METADATA_VALUE else None
