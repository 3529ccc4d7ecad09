"""Reading JSON that servers fill in oddly: what is missing or of another type is taken as empty."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any, TypeGuard

from gpt_agent_sync.arguments import DOTS
from gpt_agent_sync.errors import ProtocolError
from gpt_agent_sync.records import Usage

_OBJECT = (dict, Mapping)  # the first is what JSON gives, and quickly checked


class Unshown(dict[str, Any]):
    """A JSON object as it came, which error trackers do not show: a service may echo anything."""

    def __repr__(self) -> str:
        return f"<{len(self)} fields>"


def is_id(value: Any) -> TypeGuard[str]:
    """Return whether a value can be an id: a text that leads to nothing else in a path."""
    return isinstance(value, str) and bool(value) and value not in DOTS


def as_object(value: Any) -> Mapping[str, Any]:
    """Return an object, empty when it is none."""
    return value if isinstance(value, _OBJECT) else {}


def as_objects(value: Any) -> list[Mapping[str, Any]]:
    """Return the objects of a list, empty when it is none."""
    return [item for item in value if isinstance(item, _OBJECT)] if isinstance(value, list) else []


def as_json_text(value: Any) -> str:
    """Return JSON text as it is; a server that sends an object means the same."""
    return value if isinstance(value, str) else json.dumps(value if value is not None else {})


def as_count(value: Any) -> int:
    """Return a whole number, 0 when it is none."""
    if isinstance(value, float):
        return int(value) if math.isfinite(value) else 0
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def as_time(value: Any) -> datetime | None:
    """Return unix seconds, whole or not, as a time in UTC; ``None`` when they are none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return datetime.fromtimestamp(value, timezone.utc)
    except (OverflowError, ValueError, OSError):  # what no calendar holds
        return None


def as_word(value: Any) -> str | None:
    """Return a text, ``None`` when there is nothing in it."""
    return str(value) if value else None


def read_list(
    data: Mapping[str, Any], request: str, read: Callable[[Mapping[str, Any]], Any]
) -> list[Any]:
    """Read the objects of a list answer, leaving out what ``read`` returns ``None`` for.

    Raises:
        ProtocolError: If there is no list in it.
    """
    items = data.get("data")
    if not isinstance(items, list):
        raise ProtocolError(f"the answer to {request} is no list: it lacks 'data'")
    return [record for record in map(read, as_objects(items)) if record is not None]


def read_usage(data: Any, read_name: str, written_name: str) -> Usage | None:
    """Read token counts by the wire's names; ``None`` while the server does not say."""
    usage = as_object(data)
    if not usage:
        return None
    read, written = as_count(usage.get(read_name)), as_count(usage.get(written_name))
    total = usage.get("total_tokens")
    return Usage(
        input_tokens=read,
        output_tokens=written,
        total_tokens=read + written if total is None else as_count(total),
    )


_TEXT_FIELDS = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
}


def join_texts(parts: Iterable[Mapping[str, Any]]) -> str:
    """Join the texts of a message's parts; a refusal counts as text too."""
    return "".join(_part_text(part) for part in parts)


def _part_text(part: Mapping[str, Any]) -> str:
    text = part.get(_TEXT_FIELDS.get(str(part.get("type")), ""))
    if isinstance(text, Mapping):
        text = text.get("value")
    return text if isinstance(text, str) else ""


def is_unwritten(data: Mapping[str, Any], parts: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether a message is an assistant's that is yet to be written.

    Some servers list the message of a live run without its text, most of them without a status.

    Args:
        data: The message as the wire has it.
        parts: Its content parts.
    """
    if data.get("role") != "assistant" or data.get("status") in ("completed", "incomplete"):
        return False
    return not any(part.get("type") not in _TEXT_FIELDS or _part_text(part) for part in parts)
