"""A service without HTTP, whose assistant follows a script."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from gpt_agent_sync.errors import (
    ConfigurationError,
    InvalidThreadIdError,
    RequestRejectedError,
    ServiceBusyError,
)
from gpt_agent_sync.records import (
    AssistantDefinition,
    FeedUpdate,
    Message,
    Posted,
    RunOptions,
    RunRequest,
    RunSnapshot,
    ToolCall,
    ToolOutput,
    UserMessage,
)
from gpt_agent_sync.services.base import Feed, Service
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
class _Run:
    snapshot: RunSnapshot
    text: str
    outputs: dict[str, str] = attrs.field(factory=dict)
    next_step: ScriptStep | None = None
    held: bool = False


@attrs.define
class _Thread:
    messages: list[Message] = attrs.field(factory=list)
    runs: list[_Run] = attrs.field(factory=list)


class ScriptedService(Service):
    """Run assistants by a script, in memory, with the answers and refusals of a real service.

    Any assistant id is accepted, and so is any model. Safe to share between agents; with a list
    as script the runs take its steps as they come, and reply ``"ok"`` when it is used up.

    Args:
        script: What the assistants do.

    Attributes:
        requests: How often each verb was asked for, such as ``requests["open_thread"]``.
    """

    name = "scripted"

    def __init__(self, script: Script = ()) -> None:
        self._script = script if callable(script) else iter(tuple(script))
        self._condition = threading.Condition(threading.RLock())
        self._ids = itertools.count(1)
        self._threads: dict[str, _Thread] = {}
        self._held = True
        self.requests: Counter[str] = Counter()

    @property
    def identity(self) -> Hashable:
        """Itself only."""
        return (type(self), id(self))

    def release(self) -> None:
        """Let all runs that are held, and those to come, go on."""
        with self._condition:
            self._held = False
            self._condition.notify_all()

    def texts(self, thread_id: str) -> list[tuple[str, str]]:
        """Give role and text of each message of a thread."""
        with self._condition:
            return [(message.role, message.content) for message in self._thread(thread_id).messages]

    # the contract

    def create_thread(
        self, messages: Sequence[Message] = (), metadata: Mapping[str, str] | None = None
    ) -> str:
        """Create a thread; see ``Service``."""
        with self._condition:
            self.requests["create_thread"] += 1
            thread_id = self._new_id("thread")
            given = [attrs.evolve(message, id=self._new_id("msg")) for message in messages]
            self._threads[thread_id] = _Thread(messages=given)
            return thread_id

    def create_assistant(self, definition: AssistantDefinition) -> str:
        """Give a new id; see ``Service``."""
        with self._condition:
            self.requests["create_assistant"] += 1
            return self._new_id("asst")

    def open_thread(self, thread_id: str) -> RunSnapshot | None:
        """Look the thread up; see ``Service``."""
        with self._condition:
            self.requests["open_thread"] += 1
            runs = self._thread(thread_id).runs
            return runs[-1].snapshot if runs and not runs[-1].snapshot.is_final else None

    def messages_after(self, thread_id: str, message_id: str) -> Sequence[Message]:
        """Give the later messages; see ``Service``."""
        with self._condition:
            self.requests["messages_after"] += 1
            messages = self._thread(thread_id).messages
            for position, message in enumerate(messages):
                if message.id == message_id:
                    return messages[position + 1 :]
            raise RequestRejectedError(f"no message {message_id!r}", status=404)

    def check_options(self, options: RunOptions) -> None:
        """Accept all options but ``truncation``, so that a refusal can be tried."""
        if options.truncation is not None:
            raise ConfigurationError("ScriptedService has no option 'truncation'")

    def post_message(self, request: RunRequest, message: UserMessage) -> Posted:
        """Add the message; see ``Service``."""
        with self._condition:
            self.requests["post_message"] += 1
            thread = self._free_thread(request.thread_id)
            posted = Message(id=self._new_id("msg"), role="user", content=_text(message.content))
            thread.messages.append(posted)
            return Posted(message_id=posted.id)

    def start_run(self, request: RunRequest) -> Feed:
        """Give a feed that starts a run; see ``Service``."""
        return _ScriptedFeed(self, request.thread_id, lambda: self._start(request))

    def resume_run(self, request: RunRequest, run_id: str) -> Feed:
        """Give a feed that follows a run; see ``Service``."""
        return _ScriptedFeed(
            self, request.thread_id, lambda: self._run(request.thread_id, run_id, "resume_run")
        )

    def submit_tool_outputs(
        self, request: RunRequest, run_id: str, outputs: Sequence[ToolOutput]
    ) -> Feed:
        """Give a feed that submits outputs; see ``Service``."""
        return _ScriptedFeed(
            self, request.thread_id, lambda: self._submit(request.thread_id, run_id, outputs)
        )

    def cancel_run(self, thread_id: str, run_id: str) -> None:
        """Cancel the run; see ``Service``."""
        with self._condition:
            run = self._run(thread_id, run_id, "cancel_run")
            if not run.snapshot.is_final:
                run.snapshot = attrs.evolve(run.snapshot, status="cancelled", tool_calls=())
                self._condition.notify_all()

    # what feeds ask for

    def wait(self, feed: _ScriptedFeed, run: _Run) -> None:
        """Block a feed while its run is held and neither of them ends."""
        with self._condition:
            self._condition.wait_for(
                lambda: feed.closed or not self._held or run.snapshot.status != "in_progress"
            )

    def wake(self) -> None:
        """Have blocked feeds look around."""
        with self._condition:
            self._condition.notify_all()

    def advance(self, run: _Run) -> None:
        """Choose a queued run's next step."""
        with self._condition:
            if run.snapshot.status != "queued":
                return
            self._set(run, status="in_progress")
            if callable(self._script):
                step = self._script(run.text, run.outputs)
            else:
                step = next(self._script, Reply("ok"))
            run.held = isinstance(step, Hold)
            run.next_step = step.then if isinstance(step, Hold) else step

    def perform(self, thread_id: str, run: _Run) -> None:
        """Do the run's next step, unless it was done or cancelled meanwhile."""
        with self._condition:
            step, run.next_step = run.next_step, None
            if run.snapshot.status == "in_progress" and step is not None:
                _PERFORM[type(step)](self, thread_id, run, step)
                self._condition.notify_all()

    def messages_of(self, thread_id: str, run: _Run) -> list[Message]:
        """Give the messages that a run wrote."""
        with self._condition:
            messages = self._threads[thread_id].messages
            return [message for message in messages if message.run_id == run.snapshot.id]

    # inside, with the lock held

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

    def _start(self, request: RunRequest) -> _Run:
        with self._condition:
            self.requests["start_run"] += 1
            thread = self._free_thread(request.thread_id)
            asked = [message.content for message in thread.messages if message.role == "user"]
            snapshot = RunSnapshot(
                id=self._new_id("run"), status="queued", assistant_id=request.assistant_id
            )
            run = _Run(snapshot=snapshot, text=asked[-1] if asked else "")
            thread.runs.append(run)
            return run

    def _submit(self, thread_id: str, run_id: str, outputs: Sequence[ToolOutput]) -> _Run:
        with self._condition:
            run = self._run(thread_id, run_id, "submit_tool_outputs")
            if run.snapshot.status != "requires_action":
                return run
            expected = {call.id: call.name for call in run.snapshot.tool_calls}
            given = [output.tool_call_id for output in outputs]
            if not set(given) & set(expected):
                return run
            if sorted(expected) != sorted(given):
                raise RequestRejectedError("Expected tool outputs for other call_ids", status=400)
            run.outputs = {expected[output.tool_call_id]: output.output for output in outputs}
            self._set(run, status="queued", tool_calls=())
            return run

    def _run(self, thread_id: str, run_id: str, verb: str) -> _Run:
        with self._condition:
            self.requests[verb] += 1
            for run in self._thread(thread_id).runs:
                if run.snapshot.id == run_id:
                    return run
            raise RequestRejectedError(f"no run {run_id!r}", status=404)

    def _new_id(self, prefix: str) -> str:
        return f"{prefix}_{next(self._ids)}"

    def _set(self, run: _Run, **changes: Any) -> None:
        run.snapshot = attrs.evolve(run.snapshot, **changes)

    def _reply(self, thread_id: str, run: _Run, step: Reply) -> None:
        self._write(thread_id, run, step.texts)
        self._set(run, status="completed", usage=step.usage)

    def _call_tools(self, thread_id: str, run: _Run, step: CallTools) -> None:
        calls = tuple(
            ToolCall(
                id=self._new_id("call"),
                name=name,
                arguments=arguments if isinstance(arguments, str) else json.dumps(arguments),
            )
            for name, arguments in step.calls
        )
        self._set(run, status="requires_action", tool_calls=calls)

    def _fail(self, thread_id: str, run: _Run, step: Fail) -> None:
        self._set(run, status="failed", error_code=step.code, error_message=step.message)

    def _cut_short(self, thread_id: str, run: _Run, step: Incomplete) -> None:
        self._write(thread_id, run, (step.text,) if step.text else ())
        self._set(run, status="incomplete", error_code=step.reason)

    def _write(self, thread_id: str, run: _Run, texts: Sequence[str]) -> None:
        for text in texts:
            part = {"type": "text", "text": {"value": text, "annotations": []}}
            self._threads[thread_id].messages.append(
                Message(
                    id=self._new_id("msg"),
                    role="assistant",
                    run_id=run.snapshot.id,
                    assistant_id=run.snapshot.assistant_id,
                    content=text,
                    parts=(part,),
                )
            )


