"""What a run's model says, as messages and calls, and as the events that tell of them; pure.

Names, order and fields of the events are those of OpenAI's published description.
"""

from __future__ import annotations

from typing import Any

from gpt_agent_sync.server.listing import shown
from gpt_agent_sync.server.models.base import CallPiece, TextPiece
from gpt_agent_sync.server.storage import Object, new_id
from gpt_agent_sync.server.streams import Told

DONE = Told("done", "[DONE]")


def run_told(run: Object, status: str | None = None) -> Told:
    """Tell of a run's status."""
    return Told(f"thread.run.{status or run['status']}", shown(run))


class Telling:
    """Collect what the model says for one leg of a run, and spell the events of it.

    Args:
        run: The run, at work.
        now: Unix time.
    """

    def __init__(self, run: Object, now: float) -> None:
        self._run = run
        self._now = int(now)
        self._texts: list[str] = []
        self._messages: list[Object] = []
        self._writing = False
        self._step: Object = {}
        self._calling = ""
        self.calls: list[dict[str, Any]] = []

    def hear(self, piece: TextPiece | CallPiece) -> list[Told]:
        """Take in the next piece of the model's answer, and give its events."""
        if isinstance(piece, CallPiece):
            return self._call(piece)
        return self._text(piece.text) if piece.text else []

    def finish(self, cut_short: str | None, now: float) -> tuple[list[Object], list[Told]]:
        """Give the messages, and the events of their end.

        No answer at all is an empty message.

        Args:
            cut_short: Why the text ends early, if it does.
            now: Unix time.
        """
        told = [] if self._messages or self.calls else self._text("")
        return self._messages, [*told, *self._close(cut_short, int(now))]

    def _text(self, text: str) -> list[Told]:
        told = [] if self._writing else self._open()
        self._texts.append(text)
        if text:
            part = {"index": 0, "type": "text", "text": {"value": text, "annotations": []}}
            delta = {"id": self._messages[-1]["id"], "object": "thread.message.delta"}
            told.append(Told("thread.message.delta", {**delta, "delta": {"content": [part]}}))
        return told

    def _open(self) -> list[Told]:
        self._writing, self._texts = True, []
        message = _begun(self._run, self._now)
        self._messages.append(message)
        details = {"message_creation": {"message_id": message["id"]}}
        return [
            *self._begin_step("message_creation", details),
            Told("thread.message.created", message),
            Told("thread.message.in_progress", message),
        ]

    def _close(self, cut_short: str | None, now: int) -> list[Told]:
        if not self._writing:
            return []
        self._writing = False
        message = _ended(self._messages[-1], "".join(self._texts), cut_short, now)
        self._messages[-1] = message
        step = {**self._step, "status": "completed", "completed_at": now}
        return [
            Told(f"thread.message.{message['status']}", message),
            Told("thread.run.step.completed", step),
        ]

    def _call(self, piece: CallPiece) -> list[Told]:
        function = {"name": piece.name, "arguments": piece.arguments}
        call = {"id": new_id("call"), "type": "function", "function": function}
        told = self._close(None, self._now)
        if not self.calls:
            told.extend(self._begin_step("tool_calls", {"tool_calls": []}))
            self._calling = self._step["id"]
        self.calls.append(call)
        delta = {
            "step_details": {
                "type": "tool_calls",
                "tool_calls": [{"index": len(self.calls) - 1, **call}],
            }
        }
        told.append(
            Told(
                "thread.run.step.delta",
                {"id": self._calling, "object": "thread.run.step.delta", "delta": delta},
            )
        )
        return told

    def _begin_step(self, kind: str, details: dict[str, Any]) -> list[Told]:
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
            Told("thread.run.step.created", self._step),
            Told("thread.run.step.in_progress", self._step),
        ]


def _begun(run: Object, now: int) -> Object:
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


def _ended(message: Object, text: str, cut_short: str | None, now: int) -> Object:
    reason = {"max_completion_tokens": "max_tokens"}.get(cut_short or "", cut_short)
    return {
        **message,
        "status": "completed" if cut_short is None else "incomplete",
        "incomplete_details": None if cut_short is None else {"reason": reason},
        "completed_at": now if cut_short is None else None,
        "incomplete_at": None if cut_short is None else now,
        "content": [{"type": "text", "text": {"value": text, "annotations": []}}],
    }
