"""Reading a tool's arguments out of a text, by the tool's JSON schema."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w]|\.\d)")
_QUOTED = re.compile(r"\"([^\"]+)\"|(?<!\w)'([^']+)'(?!\w)|“([^“”]+)”")
_PREPOSITION = re.compile(r"\b(?:in|for|of|at|to|from|named|called|about|on)\s+(?=\S)")
_FORMATS = {
    "date": re.compile(r"\b\d{4}-\d{2}-\d{2}\b"),
    "date-time": re.compile(r"\b\d{4}-\d{2}-\d{2}T[\d:.]+(?:Z|[+-]\d{2}:\d{2})?"),
    "uuid": re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"),
}
_YES = re.compile(r"\b(?:true|yes|on)\b", re.IGNORECASE)
_NO = re.compile(r"\b(?:false|no|off|not)\b", re.IGNORECASE)
_NOTHING = object()

_LOOKUPS = 1000
"""Values that are looked for, altogether: schemas may refer to each other, so that a short one
stands for very many values."""

_DEPTH = 20
"""Objects in objects that are filled."""

_REFERENCES = 20
"""References that are followed from one to the next."""


class _Budget:
    """How many values may still be looked for, and how deep the reader is in objects."""

    def __init__(self) -> None:
        self._left = _LOOKUPS
        self.depth = 0

    def spend(self) -> bool:
        """Return whether one more may be."""
        self._left -= 1
        return self._left >= 0


def fill(
    parameters: Schema | None,
    text: str,
    fallback: str | None,
    budget: _Budget | None = None,
) -> tuple[dict[str, Any], bool]:
    """Read the arguments of a tool in a text.

    Args:
        parameters: The tool's JSON schema.
        text: Where the arguments are looked for.
        fallback: What required texts become that are not found; ``None`` leaves them out.
        budget: What is left for it, where it is part of another object.

    Returns:
        The arguments, and whether every required one was found.
    """
    schema = parameters or {}
    properties: Mapping[str, Schema] = schema.get("properties") or {}
    # Each once, and to be looked for: a schema may have very many.
    required = dict.fromkeys(schema.get("required") or ())
    given = _object_in(text, properties)
    if given is not None:
        return given, all(name in given for name in required)
    budget = budget or _Budget()
    reader = _Reader(schema, text, budget)
    arguments: dict[str, Any] = {}
    # Values with their names first: what is left in the text then goes to the other properties.
    for name, declared in properties.items():
        if not budget.spend():
            break
        value = reader.named(name, reader.resolve(declared))
        if value is not _NOTHING:
            arguments[name] = value
    # Required ones first: there may not be values enough for all.
    for name in sorted(properties, key=lambda name: name not in required):
        if name not in arguments and budget.spend():
            resolved = reader.resolve(properties[name])
            value = reader.find(resolved, required=name in required)
            if value is not _NOTHING:
                arguments[name] = value
    complete = all(name in arguments for name in required)
    if fallback is not None:
        for name in required:
            if name not in arguments and budget.spend():
                arguments[name] = reader.invent(reader.resolve(properties.get(name, {})), fallback)
    return {name: arguments[name] for name in properties if name in arguments}, complete


def _not_json(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _not_json(text)


_DECODER = json.JSONDecoder(parse_float=_finite, parse_constant=_not_json)


def read_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: If it is none, has NaN or an infinite number in it, or is nested too deeply.
    """
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("the JSON text is nested too deeply") from None


def _object_in(text: str, properties: Mapping[str, Schema]) -> dict[str, Any] | None:
    begin = text.find("{")
    if begin < 0:
        return None
    try:
        value, _ = _DECODER.raw_decode(text[begin:])
    except (ValueError, RecursionError):
        return None
    fits = isinstance(value, dict) and value and set(value) <= set(properties)
    return value if fits else None


