"""Threads in memory, whose runs follow a script."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any

import attrs

from gpt_agent_sync.errors import (
    InvalidThreadIdError,
    RequestRejectedError,
    ServiceBusyError,
)
from gpt_agent_sync.records import Message, RunSnapshot, ToolCall, ToolOutput
from gpt_agent_sync.testing.script import (
    CallTools,
    Fail,
    Hold,
    Incomplete,
    Reply,
    Script,
    ScriptStep,
)


@attrs.define
class ScriptedRun:
    """A run, and what its script has it do next.

    Attributes:
        thread_id: Its conversation.
        snapshot: The run as the service shows it.
        text: The user's newest message.
        outputs: The tool outputs of its last round, by the tool's name.
        next_step: The step that it is about to do.
        held: Whether it waits for ``ScriptedService.release()`` first.
    """

    thread_id: str
    snapshot: RunSnapshot
    text: str
    outputs: dict[str, str] = attrs.field(factory=dict)
    next_step: ScriptStep | None = None
    held: bool = False

    def change(self, **facts: Any) -> None:
        """Show the run with these facts from now on."""
        self.snapshot = attrs.evolve(self.snapshot, **facts)


@attrs.define
class _Thread:
    messages: list[Message] = attrs.field(factory=list)
    runs: list[ScriptedRun] = attrs.field(factory=list)


class ScriptedThreads:
    """The threads of a scripted service, with the refusals of a real one; safe to share.

    Args:
        script: What the runs do.
    """

    def __init__(self, script: Script) -> None:
        self._script = script if callable(script) else iter(tuple(script))
        # Reentrant, as a script that is a function runs under it and may read the threads.
        self._condition = threading.Condition(threading.RLock())
        self._ids = itertools.count(1)
        self._threads: dict[str, _Thread] = {}
        self._held = True

    def new_id(self, prefix: str) -> str:
        """Return an id that no other object has."""
        return f"{prefix}_{next(self._ids)}"

    def create(self, messages: Sequence[Message]) -> str:
        """Create a thread that begins with these messages, and return its id."""
        with self._condition:
            thread_id = self.new_id("thread")
            given = [
                attrs.evolve(message, id=self.new_id("msg"), created_at=_now())
                for message in messages
            ]
            self._threads[thread_id] = _Thread(messages=given)
            return thread_id

    def messages(self, thread_id: str) -> list[Message]:
        """Return the messages of a thread, oldest first."""
        with self._condition:
            return list(self._thread(thread_id).messages)

    def add_message(self, thread_id: str, text: str) -> Message:
        """Add a user's message to a thread without a live run."""
        with self._condition:
            message = Message(id=self.new_id("msg"), role="user", content=text, created_at=_now())
            self._free_thread(thread_id).messages.append(message)
            return message

    def newest_run(self, thread_id: str) -> ScriptedRun | None:
        """Return the newest run of a thread."""
        with self._condition:
            runs = self._thread(thread_id).runs
            return runs[-1] if runs else None

    def run(self, thread_id: str, run_id: str) -> ScriptedRun:
        """Return a run."""
        with self._condition:
            for run in self._thread(thread_id).runs:
                if run.snapshot.id == run_id:
                    return run
            raise RequestRejectedError(f"no run {run_id!r}", status=404)

    def start_run(self, thread_id: str, assistant_id: str | None) -> ScriptedRun:
        """Queue a run on a thread without a live one."""
        with self._condition:
            thread = self._free_thread(thread_id)
            texts = [message.content for message in thread.messages if message.role == "user"]
            snapshot = RunSnapshot(
                id=self.new_id("run"), status="queued", assistant_id=assistant_id
            )
            run = ScriptedRun(thread_id, snapshot, texts[-1] if texts else "")
            thread.runs.append(run)
            return run

    def submit(self, run: ScriptedRun, outputs: Sequence[ToolOutput]) -> None:
        """Take the outputs that a run waits for; others are no use to it and are dropped."""
        with self._condition:
            if run.snapshot.status != "requires_action":
                return
            expected = {call.id: call.name for call in run.snapshot.tool_calls}
            given = [output.tool_call_id for output in outputs]
            # A submission that is repeated, when its first try was taken and the run has gone on.
            if not set(given) & set(expected):
                return
            if sorted(expected) != sorted(given):
                raise RequestRejectedError("Expected tool outputs for other call_ids", status=400)
            run.outputs = {expected[output.tool_call_id]: output.output for output in outputs}
            run.change(status="queued", tool_calls=())

    def cancel(self, run: ScriptedRun) -> None:
        """Cancel a run, unless it has ended."""
        with self._condition:
            if not run.snapshot.is_final:
                run.change(status="cancelled", tool_calls=())
                self._condition.notify_all()

    def begin_step(self, run: ScriptedRun) -> None:
        """Have a queued run take the script's next step."""
        with self._condition:
            if run.snapshot.status != "queued":
                return
            run.change(status="in_progress")
            if callable(self._script):
                step = self._script(run.text, run.outputs)
            else:
                step = next(self._script, Reply("ok"))
            run.held = isinstance(step, Hold)
            run.next_step = step.then if isinstance(step, Hold) else step

    def finish_step(self, run: ScriptedRun) -> None:
        """Do the run's step, unless another feed has done it or it was cancelled meanwhile."""
        with self._condition:
            step, run.next_step = run.next_step, None
            if run.snapshot.status == "in_progress" and step is not None:
                _PERFORM[type(step)](self, run, step)
                self._condition.notify_all()

    def wait_while_held(
        self, run: ScriptedRun, closed: Callable[[], bool], deadline: float | None
    ) -> bool:
        """Block while the run is held, or until ``closed()`` holds after a ``wake()``.

        Args:
            run: The run.
            closed: Returns whether nobody follows it any more.
            deadline: When to give up, monotonic seconds; ``None`` for never.

        Returns:
            Whether it came to that before the deadline.
        """
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        with self._condition:
            return self._condition.wait_for(
                lambda: closed() or not self._held or run.snapshot.status != "in_progress", left
            )

    def wake(self) -> None:
        """Have those that wait ask again whether they are closed."""
        with self._condition:
            self._condition.notify_all()

    def release(self) -> None:
        """Release all runs that are held, and those to come."""
        with self._condition:
            self._held = False
            self._condition.notify_all()

    def _thread(self, thread_id: str) -> _Thread:
        try:
            return self._threads[thread_id]
        except KeyError:
            raise InvalidThreadIdError(thread_id) from None

    def _free_thread(self, thread_id: str) -> _Thread:
        thread = self._thread(thread_id)
        live = next((run for run in thread.runs if not run.snapshot.is_final), None)
        if live is not None:
            raise ServiceBusyError(
                f"thread {thread_id} has an active run", status=400, run_id=live.snapshot.id
            )
        return thread

    def _reply(self, run: ScriptedRun, step: Reply) -> None:
        self._write(run, step.texts)
        run.change(status="completed", usage=step.usage)

    def _call_tools(self, run: ScriptedRun, step: CallTools) -> None:
        calls = tuple(
            ToolCall(
                id=self.new_id("call"),
                name=name,
                arguments=arguments if isinstance(arguments, str) else json.dumps(arguments),
            )
            for name, arguments in step.calls
        )
        run.change(status="requires_action", tool_calls=calls)

    def _fail(self, run: ScriptedRun, step: Fail) -> None:
        run.change(status="failed", error_code=step.code, error_message=step.message)

    def _cut_short(self, run: ScriptedRun, step: Incomplete) -> None:
        self._write(run, (step.text,) if step.text else ())
        run.change(status="incomplete", error_code=step.reason)

    def _write(self, run: ScriptedRun, texts: Sequence[str]) -> None:
        for text in texts:
            part = {"type": "text", "text": {"value": text, "annotations": []}}
            self._thread(run.thread_id).messages.append(
                Message(
                    id=self.new_id("msg"),
                    role="assistant",
                    run_id=run.snapshot.id,
                    assistant_id=run.snapshot.assistant_id,
                    content=text,
                    parts=(part,),
                    created_at=_now(),
                )
            )


def _now() -> datetime:
    return datetime.now(timezone.utc)


_PERFORM: dict[type[Any], Any] = {
    Reply: ScriptedThreads._reply,
    CallTools: ScriptedThreads._call_tools,
    Fail: ScriptedThreads._fail,
    Incomplete: ScriptedThreads._cut_short,
}