_PERFORM: dict[type[Any], Any] = {
    Reply: ScriptedService._reply,
    CallTools: ScriptedService._call_tools,
    Fail: ScriptedService._fail,
    Incomplete: ScriptedService._cut_short,
}


class _ScriptedFeed(Feed):
    """Follow a scripted run; whoever follows it makes it go on."""

    def __init__(self, service: ScriptedService, thread_id: str, first: Callable[[], _Run]) -> None:
        self.closed = False
        self._service = service
        self._updates = self._follow(thread_id, first)

    def __next__(self) -> FeedUpdate:
        if self.closed:
            raise StopIteration
        return next(self._updates)

    def close(self) -> None:
        self.closed = True
        self._service.wake()

    def _follow(self, thread_id: str, first: Callable[[], _Run]) -> Iterator[FeedUpdate]:
        service, run = self._service, first()
        if run.snapshot.status == "queued":
            yield run.snapshot
            service.advance(run)
        if run.held and run.snapshot.status == "in_progress":
            yield run.snapshot
            service.wait(self, run)
            if self.closed:
                return
        service.perform(thread_id, run)
        snapshot = run.snapshot
        if snapshot.is_final:
            yield from service.messages_of(thread_id, run)
        yield snapshot


def _text(content: str | tuple[dict[str, Any], ...]) -> str:
    if isinstance(content, str):
        return content
    return " ".join(str(part["text"]) for part in content if part.get("type") == "text")
