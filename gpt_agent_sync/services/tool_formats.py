"""Tools, tool choices and formats of the reply, in the format of either wire.

Assistants v2 nests (``{"type": "function", "function": {...}}``), Responses does not
(``{"type": "function", "name": ...}``). Programs may use either on both, so that they can move.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gpt_agent_sync.records import ToolSchema

_KINDS = {"function": "function", "json_schema": "json_schema"}


def nest(value: Any) -> Any:
    """Return a tool, tool choice or format as Assistants v2 has it."""
    kind = value.get("type") if isinstance(value, Mapping) else None
    if kind not in _KINDS or kind in value:
        return dict(value) if isinstance(value, Mapping) else value
    inner = {name: field for name, field in value.items() if name != "type"}
    return {"type": kind, kind: inner}


def flatten(value: Any) -> Any:
    """Return a tool, tool choice or format as Responses has it."""
    if not isinstance(value, Mapping):
        return value
    kind = value.get("type")
    inner = value.get(kind) if kind in _KINDS else None
    return {"type": kind, **inner} if isinstance(inner, Mapping) else dict(value)


def nested_tool(tool: ToolSchema | Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool as Assistants v2 has it."""
    nested: dict[str, Any] = nest(_flat(tool))
    return nested


def flat_tool(tool: ToolSchema | Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool as Responses has it.

    Its functions are strict unless they say otherwise, which few schemas are fit for, and
    must have parameters.
    """
    flat: dict[str, Any] = flatten(_flat(tool))
    if flat.get("type") == "function":
        empty = {"type": "object", "properties": {}}
        flat = {"strict": False, **flat, "parameters": flat.get("parameters") or empty}
    return flat


def tool_name(tool: Mapping[str, Any]) -> str | None:
    """Return the name of a function tool in either format."""
    name = flatten(tool).get("name") if tool.get("type") == "function" else None
    return name if isinstance(name, str) else None


def _flat(tool: ToolSchema | Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(tool, ToolSchema):
        return tool
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }
