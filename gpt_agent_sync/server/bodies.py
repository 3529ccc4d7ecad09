"""Reading request bodies and queries, and refusing those that the wire does not take.

Shapes are those of OpenAI's published description of the wire.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import msgspec
import msgspec.inspect

from gpt_agent_sync.server import strict_json
from gpt_agent_sync.server.errors import WireError, missing, not_one_of
from gpt_agent_sync.server.known_types import KnownTypes

T = TypeVar("T", bound="Body")

Json = dict[str, Any]
Metadata = dict[str, str] | None

ReasoningEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Verbosity = Literal["low", "medium", "high"]

MAX_METADATA_PAIRS, MAX_KEY_LENGTH, MAX_VALUE_LENGTH = 16, 64, 512
MAX_LIMIT, DEFAULT_LIMIT = 100, 20


class Body(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A request body or query; subclasses have its fields."""


class MetadataFields(Body):
    """A change of metadata."""

    metadata: Metadata = None


class ListQuery(Body):
    """The query of a list request."""

    limit: int = DEFAULT_LIMIT
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    before: str | None = None
    run_id: str | None = None


_known = KnownTypes()

# msgspec says in words alone what is wrong and where; the wire names the parameter.
_PLACE = " - at `$"
_STEP = re.compile(r"[^.\[\]]+")
_NOT_ONE, _OTHER_TYPE = "Invalid enum value ", ", got `"
_UNKNOWN, _MISSING = "Object contains unknown field `", "Object missing required field `"


def read_json(body: bytes, *, optional: bool = False) -> Json:
    """Return a request's body as a JSON object.

    Args:
        body: The body.
        optional: Whether the body may be blank, which then is an empty object.

    Raises:
        WireError: If it is no JSON object.
    """
    # Some clients send no body for a request without fields, and some an empty one.
    if optional and not body.strip():
        return {}
    try:
        data = strict_json.decode(body)
    except strict_json.NotStrictError as exc:
        raise WireError(400, f"The request body is not strict JSON: {exc}.") from exc
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise WireError(400, "The request body must be a JSON object.")
    return data


def read_body(body: bytes, body_class: type[T], *, optional: bool = False) -> T:
    """Return a request's body as a ``body_class``; arguments as for ``read_json``.

    Raises:
        WireError: If it is not what the wire takes; it names the parameter.
    """
    return read_fields(read_json(body, optional=optional), body_class)


def read_fields(data: Json, body_class: type[T], param: str = "") -> T:
    """Return a JSON object as a ``body_class``.

    Args:
        data: The object.
        body_class: What it is to be.
        param: Where in the request it is, for refusals; the whole of it by default.

    Raises:
        WireError: If it is not what the wire takes; it names the parameter.
    """
    return _convert(data, body_class, param, strict=True)


def read_query(arguments: Mapping[str, str]) -> ListQuery:
    """Return the query of a list request; parameters that it does not know are ignored.

    Raises:
        WireError: If a value is out of its range; it names the parameter.
    """
    query = read_arguments(arguments, ListQuery)
    if not 1 <= query.limit <= MAX_LIMIT:
        raise WireError(
            400,
            f"Invalid 'limit': integer out of range. Expected a value between 1 and {MAX_LIMIT}, "
            f"but got {query.limit} instead.",
            param="limit",
        )
    return query


def read_arguments(arguments: Mapping[str, str], body_class: type[T]) -> T:
    """Return a query as a ``body_class``; parameters that it does not know are ignored.

    Raises:
        WireError: If a value is of another type; it names the parameter.
    """
    known = {
        name: value for name, value in arguments.items() if name in body_class.__struct_fields__
    }
    # Not strict: a query has texts only, of which msgspec reads numbers and booleans.
    return _convert(known, body_class, "", strict=False)


def _convert(data: object, body_class: type[T], param: str, *, strict: bool) -> T:
    _known.require(body_class)
    try:
        body = msgspec.convert(data, body_class, strict=strict)
    except msgspec.ValidationError as exc:
        raise _refusal(str(exc), param, body_class) from exc
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


def _refusal(problem: str, within: str, body_class: type[Body]) -> WireError:
    # The last place in it: a value that is quoted before may say anything.
    reason, _, place = problem.rpartition(_PLACE) if _PLACE in problem else (problem, "", "")
    inner = place.removesuffix("`")
    place = (within + inner).removeprefix(".")
    if reason.startswith(_MISSING):
        return missing(_path(place, reason[len(_MISSING) : -1]))
    if reason.startswith(_UNKNOWN):
        param = _path(place, reason[len(_UNKNOWN) : -1])
        return WireError(
            400, f"Unknown parameter: '{param}'.", param=param, code="unknown_parameter"
        )
    if reason.startswith(_NOT_ONE):
        known = _supported(msgspec.inspect.type_info(body_class), _STEP.findall(inner))
        return not_one_of(place, reason[len(_NOT_ONE) + 1 : -1], known)
    code = "invalid_type" if _OTHER_TYPE in reason else "invalid_value"
    return WireError(400, f"Invalid value for '{place}': {reason}.", param=place or None, code=code)


def _supported(kind: msgspec.inspect.Type, path: Sequence[str]) -> Sequence[Any]:
    """Return the values that there are at a place in a type."""
    if isinstance(kind, msgspec.inspect.UnionType):
        return [value for each in kind.types for value in _supported(each, path)]
    if isinstance(kind, msgspec.inspect.LiteralType):
        return () if path else kind.values
    if not path:
        return ()
    if isinstance(kind, msgspec.inspect.StructType):
        found = [field.type for field in kind.fields if field.encode_name == path[0]]
        return _supported(found[0], path[1:]) if found else ()
    return (
        _supported(kind.item_type, path[1:]) if isinstance(kind, msgspec.inspect.ListType) else ()
    )


def _path(parent: str, name: str) -> str:
    return f"{parent}.{name}" if parent else name


def _check_metadata(metadata: Mapping[str, str] | None) -> None:
    pairs = metadata or {}
    if len(pairs) > MAX_METADATA_PAIRS:
        raise WireError(
            400,
            f"Too many metadata pairs: {len(pairs)}; {MAX_METADATA_PAIRS} is the most.",
            param="metadata",
        )
    for key, value in pairs.items():
        if len(key) > MAX_KEY_LENGTH or len(value) > MAX_VALUE_LENGTH:
            raise WireError(
                400,
                f"Metadata key '{key[:MAX_KEY_LENGTH]}' or its value is too long: "
                f"{MAX_KEY_LENGTH} and {MAX_VALUE_LENGTH} characters are the most.",
                param="metadata",
            )
