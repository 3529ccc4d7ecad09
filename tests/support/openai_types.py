"""The parameter types of the ``openai`` package, and what a request has that they do not.

They are ``TypedDict`` classes, which say of every field what it may hold and whether it must be
there. ``pydantic`` lets unknown fields of such classes pass, so they are read here.
"""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from openai.types.beta import AssistantCreateParams, ThreadCreateParams
from openai.types.beta.threads import (
    MessageCreateParams,
    MessageListParams,
    RunListParams,
)
from openai.types.beta.threads.run_create_params import RunCreateParams
from openai.types.beta.threads.run_submit_tool_outputs_params import (
    RunSubmitToolOutputsParams,
)
from openai.types.conversations import (
    ConversationCreateParams,
    ConversationUpdateParams,
    ItemCreateParams,
    ItemListParams,
)
from openai.types.responses import InputItemListParams
from openai.types.responses.response_create_params import ResponseCreateParams
from openai.types.responses.response_retrieve_params import ResponseRetrieveParams
from typing_extensions import (
    NotRequired,
    Required,
    TypedDict,
    get_type_hints,
    is_typeddict,
)

from tests.support.stub import Request

CALLS: dict[str, Any] = {
    "POST /assistants": AssistantCreateParams,
    "GET /assistants/{assistant_id}": None,
    "POST /threads": ThreadCreateParams,
    "GET /threads/{thread_id}": None,
    "POST /threads/{thread_id}/messages": MessageCreateParams,
    "GET /threads/{thread_id}/messages": MessageListParams,
    "POST /threads/{thread_id}/runs": RunCreateParams,
    "GET /threads/{thread_id}/runs": RunListParams,
    "GET /threads/{thread_id}/runs/{run_id}": None,
    "POST /threads/{thread_id}/runs/{run_id}/cancel": None,
    "POST /threads/{thread_id}/runs/{run_id}/submit_tool_outputs": (RunSubmitToolOutputsParams),
    "POST /conversations": ConversationCreateParams,
    "GET /conversations/{conversation_id}": None,
    "POST /conversations/{conversation_id}": ConversationUpdateParams,
    "POST /conversations/{conversation_id}/items": ItemCreateParams,
    "GET /conversations/{conversation_id}/items": ItemListParams,
    "POST /responses": ResponseCreateParams,
    "GET /responses/{response_id}": ResponseRetrieveParams,
    "POST /responses/{response_id}/cancel": None,
    "GET /responses/{response_id}/input_items": InputItemListParams,
}
"""What the package's client sends, by method and path; ``None`` is nothing beside the path."""


class Nothing(TypedDict):
    """The parameters of a call that has none."""


_PATTERNS = {name: re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", name)) for name in CALLS}


def call_of(request: Request) -> str | None:
    """Return the name that ``CALLS`` has for a request, ``None`` when it has none."""
    return next((name for name in CALLS if _PATTERNS[name].fullmatch(request.line)), None)


def complaints_of(request: Request) -> list[str]:
    """Return what a request has, or lacks, against the types of the package."""
    name = call_of(request)
    if name is None:
        return [f"{request.line}: the package has no such call"]
    given = {**_typed_query(request.query), **(request.body or {})}
    hint = _hint(CALLS[name] or Nothing, streams=bool(given.get("stream")))
    found = _PATTERNS[name].fullmatch(request.line)
    path = found.groupdict() if found else {}
    # Some of the types name a part of the path.
    named = {field: path[field] for field in path if field in _hints_of(hint)}
    return [f"{name}: {told}" for told in complaints({**named, **given}, hint)]


def _hint(hint: Any, *, streams: bool) -> Any:
    """Return the type of a call, which has one for streams and one for plain answers, or one."""
    plain, *streaming = get_args(hint) or (hint,)
    return streaming[0] if streams and streaming else plain


def _typed_query(query: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a query, in which all is text."""
    words: dict[str, Any] = {"true": True, "false": False}
    return {
        name: int(text) if text.isdigit() else words.get(text, text) for name, text in query.items()
    }


def complaints(value: Any, hint: Any, where: str = "it") -> list[str]:
    """Return what a JSON value has, or lacks, against a type.

    Args:
        value: The value.
        hint: The type, as ``get_type_hints`` gives it.
        where: The value's name, for the complaints.

    Raises:
        TypeError: If the type is of a kind that is not known here.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any or hint is object:
        return []
    if origin in (Required, NotRequired, Annotated):
        return complaints(value, arguments[0], where)
    if origin in (Union, types.UnionType):
        told = [complaints(value, each, where) for each in arguments]
        return min(told, key=lambda lines: (_is_of_another_kind(lines, where), len(lines)))
    if origin is Literal:
        fits = any(value == each and type(value) is type(each) for each in arguments)
        return [] if fits else [f"{where} is {value!r}, not one of {arguments!r}"]
    if is_typeddict(hint):
        return _field_complaints(value, hint, where)
    if origin is not None and issubclass(origin, Mapping):
        return _pair_complaints(value, arguments[1], where)
    if origin is not None and issubclass(origin, (Iterable, Sequence)):
        return _item_complaints(value, arguments[0], where)
    return _plain_complaints(value, hint, where)


def _is_of_another_kind(told: list[str], where: str) -> bool:
    return any(line.startswith((f"{where} is ", f"{where}.type is ")) for line in told)


def _field_complaints(value: Any, hint: Any, where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where} is no object: {value!r}"]
    fields = _hints_of(hint)
    told = [f"{where} has no field {name!r}" for name in value if name not in fields]
    for name, field in fields.items():
        if name in value:
            told += complaints(value[name], field, f"{where}.{name}")
        elif _is_required(hint, name, field):
            told.append(f"{where} lacks {name!r}")
    return told


def _is_required(hint: Any, name: str, field: Any) -> bool:
    # The class itself does not know of the words in annotations that are texts.
    origin = get_origin(field)
    return origin is Required or (origin is not NotRequired and name in hint.__required_keys__)


def _pair_complaints(value: Any, hint: Any, where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where} is no object: {value!r}"]
    return [
        told for name, each in value.items() for told in complaints(each, hint, f"{where}.{name}")
    ]


def _item_complaints(value: Any, hint: Any, where: str) -> list[str]:
    if not isinstance(value, list):
        return [f"{where} is no list: {value!r}"]
    return [
        told
        for place, each in enumerate(value)
        for told in complaints(each, hint, f"{where}[{place}]")
    ]


_PLAIN: dict[Any, tuple[type, ...]] = {
    str: (str,),
    bool: (bool,),
    int: (int,),
    float: (int, float),
    type(None): (type(None),),
}


def _plain_complaints(value: Any, hint: Any, where: str) -> list[str]:
    if hint not in _PLAIN:
        raise TypeError(f"{where} has a type that cannot be checked: {hint!r}")
    fits = type(value) in _PLAIN[hint]
    return [] if fits else [f"{where} is {value!r}, no {hint.__name__}"]


@functools.cache
def _hints_of(hint: Any) -> dict[str, Any]:
    return get_type_hints(hint, include_extras=True)
