"""Reading a tool's arguments out of a text, by the tool's JSON schema."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w]|\.\d)")
_QUOTED = re.compile(r"\"([^\"]+)\"|(?<!\w)'([^']+)'(?!\w)|“([^”]+)”")
_AFTER_PREPOSITION = re.compile(r"\b(?:in|for|of|at|to|from|named|called|about|on)\s+(.+)$")
_FORMATS = {
    "date": re.compile(r"\b\d{4}-\d{2}-\d{2}\b"),
    "date-time": re.compile(r"\b\d{4}-\d{2}-\d{2}T[\d:.]+(?:Z|[+-]\d{2}:\d{2})?"),
    "uuid": re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"),
}
_YES = re.compile(r"\b(?:true|yes|on)\b", re.IGNORECASE)
_NO = re.compile(r"\b(?:false|no|off|not)\b", re.IGNORECASE)
_NOTHING = object()


def fill(parameters: Schema | None, text: str, fallback: str | None) -> tuple[dict[str, Any], bool]:
    """Read the arguments of a tool in a text.

    Args:
        parameters: The tool's JSON schema.
        text: Where the arguments are looked for.
        fallback: What required texts become that are not found; ``None`` leaves them out.

    Returns:
        The arguments, and whether every required one was found.
    """
    schema = parameters or {}
    properties: Mapping[str, Schema] = schema.get("properties") or {}
    required = list(schema.get("required") or ())
    given = _object_in(text, properties)
    if given is not None:
        return given, all(name in given for name in required)
    reader = _Reader(schema, text)
    arguments: dict[str, Any] = {}
    # Values with their names first: what is left in the text then goes to the other properties.
    for name, declared in properties.items():
        value = reader.named(name, reader.resolve(declared))
        if value is not _NOTHING:
            arguments[name] = value
    # Required ones first: there may not be values enough for all.
    for name in sorted(properties, key=lambda name: name not in required):
        if name not in arguments:
            resolved = reader.resolve(properties[name])
            value = reader.find(resolved, required=name in required)
            if value is not _NOTHING:
                arguments[name] = value
    complete = all(name in arguments for name in required)
    if fallback is not None:
        for name in required:
            if name not in arguments:
                arguments[name] = reader.invent(reader.resolve(properties.get(name, {})), fallback)
    return {name: arguments[name] for name in properties if name in arguments}, complete


def _object_in(text: str, properties: Mapping[str, Schema]) -> dict[str, Any] | None:
    begin = text.find("{")
    if begin < 0:
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(text[begin:])
    except ValueError:
        return None
    fits = isinstance(value, dict) and value and set(value) <= set(properties)
    return value if fits else None


class _Reader:
    """A text whose values are read, each at most once."""

    def __init__(self, root: Schema, text: str) -> None:
        self._definitions: Mapping[str, Schema] = root.get("$defs") or {}
        self._text = text

    def resolve(self, schema: Schema) -> Schema:
        """Return what a reference or a choice stands for, ``null`` aside."""
        reference = schema.get("$ref")
        if isinstance(reference, str):
            return self.resolve(self._definitions.get(reference.rpartition("/")[2], {}))
        choices = [choice for choice in schema.get("anyOf") or () if choice.get("type") != "null"]
        return self.resolve(choices[0]) if choices else schema

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
        kind = schema.get("type")
        if kind in ("integer", "number"):
            return self._number(kind)
        if kind == "boolean":
            return self._yes_or_no()
        if kind == "array":
            return self._list(schema) if required else _NOTHING
        if kind == "string":
            return self._string(schema, required=required)
        if kind == "object" and required and schema.get("properties"):
            nested, complete = fill({**schema, "$defs": self._definitions}, self._text, None)
            return nested if complete else _NOTHING
        return _NOTHING

    def invent(self, schema: Schema, fallback: str) -> Any:
        """Return some value of the schema's type, for want of one in the text."""
        if schema.get("enum"):
            return schema["enum"][0]
        kind = schema.get("type")
        if kind == "object":
            return fill({**schema, "$defs": self._definitions}, fallback, fallback)[0]
        simple: dict[Any, Any] = {"integer": 0, "number": 0, "boolean": True, "array": []}
        return simple.get(kind, fallback)

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
            if isinstance(value, (str, int)) and re.search(
                rf"(?<!\w){re.escape(str(value))}(?!\w)", self._text, re.IGNORECASE
            ):
                return value
        return _NOTHING

    def _list(self, schema: Schema) -> Any:
        items = self.resolve(schema.get("items") or {}) if schema.get("items") else {}
        found = []
        while (value := self.find(items, required=False)) is not _NOTHING:
            found.append(value)
            # These are not cut out of the text, and would be found for ever.
            if items.get("enum") or items.get("type") == "boolean":
                break
        return found or _NOTHING

    def _string(self, schema: Schema, *, required: bool) -> Any:
        shape = _FORMATS.get(schema.get("format", ""))
        if shape is not None:
            return self._take(shape)
        quoted = self._take(_QUOTED)
        if quoted is not _NOTHING or not required:
            return quoted
        found = _AFTER_PREPOSITION.search(self._text.strip().rstrip("?!."))
        rest = (found.group(1) if found else self._text).strip(" \t\n?!.,:;()")
        return rest or _NOTHING


def _read_as(text: str, schema: Schema) -> Any:
    """Read a literal as the schema's type."""
    kind = schema.get("type")
    if schema.get("enum"):
        word = text.strip("\"'").rstrip(".").lower()
        return next((value for value in schema["enum"] if str(value).lower() == word), _NOTHING)
    if kind == "string":
        return text.strip("\"'").rstrip(".")
    try:
        value = json.loads(text.rstrip(".").replace("'", '"'))
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
