"""Checks of what a program passes: texts, message contents, metadata, timeouts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from gpt_agent_sync.errors import BlankValueError

ContentParts = tuple[dict[str, Any], ...]
"""The parts of a message, as the wire has them."""

METADATA_PAIRS = 16
KEY_LENGTH = 64
VALUE_LENGTH = 512

_PART_FIELDS = {"text": "text", "image_url": "image_url", "image_file": "image_file"}


def read_content(content: str | Sequence[str | Mapping[str, Any]]) -> str | ContentParts:
    """Return a message's content, checked and in its frozen form.

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
    # A mapping is iterable, and is one content part that was passed without its list.
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
    # A blank text is a BlankValueError, as everywhere.
    if kind == "text" and field in part:
        require_text("content part", part[field])
    if not part.get(field):
        raise ValueError(f"a content part of type {kind!r} needs {field!r}: {dict(part)!r}")
    if kind != "text" and not isinstance(part[field], Mapping):
        raise ValueError(f"{field!r} of a content part must be an object: {dict(part)!r}")
    return dict(part)


def require_text(name: str, value: object) -> str:
    """Return ``value`` if it is a text that is not blank.

    Raises:
        BlankValueError: If it is not.
    """
    if not isinstance(value, str) or not value.strip():
        raise BlankValueError(name, value)
    return value


DOTS = (".", "..")
"""What is no id, as it has another meaning in a path."""


def path_part(object_id: str) -> str:
    """Return an id as a part of a URL's path.

    Raises:
        ValueError: If it is ``.`` or ``..``, which would lead to another path.
    """
    if object_id in DOTS:
        raise ValueError(f"{object_id!r} is no id: it would lead to another address")
    return quote(object_id, safe="")


def read_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Return a copy of the pairs if every wire can carry them (16 pairs, 64 and 512 characters).

    Raises:
        ValueError: If they are not such pairs; it names the key.
    """
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise ValueError(f"metadata must be a mapping of texts, not {metadata!r}")
    if len(metadata) > METADATA_PAIRS:
        raise ValueError(f"metadata has {len(metadata)} pairs; {METADATA_PAIRS} is the most")
    for key, value in metadata.items():
        if not isinstance(key, str) or not 0 < len(key) <= KEY_LENGTH:
            raise ValueError(f"metadata key {key!r} must be a text of 1 to {KEY_LENGTH} characters")
        if not isinstance(value, str) or len(value) > VALUE_LENGTH:
            raise ValueError(
                f"metadata value of {key!r} must be a text of up to {VALUE_LENGTH} characters"
            )
    return dict(metadata)


def check_timeout(timeout: object) -> None:
    """Check the seconds that a caller waits at most; ``None`` is for as long as it takes.

    Raises:
        TypeError: If it is no number.
        ValueError: If it is below 0, or not a number.
    """
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise TypeError(f"timeout must be seconds, or None, not {timeout!r}")
    if not timeout >= 0:  # written so that NaN is refused too
        raise ValueError(f"timeout must be 0 seconds or more, or None, not {timeout!r}")


def check_order(order: object) -> None:
    """Check the order of a list.

    Raises:
        ValueError: If it is none.
    """
    if order not in ("asc", "desc"):
        raise ValueError(
            f"order must be 'asc' (oldest first) or 'desc' (newest first), not {order!r}"
        )


def check_limit(limit: object) -> None:
    """Check how many a caller wants at most; ``None`` is for all there are.

    Raises:
        TypeError: If it is no whole number.
        ValueError: If it is below 1.
    """
    if limit is None:
        return
    wanted = f"limit must be a whole number of 1 or more, or None for all there are, not {limit!r}"
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise TypeError(wanted)
    if limit < 1:
        raise ValueError(wanted)


def check_bool(name: str, value: object) -> None:
    """Check an argument that is either true or false.

    Raises:
        TypeError: If it is something else.
    """
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, not {value!r}")
