"""What request bodies and queries may say, and how they are refused when they say more.

Shapes are those of OpenAI's published description of the wire.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import msgspec

from gpt_agent_sync.server.errors import WireError, missing

T = TypeVar("T", bound="Body")

Json = dict[str, Any]
Metadata = dict[str, str] | None

MOST_PAIRS, LONGEST_KEY, LONGEST_VALUE = 16, 64, 512
MOST_ITEMS, USUAL_ITEMS = 100, 20


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Be the base of the bodies."""


class MetadataFields(Body):
    """Hold a change of metadata."""

    metadata: Metadata = None


class ListQuery(Body):
    """Hold what a list is asked for with."""

    limit: int = USUAL_ITEMS
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    before: str | None = None
    run_id: str | None = None


_UNKNOWN = re.compile(r"unknown field `(.+?)`(?: - at `\$\.?(.*)`)?")
_MISSING = re.compile(r"missing required field `(.+?)`(?: - at `\$\.?(.*)`)?")
_WRONG = re.compile(r"(.*?)(?: - at `\$\.?(.*)`)?$", re.DOTALL)


def read_json(body: bytes, *, optional: bool = False) -> Json:
    """Read a request's body as a JSON object.

    Args:
        body: The body.
        optional: Whether there may be none, which then is an empty object.

    Raises:
        WireError: If it is no JSON object.
    """
    if optional and not body.strip():
        return {}
    try:
        data = json.loads(body)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise WireError(400, "The request body must be a JSON object.")
    return data


def read_body(body: bytes, body_class: type[T], *, optional: bool = False) -> T:
    """Read a request's body as what it must be; arguments as for ``read_json``.

    Raises:
        WireError: If it is not what the wire takes; it names the parameter.
    """
    return read_fields(read_json(body, optional=optional), body_class)


def read_fields(data: Json, body_class: type[T]) -> T:
    """Read a JSON object as what it must be.

    Raises:
        WireError: If it is not what the wire takes; it names the parameter.
    """
    return _convert(data, body_class, strict=True)


def read_query(arguments: Mapping[str, str]) -> ListQuery:
    """Read the query of a list request; what the wire does not know is passed over.

    Raises:
        WireError: If a value is out of its range; it names the parameter.
    """
    query = read_arguments(arguments, ListQuery)
    if not 1 <= query.limit <= MOST_ITEMS:
        raise WireError(
            400,
            f"Invalid 'limit': integer out of range. Expected a value between 1 and {MOST_ITEMS}, "
            f"but got {query.limit} instead.",
            param="limit",
        )
    return query


def read_arguments(arguments: Mapping[str, str], body_class: type[T]) -> T:
    """Read a query as what it must be; what that does not name is passed over.

    Raises:
        WireError: If a value is of another type; it names the parameter.
    """
    known = {
        name: value for name, value in arguments.items() if name in body_class.__struct_fields__
    }
    return _convert(known, body_class, strict=False)


def _convert(data: object, body_class: type[T], *, strict: bool) -> T:
    try:
        body = msgspec.convert(data, body_class, strict=strict)
    except msgspec.ValidationError as exc:
        raise _refusal(str(exc)) from exc
    _check_all_metadata(body)
    return body


def _check_all_metadata(body: object) -> None:
    if isinstance(body, list):
        for item in body:
            _check_all_metadata(item)
    elif isinstance(body, Body):
        _check_metadata(getattr(body, "metadata", None))
        for name in body.__struct_fields__:
            _check_all_metadata(getattr(body, name))


def _refusal(problem: str) -> WireError:
    lacking = _MISSING.search(problem)
    if lacking:
        return missing(_path(lacking.group(2), lacking.group(1)))
    unknown = _UNKNOWN.search(problem)
    if unknown:
        param = _path(unknown.group(2), unknown.group(1))
        return WireError(
            400, f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter"
        )
    wrong = _WRONG.match(problem)
    said, param = (wrong.group(1), wrong.group(2) or "") if wrong else (problem, "")
    return WireError(400, f"Invalid value for '{param}': {said}.", param=param or None)


def _path(place: str | None, name: str) -> str:
    return f"{place}.{name}" if place else name


def _check_metadata(metadata: Mapping[str, str] | None) -> None:
    pairs = metadata or {}
    if len(pairs) > MOST_PAIRS:
        raise WireError(
            400,
            f"Too many metadata pairs: {len(pairs)}; {MOST_PAIRS} is the most.",
            param="metadata",
        )
    for key, value in pairs.items():
        if len(key) > LONGEST_KEY or len(value) > LONGEST_VALUE:
            raise WireError(
                400,
                f"Metadata key '{key[:LONGEST_KEY]}' or its value is too long: "
                f"{LONGEST_KEY} and {LONGEST_VALUE} characters are the most.",
                param="metadata",
            )
