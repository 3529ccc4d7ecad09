"""Runs at work: which one holds a thread, what its model is asked, what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from gpt_agent_sync.server.assistants import lifecycle
from gpt_agent_sync.server.engine import Engine, ModelAnswer, Work
from gpt_agent_sync.server.models.base import CallPiece, Chat, ModelError, ModelRequest
from gpt_agent_sync.server.storage import Object, new_id

_CHAT_OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_completion_tokens": "max_tokens",
    "response_format": "response_format",
    "reasoning_effort": "reasoning_effort",
    "parallel_tool_calls": "parallel_tool_calls",
}


def live_run(engine: Engine, connection: sa.Connection, thread_id: str) -> Object | None:
    """Give the run that holds the thread, ending those whose time is up."""
    runs = engine.storage.runs
    for run in runs.with_status(connection, thread_id, lifecycle.LIVE):
        if not lifecycle.is_expired(run, engine.clock()):
            return run
        runs.update(connection, lifecycle.expired(run))
    return None


def current(engine: Engine, connection: sa.Connection, run: Object) -> Object:
    """Give the run as it is now, ended if its time is up."""
    if lifecycle.is_expired(run, engine.clock()):
        run = lifecycle.expired(run)
        engine.storage.runs.update(connection, run)
    return run


def finish_cancelling(engine: Engine, run_id: str) -> None:
    """Let a run in ``cancelling`` go; what its model still says is dropped."""
    runs = engine.storage.runs
    with engine.storage.write() as connection:
        run = runs.get(connection, run_id, lock=True)
        if run is not None and run["status"] == "cancelling":
            runs.update(connection, lifecycle.cancelled(run, engine.clock()))


class RunWork(Work):
    """Have a run answered.

    Args:
        engine: Who does it.
        run_id: The run.
    """

    kind = "run"

    def __init__(self, engine: Engine, run_id: str) -> None:
        self.id = run_id
        self._engine = engine
        self._storage = engine.storage
        self._run: Object = {}

    def begin(self) -> bool:
        """Put a queued run to work."""
        with self._storage.write() as connection:
            run = self._storage.runs.get(connection, self.id, lock=True)
            if run is None or run["status"] != "queued":
                return False
            run = current(self._engine, connection, run)
            if run["status"] != "queued":
                return False
            self._run = lifecycle.begun(run, self._engine.clock())
            self._storage.runs.update(connection, self._run)
            return True

    def request(self) -> ModelRequest:
        """Give the thread, and the run's tool rounds."""
        run = self._run
        with self._storage.read() as connection:
            messages = self._storage.messages.all_of(connection, run["thread_id"])
        options = {
            spelled: run[name]
            for name, spelled in _CHAT_OPTIONS.items()
            if run[name] not in (None, "auto")
        }
        return ModelRequest(
            model=run["model"],
            messages=tuple(_chat(run, messages)),
            tools=tuple(tool for tool in run["tools"] if tool.get("type") == "function"),
            tool_choice=run["tool_choice"] or "auto",
            options=options,
        )

    def finish(self, answer: ModelAnswer) -> None:
        """Give the run its outcome, unless it was cancelled or is out of time."""
        with self._storage.write() as connection:
            run = self._storage.runs.get(connection, self.id, lock=True)
            if run is None or run["status"] != "in_progress":
                return
            run = current(self._engine, connection, run)
            if run["status"] == "in_progress":
                run = self._outcome(connection, run, answer)
                self._storage.runs.update(connection, run)

    def _outcome(self, connection: sa.Connection, run: Object, answer: ModelAnswer) -> Object:
        now, end = self._engine.clock(), answer.end
        if isinstance(end, ModelError):
            return lifecycle.failed(run, end.code, end.message, now)
        if answer.text or not answer.calls:
            message = assistant_message(run, answer.text, answer.cut_short, now)
            self._storage.messages.insert(connection, message, run["thread_id"])
        if answer.calls:
            return lifecycle.waiting(run, [_call(call) for call in answer.calls], end.usage)
        if answer.cut_short is not None:
            return lifecycle.incomplete(run, answer.cut_short, end.usage)
        return lifecycle.completed(run, end.usage, now)


def _call(piece: CallPiece) -> dict[str, Any]:
    function = {"name": piece.name, "arguments": piece.arguments}
    return {"id": new_id("call"), "type": "function", "function": function}


def assistant_message(run: Object, text: str, cut_short: str | None, now: float) -> Object:
    """Give the message object of a reply."""
    status = "completed" if cut_short is None else "incomplete"
    reason = {"max_completion_tokens": "max_tokens"}.get(cut_short or "", cut_short)
    return {
        "id": new_id("msg"),
        "object": "thread.message",
        "created_at": int(now),
        "thread_id": run["thread_id"],
        "status": status,
        "incomplete_details": None if cut_short is None else {"reason": reason},
        "completed_at": int(now) if cut_short is None else None,
        "incomplete_at": None if cut_short is None else int(now),
        "role": "assistant",
        "content": [{"type": "text", "text": {"value": text, "annotations": []}}],
        "assistant_id": run["assistant_id"],
        "run_id": run["id"],
        "attachments": [],
        "metadata": {},
    }


def _chat(run: Object, messages: Sequence[Object]) -> list[Chat]:
    """Spell the thread, and the run's tool rounds, as ``/chat/completions`` does."""
    chat: list[Chat] = []
    if run["instructions"]:
        chat.append({"role": "system", "content": run["instructions"]})
    for message in messages:
        chat.append({"role": message["role"], "content": _chat_content(message["content"])})
    for done in run[lifecycle.ROUNDS]:
        chat.append({"role": "assistant", "content": None, "tool_calls": done["calls"]})
        for call in done["calls"]:
            output = done["outputs"].get(call["id"], "")
            chat.append({"role": "tool", "tool_call_id": call["id"], "content": output})
    return chat


def _chat_content(parts: Sequence[dict[str, Any]]) -> str | list[dict[str, Any]]:
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"]["value"] for part in parts)
    return [
        {"type": "text", "text": part["text"]["value"]} if part["type"] == "text" else part
        for part in parts
        if part["type"] != "image_file"
    ]
