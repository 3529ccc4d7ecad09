"""A stub service for benchmarks: both wires, no storage, run times set by the request.

The model's name is the run's time: a run of model ``"0.3"`` takes 0.3 s from the moment its
request was read. Its reply is written in ``PIECES`` pieces, evenly over that time. What is
answered has the shapes of the published description; nothing is checked.

Run: ``python -m benchmarks.stub`` prints the port it listens on. ``GET /stats`` tells what it
has served.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

PIECES = 10
"""Pieces of text that a run writes."""

PIECE = "Some words of it. "
TEXT = PIECE * PIECES

Json = dict[str, Any]

_ids = itertools.count(1)


def new_id(prefix: str) -> str:
    """Return an id."""
    return f"{prefix}_{next(_ids):08d}"


class Run:
    """One run: its objects, and what its stream tells when.

    Args:
        seconds: How long it takes.
        loop: The event loop, for its clock.
    """

    def __init__(self, body: Json, owner: str, loop: asyncio.AbstractEventLoop) -> None:
        self.seconds = float(body["model"])
        self.began = loop.time()
        self.body = body
        self.owner = owner
        self.message_id = new_id("msg")

    def progress(self, now: float) -> str:
        """Return its status."""
        return "completed" if now >= self.began + self.seconds else "in_progress"


class AssistantsRun(Run):
    """A run of the Assistants wire."""

    def __init__(self, body: Json, owner: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(body, owner, loop)
        self.id = new_id("run")

    def object(self, status: str) -> Json:
        """Return the run object."""
        done = status == "completed"
        usage = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
        return {
            "id": self.id,
            "object": "thread.run",
            "created_at": 1700000000,
            "thread_id": self.owner,
            "assistant_id": self.body["assistant_id"],
            "status": status,
            "required_action": None,
            "last_error": None,
            "expires_at": None if done else 1700000600,
            "started_at": 1700000000,
            "cancelled_at": None,
            "failed_at": None,
            "completed_at": 1700000001 if done else None,
            "incomplete_details": None,
            "model": self.body["model"],
            "instructions": "",
            "tools": [],
            "metadata": self.body.get("metadata") or {},
            "usage": usage if done else None,
            "temperature": 1.0,
            "top_p": 1.0,
            "max_prompt_tokens": None,
            "max_completion_tokens": None,
            "truncation_strategy": {"type": "auto", "last_messages": None},
            "tool_choice": "auto",
            "parallel_tool_calls": True,
            "response_format": "auto",
        }

    def message(self, status: str) -> Json:
        """Return the message it writes."""
        done = status == "completed"
        text = {"type": "text", "text": {"value": TEXT, "annotations": []}}
        return {
            "id": self.message_id,
            "object": "thread.message",
            "created_at": 1700000000,
            "thread_id": self.owner,
            "status": status,
            "incomplete_details": None,
            "completed_at": 1700000001 if done else None,
            "incomplete_at": None,
            "role": "assistant",
            "content": [text] if done else [],
            "assistant_id": self.body["assistant_id"],
            "run_id": self.id,
            "attachments": [],
            "metadata": {},
        }

    def step(self, status: str) -> Json:
        """Return the step in which it does."""
        details = {"message_creation": {"message_id": self.message_id}}
        return {
            "id": "step_" + self.id,
            "object": "thread.run.step",
            "created_at": 1700000000,
            "run_id": self.id,
            "assistant_id": self.body["assistant_id"],
            "thread_id": self.owner,
            "type": "message_creation",
            "status": status,
            "step_details": {"type": "message_creation", **details},
            "last_error": None,
            "expired_at": None,
            "cancelled_at": None,
            "failed_at": None,
            "completed_at": None,
            "metadata": {},
            "usage": None,
        }

    def begun(self) -> bytes:
        """Return the events that a stream begins with."""
        statuses = ["created", "queued", "in_progress"]
        return b"".join(
            [
                *(
                    event(
                        f"thread.run.{status}",
                        self.object(status.replace("created", "queued")),
                    )
                    for status in statuses
                ),
                event("thread.run.step.created", self.step("in_progress")),
                event("thread.run.step.in_progress", self.step("in_progress")),
                event("thread.message.created", self.message("in_progress")),
                event("thread.message.in_progress", self.message("in_progress")),
            ]
        )

    def piece(self) -> bytes:
        """Return the event of a piece of text."""
        part = {"index": 0, "type": "text", "text": {"value": PIECE, "annotations": []}}
        delta = {"id": self.message_id, "object": "thread.message.delta"}
        return event("thread.message.delta", {**delta, "delta": {"content": [part]}})

    def ended(self) -> bytes:
        """Return the events that a stream ends with."""
        return b"".join(
            [
                event("thread.message.completed", self.message("completed")),
                event("thread.run.step.completed", self.step("completed")),
                event("thread.run.completed", self.object("completed")),
                b"event: done\ndata: [DONE]\n\n",
            ]
        )


class ResponsesRun(Run):
    """A response."""

    def __init__(self, body: Json, owner: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(body, owner, loop)
        self.id = new_id("resp")
        self._numbers = itertools.count()

    def item(self, status: str) -> Json:
        """Return the message it writes."""
        text = {"type": "output_text", "text": TEXT, "annotations": [], "logprobs": []}
        return {
            "id": self.message_id,
            "type": "message",
            "status": status,
            "role": "assistant",
            "content": [text] if status == "completed" else [],
        }

    def object(self, status: str) -> Json:
        """Return the response object."""
        done = status == "completed"
        return {
            "id": self.id,
            "object": "response",
            "created_at": 1700000000,
            "status": status,
            "background": bool(self.body.get("background")),
            "conversation": {"id": self.owner},
            "error": None,
            "incomplete_details": None,
            "instructions": self.body.get("instructions"),
            "max_output_tokens": None,
            "model": self.body["model"],
            "output": [self.item("completed")] if done else [],
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "store": True,
            "temperature": 1.0,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "truncation": "disabled",
            "usage": {
                "input_tokens": 10,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": 20,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 30,
            }
            if done
            else None,
            "metadata": self.body.get("metadata") or {},
        }

    def begun(self) -> bytes:
        """Return the events that a stream begins with."""
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        return b"".join(
            [
                self._event("response.created", {"response": self.object("queued")}),
                self._event("response.queued", {"response": self.object("queued")}),
                self._event("response.in_progress", {"response": self.object("in_progress")}),
                self._event(
                    "response.output_item.added",
                    {"output_index": 0, "item": self.item("in_progress")},
                ),
                self._event("response.content_part.added", {**self._place(), "part": part}),
            ]
        )

    def piece(self) -> bytes:
        """Return the event of a piece of text."""
        return self._event(
            "response.output_text.delta", {**self._place(), "delta": PIECE, "logprobs": []}
        )

    def ended(self) -> bytes:
        """Return the events that a stream ends with."""
        item = self.item("completed")
        return b"".join(
            [
                self._event(
                    "response.output_text.done", {**self._place(), "text": TEXT, "logprobs": []}
                ),
                self._event(
                    "response.content_part.done", {**self._place(), "part": item["content"][0]}
                ),
                self._event("response.output_item.done", {"output_index": 0, "item": item}),
                self._event("response.completed", {"response": self.object("completed")}),
            ]
        )

    def _place(self) -> Json:
        return {"item_id": self.message_id, "output_index": 0, "content_index": 0}

    def _event(self, name: str, data: Json) -> bytes:
        return event(name, {"type": name, **data, "sequence_number": next(self._numbers)})


def event(name: str, data: Json) -> bytes:
    """Spell an event."""
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


class Stub:
    """What has been asked for, and the answers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.requests = 0
        self.connections = 0
        self.open = 0
        self._runs: dict[str, AssistantsRun | ResponsesRun] = {}

    def answer(self, method: str, path: str, query: Json, body: Json) -> Json | Run:
        """Return the answer's body, or a run to stream."""
        for wanted, pattern, make in ROUTES:
            match = pattern.fullmatch(path)
            if match and wanted == method:
                return make(self, *match.groups(), query, body)
        return {"error": {"message": f"no route for {method} {path}"}}

    def stats(self, query: Json, body: Json) -> Json:
        """Return what was served."""
        return {"requests": self.requests, "connections": self.connections, "open": self.open}

    def thread(self, query: Json, body: Json) -> Json:
        """Make a thread."""
        return {"id": new_id("thread"), "object": "thread", "created_at": 0, "metadata": {}}

    def thread_seen(self, thread_id: str, query: Json, body: Json) -> Json:
        """Show a thread."""
        return {"id": thread_id, "object": "thread", "created_at": 0, "metadata": {}}

    def assistant(self, query: Json, body: Json) -> Json:
        """Make an assistant."""
        made = {"id": new_id("asst"), "object": "assistant", "created_at": 0, "tools": []}
        return {**made, "model": "1", "name": None, "description": None, "metadata": {}}

    def message(self, thread_id: str, query: Json, body: Json) -> Json:
        """Add a message."""
        text = {"type": "text", "text": {"value": body["content"], "annotations": []}}
        return {
            "id": new_id("msg"),
            "object": "thread.message",
            "created_at": 1700000000,
            "thread_id": thread_id,
            "role": "user",
            "content": [text],
            "assistant_id": None,
            "run_id": None,
            "attachments": [],
            "metadata": body.get("metadata") or {},
        }

    def messages(self, thread_id: str, query: Json, body: Json) -> Json:
        """List the messages of a run."""
        run = self._runs[query["run_id"][0]] if "run_id" in query else None
        listed = [run.message("completed")] if isinstance(run, AssistantsRun) else []
        return self._list(listed)

    def run(self, thread_id: str, query: Json, body: Json) -> Json | Run:
        """Begin a run."""
        run = AssistantsRun(body, thread_id, self.loop)
        self._runs[run.id] = run
        return run if body.get("stream") else run.object("queued")

    def runs(self, thread_id: str, query: Json, body: Json) -> Json:
        """List runs: none is ever going when an agent begins."""
        return self._list([])

    def run_seen(self, thread_id: str, run_id: str, query: Json, body: Json) -> Json:
        """Show a run."""
        run = self._runs[run_id]
        return run.object(run.progress(self.loop.time()))

    def conversation(self, query: Json, body: Json) -> Json:
        """Make a conversation."""
        return {"id": new_id("conv"), "object": "conversation", "created_at": 0, "metadata": {}}

    def conversation_seen(self, conversation_id: str, query: Json, body: Json) -> Json:
        """Show a conversation."""
        metadata = body.get("metadata") or {}
        return {"id": conversation_id, "object": "conversation", "metadata": metadata}

    def items(self, conversation_id: str, query: Json, body: Json) -> Json:
        """List items: none."""
        return self._list([])

    def response(self, query: Json, body: Json) -> Json | Run:
        """Begin a response."""
        conversation = body.get("conversation")
        owner = conversation["id"] if isinstance(conversation, dict) else str(conversation)
        run = ResponsesRun(body, owner, self.loop)
        self._runs[run.id] = run
        return run if body.get("stream") else run.object("queued")

    def response_seen(self, response_id: str, query: Json, body: Json) -> Json:
        """Show a response."""
        run = self._runs[response_id]
        return run.object(run.progress(self.loop.time()))

    def _list(self, listed: list[Json]) -> Json:
        ends = {"first_id": listed[0]["id"], "last_id": listed[-1]["id"]} if listed else {}
        return {"object": "list", "data": listed, "has_more": False, **ends}


