"""A server of Conversations + Responses whose model asks for what programs cannot answer."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from tests.support.event_streams import ResponseEvents
from tests.support.stub import Request, Response, error, listing, stream

Item = dict[str, Any]


def custom_tool(call_id: str = "call_1") -> Item:
    """Return a call of a custom tool."""
    item = {"type": "custom_tool_call", "id": f"ctc_{call_id}", "call_id": call_id}
    return {**item, "name": "grep", "input": "needle"}


def computer(call_id: str = "call_1") -> Item:
    """Return a call of the computer tool, with a safety check."""
    item = {"type": "computer_call", "id": f"cu_{call_id}", "call_id": call_id}
    checks = [{"id": "cu_sc_1", "code": "malicious_instructions", "message": "Careful."}]
    action = {"type": "screenshot"}
    return {**item, "action": action, "pending_safety_checks": checks, "status": "completed"}


def local_shell(call_id: str = "call_1") -> Item:
    """Return a call of the local shell."""
    item = {"type": "local_shell_call", "id": f"lsh_{call_id}", "call_id": call_id}
    return {**item, "action": {"type": "exec", "command": ["ls"], "env": {}}, "status": "completed"}


def shell(call_id: str = "call_1", environment: str | None = None) -> Item:
    """Return a call of the shell."""
    item = {"type": "shell_call", "id": f"sh_{call_id}", "call_id": call_id}
    where = None if environment is None else {"type": environment}
    return {**item, "action": {"commands": ["ls"]}, "status": "completed", "environment": where}


def shell_output(call_id: str = "call_1") -> Item:
    """Return the output of a shell that the service itself ran."""
    item = {"type": "shell_call_output", "id": f"sho_{call_id}", "call_id": call_id}
    outcome = {"type": "exit", "exit_code": 0}
    return {**item, "output": [{"stdout": "a", "stderr": "", "outcome": outcome}]}


def patch(call_id: str = "call_1") -> Item:
    """Return a call that applies a patch."""
    item = {"type": "apply_patch_call", "id": f"apc_{call_id}", "call_id": call_id}
    operation = {"type": "delete_file", "path": "a.txt"}
    return {**item, "operation": operation, "status": "completed"}


def search(call_id: str = "call_1") -> Item:
    """Return a search for tools that the client is to do."""
    item = {"type": "tool_search_call", "id": f"tsc_{call_id}", "call_id": call_id}
    return {**item, "execution": "client", "arguments": {}, "status": "completed"}


def approval(call_id: str = "call_1") -> Item:
    """Return a request for approval."""
    item = {"type": "mcp_approval_request", "id": call_id, "server_label": "files"}
    return {**item, "name": "read", "arguments": "{}"}


KINDS = {
    "custom_tool_call": custom_tool,
    "computer_call": computer,
    "local_shell_call": local_shell,
    "shell_call": shell,
    "apply_patch_call": patch,
    "tool_search_call": search,
    "mcp_approval_request": approval,
}
"""The calls that programs cannot answer, by their kind."""

_ANSWERS = {
    **{kind: f"{kind}_output" for kind in ("function_call", *KINDS)},
    "tool_search_call": "tool_search_output",
    "mcp_approval_request": "mcp_approval_response",
}


class OpenCallsServer:
    """A server that takes no message while calls of the conversation have no outputs.

    Responses end at once, and are shown as in progress in the answer that creates them. An object
    of it answers the requests of a stub server.

    Args:
        outputs: What the responses end with, one after the other; then with a message ``"fine"``.
        adds_items: Whether it takes items for a conversation outside of responses.
        shows_items: Whether its list shows what the responses left in the conversation.

    Attributes:
        items: The items of the conversation.
        closed: The items that were sent to close calls, in order.
    """

    def __init__(
        self, *outputs: Sequence[Item], adds_items: bool = True, shows_items: bool = True
    ) -> None:
        self.items: list[Item] = []
        self.closed: list[Item] = []
        self._outputs = list(outputs)
        self._adds_items = adds_items
        self._shows_items = shows_items
        self._metadata: Mapping[str, Any] = {}
        self._responses: dict[str, Item] = {}
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        with self._lock:
            return self._answer(request)

    def _answer(self, request: Request) -> Response:
        if request.path == "/conversations/c/items":
            return self._add(request) if request.method == "POST" else self._list(request)
        if request.path == "/conversations/c":
            self._metadata = (request.body or {}).get("metadata", self._metadata)
            return Response({"id": "c", "metadata": self._metadata})
        if request.line == "POST /responses":
            return self._create(request)
        found = self._responses.get(request.path.removeprefix("/responses/"))
        return error(404, "no such thing") if found is None else Response(found)

    def _add(self, request: Request) -> Response:
        if not self._adds_items:
            return error(404, "no such route")
        self._take(request.body["items"])
        return listing()

    def _list(self, request: Request) -> Response:
        shown = self.items if self._shows_items else []
        return listing(*(shown if request.query["order"] == "asc" else shown[::-1]))

    def _create(self, request: Request) -> Response:
        given = request.body["input"]
        missing = self._missing([*self.items, *given])
        if missing is not None:
            words = str(missing["type"]).replace("_", " ")
            call_id = missing.get("call_id", missing["id"])
            return error(400, f"No tool output found for {words} {call_id}.")
        self._take(given)
        response_id = f"resp_{next(self._ids)}"
        output = list(self._outputs.pop(0)) if self._outputs else [said("fine", next(self._ids))]
        self.items += output
        done = {"id": response_id, "status": "completed", "output": output}
        self._responses[response_id] = {**done, "metadata": request.body.get("metadata", {})}
        if request.body.get("stream"):
            events = ResponseEvents(response_id)
            return stream(events.response("in_progress"), events.response("completed", *output))
        return Response({"id": response_id, "status": "in_progress", "output": []})

    def _take(self, items: Sequence[Item]) -> None:
        self.closed += [item for item in items if item["type"] != "message"]
        self.items += [{**item, "id": f"item_{next(self._ids)}"} for item in items]

    def _missing(self, items: Sequence[Item]) -> Item | None:
        answered = {
            (item["type"], item.get("call_id") or item.get("approval_request_id")) for item in items
        }
        for item in items:
            named = item.get("call_id", item.get("id"))
            if item["type"] in _ANSWERS and (_ANSWERS[item["type"]], named) not in answered:
                return item
        return None


def said(text: str, number: int) -> Item:
    """Return an assistant's message."""
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "id": f"msg_{number}", "role": "assistant", "content": [part]}
