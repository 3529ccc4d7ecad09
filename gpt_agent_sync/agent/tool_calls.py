"""Calling handlers for an agent: on the pool, each with its deadline."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from gpt_agent_sync.decisions import outputs
from gpt_agent_sync.errors import (
    AgentNotAliveError,
    InvalidToolCallIdError,
    RunNotInProgressError,
)
from gpt_agent_sync.events import ToolCallRequested
from gpt_agent_sync.tools.pool import Job, shared_pool
from gpt_agent_sync.tools.schema import ArgumentsError
from gpt_agent_sync.tools.tool import Tool, ToolContext

if TYPE_CHECKING:
    from gpt_agent_sync.agent.agent import Agent
    from gpt_agent_sync.agent.mailbox import Mailbox

logger = logging.getLogger(__name__)

# Handlers of all agents share the pool's threads, so a thread does not say whose it works for.
_on_this_thread = threading.local()


def handling_for() -> Agent | None:
    """Return the agent whose handler runs on the current thread."""
    return getattr(_on_this_thread, "agent", None)


@contextlib.contextmanager
def _handling(agent: Agent) -> Iterator[None]:
    _on_this_thread.agent = agent
    try:
        yield
    finally:
        _on_this_thread.agent = None


class HandlerCalls:
    """The calls of handlers that are in progress for an agent; used on its worker's thread.

    Args:
        agent: The agent.
        mailbox: Where the outputs go.
        find_tool: Returns the handler for a tool's name.
        timeout: Seconds that a call may take whose tool does not say; ``None`` for ever.
    """

    def __init__(
        self,
        agent: Agent,
        mailbox: Mailbox,
        find_tool: Callable[[str], Tool | None],
        timeout: float | None,
    ) -> None:
        self._agent = agent
        self._mailbox = mailbox
        self._find_tool = find_tool
        self._timeout = timeout
        self._calls: list[_Call] = []

    def begin(self, requests: Iterable[ToolCallRequested]) -> None:
        """Call the handlers; calls without one wait for ``submit_tool_output()``."""
        for request in requests:
            tool = self._find_tool(request.name)
            if tool is None:
                logger.debug("no handler for %s; %s waits", request.name, request.id)
                continue
            timeout = self._timeout if tool.timeout is None else tool.timeout
            call = _Call(self._agent, self._mailbox, request, tool, timeout)
            self._calls.append(call)
            call.begin()

    def next_deadline(self) -> float | None:
        """Return when the next call times out, in monotonic seconds."""
        self._calls = [call for call in self._calls if not call.done]
        deadlines = (call.deadline for call in self._calls)
        return min((at for at in deadlines if at is not None), default=None)

    def expire(self, now: float) -> None:
        """Answer for the handlers that have taken too long."""
        for call in self._calls:
            if call.deadline is not None and call.deadline <= now and not call.done:
                call.expire()

    def abandon(self) -> None:
        """Abandon all calls: what their handlers still return is dropped."""
        for call in self._calls:
            call.abandon()
        self._calls = []


class _Call:
    """A handler that answers one tool call."""

    def __init__(
        self,
        agent: Agent,
        mailbox: Mailbox,
        request: ToolCallRequested,
        tool: Tool,
        timeout: float | None,
    ) -> None:
        self._agent = agent
        self._mailbox = mailbox
        self._request = request
        self._tool = tool
        self._timeout = timeout
        self._job: Job | None = None
        self.deadline: float | None = None
        self.done = False

    def begin(self) -> None:
        """Submit the call to the pool."""
        self._job = shared_pool.submit(self._run)

    def expire(self) -> None:
        """Answer for a handler that has taken too long, and abandon it."""
        self.done = True
        self._record_failure(f"the tool did not answer within {self._timeout} s")
        self.abandon()

    def abandon(self) -> None:
        """Free the handler's place in the pool; what it still returns is dropped."""
        self.done = True
        if self._job is not None:
            shared_pool.abandon(self._job)

    def _run(self) -> None:
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
        )
        # Calls whose arguments are no object were answered when they were announced.
        arguments = request.arguments if isinstance(request.arguments, dict) else {}
        logger.debug("calling tool %s for %s", request.name, request.id)
        try:
            with _handling(self._agent):
                output = self._tool.call(arguments, context)
        except ArgumentsError as exc:
            self._record_failure(f"the arguments do not fit: {exc}")
        except BaseException as exc:
            # SystemExit too: a call that is never answered would hold the run until it expires.
            logger.warning("tool %s failed on %s", request.name, request.id, exc_info=True)
            self._record_failure(_describe(exc))
        else:
            self._record(output, None)
        self.done = True
        self._mailbox.wake_worker()

    def _record_failure(self, message: str) -> None:
        self._record(outputs.error_output(message), message)

    def _record(self, output: str, failure: str | None) -> None:
        try:
            self._mailbox.apply(
                outputs.record_output,
                self._request.id,
                output,
                failure=failure,
                request=self._request,
            )
        except (AgentNotAliveError, InvalidToolCallIdError, RunNotInProgressError) as exc:
            # The call timed out, a callback answered it, or its run has ended.
            logger.debug("the output of %s comes too late: %s", self._request.id, exc)


def _describe(error: BaseException) -> str:
    """Return an exception as text; the name of its class alone if its ``str()`` fails."""
    name = type(error).__name__
    try:
        return f"{name}: {error}"
    except Exception:
        return name
