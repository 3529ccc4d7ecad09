"""The Responses wire as data: what responses, items and conversations say.

Shapes are those of OpenAI's published description (``/responses``, ``/conversations``). Servers
that speak this wire leave fields out or fill them oddly, so only ids and statuses are demanded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from gpt_agent_sync.errors import ProtocolError
from gpt_agent_sync.records import (
    FINAL_STATUSES,
    AssistantDefinition,
    Message,
    RunOptions,
    ToolCall,
    Usage,
)
from gpt_agent_sync.services.http.shapes import (
    as_json_text,
    as_object,
    as_objects,
    as_word,
    join_texts,
    read_usage,
)

RUN_KEY = "gpt_agent_sync_run"
"""The metadata key under which a conversation names its run, and a response the run it goes on."""

PREVIOUS_KEY = "gpt_agent_sync_previous"
"""The metadata key under which a response names the one before it in its run."""

METADATA_PAIRS, METADATA_VALUE = 16, 512

_MADE_WITH = (
    "model",
    "instructions",
    "tools",
    "temperature",
    "top_p",
    "max_output_tokens",
    "parallel_tool_calls",
    "reasoning",
    "text",
    "truncation",
    "metadata",
)

_REASONS = {"max_output_tokens": "max_completion_tokens"}
"""Why a response is incomplete, in the word that runs have for it."""


@attrs.frozen(kw_only=True)
class ResponseSeen:
    """Hold a response as one look at it showed.

    Attributes:
        id: Its id.
        status: Its status, in the wire's word.
        calls: The function calls in its output.
        messages: The messages in its output.
        item_ids: The ids of the items in its output.
        usage: Tokens used, once the service says.
        error_code: The code of a failed one, or the reason of an incomplete one.
        error_message: The service's words for it.
        previous_id: The response before it in the same run, if it says so.
        fields: What it was made with: model, instructions, tools and options.
    """

    id: str
    status: str
    calls: tuple[ToolCall, ...] = ()
    messages: tuple[Message, ...] = ()
    item_ids: tuple[str, ...] = ()
    usage: Usage | None = None
    error_code: str | None = None
    error_message: str | None = None
    previous_id: str | None = None
    fields: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def is_final(self) -> bool:
        """Tell whether the service is done with it."""
        return self.status in FINAL_STATUSES

    @property
    def waiting(self) -> tuple[ToolCall, ...]:
        """The calls that the run waits for: those of a response that ended with them."""
        return self.calls if self.status == "completed" else ()


def read_response(data: Mapping[str, Any], request: str) -> ResponseSeen:
    """Read a response object.

    Raises:
        ProtocolError: If it has no id or no status.
    """
    response_id, status = data.get("id"), data.get("status")
    error = as_object(data.get("error"))
    if not isinstance(response_id, str) or not response_id or not isinstance(status, str):
        said = f": {error['message']}" if error.get("message") else ""
        raise ProtocolError(
            f"the answer to {request} is no response: it lacks 'id' or 'status'{said}"
        )
    reason = as_word(as_object(data.get("incomplete_details")).get("reason"))
    output = as_objects(data.get("output"))
    metadata = as_object(data.get("metadata"))
    return ResponseSeen(
        id=response_id,
        status=status,
        calls=tuple(call for call in map(read_call, output) if call is not None),
        messages=read_messages(output, response_id),
        item_ids=tuple(item["id"] for item in output if isinstance(item.get("id"), str)),
        usage=read_usage(data.get("usage"), "input_tokens", "output_tokens"),
        error_code=as_word(error.get("code")) or _REASONS.get(reason or "", reason),
        error_message=as_word(error.get("message")),
        previous_id=as_word(metadata.get(PREVIOUS_KEY)),
        fields={name: data[name] for name in _MADE_WITH if data.get(name) is not None},
    )


def read_assistant(fields: Mapping[str, Any]) -> AssistantDefinition:
    """Read, out of what a response was made with, its assistant."""
    instructions = fields.get("instructions")
    return AssistantDefinition(
        model=str(fields["model"]),
        instructions=instructions if isinstance(instructions, str) else "",
        tools=tuple(as_objects(fields.get("tools"))),
    )


def read_options(fields: Mapping[str, Any]) -> RunOptions:
    """Read, out of what a response was made with, its options; the usual ones are left out."""
    same = {name: fields.get(name) for name in ("max_output_tokens", "parallel_tool_calls")}
    some = {name: fields.get(name) for name in ("temperature", "top_p")}
    form = as_object(as_object(fields.get("text")).get("format"))
    metadata = as_object(fields.get("metadata"))
    try:
        return RunOptions(
            **same,
            **{name: value for name, value in some.items() if value != 1},
            response_format=None if form.get("type") in (None, "text") else form,
            reasoning_effort=as_object(fields.get("reasoning")).get("effort"),
            truncation=None if fields.get("truncation") == "disabled" else fields.get("truncation"),
            metadata={
                name: value
                for name, value in metadata.items()
                if name not in (RUN_KEY, PREVIOUS_KEY)
            }
            or None,
        )
    except (TypeError, ValueError):
        return RunOptions()


def read_call(item: Mapping[str, Any]) -> ToolCall | None:
    """Read the item of a function call; ``None`` for other items."""
    call_id, name = item.get("call_id"), item.get("name")
    if item.get("type") != "function_call":
        return None
    if not isinstance(call_id, str) or not isinstance(name, str):
        return None
    return ToolCall(id=call_id, name=name, arguments=as_json_text(item.get("arguments")))


def read_messages(items: Sequence[Mapping[str, Any]], owner: str) -> tuple[Message, ...]:
    """Read the messages among items; one without an id gets one of its owner's and its place."""
    return tuple(
        read_message(item, f"{owner}_{place}")
        for place, item in enumerate(items)
        if item.get("type", "message") == "message" and item.get("role")
    )


def read_message(item: Mapping[str, Any], fallback_id: str) -> Message:
    """Read the item of a message; one without an id gets another."""
    content = item.get("content")
    if isinstance(content, str):
        content = [{"type": "output_text", "text": content}]
    parts = tuple(dict(part) for part in as_objects(content))
    return Message(
        id=as_word(item.get("id")) or fallback_id,
        role=str(item["role"]),
        content=join_texts(parts),
        parts=parts,
    )


def added(one: Usage | None, other: Usage | None) -> Usage | None:
    """Add token counts up, as far as there are any."""
    if one is None or other is None:
        return one or other
    return Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        total_tokens=one.total_tokens + other.total_tokens,
    )
