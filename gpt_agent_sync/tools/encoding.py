"""What handlers and programs give back, as the text that goes to the model."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any


def encode_output(output: object) -> str:
    """Give an output as the text for the model: a ``str`` as it is, anything else as JSON.

    Raises:
        TypeError: If JSON cannot hold it; NaN and infinities included.
    """
    return _encode(output, None)


def encode_result(result: object) -> str:
    """Give a handler's result as the text for the model.

    What ``encode_output`` takes, and the types that arguments can have: attrs classes and
    dataclasses, enums, dates, UUIDs.

    Raises:
        TypeError: If it cannot be JSON.
    """
    return _encode(result, _to_builtins)


def _encode(value: object, prepare: Callable[[Any], Any] | None) -> str:
    if isinstance(value, str):
        return str.__str__(value)
    try:
        plain = value if prepare is None else prepare(value)
        return json.dumps(plain, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as exc:
        raise TypeError(f"JSON cannot hold {type(value).__name__} {value!r:.200}: {exc}") from exc


def _to_builtins(value: object) -> object:
    import msgspec

    return msgspec.to_builtins(value, str_keys=True)
