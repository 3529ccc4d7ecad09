"""The output of a run's model as messages and tool calls, and as stream events; pure.

Names, order and fields of the events are those of OpenAI's published description.
"""

from __future__ import annotations

from typing import Any

from gpt_agent_sync.server.assistants import run_steps
from gpt_agent_sync.server.listing import shown
from gpt_agent_sync.server.models.base import Finish, TextDelta, ToolCall
from gpt_agent_sync.server.storage.collection import Object, new_id
from gpt_agent_sync.server.streams import StreamEvent

DONE = StreamEvent("done", "[DONE]")


def run_event(run: Object, status: str | None = None) -> StreamEvent:
    """Return the event of a run's status.

    Args:
        run: The run.
        status: Another status to name, such as ``"created"``, which no run has.
    """
    return StreamEvent(f"thread.run.{status or run['status']}", shown(run))


def step_event(step: Object, status: str | None = None) -> StreamEvent:
    """Return the event of a run step's status; arguments as for ``run_event``."""
    return StreamEvent(f"thread.run.step.{status or step['status']}", step)


class RunOutput:
    """What the model answers to one request of a run, as messages, tool calls and stream events.

    Args:
        run: The run, in progress.
        now: Unix time.

    Attributes:
        calls: The tool calls so far.
        messages: The messages so far; the last one may be open.
        steps: The steps so far; those of what is open are in progress.
    """

    def __init__(self, run: Object, now: float) -> None:
        self._run = run
        self._now = int(now)
        self._texts: list[str] = []
        self._message_is_open = False
        self._calls_step: int | None = None
        self.calls: list[dict[str, Any]] = []
        self.messages: list[Object] = []
        self.steps: list[Object] = []

    @property
    def calls_step_id(self) -> str | None:
        """The id of the step of the tool calls, if there are any."""
        return None if self._calls_step is None else str(self.steps[self._calls_step]["id"])

    def add(self, chunk: TextDelta | ToolCall) -> list[StreamEvent]:
        """Add the next chunk of the model's answer, and return its events."""
        if isinstance(chunk, ToolCall):
            return self._add_call(chunk)
        return self._add_text(chunk.text) if chunk.text else []

    def finish(self, end: Finish, now: float) -> list[StreamEvent]:
        """Close what is open but the step of tool calls, and return the events of that.

        An answer without text or calls is an empty message.

        Args:
            end: How the model's answer ended.
            now: Unix time.
        """
        events = [] if self.messages or self.calls else self._add_text("")
        # One answer is counted once: with its calls, which come last, or else its last message.
        if self._calls_step is not None:
            self.steps[self._calls_step]["usage"] = end.usage
            return [*events, *self._close_message(end.cut_short, int(now))]
        return [*events, *self._close_message(end.cut_short, int(now), end.usage)]

    def cut_off(
        self, status: str, now: float, error: dict[str, str] | None = None
    ) -> list[StreamEvent]:
        """Close what is open as the run ends in the middle of it, and return the events of that.

        Args:
            status: The run's: ``"failed"``, ``"cancelled"`` or ``"expired"``.
            now: Unix time.
            error: Why it failed.
        """
        events: list[StreamEvent] = []
        if self._message_is_open:
            self._message_is_open = False
            text, reason = "".join(self._texts), f"run_{status}"
            message = _final_message(self.messages[-1], text, reason, int(now))
            self.messages[-1] = message
            events.append(StreamEvent("thread.message.incomplete", message))
        for number, step in enumerate(self.steps):
            if step["status"] == "in_progress":
                self.steps[number] = step = run_steps.ended(step, status, int(now), error=error)
                events.append(step_event(step))
        # Calls that nobody is asked to answer are none: their step says so.
        self.calls = []
        return events

    def _add_text(self, text: str) -> list[StreamEvent]:
        # The message exists for clients from its first text on, not from the model's request.
        events = [] if self._message_is_open else self._open_message()
        self._texts.append(text)
        if text:
            part = {"index": 0, "type": "text", "text": {"value": text, "annotations": []}}
            delta = {"id": self.messages[-1]["id"], "object": "thread.message.delta"}
            events.append(
                StreamEvent("thread.message.delta", {**delta, "delta": {"content": [part]}})
            )
        return events

    def _open_message(self) -> list[StreamEvent]:
        self._message_is_open, self._texts = True, []
        message = _new_message(self._run, self._now)
        self.messages.append(message)
        return [
            *self._begin_step(run_steps.message_step(self._run, message["id"], self._now)),
            StreamEvent("thread.message.created", message),
            StreamEvent("thread.message.in_progress", message),
        ]

    def _close_message(
        self, cut_short: str | None, now: int, usage: dict[str, int] | None = None
    ) -> list[StreamEvent]:
        if not self._message_is_open:
            return []
        self._message_is_open = False
        message = _final_message(self.messages[-1], "".join(self._texts), cut_short, now)
        self.messages[-1] = message
        # The newest one: calls close the message before they begin a step, and text after them
        # begins another.
        self.steps[-1] = run_steps.ended(self.steps[-1], "completed", now, usage=usage)
        return [
            StreamEvent(f"thread.message.{message['status']}", message),
            step_event(self.steps[-1]),
        ]

    def _add_call(self, tool_call: ToolCall) -> list[StreamEvent]:
        function = {"name": tool_call.name, "arguments": tool_call.arguments}
        call = {"id": new_id("call"), "type": "function", "function": function}
        # Text before a call is a message of its own; text after it opens the next one.
        events = self._close_message(None, self._now)
        # All calls of one answer are one step.
        if self._calls_step is None:
            self._calls_step = len(self.steps)
            events.extend(self._begin_step(run_steps.calls_step(self._run, self._now)))
        self.calls.append(call)
        step = run_steps.with_calls(self.steps[self._calls_step], self.calls)
        self.steps[self._calls_step] = step
        # Clients take the first delta for the call's creation, and the others for its arguments.
        begun = {**call, "function": {"name": tool_call.name, "arguments": "", "output": None}}
        events.append(self._call_delta(step["id"], begun))
        more = {"type": "function", "function": {"arguments": tool_call.arguments}}
        events.append(self._call_delta(step["id"], more))
        return events

    def _call_delta(self, step_id: str, call: dict[str, Any]) -> StreamEvent:
        calls = [{"index": len(self.calls) - 1, **call}]
        delta = {"step_details": {"type": "tool_calls", "tool_calls": calls}}
        return StreamEvent(
            "thread.run.step.delta",
            {"id": step_id, "object": "thread.run.step.delta", "delta": delta},
        )

    def _begin_step(self, step: Object) -> list[StreamEvent]:
        self.steps.append(step)
        return [step_event(step, "created"), step_event(step)]


def _new_message(run: Object, now: int) -> Object:
    return {
        "id": new_id("msg"),
        "object": "thread.message",
        "created_at": now,
        "thread_id": run["thread_id"],
        "status": "in_progress",
        "incomplete_details": None,
        "completed_at": None,
        "incomplete_at": None,
        "role": "assistant",
        "content": [],
        "assistant_id": run["assistant_id"],
        "run_id": run["id"],
        "attachments": [],
        "metadata": {},
    }


def _final_message(message: Object, text: str, cut_short: str | None, now: int) -> Object:
    # Messages have another word than runs for the same reason.
    reason = {"max_completion_tokens": "max_tokens"}.get(cut_short or "", cut_short)
    return {
        **message,
        "status": "completed" if cut_short is None else "incomplete",
        "incomplete_details": None if cut_short is None else {"reason": reason},
        "completed_at": now if cut_short is None else None,
        "incomplete_at": None if cut_short is None else now,
        "content": [{"type": "text", "text": {"value": text, "annotations": []}}],
    }
