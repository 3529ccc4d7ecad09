"""JSON as every client reads it: no NaN, no infinite numbers, no halves of characters, not deep."""

from __future__ import annotations

import json
import math
from typing import Any

from flask import Response

from gpt_agent_sync.foreign_json import is_deeper

MAX_DEPTH = 100
"""Objects and arrays in each other that a request may have."""


class NotStrictError(ValueError):
    """A text that some JSON parsers take, and others do not; it says why."""


def decode(body: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        NotStrictError: If there is something in it that not every parser takes.
        ValueError: If it is no JSON.
    """
    # Decoded here: the library would take half characters, and other encodings.
    text = body.decode("utf-8-sig")
    try:
        value = json.loads(text, parse_float=_finite, parse_constant=_refuse)
    except RecursionError:
        raise NotStrictError(f"nested more than {MAX_DEPTH} levels deep") from None
    if is_deeper(value, MAX_DEPTH):
        raise NotStrictError(f"nested more than {MAX_DEPTH} levels deep")
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise NotStrictError("a text in it has half a character (a lone surrogate)") from None
    return value


def encode(value: Any) -> str:
    """Return a value as JSON; what JSON does not have becomes null, or U+FFFD.

    It comes from models, which are others' code, and out of databases of earlier versions.
    """
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_clean(value), allow_nan=False)
    # Whole characters beyond the first 65,536 are written as two of these as well.
    return json.dumps(_clean(value)) if "\\ud" in text else text


def respond(value: Any) -> Response:
    """Return the response with a value as JSON."""
    return Response(encode(value) + "\n", mimetype="application/json")


def _refuse(text: str) -> Any:
    raise NotStrictError(f"{text[:20]} is not a number in JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {_clean(key): _clean(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(each) for each in value]
    return value
