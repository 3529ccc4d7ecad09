"""How an agent starts, takes further connections, and ends."""

from __future__ import annotations

import logging
from collections.abc import Callable

import attrs

from gpt_agent_sync.agent.mailbox import Mailbox
from gpt_agent_sync.agent.run_setup import RunSetup
from gpt_agent_sync.agent.worker import Worker
from gpt_agent_sync.decisions import verbs
from gpt_agent_sync.events import AgentStopped, Event
from gpt_agent_sync.listening.subscribers import Subscribers
from gpt_agent_sync.listening.subscriptions import Callback
from gpt_agent_sync.records import RunOptions
from gpt_agent_sync.tools.toolbox import Toolbox

logger = logging.getLogger(__name__)

SHUTDOWN_PATIENCE = 2.0
"""Seconds that ``shutdown()`` waits by default for a worker in a request or a callback."""


class Lifecycle:
    """The start and the end of an agent.

    Args:
        thread_id: The agent's conversation.
        mailbox: Its progress.
        subscribers: Its subscriptions and streams.
        setup: What its runs are made with.
        worker: Its thread.
        stopped: Takes the agent out of the registry; called on the thread that shuts it down, and
            on the worker's when that ends. May be called twice.
    """

    def __init__(
        self,
        thread_id: str,
        mailbox: Mailbox,
        subscribers: Subscribers,
        setup: RunSetup,
        worker: Worker,
        stopped: Callable[[], None],
    ) -> None:
        self._thread_id = thread_id
        self._mailbox = mailbox
        self._subscribers = subscribers
        self._setup = setup
        self._worker = worker
        self._stopped = stopped

    def start(self) -> None:
        """Start the worker; an agent whose worker cannot be started is stopped."""
        logger.info("agent of thread %s starts", self._thread_id)
        try:
            self._worker.start(self._finish)
        except BaseException:
            self._mailbox.apply(verbs.stop, AgentStopped.ERROR)
            self._subscribers.close()
            raise

    def attach(
        self,
        assistant_id: str | None,
        tools: Toolbox | None,
        run_options: RunOptions | None,
        on_event: Callback[Event] | None,
    ) -> None:
        """Take over what a further ``connect()`` brings.

        Raises:
            AgentNotAliveError: If the agent has stopped.
        """
        # Either decision counts as activity, so an idle agent does not stop just now.
        if assistant_id is None:
            self._mailbox.apply(verbs.touch)
        else:
            self._mailbox.apply(verbs.set_assistant, assistant_id)
        self._setup.replace(tools, run_options)
        if on_event is not None:
            self._subscribers.subscribe(Event, on_event)

    def begin_shutdown(self) -> None:
        """Stop the agent without waiting for its worker."""
        self._mailbox.apply(verbs.stop, AgentStopped.SHUTDOWN)
        # connect() is to make a new agent from now on, however long this worker takes.
        self._stopped()
        self._subscribers.release_worker()
        self._worker.stop()

    def finish_shutdown(self, timeout: float) -> None:
        """Wait for the worker's end, unless it is the worker that asks."""
        if not self._worker.is_current() and not self._worker.join(timeout):
            logger.info("the worker of thread %s is still in a request", self._thread_id)

    def after_fork(self) -> None:
        """Stop in a forked child: the worker lives in the parent only."""
        stopped = verbs.stop(self._mailbox.progress, AgentStopped.SHUTDOWN)
        # AgentStopped is the parent's to deliver, and there is no worker here that would.
        self._mailbox.after_fork(attrs.evolve(stopped, steps=()))
        self._subscribers.after_fork()

    def _finish(self) -> None:
        """Leave nothing behind; on the worker's thread, after the last event."""
        self._stopped()
        self._subscribers.close()
        logger.info("agent of thread %s has stopped", self._thread_id)
