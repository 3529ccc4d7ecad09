"""A service without HTTP, whose assistant follows a script."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

from gpt_agent_sync.errors import ConfigurationError, RequestRejectedError
from gpt_agent_sync.records import (
    AssistantDefinition,
    FeedUpdate,
    Message,
    Order,
    Posted,
    RunOptions,
    RunRequest,
    RunSnapshot,
    ToolOutput,
    UserMessage,
)
from gpt_agent_sync.services.base import Feed, Service
from gpt_agent_sync.testing.script import Script
from gpt_agent_sync.testing.scripted_threads import ScriptedRun, ScriptedThreads


class ScriptedService(Service):
    """A service whose assistants follow a script, in memory, with the refusals of a real one.

    Any assistant id is accepted, and so is any model. Safe to share between agents; with a list
    as script the runs take its steps as they come, and reply ``"ok"`` when it is used up.

    Args:
        script: What the assistants do.

    Attributes:
        requests: How often each verb was called, such as ``requests["open_thread"]``.
    """

    name = "scripted"

    def __init__(self, script: Script = ()) -> None:
        self._threads = ScriptedThreads(script)
        self._lock = threading.Lock()
        self.requests: Counter[str] = Counter()

    @property
    def identity(self) -> Hashable:
        """Itself only."""
        return (type(self), id(self))

    def release(self) -> None:
        """Let all runs that are held, and those to come, go on."""
        self._threads.release()

    def texts(self, thread_id: str) -> list[tuple[str, str]]:
        """Return role and text of each message of a thread."""
        return [(message.role, message.content) for message in self._threads.messages(thread_id)]

    def create_thread(
        self, messages: Sequence[Message] = (), metadata: Mapping[str, str] | None = None
    ) -> str:
        """Create a thread; see ``Service``."""
        self._count("create_thread")
        return self._threads.create(messages)

    def create_assistant(self, definition: AssistantDefinition) -> str:
        """Return a new id; see ``Service``."""
        self._count("create_assistant")
        return self._threads.new_id("asst")

    def open_thread(self, thread_id: str) -> RunSnapshot | None:
        """Look the thread up; see ``Service``."""
        self._count("open_thread")
        newest = self._threads.newest_run(thread_id)
        return None if newest is None or newest.snapshot.is_final else newest.snapshot

    def newest_run(self, thread_id: str) -> RunSnapshot | None:
        """Return the newest run; see ``Service``."""
        newest = self._threads.newest_run(thread_id)
        return None if newest is None else newest.snapshot

    def messages(
        self,
        thread_id: str,
        *,
        after: str | None = None,
        order: Order = "asc",
        limit: int | None = None,
    ) -> Iterator[Message]:
        """Yield the messages; see ``Service``."""
        self._count("messages")
        messages = self._threads.messages(thread_id)
        if order == "desc":
            messages.reverse()
        places = [place for place, message in enumerate(messages) if message.id == after]
        if after is not None and not places:
            raise RequestRejectedError(f"no message {after!r}", status=404)
        yield from itertools.islice(messages[places[0] + 1 if places else 0 :], limit)

    def check_options(self, options: RunOptions) -> None:
        """Accept all options but ``truncation``, so that a refusal can be tested."""
        if options.truncation is not None:
            raise ConfigurationError("ScriptedService has no option 'truncation'")

    def post_message(self, request: RunRequest, message: UserMessage) -> Posted:
        """Add the message; see ``Service``."""
        self._count("post_message")
        request.before_post()
        posted = self._threads.add_message(request.thread_id, _text(message.content))
        return Posted(message_id=posted.id)

    def start_run(self, request: RunRequest) -> Feed:
        """Return a feed that starts a run; see ``Service``."""

        def start() -> ScriptedRun:
            self._count("start_run")
            return self._threads.start_run(request.thread_id, request.assistant_id)

        return _ScriptedFeed(self._threads, start, request.deadline)

    def resume_run(self, request: RunRequest, run_id: str) -> Feed:
        """Return a feed that follows a run; see ``Service``."""

        def resume() -> ScriptedRun:
            self._count("resume_run")
            return self._threads.run(request.thread_id, run_id)

        return _ScriptedFeed(self._threads, resume, request.deadline)

    def submit_tool_outputs(
        self, request: RunRequest, run_id: str, outputs: Sequence[ToolOutput]
    ) -> Feed:
        """Return a feed that submits outputs; see ``Service``."""

        def submit() -> ScriptedRun:
            self._count("submit_tool_outputs")
            run = self._threads.run(request.thread_id, run_id)
            self._threads.submit(run, outputs)
            return run

        return _ScriptedFeed(self._threads, submit, request.deadline)

    def cancel_run(self, thread_id: str, run_id: str) -> None:
        """Cancel the run; see ``Service``."""
        self._count("cancel_run")
        self._threads.cancel(self._threads.run(thread_id, run_id))

    def _count(self, verb: str) -> None:
        with self._lock:
            self.requests[verb] += 1


class _ScriptedFeed(Feed):
    """A feed of a scripted run; the run advances because it is followed."""

    def __init__(
        self, threads: ScriptedThreads, first: Callable[[], ScriptedRun], deadline: float | None
    ) -> None:
        self._threads = threads
        self._deadline = deadline
        self._closed = False
        self._updates = self._follow(first)

    def __next__(self) -> FeedUpdate:
        if self._closed:
            raise StopIteration
        return next(self._updates)

    def close(self) -> None:
        self._closed = True
        self._threads.wake()

    def _follow(self, first: Callable[[], ScriptedRun]) -> Iterator[FeedUpdate]:
        threads, run = self._threads, first()
        if run.snapshot.status == "queued":
            yield run.snapshot
            threads.begin_step(run)
        if run.held and run.snapshot.status == "in_progress":
            yield run.snapshot
            while not threads.wait_while_held(run, lambda: self._closed, self._deadline):
                yield run.snapshot
            if self._closed:
                return
        threads.finish_step(run)
        snapshot = run.snapshot
        # As the contract has it: all messages come before the final snapshot.
        if snapshot.is_final:
            for message in threads.messages(run.thread_id):
                if message.run_id == snapshot.id:
                    yield message
        yield snapshot


def _text(content: str | tuple[dict[str, Any], ...]) -> str:
    if isinstance(content, str):
        return content
    return " ".join(str(part["text"]) for part in content if part.get("type") == "text")
