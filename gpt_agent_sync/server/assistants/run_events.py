"""The output of a run's model as messages and tool calls, and as stream events; pure.

Names, order and fields of the events are those of OpenAI's published description.
"""

from __future__ import annotations

from typing import Any

from gpt_agent_sync.server.collection import Object, new_id
from gpt_agent_sync.server.listing import shown
from gpt_agent_sync.server.models.base import TextDelta, ToolCall
from gpt_agent_sync.server.streams import StreamEvent

DONE = StreamEvent("done", "[DONE]")


def run_event(run: Object, status: str | None = None) -> StreamEvent:
    """Return the event of a run's status.

    Args:
        run: The run.
        status: Another status to name, such as ``"created"``, which no run has.
    """
    return StreamEvent(f"thread.run.{status or run['status']}", shown(run))


class RunOutput:
    """What the model answers to one request of a run, as messages, tool calls and stream events.

    Args:
        run: The run, in progress.
        now: Unix time.

    Attributes:
        calls: The tool calls so far.
    """

    def __init__(self, run: Object, now: float) -> None:
        self._run = run
        self._now = int(now)
        self._texts: list[str] = []
        self._messages: list[Object] = []
        self._message_is_open = False
        self._step: Object = {}
        self._calls_step_id = ""
        self.calls: list[dict[str, Any]] = []

    def add(self, chunk: TextDelta | ToolCall) -> list[StreamEvent]:
        """Add the next chunk of the model's answer, and return its events."""
        if isinstance(chunk, ToolCall):
            return self._add_call(chunk)
        return self._add_text(chunk.text) if chunk.text else []

    def finish(self, cut_short: str | None, now: float) -> tuple[list[Object], list[StreamEvent]]:
        """Return the messages, and the events of their end.

        An answer without text or calls is an empty message.

        Args:
            cut_short: Why the text ends early, if it does.
            now: Unix time.
        """
        events = [] if self._messages or self.calls else self._add_text("")
        return self._messages, [*events, *self._close_message(cut_short, int(now))]

    def _add_text(self, text: str) -> list[StreamEvent]:
        # The message exists for clients from its first text on, not from the model's request.
        events = [] if self._message_is_open else self._open_message()
        self._texts.append(text)
        if text:
            part = {"index": 0, "type": "text", "text": {"value": text, "annotations": []}}
            delta = {"id": self._messages[-1]["id"], "object": "thread.message.delta"}
            events.append(
                StreamEvent("thread.message.delta", {**delta, "delta": {"content": [part]}})
            )
        return events

    def _open_message(self) -> list[StreamEvent]:
        self._message_is_open, self._texts = True, []
        message = _new_message(self._run, self._now)
        self._messages.append(message)
        details = {"message_creation": {"message_id": message["id"]}}
        return [
            *self._begin_step("message_creation", details),
            StreamEvent("thread.message.created", message),
            StreamEvent("thread.message.in_progress", message),
        ]

    def _close_message(self, cut_short: str | None, now: int) -> list[StreamEvent]:
        if not self._message_is_open:
            return []
        self._message_is_open = False
        message = _final_message(self._messages[-1], "".join(self._texts), cut_short, now)
        self._messages[-1] = message
        step = {**self._step, "status": "completed", "completed_at": now}
        return [
            StreamEvent(f"thread.message.{message['status']}", message),
            StreamEvent("thread.run.step.completed", step),
        ]

    def _add_call(self, tool_call: ToolCall) -> list[StreamEvent]:
        function = {"name": tool_call.name, "arguments": tool_call.arguments}
        call = {"id": new_id("call"), "type": "function", "function": function}
        # Text before a call is a message of its own; text after it opens the next one.
        events = self._close_message(None, self._now)
        # All calls of one answer are one step.
        if not self.calls:
            events.extend(self._begin_step("tool_calls", {"tool_calls": []}))
            self._calls_step_id = self._step["id"]
        self.calls.append(call)
        # Whole, as models give it: one delta a call.
        delta = {
            "step_details": {
                "type": "tool_calls",
                "tool_calls": [{"index": len(self.calls) - 1, **call}],
            }
        }
        events.append(
            StreamEvent(
                "thread.run.step.delta",
                {"id": self._calls_step_id, "object": "thread.run.step.delta", "delta": delta},
            )
        )
        return events

    def _begin_step(self, kind: str, details: dict[str, Any]) -> list[StreamEvent]:
        # Steps are streamed only, for clients whose helpers need them: no route lists them.
        self._step = {
            "id": new_id("step"),
            "object": "thread.run.step",
            "created_at": self._now,
            "run_id": self._run["id"],
            "assistant_id": self._run["assistant_id"],
            "thread_id": self._run["thread_id"],
            "type": kind,
            "status": "in_progress",
            "step_details": {"type": kind, **details},
            "last_error": None,
            "expired_at": None,
            "cancelled_at": None,
            "failed_at": None,
            "completed_at": None,
            "metadata": {},
            "usage": None,
        }
        return [
            StreamEvent("thread.run.step.created", self._step),
            StreamEvent("thread.run.step.in_progress", self._step),
        ]


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