class _Reader:
    """A text whose values are read, each at most once."""

    def __init__(self, root: Schema, text: str, budget: _Budget) -> None:
        self._definitions: Mapping[str, Schema] = root.get("$defs") or {}
        self._text = text
        self._budget = budget

    def resolve(self, schema: Any) -> Schema:
        """Return what a reference or a choice stands for, ``null`` aside."""
        for _ in range(_REFERENCES):
            # A schema may be true or false as well, which says nothing of the value.
            if not isinstance(schema, Mapping):
                return {}
            reference = schema.get("$ref")
            if isinstance(reference, str):
                schema = self._definitions.get(reference.rpartition("/")[2], {})
                continue
            choices = [
                choice
                for choice in schema.get("anyOf") or ()
                if isinstance(choice, Mapping) and choice.get("type") != "null"
            ]
            if not choices:
                found: Schema = schema
                return found
            schema = choices[0]
        return {}

    def named(self, name: str, schema: Schema) -> Any:
        """Find ``name=value``, ``name: value`` or ``name is value``."""
        pattern = re.escape(name).replace("_", "[_ ]")
        value = r"(\"[^\"]*\"|'[^']*'|\[[^\]]*\]|[^\s,;]+)"
        found = re.search(rf"\b{pattern}\s*(?:=|:|\bis\b)\s*{value}", self._text, re.IGNORECASE)
        if found is None:
            return _NOTHING
        read = _read_as(found.group(1).rstrip("?!"), schema)
        if read is not _NOTHING:
            self._cut(found.span())
        return read

    def find(self, schema: Schema, *, required: bool) -> Any:
        """Find a value of the schema's type."""
        if schema.get("enum"):
            return self._one_of(schema["enum"])
        kind = _kind(schema)
        if kind in ("integer", "number"):
            return self._number(kind)
        if kind == "boolean":
            return self._yes_or_no()
        if kind == "array":
            return self._list(schema) if required else _NOTHING
        if kind == "string":
            return self._string(schema, required=required)
        if kind == "object" and required and schema.get("properties"):
            nested, complete = self._nested(schema, self._text, None)
            return nested if complete else _NOTHING
        return _NOTHING

    def invent(self, schema: Schema, fallback: str) -> Any:
        """Return some value of the schema's type, for want of one in the text."""
        if schema.get("enum"):
            return schema["enum"][0]
        kind = _kind(schema)
        if kind == "object":
            return self._nested(schema, fallback, fallback)[0]
        simple: dict[str | None, Any] = {"integer": 0, "number": 0, "boolean": True, "array": []}
        return simple.get(kind, fallback)

    def _nested(
        self, schema: Schema, text: str, fallback: str | None
    ) -> tuple[dict[str, Any], bool]:
        if self._budget.depth >= _DEPTH:
            return {}, False
        self._budget.depth += 1
        try:
            return fill({**schema, "$defs": self._definitions}, text, fallback, self._budget)
        finally:
            self._budget.depth -= 1

    def _cut(self, span: tuple[int, int]) -> None:
        self._text = self._text[: span[0]] + " " + self._text[span[1] :]

    def _take(self, pattern: re.Pattern[str]) -> Any:
        found = pattern.search(self._text)
        if found is None:
            return _NOTHING
        self._cut(found.span())
        return next((group for group in found.groups() if group), found.group())

    def _number(self, kind: str) -> Any:
        for found in _NUMBER.finditer(self._text):
            value = _read_as(found.group(), {"type": kind})
            if value is not _NOTHING:
                self._cut(found.span())
                return value
        return _NOTHING

    def _yes_or_no(self) -> Any:
        # First, as "do not turn it on" has both; and not cut out, as one word may settle several.
        if _NO.search(self._text):
            return False
        return True if _YES.search(self._text) else _NOTHING

    def _one_of(self, values: list[Any]) -> Any:
        for value in values:
            if not self._budget.spend():
                break
            if isinstance(value, (str, int)) and re.search(
                rf"(?<!\w){re.escape(str(value))}(?!\w)", self._text, re.IGNORECASE
            ):
                return value
        return _NOTHING

    def _list(self, schema: Schema) -> Any:
        items = self.resolve(schema.get("items") or {}) if schema.get("items") else {}
        found = []
        while self._budget.spend() and (
            (value := self.find(items, required=False)) is not _NOTHING
        ):
            found.append(value)
            # These are not cut out of the text, and would be found for ever.
            if items.get("enum") or items.get("type") == "boolean":
                break
        return found or _NOTHING

    def _string(self, schema: Schema, *, required: bool) -> Any:
        shape = _FORMATS.get(str(schema.get("format", "")))
        if shape is not None:
            return self._take(shape)
        quoted = self._take(_QUOTED)
        if quoted is not _NOTHING or not required:
            return quoted
        text = self._text.strip().rstrip("?!.")
        last_line = text.rfind("\n") + 1
        begins = (found.end() for found in _PREPOSITION.finditer(text))
        begin = next((begin for begin in begins if begin >= last_line), None)
        rest = (self._text if begin is None else text[begin:]).strip(" \t\n?!.,:;()")
        return rest or _NOTHING


def _kind(schema: Schema) -> str | None:
    """Return a schema's type; the first one but "null" of several, as optional fields have them."""
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    return next((each for each in kinds if isinstance(each, str) and each != "null"), None)


def _read_as(text: str, schema: Schema) -> Any:
    """Read a literal as the schema's type."""
    kind = _kind(schema)
    if schema.get("enum"):
        word = text.strip("\"'").rstrip(".").lower()
        return next((value for value in schema["enum"] if str(value).lower() == word), _NOTHING)
    if kind == "string":
        return text.strip("\"'").rstrip(".")
    try:
        value = read_json(text.rstrip(".").replace("'", '"'))
    except ValueError:
        return text if kind is None else _NOTHING
    fits = {
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "number": isinstance(value, (int, float)) and not isinstance(value, bool),
        "boolean": isinstance(value, bool),
        "array": isinstance(value, list),
        "object": isinstance(value, dict),
    }
    return value if fits.get(str(kind), True) else _NOTHING
