"""The Responses wire as data: responses, items, and the metadata of conversations.

Shapes are those of OpenAI's published description (``/responses``, ``/conversations``). Servers
that speak this wire leave fields out or fill them oddly, so only ids and statuses are demanded.
"""

from __future__ import annotations

import json
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
    as_time,
    as_word,
    is_id,
    join_texts,
    read_usage,
)
from gpt_agent_sync.services.responses.calls import FUNCTION_CALL, OpenCall, open_unsupported_calls

RUN_KEY = "gpt_agent_sync_run"
"""The metadata key under which a conversation names its run, and a response the run it goes on."""

PREVIOUS_KEY = "gpt_agent_sync_previous"
"""The metadata key under which a response names the one before it in its run."""

METADATA_PAIRS, METADATA_VALUE = 16, 512

LONGEST_OUTPUT = 10 * 1024 * 1024
"""Characters of a tool's output."""

_PARAMETERS = (
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
"""What another process has to know of a response, to continue its run as it was begun."""

_REASONS = {"max_output_tokens": "max_completion_tokens"}
"""Why a response is incomplete, in the word that runs have for it."""


@attrs.frozen(kw_only=True)
class ResponseSnapshot:
    """A response as one poll or stream event showed it.

    Attributes:
        id: Its id.
        status: Its status, in the wire's word.
        calls: The function calls in its output.
        unsupported_calls: Those of other kinds that programs would have to answer, and cannot.
        messages: The messages in its output.
        item_ids: The ids of the items in its output.
        usage: Tokens used, once the service says.
        error_code: The code of a failed one, or the reason of an incomplete one.
        error_message: The service's words for it.
        previous_id: The response before it in the same run, if it says so.
        parameters: What it was created with: model, instructions, tools and options.
    """

    id: str
    status: str
    calls: tuple[ToolCall, ...] = ()
    unsupported_calls: tuple[OpenCall, ...] = ()
    messages: tuple[Message, ...] = ()
    item_ids: tuple[str, ...] = ()
    usage: Usage | None = None
    error_code: str | None = None
    error_message: str | None = None
    previous_id: str | None = None
    parameters: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def is_final(self) -> bool:
        """Whether the service is done with it."""
        return self.status in FINAL_STATUSES

    @property
    def call_ids(self) -> frozenset[str]:
        """The ids of the calls that programs would have to answer, of all kinds."""
        unsupported = frozenset(call.id for call in self.unsupported_calls)
        return unsupported.union(call.id for call in self.calls)

    @property
    def waiting_calls(self) -> tuple[ToolCall, ...]:
        """The calls that the run waits for: those of a response that ended with them."""
        return self.calls if self.status == "completed" else ()


def read_response(data: Mapping[str, Any], request: str) -> ResponseSnapshot:
    """Read a response object.

    Raises:
        ProtocolError: If it has no id or no status.
    """
    response_id, status = data.get("id"), data.get("status")
    error = as_object(data.get("error"))
    if not is_id(response_id) or not isinstance(status, str):
        said = f": {error['message']}" if error.get("message") else ""
        raise ProtocolError(
            f"the answer to {request} is no response: it lacks 'id' or 'status'{said}"
        )
    reason = as_word(as_object(data.get("incomplete_details")).get("reason"))
    output = as_objects(data.get("output"))
    metadata = as_object(data.get("metadata"))
    return ResponseSnapshot(
        id=response_id,
        status=status,
        calls=tuple(call for call in map(read_call, output) if call is not None),
        unsupported_calls=open_unsupported_calls(output),
        messages=read_messages(output, response_id),
        item_ids=tuple(item["id"] for item in output if isinstance(item.get("id"), str)),
        usage=read_usage(data.get("usage"), "input_tokens", "output_tokens"),
        error_code=as_word(error.get("code")) or _REASONS.get(reason or "", reason),
        error_message=as_word(error.get("message")),
        previous_id=as_word(metadata.get(PREVIOUS_KEY)),
        parameters={name: data[name] for name in _PARAMETERS if data.get(name) is not None},
    )


def read_assistant(parameters: Mapping[str, Any]) -> AssistantDefinition:
    """Read the assistant out of what a response was created with."""
    instructions = parameters.get("instructions")
    return AssistantDefinition(
        model=str(parameters["model"]),
        instructions=instructions if isinstance(instructions, str) else "",
        tools=tuple(as_objects(parameters.get("tools"))),
    )


def read_options(parameters: Mapping[str, Any]) -> RunOptions:
    """Read the options out of what a response was created with; the usual ones are left out."""
    get = parameters.get
    text_format = as_object(as_object(get("text")).get("format"))
    metadata = {
        name: value
        for name, value in as_object(get("metadata")).items()
        if name not in (RUN_KEY, PREVIOUS_KEY)
    }
    try:
        return RunOptions(
            max_output_tokens=get("max_output_tokens"),
            parallel_tool_calls=get("parallel_tool_calls"),
            # 1 is what services fill in where the program gave none.
            temperature=None if get("temperature") == 1 else get("temperature"),
            top_p=None if get("top_p") == 1 else get("top_p"),
            response_format=None if text_format.get("type") in (None, "text") else text_format,
            reasoning_effort=as_object(get("reasoning")).get("effort"),
            truncation=None if get("truncation") == "disabled" else get("truncation"),
            metadata=metadata or None,
        )
    except (TypeError, ValueError):
        # A server filled them in oddly: the run goes on with the model's own.
        return RunOptions()


def read_call(item: Mapping[str, Any]) -> ToolCall | None:
    """Read the item of a function call; ``None`` for other items."""
    # Items of calls have two ids: outputs go by this one, and the other may be missing.
    call_id, name = item.get("call_id"), item.get("name")
    if item.get("type") != FUNCTION_CALL:
        return None
    if not isinstance(call_id, str) or not isinstance(name, str):
        return None
    return ToolCall(id=call_id, name=name, arguments=as_json_text(item.get("arguments")))


def read_messages(items: Sequence[Mapping[str, Any]], owner: str) -> tuple[Message, ...]:
    """Read the messages among items; one without an id gets one of its owner's and its place.

    An image that the model has made is a message too, without text: its item is the only part.
    """
    return tuple(
        read_message(item, f"{owner}_{place}")
        for place, item in enumerate(items)
        if _is_image(item) or (item.get("type", "message") == "message" and item.get("role"))
    )


def _is_image(item: Mapping[str, Any]) -> bool:
    return item.get("type") == "image_generation_call" and bool(item.get("result"))


def read_message(item: Mapping[str, Any], fallback_id: str) -> Message:
    """Read the item of a message; one without an id gets another."""
    content = [item] if _is_image(item) else item.get("content")
    if isinstance(content, str):
        content = [{"type": "output_text", "text": content}]
    parts = tuple(dict(part) for part in as_objects(content))
    return Message(
        id=as_word(item.get("id")) or fallback_id,
        role=str(item.get("role") or "assistant"),
        content=join_texts(parts),
        parts=parts,
        created_at=as_time(item.get("created_at")),
    )


def add_usage(one: Usage | None, other: Usage | None) -> Usage | None:
    """Add token counts up, as far as there are any."""
    if one is None or other is None:
        return one or other
    return Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        total_tokens=one.total_tokens + other.total_tokens,
    )


