"""The items that requests bring: their shapes, and how they are kept.

Shapes are those of OpenAI's published description of the wire. What clients hand back as they read
it has more fields than what they write: those are known here, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from gpt_agent_sync.server.bodies import Body, Json, read_fields
from gpt_agent_sync.server.errors import WireError, missing, not_one_of
from gpt_agent_sync.server.features import says_something, unsupported
from gpt_agent_sync.server.responses import compaction
from gpt_agent_sync.server.responses.items import output_text
from gpt_agent_sync.server.storage.collection import Object, new_id

MAX_ITEMS_PER_REQUEST = 20
"""Items that one request may add to a conversation."""

_Status = Literal["in_progress", "completed", "incomplete"]
_NotEmpty = Annotated[str, msgspec.Meta(min_length=1)]
_Name = Annotated[str, msgspec.Meta(pattern="^[a-zA-Z0-9_-]+$")]


class _Item(Body, kw_only=True):
    """What items have in common; an id is the one that the client read, and a new one is made."""

    type: str | None = None
    id: str | None = None
    created_by: str | None = None


class _MessageItem(_Item, kw_only=True):
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Json]
    status: _Status | None = None
    phase: Literal["commentary", "final_answer"] | None = None


class _CallItem(_Item, kw_only=True):
    call_id: _NotEmpty
    name: _Name
    arguments: str
    status: _Status | None = None
    namespace: str | None = None
    caller: Json | None = None


class _OutputItem(_Item, kw_only=True):
    call_id: _NotEmpty
    output: str | list[Json]
    status: _Status | None = None
    name: str | None = None
    namespace: str | None = None
    caller: Json | None = None


class _ReasoningText(Body):
    type: Literal["summary_text", "reasoning_text"]
    text: str


class _ReasoningItem(_Item, kw_only=True):
    summary: list[_ReasoningText] | None = None
    content: list[_ReasoningText] | None = None
    encrypted_content: str | None = None
    status: _Status | None = None


class _CompactionItem(_Item, kw_only=True):
    encrypted_content: str


class _Part(Body, kw_only=True):
    """What parts of a content have in common; where caches may break is nothing to this server."""

    type: str
    prompt_cache_breakpoint: Json | None = None


class _InputText(_Part, kw_only=True):
    text: str


class _InputImage(_Part, kw_only=True):
    image_url: str | None = None
    file_id: str | None = None
    detail: Literal["low", "high", "auto", "original"] | None = None


class _OutputText(_Part, kw_only=True):
    text: str
    annotations: list[Json] | None = None
    logprobs: list[Json] | None = None


class _Refusal(_Part, kw_only=True):
    refusal: str


def read_input(given: str | Sequence[Json] | None, param: str = "input") -> list[Object]:
    """Return items as they are kept, with new ids.

    Args:
        given: Items, or the text of a user's message.
        param: The parameter they came in, for refusals.

    Raises:
        WireError: If an item is not of the wire.
    """
    if given is None:
        return []
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    return [read_item(item, f"{param}[{index}]") for index, item in enumerate(given)]


def reference(item: Json, param: str) -> str | None:
    """Return the id of the item that one refers to, where it is no item itself.

    Raises:
        WireError: If it says none.
    """
    kind = item.get("type")
    # Clients may leave out the type of this one, too.
    if kind == "item_reference" or (kind is None and "role" not in item and "id" in item):
        found = read_fields(item, _Item, param).id
        if found is None:
            raise missing(f"{param}.id")
        return found
    return None


def read_item(item: Json, param: str) -> Object:
    """Return an item as it is kept, with a new id.

    Raises:
        WireError: If it is not of the wire.
    """
    kind = item.get("type")
    # Clients may leave out the type of a message, and of nothing else.
    if kind is None or kind == "":
        kind = "message"
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        raise not_one_of(f"{param}.type", kind, _READERS)
    return read(item, param)


def _read_message(item: Json, param: str) -> Object:
    fields = read_fields(item, _MessageItem, param)
    is_said = fields.role == "assistant"
    content = fields.content
    if isinstance(content, str):
        content = [{"type": "output_text" if is_said else "input_text", "text": content}]
    kept: Object = {
        "id": new_id("msg"),
        "type": "message",
        "status": fields.status or "completed",
        "role": fields.role,
        "content": _read_parts(content, _OUTPUT_PARTS if is_said else _INPUT_PARTS, param),
    }
    if fields.phase is not None:
        kept["phase"] = fields.phase
    return kept


def _read_call(item: Json, param: str) -> Object:
    fields = read_fields(item, _CallItem, param)
    _check_caller(fields, param)
    return {
        "id": new_id("fc"),
        "type": "function_call",
        "status": fields.status or "completed",
        "call_id": fields.call_id,
        "name": fields.name,
        "arguments": fields.arguments,
    }


def _read_output(item: Json, param: str) -> Object:
    fields = read_fields(item, _OutputItem, param)
    _check_caller(fields, param)
    output = fields.output
    return {
        "id": new_id("fco"),
        "type": "function_call_output",
        "status": fields.status or "completed",
        "call_id": fields.call_id,
        "output": output
        if isinstance(output, str)
        else _read_parts(output, _INPUT_PARTS, param, "output"),
    }


def _check_caller(fields: _CallItem | _OutputItem, param: str) -> None:
    """Refuse calls of tools in namespaces and by programs, which there are none of here."""
    for name in ("namespace", "caller"):
        if says_something(getattr(fields, name)):
            raise unsupported(f"{param}.{name}", f"the {name} of a tool call")


def _read_reasoning(item: Json, param: str) -> Object:
    # Clients that keep the history themselves send it back with the calls it led to.
    fields = read_fields(item, _ReasoningItem, param)
    kept: Object = {
        "id": new_id("rs"),
        "type": "reasoning",
        "summary": msgspec.to_builtins(fields.summary or []),
    }
    if fields.content:
        kept["content"] = msgspec.to_builtins(fields.content)
    if fields.encrypted_content:
        kept["encrypted_content"] = fields.encrypted_content
    return kept


def _read_compaction(item: Json, param: str) -> Object:
    content = read_fields(item, _CompactionItem, param).encrypted_content
    if compaction.read_summary(content) is None:
        raise WireError(
            400,
            "The encrypted content could not be verified: it is none of this server's.",
            param=f"{param}.encrypted_content",
            code="invalid_encrypted_content",
        )
    return {"id": new_id("cmp"), "type": "compaction", "encrypted_content": content}


_READERS: Mapping[str, Callable[[Json, str], Object]] = {
    "message": _read_message,
    "function_call": _read_call,
    "function_call_output": _read_output,
    "reasoning": _read_reasoning,
    "compaction": _read_compaction,
}


def _read_parts(
    parts: Iterable[Any],
    readers: Mapping[str, Callable[[Json, str], Json]],
    param: str,
    field: str = "content",
) -> list[Json]:
    return [
        _read_part(part, readers, f"{param}.{field}[{index}]") for index, part in enumerate(parts)
    ]


def _read_part(part: Json, readers: Mapping[str, Callable[[Json, str], Json]], param: str) -> Json:
    kind = part.get("type")
    read = readers.get(kind) if isinstance(kind, str) else None
    if read is None:
        raise not_one_of(f"{param}.type", kind, readers)
    return read(part, param)


def _read_input_text(part: Json, param: str) -> Json:
    return {"type": "input_text", "text": read_fields(part, _InputText, param).text}


def _read_image(part: Json, param: str) -> Json:
    fields = read_fields(part, _InputImage, param)
    if fields.file_id:
        raise unsupported(f"{param}.file_id", "files")
    if not fields.image_url:
        raise missing(f"{param}.image_url")
    return {
        "type": "input_image",
        "image_url": fields.image_url,
        "file_id": None,
        "detail": fields.detail or "auto",
    }


def _read_file(part: Json, param: str) -> Json:
    raise unsupported(param, "input_file")


def _read_output_text(part: Json, param: str) -> Json:
    fields = read_fields(part, _OutputText, param)
    for index, each in enumerate(fields.annotations or ()):
        if each.get("type") not in _ANNOTATIONS:
            raise not_one_of(f"{param}.annotations[{index}].type", each.get("type"), _ANNOTATIONS)
    return output_text(fields.text, fields.annotations or ())


def _read_refusal(part: Json, param: str) -> Json:
    return {"type": "refusal", "refusal": read_fields(part, _Refusal, param).refusal}


_ANNOTATIONS = ("file_citation", "url_citation", "container_file_citation", "file_path")

_INPUT_PARTS: Mapping[str, Callable[[Json, str], Json]] = {
    "input_text": _read_input_text,
    "input_image": _read_image,
    "input_file": _read_file,
}
_OUTPUT_PARTS: Mapping[str, Callable[[Json, str], Json]] = {
    "output_text": _read_output_text,
    "refusal": _read_refusal,
}
