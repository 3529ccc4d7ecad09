"""Runs in progress: which one locks a thread, what its model is asked, how it ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpt_agent_sync.server.assistants import lifecycle
from gpt_agent_sync.server.assistants.run_events import DONE, RunOutput, run_event
from gpt_agent_sync.server.collection import Connection, Object
from gpt_agent_sync.server.engine import Engine, Work
from gpt_agent_sync.server.models.base import (
    ChatObject,
    Finish,
    ModelError,
    ModelRequest,
    TextDelta,
    ToolCall,
)
from gpt_agent_sync.server.streams import Stream, StreamEvent

_CHAT_OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_completion_tokens": "max_tokens",
    "response_format": "response_format",
    "reasoning_effort": "reasoning_effort",
    "parallel_tool_calls": "parallel_tool_calls",
}
"""The options of a run, and their names in ``/chat/completions``.

``max_tokens`` is the older name there, and the one that compatible servers know.
"""


def live_run(engine: Engine, connection: Connection, thread_id: str) -> Object | None:
    """Return the run that locks the thread, ending those past their time."""
    for run in engine.storage.runs.with_status(connection, thread_id, lifecycle.LIVE):
        if lifecycle.is_live(end_if_expired(engine, connection, run)):
            return run
    return None


def end_if_expired(engine: Engine, connection: Connection, run: Object) -> Object:
    """Return the run as it is now: expired, and kept so, if it is past its time."""
    # No timer ends runs: whoever reads one next does, so that the runs of a server that was killed
    # end as well.
    if lifecycle.is_expired(run, engine.clock()):
        run = lifecycle.expired(run)
        engine.storage.runs.update(connection, run)
    return run


def finish_cancelling(engine: Engine, run_id: str) -> Object | None:
    """Cancel a run in ``cancelling``, and return it; what its model still answers is dropped."""
    runs = engine.storage.runs
    with engine.storage.write() as connection:
        run = runs.get(connection, run_id, lock=True)
        # The model may have come to its end first, or the thread have been deleted.
        if run is not None and run["status"] == "cancelling":
            run = lifecycle.cancelled(run, engine.clock())
            runs.update(connection, run)
    return run


class RunWork(Work):
    """The work of answering a run, from queued to its end or to its next tool calls.

    Args:
        engine: Who does it.
        run_id: The run.
        stream: Where its events go, if somebody reads them.
    """

    kind = "run"
    done_events = (DONE,)

    def __init__(self, engine: Engine, run_id: str, stream: Stream | None = None) -> None:
        super().__init__(engine, engine.storage.runs, run_id, stream)
        self._output: RunOutput

    def request(self) -> ModelRequest:
        """Return the thread's messages, and the run's tool rounds."""
        run = self.item
        with self._storage.read() as connection:
            messages = self._storage.messages.all_of(connection, run["thread_id"])
        # "auto" is this wire's word for no choice; /chat/completions refuses it as a format.
        options = {
            chat_name: run[name]
            for name, chat_name in _CHAT_OPTIONS.items()
            if run[name] not in (None, "auto")
        }
        return ModelRequest(
            model=run["model"],
            messages=tuple(_chat_messages(run, messages)),
            tools=tuple(tool for tool in run["tools"] if tool.get("type") == "function"),
            tool_choice=run["tool_choice"] or "auto",
            options=options,
        )

    def add(self, chunk: TextDelta | ToolCall) -> None:
        """Add the next chunk of the model's answer, and publish its events."""
        self.publish(*self._output.add(chunk))

    def event(self, item: Object) -> StreamEvent:
        """Return the event of the run's status."""
        return run_event(item)

    def end_if_expired(self, connection: Connection, item: Object) -> Object:
        """Return the run as it is now: expired, and kept so, if it is past its time."""
        return end_if_expired(self._engine, connection, item)

    def begun(self, item: Object) -> Object:
        """Return the run in progress."""
        now = self._engine.clock()
        run = lifecycle.begun(item, now)
        self._output = RunOutput(run, now)
        return run

    def outcome(
        self, connection: Connection, item: Object, end: Finish | ModelError
    ) -> tuple[Object, list[StreamEvent]]:
        """Insert the messages, and return the run ended or waiting for outputs, and the events."""
        now, output = self._engine.clock(), self._output
        if item["status"] == "cancelling":
            return lifecycle.cancelled(item, now), [run_event(item)]
        if isinstance(end, ModelError):
            return lifecycle.failed(item, end.code, end.message, now), []
        messages, events = output.finish(end.cut_short, now)
        for message in messages:
            self._storage.messages.insert(connection, message, item["thread_id"])
        if output.calls:
            return lifecycle.waiting(item, output.calls, end.usage), events
        if end.cut_short is not None:
            return lifecycle.incomplete(item, end.cut_short, end.usage), events
        return lifecycle.completed(item, end.usage, now), events


def _chat_messages(run: Object, messages: Sequence[Object]) -> list[ChatObject]:
    """Return the thread, and the run's tool rounds, as ``/chat/completions`` has them."""
    chat: list[ChatObject] = []
    if run["instructions"]:
        chat.append({"role": "system", "content": run["instructions"]})
    for message in messages:
        chat.append({"role": message["role"], "content": _chat_content(message["content"])})
    # A run keeps its calls and outputs itself: they are no messages of the thread.
    for tool_round in run[lifecycle.ROUNDS]:
        chat.append({"role": "assistant", "content": None, "tool_calls": tool_round["calls"]})
        for call in tool_round["calls"]:
            output = tool_round["outputs"].get(call["id"], "")
            chat.append({"role": "tool", "tool_call_id": call["id"], "content": output})
    return chat


def _chat_content(parts: Sequence[dict[str, Any]]) -> str | list[dict[str, Any]]:
    # Texts are joined where that suffices: not every upstream takes a list of parts.
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"]["value"] for part in parts)
    # An image file lies with the wire's files, which the upstream cannot reach.
    return [
        {"type": "text", "text": part["text"]["value"]} if part["type"] == "text" else part
        for part in parts
        if part["type"] != "image_file"
    ]
