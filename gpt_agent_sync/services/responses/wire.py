"""The Responses wire as data: what responses, items and conversations say.

Shapes are those of OpenAI's published description (``/responses``, ``/conversations``). Servers
that speak this wire leave fields out or fill them oddly, so only ids and statuses are demanded.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from typing import Any

import attrs

from gpt_agent_sync.errors import ProtocolError
from gpt_agent_sync.records import (
    FINAL_STATUSES,
    AssistantDefinition,
    ContentParts,
    Message,
    RunOptions,
    ToolCall,
    Usage,
)
from gpt_agent_sync.services.shapes import (
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
        _read_message(item, f"{owner}_{place}")
        for place, item in enumerate(items)
        if item.get("type", "message") == "message" and item.get("role")
    )


def _read_message(item: Mapping[str, Any], fallback_id: str) -> Message:
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


@attrs.frozen(kw_only=True)
class Tail:
    """Hold the newest items of a conversation, from the user's last message on.

    Attributes:
        items: They, oldest first.
    """

    items: tuple[Mapping[str, Any], ...] = ()

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The ids of the items."""
        return tuple(item["id"] for item in self.items if isinstance(item.get("id"), str))

    @property
    def run_id(self) -> str:
        """What stands for a run's id when no response is known: its first item's id."""
        return as_word(self.items[0].get("id")) or "" if self.items else ""

    @property
    def user_content(self) -> ContentParts | None:
        """The user's message, ``None`` when the items do not begin with one."""
        if not self.items or self.items[0].get("role") != "user":
            return None
        return _read_message(self.items[0], "").parts

    @property
    def call_ids(self) -> frozenset[str]:
        """The ids of its calls."""
        calls = [call for call in map(read_call, self.items) if call is not None]
        return frozenset(call.id for call in calls)

    @property
    def answered(self) -> frozenset[str]:
        """The ids of the calls that have outputs."""
        return frozenset(
            str(item.get("call_id"))
            for item in self.items
            if item.get("type") == "function_call_output"
        )

    @property
    def waiting(self) -> tuple[ToolCall, ...]:
        """The calls that have no output."""
        calls = [call for call in map(read_call, self.items) if call is not None]
        return tuple(call for call in calls if call.id not in self.answered)

    @property
    def messages(self) -> tuple[Message, ...]:
        """The assistant's messages."""
        read = read_messages(self.items, self.run_id)
        return tuple(message for message in read if message.role == "assistant")


def tail_of(newest: Sequence[Mapping[str, Any]]) -> Tail | None:
    """Give the tail of a conversation, ``None`` when it begins before these items.

    Args:
        newest: The newest items, newest first.
    """
    for place, item in enumerate(newest):
        if item.get("role") == "user":
            return Tail(items=tuple(newest[place::-1]))
    return None


def turn_with(items: Sequence[Mapping[str, Any]], call_ids: Set[str]) -> Tail | None:
    """Give the turn that holds calls: from a user's message to before the next one.

    Args:
        items: Items of a conversation, oldest first.
        call_ids: The calls.
    """
    turn: list[Mapping[str, Any]] = []
    for item in items:
        if item.get("role") == "user":
            if Tail(items=tuple(turn)).call_ids & call_ids:
                break
            turn = []
        turn.append(item)
    found = Tail(items=tuple(turn))
    return found if found.call_ids & call_ids else None


def same_content(one: ContentParts, other: ContentParts) -> bool:
    """Tell whether two messages say the same: texts, and which images as far as that is told.

    OpenAI leaves the address of an image out unless it is asked for.
    """
    return len(one) == len(other) and all(map(_same_part, one, other))


def _same_part(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if one.get("type") != "input_image" or other.get("type") != "input_image":
        return join_texts((dict(one),)) == join_texts((dict(other),))
    return all(
        one.get(name) == other.get(name) or not one.get(name) or not other.get(name)
        for name in ("image_url", "file_id")
    )


@attrs.frozen(kw_only=True)
class Note:
    """Hold what a conversation's metadata say of its newest run.

    Attributes:
        run_id: The run: its first response.
        response_id: The response now going, or the last one.
        assistant_id: The assistant.
        over: Whether we ended the run while it waited for outputs.
    """

    run_id: str
    response_id: str
    assistant_id: str | None = None
    over: bool = False


def read_note(metadata: Any) -> Note | None:
    """Read the note of a conversation's run, ``None`` when there is none that can be read."""
    try:
        note = as_object(json.loads(as_object(metadata).get(RUN_KEY) or "null"))
    except (TypeError, ValueError):
        return None
    run_id, response_id = as_word(note.get("run")), as_word(note.get("response"))
    if run_id is None or response_id is None:
        return None
    return Note(
        run_id=run_id,
        response_id=response_id,
        assistant_id=as_word(note.get("assistant")),
        over=note.get("over") is True,
    )


def with_note(metadata: Mapping[str, Any], note: Note) -> dict[str, Any] | None:
    """Give a conversation's metadata with the note in them; ``None`` when they have no room."""
    fields: dict[str, Any] = {"run": note.run_id, "response": note.response_id}
    if note.over:
        fields["over"] = True
    text = json.dumps({**fields, "assistant": note.assistant_id}, separators=(",", ":"))
    if note.assistant_id is None or len(text) > METADATA_VALUE:
        text = json.dumps(fields, separators=(",", ":"))
    pairs = {**metadata, RUN_KEY: text}
    return pairs if len(pairs) <= METADATA_PAIRS and len(text) <= METADATA_VALUE else None


def added(one: Usage | None, other: Usage | None) -> Usage | None:
    """Add token counts up, as far as there are any."""
    if one is None or other is None:
        return one or other
    return Usage(
        input_tokens=one.input_tokens + other.input_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        total_tokens=one.total_tokens + other.total_tokens,
    )
