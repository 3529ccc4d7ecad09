"""Making runs go: each is taken up by a thread, answered by a model, and kept."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from gpt_agent_sync.server import lifecycle
from gpt_agent_sync.server.models.base import (
    CallPiece,
    Chat,
    Finish,
    Model,
    ModelError,
    ModelRequest,
    TextPiece,
)
from gpt_agent_sync.server.storage import Object, Storage, StorageClosedError, new_id
from gpt_agent_sync.server.wire_errors import unknown_model

logger = logging.getLogger(__name__)

RUN_SECONDS = 600
"""How long a run may take, tool calls included (the wire's ``expires_at``)."""

_CHAT_OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "max_completion_tokens": "max_tokens",
    "response_format": "response_format",
    "reasoning_effort": "reasoning_effort",
    "parallel_tool_calls": "parallel_tool_calls",
}


class Engine:
    """Work on runs.

    Args:
        storage: Where they are kept.
        models: Who answers; the first that serves a name does.
        default_model: What the name ``"default"`` stands for.
        run_seconds: How long a run may take.
        clock: Gives Unix time.
    """

    def __init__(
        self,
        storage: Storage,
        models: Sequence[Model],
        *,
        default_model: str = "demo",
        run_seconds: float = RUN_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.storage = storage
        self.clock = clock
        self.run_seconds = run_seconds
        self._models = list(models)
        self._default_model = default_model

    def model_named(self, name: str) -> str:
        """Give the name of a model that is served.

        Raises:
            WireError: If nobody serves it.
        """
        resolved = self._default_model if name == "default" else name
        if not any(model.serves(resolved) for model in self._models):
            raise unknown_model(name)
        return resolved

    def take_up(self, run_id: str) -> None:
        """Have a thread work on a queued run."""
        threading.Thread(
            target=self._work, args=(run_id,), name=f"gpt-agent-server-{run_id}", daemon=True
        ).start()

    def live_run(self, connection: sa.Connection, thread_id: str) -> Object | None:
        """Give the run that holds the thread, ending those whose time is up."""
        for run in self.storage.runs.with_status(connection, thread_id, lifecycle.LIVE):
            if not lifecycle.is_expired(run, self.clock()):
                return run
            self.storage.runs.update(connection, lifecycle.expired(run))
        return None

    def current(self, connection: sa.Connection, run: Object) -> Object:
        """Give the run as it is now, ended if its time is up."""
        if lifecycle.is_expired(run, self.clock()):
            run = lifecycle.expired(run)
            self.storage.runs.update(connection, run)
        return run

    def finish_cancelling(self, run_id: str) -> None:
        """Let a run in ``cancelling`` go; what its model still says is dropped."""
        with self.storage.write() as connection:
            run = self.storage.runs.get(connection, run_id, lock=True)
            if run is not None and run["status"] == "cancelling":
                self.storage.runs.update(connection, lifecycle.cancelled(run, self.clock()))

    def close(self) -> None:
        """Close the storage; what models still say is dropped."""
        self.storage.close()

    def _work(self, run_id: str) -> None:
        try:
            run = self._begin(run_id)
            if run is not None:
                self._finish(run_id, *self._answer(run))
        except StorageClosedError:
            logger.debug("run %s is left as it is: the server has stopped", run_id)
        except sa.exc.SQLAlchemyError:
            logger.exception("run %s could not be kept", run_id)

    def _begin(self, run_id: str) -> Object | None:
        with self.storage.write() as connection:
            run = self.storage.runs.get(connection, run_id, lock=True)
            if run is None or run["status"] != "queued":
                return None
            run = self.current(connection, run)
            if run["status"] == "queued":
                run = lifecycle.begun(run, self.clock())
                self.storage.runs.update(connection, run)
            return run if run["status"] == "in_progress" else None

    def _answer(self, run: Object) -> tuple[str, list[CallPiece], Finish | ModelError]:
        texts: list[str] = []
        calls: list[CallPiece] = []
        end: Finish | ModelError = Finish()
        try:
            request = self._request(run)
            model = next(model for model in self._models if model.serves(request.model))
            for piece in model.reply(request):
                if isinstance(piece, TextPiece):
                    texts.append(piece.text)
                elif isinstance(piece, CallPiece):
                    calls.append(piece)
                else:
                    end = piece
        except ModelError as exc:
            end = exc
        except Exception:
            logger.exception("the model broke on run %s", run["id"])
            end = ModelError("server_error", "Sorry, something went wrong.")
        return "".join(texts), calls, end

    def _request(self, run: Object) -> ModelRequest:
        with self.storage.read() as connection:
            messages = self.storage.messages.all_of(connection, run["thread_id"])
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

    def _finish(
        self, run_id: str, text: str, calls: list[CallPiece], end: Finish | ModelError
    ) -> None:
        with self.storage.write() as connection:
            run = self.storage.runs.get(connection, run_id, lock=True)
            if run is None or run["status"] != "in_progress":
                return
            run = self.current(connection, run)
            if run["status"] == "in_progress":
                run = self._outcome(connection, run, text, calls, end)
                self.storage.runs.update(connection, run)

    def _outcome(
        self,
        connection: sa.Connection,
        run: Object,
        text: str,
        calls: list[CallPiece],
        end: Finish | ModelError,
    ) -> Object:
        now = self.clock()
        if isinstance(end, ModelError):
            return lifecycle.failed(run, end.code, end.message, now)
        cut_short = None if end.reason == "stop" else end.reason
        if text or not calls:
            message = assistant_message(run, text, cut_short, now)
            self.storage.messages.insert(connection, message, run["thread_id"])
        if calls:
            return lifecycle.waiting(run, [_call(call) for call in calls], end.usage)
        if cut_short is not None:
            return lifecycle.incomplete(run, cut_short, end.usage)
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
