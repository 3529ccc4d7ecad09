"""JSON that others have written: read with bounds, and with one error for all that is wrong."""

from __future__ import annotations

import json
from typing import Any

MOST_LEVELS = 200
"""Levels of objects and lists within each other. Python's own bound is how much of the stack is
left, so that what can be read may still be too deep to be written, compared or shown."""


def read_foreign_json(text: str | bytes) -> Any:
    """Return the value that a JSON text holds.

    Raises:
        ValueError: If it is no JSON, nested too deep, or has a number that Python does not read.
    """
    try:
        value = json.loads(text)
    except (RecursionError, OverflowError, MemoryError) as exc:
        raise ValueError(f"JSON that cannot be held: {type(exc).__name__}") from None
    # Counted first, as that costs next to nothing and clears nearly all texts.
    braces = text.count("{") + text.count("[") if isinstance(text, str) else _count(text)
    if braces > MOST_LEVELS and is_deeper(value, MOST_LEVELS):
        raise ValueError(f"JSON of more than {MOST_LEVELS} levels")
    return value


def _count(text: bytes) -> int:
    return text.count(b"{") + text.count(b"[")


def is_deeper(value: Any, most: int) -> bool:
    """Return whether objects and lists lie within each other in more levels than ``most``.

    It goes down all of them at once, and so needs no more stack for many levels than for few.
    """
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(most):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True
