"""Checking what a program gives as text and as a message's content."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gpt_agent_sync.errors import BlankValueError
from gpt_agent_sync.records import ContentParts

_PART_FIELDS = {"text": "text", "image_url": "image_url", "image_file": "image_file"}


def read_content(content: str | Sequence[str | Mapping[str, Any]]) -> str | ContentParts:
    """Check a message's content and give it in its frozen form.

    Args:
        content: Text, or a sequence of parts: texts, or ``{"type": "text", "text": ...}``,
            ``{"type": "image_url", "image_url": {"url": ...}}``,
            ``{"type": "image_file", "image_file": {"file_id": ...}}``.

    Raises:
        BlankValueError: If there is no text and no image in it.
        ValueError: If a part is of an unknown type or lacks its field.
    """
    if isinstance(content, str):
        return require_text("content", content)
    if isinstance(content, (bytes, Mapping)) or not isinstance(content, Iterable):
        raise BlankValueError("content", content)
    parts = tuple(_read_part(part) for part in content)
    if not parts:
        raise BlankValueError("content", content)
    return parts


def _read_part(part: str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": require_text("content part", part)}
    if not isinstance(part, Mapping):
        raise BlankValueError("content part", part)
    kind = part.get("type")
    field = _PART_FIELDS.get(kind) if isinstance(kind, str) else None
    if field is None:
        raise ValueError(f"content part type {kind!r} is not one of {', '.join(_PART_FIELDS)}")
    if kind == "text" and field in part:
        require_text("content part", part[field])
    if not part.get(field):
        raise ValueError(f"a content part of type {kind!r} needs {field!r}: {dict(part)!r}")
    if kind != "text" and not isinstance(part[field], Mapping):
        raise ValueError(f"{field!r} of a content part must be an object: {dict(part)!r}")
    return dict(part)


def require_text(name: str, value: object) -> str:
    """Give ``value`` back if it is a text that is not blank.

    Raises:
        BlankValueError: If it is not.
    """
    if not isinstance(value, str) or not value.strip():
        raise BlankValueError(name, value)
    return value
