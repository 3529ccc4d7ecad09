"""The items of conversations: read from requests, created from a model's output, and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from gpt_agent_sync.server.bodies import Json
from gpt_agent_sync.server.errors import WireError, missing
from gpt_agent_sync.server.features import unsupported as unsupported_feature
from gpt_agent_sync.server.responses import compaction
from gpt_agent_sync.server.responses.errors import (
    duplicate_item,
    no_tool_call,
    no_tool_output,
    unsupported,
)
from gpt_agent_sync.server.storage.collection import Object, new_id
from gpt_agent_sync.server.tool_schemas import check_count, check_function

MAX_ITEMS_PER_REQUEST = 20
"""Items that one request may add to a conversation."""

_ROLES = ("user", "assistant", "system", "developer")
_STATUSES = ("in_progress", "completed", "incomplete")
_INPUT_PARTS = ("input_text", "input_image", "input_file")
_CHOICES = ("auto", "none", "required")
_OUTPUT_PARTS = ("output_text", "refusal")


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
        return _text(item, "id", param)
    return None


def copied(item: Object) -> Object:
    """Return an item once more, with a new id."""
    return {**item, "id": new_id(item["id"].partition("_")[0])}


def read_item(item: Json, param: str) -> Object:
    """Return an item as it is kept, with a new id.

    Raises:
        WireError: If it is not of the wire.
    """
    # Clients may leave out the type of a message, and of nothing else.
    kind = item.get("type") or "message"
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        raise unsupported(f"{param}.type", kind, _quoted(_READERS))
    return read(item, param)


def _read_message(item: Json, param: str) -> Object:
    role = item.get("role")
    if role not in _ROLES:
        raise unsupported(f"{param}.role", role, _quoted(_ROLES))
    content = item.get("content")
    if isinstance(content, str):
        content = [
            {"type": "output_text" if role == "assistant" else "input_text", "text": content}
        ]
    if not isinstance(content, list):
        raise missing(f"{param}.content")
    allowed = _OUTPUT_PARTS if role == "assistant" else _INPUT_PARTS
    return {
        "id": new_id("msg"),
        "type": "message",
        "status": _status(item, param),
        "role": role,
        "content": [
            _read_part(part, allowed, f"{param}.content[{index}]")
            for index, part in enumerate(content)
        ],
    }


def _read_part(part: Any, allowed: Sequence[str], param: str) -> Json:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in allowed:
        raise unsupported(f"{param}.type", kind, _quoted(allowed))
    if kind in ("input_text", "output_text"):
        text = _text(part, "text", param)
        if kind == "input_text":
            return {"type": kind, "text": text}
        annotations = part.get("annotations") or []
        if not isinstance(annotations, list):
            raise missing(f"{param}.annotations")
        return output_text(text, annotations)
    if kind == "refusal":
        return {"type": kind, "refusal": _text(part, "refusal", param)}
    if kind == "input_file":
        raise unsupported_feature(param, "input_file")
    if kind == "input_image":
        if part.get("file_id"):
            raise unsupported_feature(f"{param}.file_id", "files")
        if not _text(part, "image_url", param):
            raise missing(f"{param}.image_url")
        detail = part.get("detail") or "auto"
        return {"file_id": None, "image_url": None, **part, "detail": detail}
    return dict(part)


def _read_call(item: Json, param: str) -> Object:
    return {
        "id": new_id("fc"),
        "type": "function_call",
        "status": _status(item, param),
        "call_id": _text(item, "call_id", param),
        "name": _text(item, "name", param),
        "arguments": _text(item, "arguments", param),
    }


def _read_output(item: Json, param: str) -> Object:
    output = item.get("output")
    if isinstance(output, list):
        output = [
            _read_part(part, _INPUT_PARTS, f"{param}.output[{index}]")
            for index, part in enumerate(output)
        ]
    elif not isinstance(output, str):
        raise missing(f"{param}.output")
    return {
        "id": new_id("fco"),
        "type": "function_call_output",
        "status": _status(item, param),
        "call_id": _text(item, "call_id", param),
        "output": output,
    }


def _read_reasoning(item: Json, param: str) -> Object:
    # Clients that keep the history themselves send it back with the calls it led to.
    kept = {name: item[name] for name in ("content", "encrypted_content") if item.get(name)}
    summary = item.get("summary")
    return {
        "id": new_id("rs"),
        "type": "reasoning",
        "summary": summary if isinstance(summary, list) else [],
        **kept,
    }


def _read_compaction(item: Json, param: str) -> Object:
    content = _text(item, "encrypted_content", param)
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


def _text(item: Json, name: str, param: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise missing(f"{param}.{name}")
    return value


def _status(item: Json, param: str) -> str:
    status: str = item.get("status") or "completed"
    if status not in _STATUSES:
        raise unsupported(f"{param}.status", status, _quoted(_STATUSES))
    return status


def _quoted(values: Iterable[str]) -> str:
    return ", ".join(f"'{value}'" for value in values)


def output_text(text: str, annotations: Sequence[Json] = ()) -> Json:
    """Return a text part of an assistant's message."""
    return {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": []}


def reply(text: str, status: str) -> Object:
    """Return the item of an assistant's message."""
    return {
        "id": new_id("msg"),
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [output_text(text)],
    }


def call(name: str, arguments: str) -> Object:
    """Return the item of a function call."""
    return {
        "id": new_id("fc"),
        "type": "function_call",
        "status": "completed",
        "call_id": new_id("call"),
        "name": name,
        "arguments": arguments,
    }


def check_calls(history: Sequence[Object], added: Sequence[Object]) -> None:
    """Check that every call has its output, and every output a call that waits for it.

    Args:
        history: The items there are.
        added: The items that come after them.

    Raises:
        WireError: If not.
    """
    # A dict for its order: the refusal names the call that has waited longest.
    waiting: dict[str, None] = {}
    for index, item in enumerate((*history, *added)):
        if item["type"] == "function_call":
            waiting[item["call_id"]] = None
        elif item["type"] == "function_call_output":
            # What clients have added to the conversation before is theirs to judge.
            if item["call_id"] not in waiting and index >= len(history):
                raise no_tool_call(item["call_id"])
            waiting.pop(item["call_id"], None)
    for call_id in waiting:
        raise no_tool_output(call_id)


def check_new(history: Sequence[Object], given: str | Sequence[Json] | None) -> None:
    """Check that no item comes twice.

    Raises:
        WireError: If one has the id of an item that is there.
    """
    # Items of requests get new ids, so that only those that clients read before are known here.
    known = {item["id"] for item in history}
    for item in () if given is None or isinstance(given, str) else given:
        item_id = item.get("id")
        if isinstance(item_id, str) and item_id in known:
            raise duplicate_item(item_id)


def check_tools(tools: Sequence[Json]) -> list[Json]:
    """Return the tools of a response as it shows them.

    Raises:
        WireError: If one is no function tool, as this server has no others, or is malformed.
    """
    check_count(tools)
    for index, tool in enumerate(tools):
        if tool.get("type") != "function":
            raise unsupported(f"tools[{index}].type", tool.get("type"), "'function'")
        check_function(tool, f"tools[{index}]")
    # Shown with all fields, as OpenAI's types demand, whatever was left out.
    defaults = {"description": None, "parameters": None, "strict": None}
    return [{**defaults, **tool} for tool in tools]


def check_choice(choice: str | Json | None) -> str | Json:
    """Return the tool choice of a response.

    Raises:
        WireError: If it is of a kind that this server does not have, or names no function.
    """
    if choice is None:
        return "auto"
    if isinstance(choice, str):
        if choice not in _CHOICES:
            raise unsupported("tool_choice", choice, _quoted(_CHOICES))
    elif choice.get("type") != "function":
        raise unsupported("tool_choice.type", choice.get("type"), "'function'")
    elif not isinstance(choice.get("name"), str):
        raise missing("tool_choice.name")
    return choice


def check_format(form: Json | None) -> Json:
    """Return the text format of a response.

    Raises:
        WireError: If it is not of the wire.
    """
    if form is None:
        return {"type": "text"}
    if form.get("type") not in ("text", "json_object", "json_schema"):
        raise unsupported(
            "text.format.type", form.get("type"), "'text', 'json_object', 'json_schema'"
        )
    if form["type"] == "json_schema":
        for name in ("name", "schema"):
            if not form.get(name):
                raise missing(f"text.format.{name}")
        check_function({"name": form["name"], "parameters": form["schema"]}, "text.format")
    return dict(form)
