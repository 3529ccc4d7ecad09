"""The Responses wire as data: the bodies of requests, from records and options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gpt_agent_sync.errors import ConfigurationError
from gpt_agent_sync.records import (
    AssistantDefinition,
    Message,
    RunOptions,
    ToolOutput,
    ToolSchema,
    UserMessage,
)
from gpt_agent_sync.services.responses.wire import METADATA_PAIRS, PREVIOUS_KEY, RUN_KEY
from gpt_agent_sync.services.tool_formats import flat_tool, flatten, tool_name

ITEMS_AT_ONCE = 20
"""Items that one call may add to a conversation."""

Item = dict[str, Any]

_SAME_NAME = (
    "model",
    "temperature",
    "top_p",
    "max_output_tokens",
    "parallel_tool_calls",
)
_HOSTED = {"code_interpreter": "container", "file_search": "vector_store_ids"}


def history_item(message: Message) -> Item:
    """Return a message of a thread's earlier history."""
    return {"type": "message", "role": message.role, "content": message.content}


def message_item(message: UserMessage) -> Item:
    """Return a user's message."""
    content = message.content
    if not isinstance(content, str):
        return {"type": "message", "role": "user", "content": [_part(part) for part in content]}
    return {"type": "message", "role": "user", "content": content}


def _part(part: Mapping[str, Any]) -> Item:
    if part["type"] == "text":
        return {"type": "input_text", "text": part["text"]}
    field = "image_url" if part["type"] == "image_url" else "image_file"
    image: Mapping[str, Any] = part[field]
    source = {"image_url": image.get("url")} if field == "image_url" else {}
    if field == "image_file":
        source = {"file_id": image.get("file_id")}
    return {"type": "input_image", "detail": image.get("detail") or "auto", **source}


def content_of(item: Mapping[str, Any]) -> tuple[Item, ...]:
    """Return the content parts of a message item, however it was written."""
    content = item["content"]
    if isinstance(content, str):
        return ({"type": "input_text", "text": content},)
    return tuple(content)


def newest_input(items: Sequence[Mapping[str, Any]]) -> tuple[Item, ...]:
    """Return the items that a response was created from, to create it again.

    Args:
        items: What the service says was its input, oldest first; maybe the whole history.
    """
    kept: list[Item] = []
    for item in reversed(items):
        if item.get("type") == "function_call_output":
            fields = ("type", "call_id", "output")
            kept.append({name: item.get(name) for name in fields})
            continue
        if item.get("role") == "user":
            content = item.get("content")
            kept.append({"type": "message", "role": "user", "content": content})
        # Some servers list the whole history: what is older belongs to an earlier response.
        break
    return tuple(kept[::-1])


def output_item(output: ToolOutput) -> Item:
    """Return the answer to a function call."""
    return {
        "type": "function_call_output",
        "call_id": output.tool_call_id,
        "output": output.output,
    }


