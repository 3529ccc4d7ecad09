"""Calling handlers for an agent: on the pool, each with its deadline."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
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
from gpt_agent_sync.tools.toolbox import Tool, ToolContext

if TYPE_CHECKING:
    from gpt_agent_sync.agent.agent import Agent
    from gpt_agent_sync.agent.mailbox import Mailbox

logger = logging.getLogger(__name__)

_on_this_thread = threading.local()


def handling_for() -> Agent | None:
    """Give the agent whose handler runs on the current thread."""
    return getattr(_on_this_thread, "agent", None)


@contextlib.contextmanager
def _handling(agent: Agent) -> Iterator[None]:
    _on_this_thread.agent = agent
    try:
        yield
    finally:
        _on_this_thread.agent = None


class Call:
    """Run one handler for one tool call, and record what comes of it.

    Args:
        agent: The agent.
        mailbox: Where the output goes.
        request: The call.
        tool: The handler.
        timeout: Seconds it may take; ``None`` for ever.
    """

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
        """Give the call to the pool."""
        self._job = shared_pool.submit(self._run)

    def expire(self) -> None:
        """Answer for a handler that has taken too long, and let its thread go."""
        self.done = True
        self._record_failure(f"the tool did not answer within {self._timeout} s")
        self.abandon()

    def abandon(self) -> None:
        """Let the handler's thread go; what it still returns is dropped."""
        self.done = True
        if self._job is not None:
            shared_pool.abandon(self._job)

    def _run(self) -> None:
        if self._timeout is not None:
            self.deadline = time.monotonic() + self._timeout
            self._mailbox.poke()
        request = self._request
        context = ToolContext(
            thread_id=request.thread_id,
            run_id=request.run_id,
            tool_call_id=request.id,
            agent=self._agent,
            deadline=self.deadline,
        )
        arguments = request.arguments if isinstance(request.arguments, dict) else {}
        logger.debug("calling tool %s for %s", request.name, request.id)
        try:
            with _handling(self._agent):
                output = self._tool.call(arguments, context)
        except ArgumentsError as exc:
            self._record_failure(f"the arguments do not fit: {exc}")
        except BaseException as exc:
            logger.warning("tool %s failed on %s", request.name, request.id, exc_info=True)
            self._record_failure(_describe(exc))
        else:
            self._record(output, None)
        self.done = True
        self._mailbox.poke()

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
            logger.debug("the output of %s comes too late: %s", self._request.id, exc)


def _describe(error: BaseException) -> str:
    """Give an exception in words; one that cannot even say what it is has its class's name."""
    name = type(error).__name__
    try:
        return f"{name}: {error}"
    except Exception:
        return name
