"""Answers of stub servers that speak Conversations + Responses, and turns over them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from gpt_agent_sync.records import RunRequest, ToolOutput, UserMessage
from gpt_agent_sync.services.base import Feed
from gpt_agent_sync.services.responses import ResponsesService
from gpt_agent_sync.services.responses.wire import PREVIOUS_KEY, RUN_KEY
from tests.support.stub import Response, StubServer, error, listing

CREATE = "POST /responses"
OPEN = "GET /conversations/c"
NOTE = "POST /conversations/c"
ITEMS = "GET /conversations/c/items"
ADD = "POST /conversations/c/items"
POLL = "GET /responses/resp_1"
POLL_2 = "GET /responses/resp_2"
CANCEL = "POST /responses/resp_1/cancel"
CANCEL_2 = "POST /responses/resp_2/cancel"

CONVERSATION = Response({"id": "c", "metadata": {}})

QUIET: Mapping[str, Any] = {OPEN: [CONVERSATION], NOTE: [CONVERSATION], ITEMS: [listing()]}
"""The answers of a conversation in which nothing is."""

LOCKED = error(
    400, "Another process is currently operating on this conversation.", code="conversation_locked"
)

NO_CALL = "No tool call found for function call output with call_id call_1."
NO_OUTPUT = "No tool output found for function call call_1."

HELLO = UserMessage(content="hello")
REQUEST = RunRequest(thread_id="c", assistant_id="m", heartbeat_interval=0.02)
AGAIN = attrs.evolve(REQUEST, run_id="resp_1")

Serve = Callable[..., tuple[ResponsesService, StubServer]]


def said(text: str, item_id: str = "msg_1", role: str = "assistant") -> dict[str, Any]:
    """Return a message item."""
    kind = "output_text" if role == "assistant" else "input_text"
    content = [{"type": kind, "text": text}]
    return {"type": "message", "id": item_id, "role": role, "content": content}


def called(*ids: str) -> list[dict[str, Any]]:
    """Return the items of function calls."""
    return [
        {
            "type": "function_call",
            "id": f"fc_{call_id}",
            "call_id": call_id,
            "name": "add",
            "arguments": "{}",
        }
        for call_id in ids
    ]


def gave(call_id: str, output: str = "1") -> dict[str, Any]:
    """Return the item of a function call's output, as a conversation holds it."""
    item = {"type": "function_call_output", "call_id": call_id, "output": output}
    return {**item, "id": f"out_{call_id}"}


def response(
    *output: Mapping[str, Any], id: str = "resp_1", status: str = "completed", **facts: Any
) -> Response:
    """Return the answer that shows a response."""
    return Response({"id": id, "status": status, "output": list(output), **facts})


def in_progress(id: str = "resp_1", **facts: Any) -> Response:
    """Return the answer that shows a response at work."""
    return response(id=id, status="in_progress", **facts)


def failed(code: str, message: str = "no", id: str = "resp_1", **facts: Any) -> Response:
    """Return the answer that shows a failed response."""
    return response(id=id, status="failed", error={"code": code, "message": message}, **facts)


def newest(*items: Mapping[str, Any], has_more: bool = False) -> Response:
    """Return a list of a conversation's items, named oldest first and listed newest first."""
    return listing(*items[::-1], has_more=has_more)


def noted(**note: Any) -> Response:
    """Return a conversation with a note in its metadata."""
    return Response({"id": "c", "metadata": {RUN_KEY: json.dumps(note)}})


USER = said("hello", "u1", "user")
HI = said("hi", "msg_1")
CALLS = response(*called("call_1"))
ANSWERED = newest(USER, *called("call_1"), gave("call_1"), said("done", "msg_2"))
"""A conversation in which the call has been answered, and the reply to that."""

ROUND_2: dict[str, Any] = {"metadata": {RUN_KEY: "resp_1", PREVIOUS_KEY: "resp_1"}}
"""What says that a response goes on from the first one."""


def notes(stub: StubServer) -> list[Any]:
    """Return the notes that were written."""
    return [json.loads(body["metadata"][RUN_KEY]) for body in bodies(stub, NOTE)]


def bodies(stub: StubServer, line: str = CREATE) -> list[Any]:
    """Return the bodies of the requests of one kind."""
    return [request.body for request in stub.requests if request.line == line]


def given(stub: StubServer) -> list[list[Any]]:
    """Return the input of each response that was asked for: texts of messages, ids of calls."""
    return [[_gist(item) for item in body["input"]] for body in bodies(stub)]


def _gist(item: Mapping[str, Any]) -> Any:
    content = item.get("content", item.get("call_id"))
    return "".join(part["text"] for part in content) if isinstance(content, list) else content


def begin(service: ResponsesService, request: RunRequest = REQUEST) -> Feed:
    """Post a message, and return the feed of the run that it begins."""
    posted = service.post_message(request, HELLO)
    return service.start_run(attrs.evolve(request, posted=posted))


def submit(
    service: ResponsesService, *ids: str, run_id: str = "resp_1", request: RunRequest = REQUEST
) -> Feed:
    """Return the feed of a run that goes on with outputs."""
    outputs = [ToolOutput(tool_call_id=call_id, output="1") for call_id in ids]
    return service.submit_tool_outputs(request, run_id, outputs)