@attrs.frozen(kw_only=True)
class RunNote:
    """What a conversation's metadata say of its newest run, for other processes.

    Attributes:
        run_id: The run: its first response.
        response_id: The response in progress, or the last one.
        assistant_id: The assistant.
        ended_early: Whether the run was ended before its calls were answered.
    """

    run_id: str
    response_id: str
    assistant_id: str | None = None
    ended_early: bool = False


def read_note(metadata: Any) -> RunNote | None:
    """Read the note on a conversation's run, ``None`` when there is none that can be read."""
    try:
        note = as_object(json.loads(as_object(metadata).get(RUN_KEY) or "null"))
    except (TypeError, ValueError):
        return None
    run_id, response_id = as_word(note.get("run")), as_word(note.get("response"))
    if run_id is None or response_id is None:
        return None
    return RunNote(
        run_id=run_id,
        response_id=response_id,
        assistant_id=as_word(note.get("assistant")),
        ended_early=note.get("over") is True,
    )


def with_note(metadata: Mapping[str, Any], note: RunNote) -> dict[str, Any] | None:
    """Return a conversation's metadata with the note in them; ``None`` when they have no room."""
    fields: dict[str, Any] = {"run": note.run_id, "response": note.response_id}
    if note.ended_early:
        fields["over"] = True
    text = json.dumps({**fields, "assistant": note.assistant_id}, separators=(",", ":"))
    # A value holds 512 characters, and the assistant's id is the program's: the run goes first.
    if note.assistant_id is None or len(text) > METADATA_VALUE:
        text = json.dumps(fields, separators=(",", ":"))
    pairs = {**metadata, RUN_KEY: text}
    return pairs if len(pairs) <= METADATA_PAIRS and len(text) <= METADATA_VALUE else None
