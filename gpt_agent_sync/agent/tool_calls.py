"""Calling handlers for an agent: on the pool, each with its deadline."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from gpt_agent_sync import logs
from gpt_agent_sync.agent.call_notes import CallNote, CallNotes, SavedOutput
from gpt_agent_sync.decisions import outputs
from gpt_agent_sync.errors import (
    AgentNotAliveError,
    InvalidToolCallIdError,
    JournalError,
    RunNotInProgressError,
    describe_error,
)
from gpt_agent_sync.events import ToolCallRequested
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.secret import redact
from gpt_agent_sync.settings import Settings
from gpt_agent_sync.threads import ThreadValue
from gpt_agent_sync.tools.pool import Job, shared_pool
from gpt_agent_sync.tools.recovery import Recovery
from gpt_agent_sync.tools.schema import ArgumentsError
from gpt_agent_sync.tools.tool import Tool, ToolContext, encode_result

if TYPE_CHECKING:
    from gpt_agent_sync.agent.agent import Agent
    from gpt_agent_sync.agent.mailbox import Mailbox

logger = get_logger(__name__)

# Handlers of all agents share the pool's threads, so a thread does not say whose it works for.
_on_this_thread: ThreadValue[Agent] = ThreadValue()


def handling_for() -> Agent | None:
    """Return the agent whose handler runs on the current thread."""
    return _on_this_thread.get()


class HandlerCalls:
    """The calls of handlers that are in progress for an agent; used on its worker's thread.

    Args:
        agent: The agent.
        mailbox: Where the outputs go.
        find_tool: Returns the handler for a tool's name.
        notes: Where calls are noted before they are made, and their outputs saved.
        settings: The settings the agent was made under.
    """

    def __init__(
        self,
        agent: Agent,
        mailbox: Mailbox,
        find_tool: Callable[[str], Tool | None],
        notes: CallNotes,
        settings: Settings,
    ) -> None:
        self._agent = agent
        self._mailbox = mailbox
        self._find_tool = find_tool
        self._notes = notes
        self._settings = settings
        self._calls: list[_Call] = []
        self._noted_runs: set[str] = set()

    def begin(self, requests: Iterable[ToolCallRequested], *, rerun: bool = False) -> None:
        """Call the handlers; calls without one wait for ``submit_tool_output()``.

        Args:
            requests: The calls.
            rerun: Whether they are made although they were interrupted.
        """
        for request in requests:
            tool = self._find_tool(request.name)
            if tool is None:
                logger.debug("no handler for %s; %s waits", request.name, request.id)
                continue
            call = _Call(
                self._agent, self._mailbox, request, tool, self._notes, self._settings, rerun=rerun
            )
            self._calls.append(call)
            self._noted_runs.add(request.run_id)
            call.begin()

    def next_deadline(self) -> float | None:
        """Return when the next call times out, or is looked at again, in monotonic seconds."""
        self._calls = [call for call in self._calls if not call.done]
        times = (at for call in self._calls for at in (call.deadline, call.look_at))
        return min((at for at in times if at is not None), default=None)

    def expire(self, now: float) -> None:
        """Answer for the handlers that have taken too long, and look at calls left to others."""
        for call in self._calls:
            if call.done:
                continue
            if call.deadline is not None and call.deadline <= now:
                call.expire()
            elif call.look_at is not None and call.look_at <= now:
                call.begin()

    def abandon(self) -> None:
        """Abandon all calls: what their handlers still return is saved, and goes nowhere."""
        for call in self._calls:
            call.abandon()
        self._calls = []

    def forget_notes(self) -> None:
        """Drop the notes on the calls of runs that are over."""
        self._notes.forget(self._noted_runs)
        self._noted_runs = set()


class _Call:
    """A handler that answers one tool call."""

    def __init__(
        self,
        agent: Agent,
        mailbox: Mailbox,
        request: ToolCallRequested,
        tool: Tool,
        notes: CallNotes,
        settings: Settings,
        *,
        rerun: bool,
    ) -> None:
        self._agent = agent
        self._mailbox = mailbox
        self._request = request
        self._tool = tool
        self._notes = notes
        self._look_pause = settings.heartbeat_interval
        self._timeout = settings.tool_timeout if tool.timeout is None else tool.timeout
        self._rerun = rerun
        self._job: Job | None = None
        self._note: CallNote | None = None
        self.deadline: float | None = None
        self.look_at: float | None = None
        self.done = False

    def begin(self) -> None:
        """Submit the call to the pool."""
        self.look_at = None
        try:
            self._job = shared_pool.submit(self._run, self._request.name)
        except RuntimeError as exc:
            # No thread is to be had. The run is not to wait for ever for this one call.
            logger.warning("tool %s cannot be called: %s", self._request.name, exc)
            self.done = True
            self._record(_failed(f"the tool could not be called: {exc}"))

    def expire(self) -> None:
        """Answer for a handler that has taken too long, and abandon it."""
        self.done = True
        outcome = _failed(f"the tool did not answer within {self._timeout} s")
        # Saved, or the run would be told something else should this process end now.
        note = self._note
        self._record(outcome) if note is None else self._save(note, outcome)
        self.abandon()

    def abandon(self) -> None:
        """Free the handler's place in the pool; what it still returns goes nowhere."""
        self.done = True
        if self._job is not None:
            shared_pool.abandon(self._job)

    def _run(self) -> None:
        try:
            with self._notes.working():
                self._answer(self._notes.claim(self._request))
        except (JournalError, RuntimeError) as exc:
            # A call that is not noted might be made twice.
            logger.warning("call %s is not made: %s", self._request.id, exc)
            # The model need not know where that was to be.
            words = "the call could not be noted"
            self._record(_failed(f"{words}: {exc}", "journal_error", shown=words))
            self.done = True
        self._mailbox.wake_worker()

    def _answer(self, note: CallNote) -> None:
        """Answer the call, by its handler unless it was begun before."""
        if note.saved is not None:
            logger.info("call %s was answered before", self._request.id)
            self._record(note.saved)
        elif not note.is_ours:
            # Left to whoever makes it, in this process or another: its output is taken then.
            self.look_at = time.monotonic() + self._look_pause
            return
        elif note.interrupted and not self._rerun:
            self._go_on(note)
        else:
            self._save(note, self._outcome(note, self._tool.call))
        self.done = True

    def _go_on(self, note: CallNote) -> None:
        """Go on with a call that somebody began and did not finish, by its tool's choice."""
        request, choice = self._request, self._tool.after_crash
        logger.warning("call %s of tool %s was interrupted", request.id, request.name)
        if choice == "ask":
            note.release()
            self._mailbox.apply(outputs.call_interrupted, request, note.attempt)
            return
        if choice == "rerun":
            outcome = self._outcome(note, self._tool.call)
        elif callable(choice):
            outcome = self._outcome(note, self._read_back)
        else:
            outcome = _INTERRUPTED
        self._save(note, outcome)

    def _read_back(self, arguments: Mapping[str, Any], context: ToolContext) -> str | SavedOutput:
        """Have the tool's own function find out what became of the call."""
        choice = self._tool.after_crash
        assert callable(choice)
        found = choice(dict(arguments), context)
        if found is Recovery.RERUN:
            return self._tool.call(arguments, context)
        return _INTERRUPTED if found is Recovery.FAIL else encode_result(found)

    def _outcome(
        self, note: CallNote, call: Callable[[Mapping[str, Any], ToolContext], str | SavedOutput]
    ) -> SavedOutput:
        """Call the program's function, and return what is to be told of it."""
        self._note = note
        if self._timeout is not None:
            # Time in the pool's queue does not count, so only now does the worker learn of it.
            self.deadline = time.monotonic() + self._timeout
            self._mailbox.wake_worker()
        request = self._request
        context = ToolContext(
            thread_id=request.thread_id,
            run_id=request.run_id,
            tool_call_id=request.id,
            agent=self._agent,
            deadline=self.deadline,
            attempt=note.attempt,
            idempotency_key=self._notes.idempotency_key(request),
            memory=note,
        )
        # Calls whose arguments are no object were answered when they were announced.
        arguments = request.arguments if isinstance(request.arguments, dict) else {}
        logger.debug("calling tool %s for %s", request.name, request.id)
        try:
            with _on_this_thread.holding(self._agent):
                output = call(arguments, context)
        except ArgumentsError as exc:
            return _failed(f"the arguments do not fit: {exc}")
        except BaseException as exc:
            if self._mailbox.is_inherited:
                raise  # the copy of a greenlet is ended in a forked child
            # SystemExit too: a call that is never answered would hold the run until it expires.
            logs.log_exception(
                logger, logging.WARNING, "tool %s failed on %s", request.name, request.id
            )
            message = redact(describe_error(exc))
            shown = message if self._tool.errors == "full" else type(exc).__name__
            return _failed(message, shown=shown)
        return output if isinstance(output, SavedOutput) else SavedOutput(output)

    def _save(self, note: CallNote, outcome: SavedOutput) -> None:
        """Save an output before it is sent, and record the one that counts."""
        saved = note.save(outcome)
        if saved is not None:
            self._record(saved)

    def _record(self, outcome: SavedOutput) -> None:
        try:
            self._mailbox.apply(
                outputs.record_output,
                self._request.id,
                outcome.output,
                failure=outcome.failure,
                code=outcome.code,
                request=self._request,
            )
        except (AgentNotAliveError, InvalidToolCallIdError, RunNotInProgressError) as exc:
            # The call timed out, a callback answered it, or its run has ended.
            logger.debug("the output of %s comes too late: %s", self._request.id, exc)


def _failed(message: str, code: str | None = None, *, shown: str | None = None) -> SavedOutput:
    """Return the outcome of a call that failed.

    Args:
        message: What the program is told.
        code: What it can tell it by.
        shown: What the model is told; ``None`` for the same.
    """
    return SavedOutput(outputs.error_output(message if shown is None else shown), message, code)


_INTERRUPTED = _failed("interrupted: it is not known whether it took effect", "interrupted")
"""The answer to a call that nobody may make again."""
