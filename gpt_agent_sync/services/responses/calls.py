"""Calls that wait for an output, of all kinds that the wire has, and what closes them.

Programs answer function calls. Calls of the other kinds come of tools that an assistant, or other
software, gave the model; nobody here answers them, and a conversation takes no message before they
have outputs. Shapes are those of OpenAI's published description (``OutputItem``, ``Item``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from gpt_agent_sync.services.http.shapes import as_object, as_objects, as_word

FUNCTION_CALL = "function_call"

ABANDONED = '{"error": "The run was ended before this call was answered."}'
"""The output of function calls that nobody will answer, so that the conversation can go on."""

UNSUPPORTED = "This program cannot answer calls of this kind."
"""What the model is told of the other ones."""

_BLANK_SCREEN = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+k"
    "cQAAAABJRU5ErkJggg=="
)
"""A screenshot of one black pixel: the wire has no other output for an action on a computer."""


@attrs.frozen(kw_only=True)
class OpenCall:
    """A call that has no output.

    Attributes:
        kind: The type of its item.
        id: What its output names it by.
        safety_checks: The checks that the output has to acknowledge.
    """

    kind: str
    id: str
    safety_checks: tuple[Mapping[str, Any], ...] = ()

    def closing(self) -> dict[str, Any]:
        """Return the item that closes it unanswered."""
        return _CLOSINGS[self.kind](self)


def _close_function(call: OpenCall) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call.id, "output": ABANDONED}


def _close_custom_tool(call: OpenCall) -> dict[str, Any]:
    return {"type": "custom_tool_call_output", "call_id": call.id, "output": UNSUPPORTED}


def _close_computer(call: OpenCall) -> dict[str, Any]:
    screen = {"type": "computer_screenshot", "image_url": _BLANK_SCREEN}
    item = {"type": "computer_call_output", "call_id": call.id, "output": screen}
    # The conversation goes on with acknowledged checks only, and the action was not done.
    checks = [dict(check) for check in call.safety_checks]
    return {**item, "acknowledged_safety_checks": checks} if checks else item


def _close_local_shell(call: OpenCall) -> dict[str, Any]:
    # Described with both ids; the service goes by the second.
    kind = "local_shell_call_output"
    return {"type": kind, "id": call.id, "call_id": call.id, "output": UNSUPPORTED}


def _close_shell(call: OpenCall) -> dict[str, Any]:
    outcome = {"type": "exit", "exit_code": 1}
    output = [{"stdout": "", "stderr": UNSUPPORTED, "outcome": outcome}]
    return {"type": "shell_call_output", "call_id": call.id, "output": output}


def _close_patch(call: OpenCall) -> dict[str, Any]:
    item = {"type": "apply_patch_call_output", "call_id": call.id}
    return {**item, "status": "failed", "output": UNSUPPORTED}


def _close_search(call: OpenCall) -> dict[str, Any]:
    item = {"type": "tool_search_output", "call_id": call.id}
    return {**item, "execution": "client", "tools": []}


def _close_approval(call: OpenCall) -> dict[str, Any]:
    item = {"type": "mcp_approval_response", "approval_request_id": call.id}
    return {**item, "approve": False, "reason": UNSUPPORTED}


_CLOSINGS: dict[str, Callable[[OpenCall], dict[str, Any]]] = {
    FUNCTION_CALL: _close_function,
    "custom_tool_call": _close_custom_tool,
    "computer_call": _close_computer,
    "local_shell_call": _close_local_shell,
    "shell_call": _close_shell,
    "apply_patch_call": _close_patch,
    "tool_search_call": _close_search,
    "mcp_approval_request": _close_approval,
}


def call_of(words: str, call_id: str) -> OpenCall:
    """Return the call that a refusal names, such as ``"custom tool call"`` and its id."""
    kind = words.replace(" ", "_")
    return OpenCall(kind=kind if kind in _CLOSINGS else FUNCTION_CALL, id=call_id)


def unsupported_calls(items: Iterable[Mapping[str, Any]]) -> tuple[OpenCall, ...]:
    """Return the calls among items that programs cannot answer, answered ones included."""
    return tuple(call for call in map(_read_unsupported, items) if call is not None)


def open_unsupported_calls(items: Iterable[Mapping[str, Any]]) -> tuple[OpenCall, ...]:
    """Return those of them that have no output among the items."""
    listed = tuple(items)
    answered = answered_ids(listed)
    return tuple(call for call in unsupported_calls(listed) if call.id not in answered)


def answered_ids(items: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """Return the ids of the calls, of any kind, that outputs among items answer."""
    return frozenset(filter(None, map(_answered_id, items)))


def _answered_id(item: Mapping[str, Any]) -> str | None:
    kind = str(item.get("type"))
    if kind == "mcp_approval_response":
        return as_word(item.get("approval_request_id"))
    # As listed, that of a local shell call names it by its id alone.
    return as_word(item.get("call_id") or item.get("id")) if kind.endswith("_output") else None


def _read_unsupported(item: Mapping[str, Any]) -> OpenCall | None:
    kind = item.get("type")
    if kind == FUNCTION_CALL or kind not in _CLOSINGS or _is_the_services(item):
        return None
    call_id = item.get("id" if kind == "mcp_approval_request" else "call_id")
    if not isinstance(call_id, str):
        return None
    checks = tuple(as_objects(item.get("pending_safety_checks")))
    return OpenCall(kind=kind, id=call_id, safety_checks=checks)


def _is_the_services(item: Mapping[str, Any]) -> bool:
    """Return whether the service itself answers a call: a search, or a shell in its container."""
    environment = as_object(item.get("environment")).get("type")
    if item.get("type") == "tool_search_call":
        return item.get("execution") != "client"
    return item.get("type") == "shell_call" and environment not in (None, "local")
