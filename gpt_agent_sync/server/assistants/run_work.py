"""Runs in progress: which one locks a thread, what its model is asked, how it ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gpt_agent_sync.server.assistants import context, lifecycle, run_steps
from gpt_agent_sync.server.assistants.run_events import DONE, RunOutput, run_event
from gpt_agent_sync.server.engine import Engine
from gpt_agent_sync.server.models.base import (
    ChatObject,
    Finish,
    ModelError,
    ModelRequest,
    TextDelta,
    ToolCall,
)
from gpt_agent_sync.server.storage.collection import Collection, Connection, Object
from gpt_agent_sync.server.streams import StreamEvent
from gpt_agent_sync.server.work import Ending, ReplyEndedError, Work

_CHAT_OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "response_format": "response_format",
    "reasoning_effort": "reasoning_effort",
    "parallel_tool_calls": "parallel_tool_calls",
}
"""The options of a run, and their names in ``/chat/completions``."""


def live_run(engine: Engine, connection: Connection, thread_id: str) -> Object | None:
    """Return the run that locks the thread, ending those past their time."""
    for run in engine.storage.runs.with_status(connection, thread_id, lifecycle.LIVE):
        if lifecycle.is_live(end_if_expired(engine, connection, run)):
            return run
    return None


def end_if_expired(engine: Engine, connection: Connection, run: Object) -> Object:
    """Return the run, which is locked, as it is now: expired, and kept so, if past its time."""
    # No timer ends runs: whoever reads one next does, so that the runs of a server that was killed
    # end as well.
    if lifecycle.is_expired(run, engine.clock()):
        run = lifecycle.expired(run)
        # The run before its step, as everywhere, so that nobody waits for each other.
        engine.storage.runs.update(connection, run)
        end_calls_step(engine, connection, run)
    return run


def end_calls_step(engine: Engine, connection: Connection, run: Object) -> None:
    """End the step of the calls that a run waits for, as the run ends before their outputs."""
    steps, rounds = engine.storage.steps, run[lifecycle.ROUNDS]
    step = steps.get(connection, rounds[-1]["step"]) if rounds and rounds[-1].get("step") else None
    if step is not None and step["status"] == "in_progress":
        ended = run_steps.ended(step, run["status"], int(engine.clock()), error=run["last_error"])
        steps.update(connection, ended)


class RunWork(Work):
    """The work of answering a run, from queued to its end or to its next tool calls."""

    kind = "run"
    working = frozenset({"queued", "in_progress", "cancelling"})
    done_events = (DONE,)
    _output: RunOutput | None = None

    @classmethod
    def collection(cls, engine: Engine) -> Collection:
        """Return where runs are kept."""
        return engine.storage.runs

    def request(self) -> ModelRequest:
        """Return the thread's messages, and the run's tool rounds."""
        run, storage = self.item, self._storage
        end = context.used_up(run)
        if end is not None:
            raise ReplyEndedError(end)
        count = context.most_messages(run["truncation_strategy"])
        with storage.read() as connection:
            if count is None:
                messages = storage.messages.all_of(connection, run["thread_id"])
            else:
                messages = storage.messages.newest_of(connection, run["thread_id"], count)
        chat = context.fitting(
            _instructions(run),
            _chat_messages(messages),
            _chat_rounds(run),
            context.left(run, "max_prompt_tokens", "prompt_tokens"),
        )
        if chat is None:
            raise ReplyEndedError(Finish("max_prompt_tokens"))
        # "auto" is this wire's word for no choice; /chat/completions refuses it as a format.
        options = {
            chat_name: run[name]
            for name, chat_name in _CHAT_OPTIONS.items()
            if run[name] not in (None, "auto")
        }
        most = context.left(run, "max_completion_tokens", "completion_tokens")
        if most is not None:
            # The older name there, and the one that compatible servers know.
            options["max_tokens"] = most
        return ModelRequest(
            model=run["model"],
            messages=tuple(chat),
            tools=tuple(tool for tool in run["tools"] if tool.get("type") == "function"),
            tool_choice=_tool_choice(run),
            options=options,
            may_shorten=context.may_shorten(run["truncation_strategy"]),
            cancellation=self.cancellation,
        )

    def added(self, chunk: TextDelta | ToolCall) -> list[StreamEvent]:
        """Add a chunk of the model's answer to the output, and return its events."""
        assert self._output is not None
        return self._output.add(chunk)

    def event(self, item: Object) -> StreamEvent:
        """Return the event of the run's status."""
        return run_event(item)

    def is_expired(self, now: float) -> bool:
        """Return whether the run is past its time."""
        return lifecycle.is_expired(self.item, now)

    def end_if_expired(self, connection: Connection, item: Object) -> Object:
        """Return the run as it is now: expired, and kept so, if it is past its time."""
        return end_if_expired(self._engine, connection, item)

    def begun(self, connection: Connection, item: Object) -> Object:
        """Return the run in progress."""
        now = self._engine.clock()
        run = lifecycle.begun(item, now)
        self._output = RunOutput(run, now)
        return run

    def outcome(
        self, connection: Connection, item: Object, end: Finish | ModelError
    ) -> tuple[Object, list[StreamEvent]]:
        """Insert messages and steps, and return the run ended or waiting, and the events."""
        now, output = self._engine.clock(), self._output
        assert output is not None
        if isinstance(end, ModelError):
            run = lifecycle.failed(item, end.code, end.message, now)
            return run, self.cut_off(connection, run)
        # The model was not asked: there is no message that could have been cut short.
        if end.reason == "max_prompt_tokens":
            return lifecycle.incomplete(item, end.reason, end.usage), []
        events = output.finish(end, now)
        self._insert(connection, output)
        if output.calls:
            return lifecycle.waiting(item, output.calls, end.usage, output.calls_step_id), events
        if end.cut_short is not None:
            return lifecycle.incomplete(item, end.cut_short, end.usage), events
        return lifecycle.completed(item, end.usage, now), events

    def ended(self, item: Object, ending: Ending) -> Object:
        """Return the run cancelled, expired or failed."""
        now = self._engine.clock()
        if ending is Ending.EXPIRED:
            return lifecycle.expired(item)
        if ending is Ending.CANCELLED or item["status"] == "cancelling":
            return lifecycle.cancelled(item, now)
        return lifecycle.failed(item, "server_error", _ENDINGS[ending], now)

    def cut_off(self, connection: Connection, item: Object) -> list[StreamEvent]:
        """Insert the message that was cut off, and the steps, and return the events of that."""
        output = self._output
        if output is None or item["status"] not in ("failed", "cancelled", "expired"):
            return []
        events = output.cut_off(item["status"], self._engine.clock(), item["last_error"])
        self._insert(connection, output)
        return events

    def _insert(self, connection: Connection, output: RunOutput) -> None:
        thread_id = self.item["thread_id"]
        self._storage.messages.insert_all(connection, output.messages, thread_id)
        self._storage.steps.insert_all(connection, output.steps, thread_id)


_ENDINGS = {
    Ending.STOPPED: "The server was stopped while it worked on the run.",
    Ending.LOST: "The server that worked on the run is gone.",
}


def _tool_choice(run: Object) -> Any:
    # A choice that forces a call holds for the first answer of a run only: it would have no end.
    choice = run["tool_choice"] or "auto"
    return choice if choice in ("auto", "none") or not run[lifecycle.ROUNDS] else "auto"


def _instructions(run: Object) -> list[ChatObject]:
    return [{"role": "system", "content": run["instructions"]}] if run["instructions"] else []


def _chat_messages(messages: Sequence[Object]) -> list[ChatObject]:
    """Return the messages of a thread as ``/chat/completions`` has them."""
    return [
        {"role": message["role"], "content": _chat_content(message["content"])}
        for message in messages
    ]


def _chat_rounds(run: Object) -> list[ChatObject]:
    """Return a run's tool rounds as ``/chat/completions`` has them.

    It keeps its calls and outputs itself: they are no messages of the thread.
    """
    chat: list[ChatObject] = []
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