def response_body(
    thread_id: str,
    definition: AssistantDefinition,
    options: RunOptions,
    handlers: Iterable[ToolSchema],
    input_items: Sequence[Item],
    *,
    background: bool,
    run_id: str | None = None,
    previous_id: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the body that creates a response.

    Args:
        thread_id: The conversation.
        definition: The assistant.
        options: What the run does differently.
        handlers: Schemas of the handlers at hand; those that the assistant lacks go along.
        input_items: The new items: the user's message, or tool outputs.
        background: Whether the service is to answer at once and go on by itself.
        run_id: The run that the response continues; ``None`` for the one that starts it.
        previous_id: The response before it in that run.
        metadata: The message's own, kept with the response.
    """
    body: dict[str, Any] = {
        "model": definition.model,
        # A text, and input even when there is none: some servers take no object, and demand input.
        "conversation": thread_id,
        "input": list(input_items),
        "store": True,
    }
    if background:  # left out otherwise, as some servers refuse the field
        body["background"] = True
    instructions = _instructions(definition, options)
    if instructions:
        body["instructions"] = instructions
    tools = _tools(definition, handlers)
    if tools:
        body["tools"] = tools
    body.update(_options(options))
    submits = all(item["type"] == "function_call_output" for item in input_items)
    if input_items and submits and body.get("tool_choice") not in (None, "auto", "none"):
        # What forces a call is for the answer to a message, or the run would have no end.
        del body["tool_choice"]
    pairs = _pairs(options, metadata)
    # The program's own pairs go first: without ours the run is only harder to follow back.
    for key, value in {RUN_KEY: run_id, PREVIOUS_KEY: previous_id}.items():
        if value is not None and len(pairs) < METADATA_PAIRS:
            pairs[key] = value
    if pairs:
        body["metadata"] = pairs
    return body


def _instructions(definition: AssistantDefinition, options: RunOptions) -> str:
    own = definition.instructions if options.instructions is None else options.instructions
    return "\n".join(filter(None, [own, options.additional_instructions]))


def _tools(definition: AssistantDefinition, handlers: Iterable[ToolSchema]) -> list[Item]:
    own = [flat_tool(tool) for tool in definition.tools]
    names = {tool_name(tool) for tool in own}
    return [*own, *(flat_tool(tool) for tool in handlers if tool.name not in names)]


def _options(options: RunOptions) -> Item:
    given = options.given()
    fields = {name: given[name] for name in _SAME_NAME if name in given}
    if "tool_choice" in given:
        fields["tool_choice"] = flatten(given["tool_choice"])
    if given.get("response_format", "auto") != "auto":
        fields["text"] = {"format": _format(given["response_format"])}
    if "reasoning_effort" in given:
        fields["reasoning"] = {"effort": given["reasoning_effort"]}
    if "truncation" in given:
        fields["truncation"] = _truncation(given["truncation"])
    return fields


def _format(response_format: Any) -> Item:
    if isinstance(response_format, str):
        return {"type": response_format}
    given: Item = flatten(response_format)
    return given


def _truncation(truncation: Any) -> str:
    kind = truncation.get("type") if isinstance(truncation, Mapping) else truncation
    if kind not in ("auto", "disabled"):
        raise ConfigurationError(
            f"the Responses wire has no truncation {truncation!r}: it has 'auto' and 'disabled'"
        )
    return str(kind)


def _pairs(options: RunOptions, metadata: Mapping[str, str] | None) -> dict[str, str]:
    pairs = {**(options.metadata or {}), **(metadata or {})}
    if len(pairs) > METADATA_PAIRS:
        raise ConfigurationError(
            f"metadata of message and run_options are kept together on the Responses wire: "
            f"{len(pairs)} pairs are more than {METADATA_PAIRS}"
        )
    return pairs


def check_options(options: RunOptions) -> None:
    """Refuse options that the wire does not have.

    Raises:
        ConfigurationError: If there is one; it names the option.
    """
    _options(options)


def check_message(message: UserMessage, options: RunOptions) -> None:
    """Refuse what a message of this wire cannot carry.

    Raises:
        ConfigurationError: If there is such a thing; it names it.
    """
    if message.attachments:
        raise ConfigurationError(
            "the Responses wire has no attachments: give a file_search or code_interpreter tool "
            "to the assistant, with its vector_store_ids or container"
        )
    _pairs(options, message.metadata)


def check_definition(definition: AssistantDefinition) -> None:
    """Refuse tools that the wire knows by the same name and takes otherwise.

    Raises:
        ConfigurationError: If there is one; it names the tool and what it lacks.
    """
    raw = (tool for tool in definition.tools if not isinstance(tool, ToolSchema))
    for tool in raw:
        kind = tool.get("type")
        lacking = _HOSTED.get(str(kind))
        if lacking is not None and lacking not in tool:
            raise ConfigurationError(
                f"a {kind} tool needs {lacking!r} on the Responses wire; files do not move there "
                "from Assistants by themselves"
            )
        if kind == "function" and tool_name(tool) is None:
            raise ConfigurationError(f"a function tool needs a name: {tool!r}")
