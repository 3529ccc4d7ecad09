"""The request bodies of the Assistants wire, by OpenAI's published description of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from gpt_agent_sync.server.bodies import Body, Json, Metadata
from gpt_agent_sync.server.errors import WireError, missing
from gpt_agent_sync.server.tool_schemas import check_count, check_function

Content = str | list[Json]

_TOOLS = ("code_interpreter", "file_search", "function")


class AssistantFields(Body):
    """The fields of a new assistant, or of a change."""

    model: str | None = None
    name: str | None = None
    description: str | None = None
    instructions: str | None = None
    tools: list[Json] | None = None
    tool_resources: Json | None = None
    metadata: Metadata = None
    temperature: float | None = None
    top_p: float | None = None
    response_format: str | Json | None = None
    reasoning_effort: str | None = None


class MessageFields(Body):
    """The fields of a new message."""

    role: Literal["user", "assistant"]
    content: Content
    attachments: list[Json] | None = None
    metadata: Metadata = None


class ThreadFields(Body):
    """The fields of a new thread."""

    messages: list[MessageFields] = msgspec.field(default_factory=list)
    tool_resources: Json | None = None
    metadata: Metadata = None


class ThreadChanges(Body):
    """The fields of a thread that can change."""

    tool_resources: Json | None = None
    metadata: Metadata = None


class RunFields(Body):
    """The fields of a new run."""

    assistant_id: str
    model: str | None = None
    instructions: str | None = None
    additional_instructions: str | None = None
    additional_messages: list[MessageFields] | None = None
    tools: list[Json] | None = None
    metadata: Metadata = None
    temperature: float | None = None
    top_p: float | None = None
    stream: bool | None = None
    max_prompt_tokens: int | None = None
    max_completion_tokens: int | None = None
    truncation_strategy: Json | None = None
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool = True
    response_format: str | Json | None = None
    reasoning_effort: str | None = None


class ThreadAndRunFields(RunFields):
    """The fields of a new thread and its first run."""

    thread: ThreadFields | None = None
    tool_resources: Json | None = None


class ToolOutputFields(Body):
    """One tool output."""

    tool_call_id: str
    output: str = ""


class OutputsFields(Body):
    """The tool outputs that a run waits for."""

    tool_outputs: list[ToolOutputFields]
    stream: bool | None = None


def check_tools(tools: Sequence[Json] | None) -> None:
    """Check the tools of an assistant or a run.

    Raises:
        WireError: If one is not of the wire.
    """
    check_count(tools or ())
    for index, tool in enumerate(tools or ()):
        kind, param = tool.get("type"), f"tools[{index}]"
        if kind not in _TOOLS:
            raise WireError(
                400,
                f"Invalid value: '{kind}'. Supported values are: {', '.join(map(repr, _TOOLS))}.",
                param=f"{param}.type",
                code="invalid_value",
            )
        if kind == "function":
            function = tool.get("function")
            if not isinstance(function, dict):
                raise missing(f"{param}.function")
            check_function(function, f"{param}.function")


def read_content(content: Content) -> list[Json]:
    """Return a message's content as the wire keeps it: a list of parts.

    Raises:
        WireError: If it is empty, or a part is not of the wire.
    """
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not parts:
        raise WireError(400, "Message content must be non-empty.", param="content")
    return [_read_part(part) for part in parts]


def _read_part(part: Json) -> Json:
    kind = part.get("type")
    if kind == "text":
        # Requests have a plain text here; clients that send back what they read have an object.
        text = part.get("text")
        value = text.get("value") if isinstance(text, dict) else text
        if not isinstance(value, str) or not value:
            raise WireError(400, "Message content must be non-empty.", param="content")
        return {"type": "text", "text": {"value": value, "annotations": []}}
    if kind in ("image_url", "image_file") and isinstance(part.get(kind), dict):
        return dict(part)
    raise WireError(400, f"Invalid content part of type '{kind}'.", param="content")
