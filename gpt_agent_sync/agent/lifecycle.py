"""How an agent starts, takes further connections, and ends."""

from __future__ import annotations

from collections.abc import Callable

from gpt_agent_sync import forks
from gpt_agent_sync.agent.mailbox import Mailbox
from gpt_agent_sync.agent.ownership import Ownership
from gpt_agent_sync.agent.run_setup import RunSetup
from gpt_agent_sync.agent.worker import Worker
from gpt_agent_sync.decisions import outputs, remote, verbs
from gpt_agent_sync.errors import RunInProgressError
from gpt_agent_sync.events import AgentStopped, Event
from gpt_agent_sync.listening.subscribers import Subscribers
from gpt_agent_sync.listening.subscriptions import Callback
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.records import RunOptions
from gpt_agent_sync.tools.toolbox import Toolbox

logger = get_logger(__name__)

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
        ownership: Its part in the turns of its thread.
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
        ownership: Ownership,
        stopped: Callable[[], None],
    ) -> None:
        self._thread_id = thread_id
        self._mailbox = mailbox
        self._subscribers = subscribers
        self._setup = setup
        self._worker = worker
        self._ownership = ownership
        self._stopped = stopped
        forks.renew_in_child(self)

    def start(self) -> None:
        """Take up messages that were left, and start the worker; if that fails, the agent stops.

        Raises:
            JournalError: If the journal cannot be read or written.
        """
        logger.info("agent of thread %s starts", self._thread_id)
        try:
            self._worker.begin_watch()
            self._ownership.begin()
            self._own_found_run()
            if self._mailbox.progress.handles_tools:
                self._worker.take_up_messages()
            self._worker.start(self._finish)
        except BaseException:
            self._worker.give_up()
            self._mailbox.apply(verbs.stop, AgentStopped.ERROR)
            self._ownership.end()
            self._subscribers.close()
            raise

    def _own_found_run(self) -> None:
        """Make a run that was found in progress this agent's, unless another process is quicker."""
        if self._mailbox.progress.turn is None:
            return
        try:
            with self._ownership.entered():
                pass
        except RunInProgressError:
            self._mailbox.apply(remote.lose_turn, 0)

    def attach(
        self,
        assistant_id: str | None,
        tools: Toolbox | None,
        run_options: RunOptions | None,
        on_event: Callback[Event] | None,
        *,
        handle_tools: bool,
    ) -> None:
        """Take over what a further ``connect()`` brings.

        Raises:
            AgentNotAliveError: If the agent has stopped.
            JournalError: If the journal cannot be read or written.
        """
        # Either decision counts as activity, so an idle agent does not stop just now.
        if assistant_id is None:
            self._mailbox.apply(verbs.touch)
        else:
            self._mailbox.apply(verbs.set_assistant, assistant_id)
        self._setup.replace(tools, run_options)
        if on_event is not None:
            self._subscribers.subscribe(Event, on_event)
        if handle_tools:  # last, as calls that wait are made with what has been taken over
            self._mailbox.apply(outputs.handle_tools)
            self._worker.take_up_messages()

    def begin_shutdown(self) -> None:
        """Stop the agent without waiting for its worker."""
        forks.check()
        if self._mailbox.is_inherited:
            return
        self._mailbox.apply(verbs.stop, AgentStopped.SHUTDOWN)
        # connect() is to make a new agent from now on, however long this worker takes.
        self._stopped()
        self._subscribers.release_worker()
        self._worker.stop()

    def finish_shutdown(self, timeout: float) -> None:
        """Wait for the worker's end, unless it is the worker that asks."""
        if self._mailbox.is_inherited:
            return
        if not self._worker.is_current() and not self._worker.join(timeout):
            logger.info("the worker of thread %s is still in a request", self._thread_id)

    def _after_fork(self) -> None:
        """Stop in a forked child: the worker, and what it reads, are the parent's."""
        self._mailbox.after_fork(verbs.stop, AgentStopped.SHUTDOWN)
        self._subscribers.after_fork()

    def _finish(self) -> None:
        """Leave nothing behind; on the worker's thread, after the last event."""
        self._stopped()
        self._ownership.end()
        self._subscribers.close()
        logger.info("agent of thread %s has stopped", self._thread_id)
