"""Checks of function tools, as the real services make them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gpt_agent_sync.server.errors import WireError, missing

MAX_TOOLS = 128
"""Tools that a request may have."""

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_TYPES = ("string", "number", "integer", "boolean", "object", "array", "null")
_NAMED = ("properties", "$defs", "definitions", "patternProperties")
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "not")


def check_count(tools: Sequence[object]) -> None:
    """Check that there are not too many tools.

    Raises:
        WireError: If there are.
    """
    if len(tools) > MAX_TOOLS:
        raise WireError(
            400,
            f"Invalid 'tools': array too long. Expected an array with maximum length {MAX_TOOLS}, "
            f"but got an array with length {len(tools)} instead.",
            param="tools",
            code="array_above_max_length",
        )


def check_function(function: Mapping[str, Any], param: str) -> None:
    """Check a function's name, its description and the schema of its parameters.

    Args:
        function: What has ``name``, ``description``, ``parameters`` and ``strict``.
        param: Where it is in the request, for refusals.

    Raises:
        WireError: If one is not what the wire takes; it names the parameter.
    """
    name = function.get("name")
    if name is None:
        raise missing(f"{param}.name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise WireError(
            400,
            f"Invalid '{param}.name': expected a string of 1 to 64 characters that match the "
            "pattern '^[a-zA-Z0-9_-]+$'.",
            param=f"{param}.name",
            code="invalid_value",
        )
    for field, kind, said in (("description", str, "a string"), ("strict", bool, "a boolean")):
        value = function.get(field)
        if value is not None and not isinstance(value, kind):
            raise WireError(
                400,
                f"Invalid type for '{param}.{field}': expected {said}.",
                param=f"{param}.{field}",
                code="invalid_type",
            )
    parameters = function.get("parameters")
    if parameters is not None:
        problem = next(_problems(parameters), None)
        if problem is not None:
            raise WireError(
                400,
                f"Invalid schema for function '{name}': {problem}",
                param=f"{param}.parameters",
                code="invalid_function_parameters",
            )


Place = tuple[Any, ...]
"""Where a schema is: where the one around it is, and the keys from there on. Joined to a text for
each schema, long names above many of them would take a server's memory."""

MOST_SHOWN = 64
"""Characters of a request's words that an error shows of each."""


def _problems(parameters: object) -> Iterator[str]:
    if not isinstance(parameters, dict) or parameters.get("type") != "object":
        kind = parameters.get("type") if isinstance(parameters, dict) else parameters
        shown = str(kind)[:MOST_SHOWN]
        yield f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{shown}\"'."
        return
    # A list and not a recursion: how deep a request may be is bounded, and stacks are as well.
    waiting: list[tuple[Place, Any]] = [((), parameters)]
    while waiting:
        place, schema = waiting.pop()
        if isinstance(schema, bool):
            continue
        if not isinstance(schema, dict):
            yield f"in context={_named(place)}, a schema must be an object or a boolean."
            return
        yield from _own_problems(place, schema)
        for key in _NAMED:
            waiting.extend(((place, key, name), s) for name, s in schema.get(key, {}).items())
        for key in _LISTED:
            waiting.extend(((place, key), each) for each in schema.get(key, ()))
        waiting.extend(((place, key), schema[key]) for key in _SINGLE if key in schema)


def _named(place: Place) -> str:
    """Return where a schema is, as its keys from the outermost one on."""
    keys: list[str] = []
    while place:
        place, *inner = place
        keys[:0] = [str(key)[:MOST_SHOWN] for key in inner]
    return "/".join(["", *keys]) or "()"


def _own_problems(place: Place, schema: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a schema itself, those in it aside."""
    for problem in _faults(schema):
        yield f"in context={_named(place)}, {problem}"


def _faults(schema: Mapping[str, Any]) -> Iterator[str]:
    kinds = schema.get("type", [])
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if kind not in _TYPES:
            yield f"{str(kind)[:MOST_SHOWN]!r} is not valid under any of the types of JSON Schema."
    for key in _NAMED:
        if not isinstance(schema.get(key, {}), dict):
            yield f"'{key}' must be an object."
    for key in _LISTED:
        if not isinstance(schema.get(key, []), list):
            yield f"'{key}' must be an array."
    if not isinstance(schema.get("enum", []), list):
        yield "'enum' must be an array."
    required = schema.get("required", [])
    if not isinstance(required, list) or not all(isinstance(each, str) for each in required):
        yield "'required' must be an array of strings."
