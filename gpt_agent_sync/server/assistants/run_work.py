"""Runs at work: which one holds a thread, what its model is asked, what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from gpt_agent_sync.server.assistants import lifecycle
from gpt_agent_sync.server.assistants.run_events import DONE, Telling, run_told
from gpt_agent_sync.server.engine import Engine, Work
from gpt_agent_sync.server.models.base import (
    CallPiece,
    Chat,
    Finish,
    ModelError,
    ModelRequest,
    TextPiece,
)
from gpt_agent_sync.server.storage import Object
from gpt_agent_sync.server.streams import Stream, Told

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


def finish_cancelling(engine: Engine, run_id: str) -> Object | None:
    """Let a run in ``cancelling`` go, and give it; what its model still says is dropped."""
    runs = engine.storage.runs
    with engine.storage.write() as connection:
        run = runs.get(connection, run_id, lock=True)
        if run is not None and run["status"] == "cancelling":
            run = lifecycle.cancelled(run, engine.clock())
            runs.update(connection, run)
    return run


class RunWork(Work):
    """Have a run answered.

    Args:
        engine: Who does it.
        run_id: The run.
        stream: What is told of it, if anybody wants to know.
    """

    kind = "run"

    def __init__(self, engine: Engine, run_id: str, stream: Stream | None = None) -> None:
        super().__init__(run_id, stream)
        self._engine = engine
        self._storage = engine.storage
        self._run: Object = {}
        self._telling: Telling

    def begin(self) -> bool:
        """Put a queued run to work."""
        with self._storage.write() as connection:
            run = self._storage.runs.get(connection, self.id, lock=True)
            if run is None:
                return False
            if run["status"] == "queued":
                run = current(self._engine, connection, run)
            begins: bool = run["status"] == "queued"
            if begins:
                run = lifecycle.begun(run, self._engine.clock())
                self._storage.runs.update(connection, run)
        self._run = run
        self._telling = Telling(run, self._engine.clock())
        if begins:
            self.tell(run_told(run))
        else:
            self.tell(run_told(run), DONE, last=True)
        return begins

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

    def hear(self, piece: TextPiece | CallPiece) -> None:
        """Take in a piece, and tell of it."""
        self.tell(*self._telling.hear(piece))

    def finish(self, end: Finish | ModelError) -> None:
        """Give the run its outcome, unless it was cancelled or is out of time."""
        told: list[Told] = []
        with self._storage.write() as connection:
            run = self._storage.runs.get(connection, self.id, lock=True)
            if run is None:
                return
            run = current(self._engine, connection, run)
            if run["status"] == "in_progress":
                run, told = self._outcome(connection, run, end)
                self._storage.runs.update(connection, run)
            elif run["status"] == "cancelling":
                told = [run_told(run)]
                run = lifecycle.cancelled(run, self._engine.clock())
                self._storage.runs.update(connection, run)
        self.tell(*told, run_told(run), DONE, last=True)

    def _outcome(
        self, connection: sa.Connection, run: Object, end: Finish | ModelError
    ) -> tuple[Object, list[Told]]:
        now, telling = self._engine.clock(), self._telling
        if isinstance(end, ModelError):
            return lifecycle.failed(run, end.code, end.message, now), []
        messages, told = telling.finish(end.cut_short, now)
        for message in messages:
            self._storage.messages.insert(connection, message, run["thread_id"])
        if telling.calls:
            return lifecycle.waiting(run, telling.calls, end.usage), told
        if end.cut_short is not None:
            return lifecycle.incomplete(run, end.cut_short, end.usage), told
        return lifecycle.completed(run, end.usage, now), told


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
