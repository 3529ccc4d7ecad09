"""Checking what a program passes as an assistant's definition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gpt_agent_sync.arguments import read_metadata, require_text
from gpt_agent_sync.errors import BlankValueError
from gpt_agent_sync.records import AssistantDefinition
from gpt_agent_sync.tools.toolbox import Toolbox

ToolsArgument = Toolbox | Iterable[Mapping[str, Any]] | None
"""A toolbox, or tool objects as the wire takes them."""


def read_definition(
    *,
    model: str,
    instructions: str,
    name: str | None,
    description: str | None,
    tools: ToolsArgument,
    metadata: Mapping[str, str] | None,
) -> AssistantDefinition:
    """Return the definition of an assistant.

    Raises:
        BlankValueError: If the model is blank, or the instructions are no text.
        TypeError: If ``tools`` are neither a toolbox nor mappings.
        ValueError: If the metadata are unusable.
    """
    if not isinstance(instructions, str):
        raise BlankValueError("instructions", instructions)
    return AssistantDefinition(
        model=require_text("model", model),
        instructions=instructions,
        name=name,
        description=description,
        tools=tools.schemas if isinstance(tools, Toolbox) else _read_tools(tools),
        metadata=read_metadata(metadata),
    )


def _read_tools(tools: Iterable[Mapping[str, Any]] | None) -> tuple[Mapping[str, Any], ...]:
    given = tuple(tools) if isinstance(tools, Iterable) else (tools,) if tools is not None else ()
    for tool in given:
        if not isinstance(tool, Mapping):
            raise TypeError(
                f"tools must be a Toolbox, or mappings such as {{'type': 'function', ...}}, "
                f"not {tool!r}"
            )
    return given