Route = tuple[str, re.Pattern[str], Callable[..., Json | Run]]


def _routes() -> Iterator[Route]:
    one = "([^/]+)"
    for method, path, make in (
        ("GET", "/stats", Stub.stats),
        ("POST", "/v1/threads", Stub.thread),
        ("GET", f"/v1/threads/{one}", Stub.thread_seen),
        ("POST", "/v1/assistants", Stub.assistant),
        ("POST", f"/v1/threads/{one}/messages", Stub.message),
        ("GET", f"/v1/threads/{one}/messages", Stub.messages),
        ("POST", f"/v1/threads/{one}/runs", Stub.run),
        ("GET", f"/v1/threads/{one}/runs", Stub.runs),
        ("GET", f"/v1/threads/{one}/runs/{one}", Stub.run_seen),
        ("POST", "/v1/conversations", Stub.conversation),
        ("GET", f"/v1/conversations/{one}", Stub.conversation_seen),
        ("POST", f"/v1/conversations/{one}", Stub.conversation_seen),
        ("GET", f"/v1/conversations/{one}/items", Stub.items),
        ("POST", "/v1/responses", Stub.response),
        ("GET", f"/v1/responses/{one}", Stub.response_seen),
    ):
        yield method, re.compile(path), make


ROUTES = list(_routes())

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """Serve one connection, one request after the other.

    Args:
        stub: What answers.
    """

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._received = b""
        self._timers: list[asyncio.TimerHandle] = []
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._stub.connections += 1
        self._stub.open += 1

    def connection_lost(self, exc: Exception | None) -> None:
        """End what is still to be told."""
        self._stub.open -= 1
        for timer in self._timers:
            timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Take in what came, and answer what is whole."""
        self._received += data
        while True:
            head, found, rest = self._received.partition(b"\r\n\r\n")
            match = _LENGTH.search(head)
            length = int(match[1]) if match else 0
            if not found or len(rest) < length:
                return
            self._received = rest[length:]
            self._serve(head.split(b"\r\n", 1)[0].decode(), rest[:length])

    def _serve(self, line: str, text: bytes) -> None:
        method, target, _ = line.split(" ")
        parts = urlsplit(target)
        if parts.path != "/stats":
            self._stub.requests += 1
        body = json.loads(text) if text else {}
        answer = self._stub.answer(method, parts.path, parse_qs(parts.query), body)
        if isinstance(answer, Run):
            self._stream(answer)
        else:
            content = json.dumps(answer).encode()
            status = "404 Not Found" if answer.get("error") else "200 OK"
            self._transport.write(
                f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(content)}\r\n\r\n".encode()
                + content
            )

    def _stream(self, run: Any) -> None:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
        self._transport.write(head + b"Transfer-Encoding: chunked\r\n\r\n" + _chunk(run.begun()))
        loop = self._stub.loop
        self._timers = [
            loop.call_at(run.began + run.seconds * place / (PIECES + 1), self._piece, run)
            for place in range(1, PIECES + 1)
        ]
        self._timers.append(loop.call_at(run.began + run.seconds, self._end, run))

    def _piece(self, run: Any) -> None:
        self._transport.write(_chunk(run.piece()))

    def _end(self, run: Any) -> None:
        self._transport.write(_chunk(run.ended()) + b"0\r\n\r\n")


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


async def serve() -> None:
    """Serve until the process is ended, or its standard input is."""
    loop = asyncio.get_running_loop()
    stub = Stub(loop)
    server = await loop.create_server(lambda: Connection(stub), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve())
