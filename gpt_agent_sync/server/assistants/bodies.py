"""The request bodies of the Assistants wire, by OpenAI's published description of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

from gpt_agent_sync.server.bodies import Body, Json, Metadata, ReasoningEffort, read_fields
from gpt_agent_sync.server.errors import WireError, missing, not_one_of
from gpt_agent_sync.server.features import check_range, check_sampling, says_something, unsupported
from gpt_agent_sync.server.response_format import check_format
from gpt_agent_sync.server.tool_schemas import check_count, check_function

Content = str | list[Json]

LEAST_TOKENS = 1
"""The smallest budget that a run may have; OpenAI's was 256."""

MOST_MESSAGES = 2**31 - 1

_HOSTED = ("code_interpreter", "file_search")
_CHOICES = ("auto", "none", "required")


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
    reasoning_effort: ReasoningEffort | None = None


class ImageUrl(Body):
    """Where an image is."""

    url: Annotated[str, msgspec.Meta(min_length=1)]
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Body):
    """An image in a message."""

    type: str
    image_url: ImageUrl


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
    reasoning_effort: ReasoningEffort | None = None


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


def check_assistant(fields: AssistantFields) -> None:
    """Check the fields of an assistant.

    Raises:
        WireError: If one is not of the wire, or asks for what this server does not have.
    """
    check_tools(fields.tools)
    check_resources(fields.tool_resources)
    _check_sampling(fields)


def check_run(fields: RunFields) -> None:
    """Check the fields of a run.

    Raises:
        WireError: If one is not of the wire, or asks for what this server does not have.
    """
    check_tools(fields.tools)
    _check_sampling(fields)
    check_range("max_prompt_tokens", fields.max_prompt_tokens, LEAST_TOKENS)
    check_range("max_completion_tokens", fields.max_completion_tokens, LEAST_TOKENS)
    _check_truncation(fields.truncation_strategy)
    _check_choice(fields.tool_choice)


def _check_sampling(fields: AssistantFields | RunFields) -> None:
    check_sampling(fields)
    # This wire's own word for no choice.
    if fields.response_format != "auto":
        check_format(fields.response_format)


def _check_truncation(strategy: Json | None) -> None:
    if strategy is None:
        return
    kind, last = strategy.get("type"), strategy.get("last_messages")
    if kind not in ("auto", "last_messages"):
        raise not_one_of("truncation_strategy.type", kind, ("auto", "last_messages"))
    param = "truncation_strategy.last_messages"
    if last is None and kind == "last_messages":
        raise missing(param)
    if last is not None and (not isinstance(last, int) or isinstance(last, bool)):
        raise WireError(
            400,
            f"Invalid type for '{param}': expected an integer.",
            param=param,
            code="invalid_type",
        )
    check_range(param, last, 1, MOST_MESSAGES)


def _check_choice(choice: str | Json | None) -> None:
    if choice is None or choice in _CHOICES:
        return
    kind = choice.get("type") if isinstance(choice, dict) else choice
    if kind in _HOSTED:
        raise unsupported("tool_choice", kind)
    if kind != "function":
        raise not_one_of("tool_choice", kind, (*_CHOICES, "function"))
    function = choice.get("function") if isinstance(choice, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise missing("tool_choice.function.name")


def check_tools(tools: Sequence[Json] | None) -> None:
    """Check the tools of an assistant or a run.

    Raises:
        WireError: If one is not of the wire, or this server does not have it.
    """
    check_count(tools or ())
    for index, tool in enumerate(tools or ()):
        kind, param = tool.get("type"), f"tools[{index}]"
        if kind in _HOSTED:
            raise unsupported(f"{param}.type", kind)
        if kind != "function":
            raise not_one_of(f"{param}.type", kind, ("function",))
        function = tool.get("function")
        if not isinstance(function, dict):
            raise missing(f"{param}.function")
        check_function(function, f"{param}.function")


def check_resources(resources: Json | None) -> None:
    """Check the resources of tools that this server does not have.

    Raises:
        WireError: If there are any.
    """
    for name, resource in (resources or {}).items():
        if says_something(resource):
            raise unsupported(f"tool_resources.{name}", name)


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
    if kind == "image_file":
        raise unsupported("content", "image_file")
    if kind == "image_url":
        read_fields(part, ImagePart, "content")
        return dict(part)
    raise WireError(400, f"Invalid content part of type '{kind}'.", param="content")
