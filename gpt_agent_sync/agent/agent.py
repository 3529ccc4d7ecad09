"""The object that programs hold: the agent of one conversation thread."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from gpt_agent_sync.agent import remote_verbs
from gpt_agent_sync.agent.call_notes import CallNotes
from gpt_agent_sync.agent.lifecycle import SHUTDOWN_PATIENCE, Lifecycle
from gpt_agent_sync.agent.mailbox import Mailbox
from gpt_agent_sync.agent.message_notes import MessageNotes
from gpt_agent_sync.agent.ownership import ownership_of
from gpt_agent_sync.agent.posting import Poster, WhenBusy
from gpt_agent_sync.agent.run_setup import RunSetup
from gpt_agent_sync.agent.text_streams import MESSAGE_SEPARATOR, TextStream, TurnEvents
from gpt_agent_sync.agent.tool_calls import handling_for
from gpt_agent_sync.agent.waiting import Waiter
from gpt_agent_sync.agent.worker import Worker
from gpt_agent_sync.arguments import check_limit, check_order, check_timeout, require_text
from gpt_agent_sync.backplane.base import Backplane
from gpt_agent_sync.decisions import outputs, verbs
from gpt_agent_sync.decisions.state import AgentState, Transition
from gpt_agent_sync.errors import AgentNotAliveError, RunFailedError
from gpt_agent_sync.events import ClosingEvent, Event, RunCompleted
from gpt_agent_sync.journal.base import Scope
from gpt_agent_sync.listening.event_streams import EventStream
from gpt_agent_sync.listening.subscribers import Subscribers
from gpt_agent_sync.listening.subscriptions import (
    Callback,
    Subscription,
    subscribe_or_decorate,
)
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.records import Message, Order, RunOptions
from gpt_agent_sync.services.base import Service
from gpt_agent_sync.settings import Settings
from gpt_agent_sync.tools.tool import encode_output
from gpt_agent_sync.tools.toolbox import Toolbox

if TYPE_CHECKING:
    from typing_extensions import Self

logger = get_logger(__name__)

E = TypeVar("E", bound=Event)


class Agent:
    """The agent of one conversation thread: it runs an assistant on it, in the background.

    Agents are made by ``connect()``. All methods may be called from any thread. Callbacks and
    signals run on the agent's own worker thread, one at a time; handlers run on a shared pool.
    A context manager: it waits for the run and shuts down, or, after an exception, only
    shuts down.
    """

    def __init__(
        self,
        thread_id: str,
        service: Service,
        settings: Settings,
        first: Transition,
        *,
        idle_timeout: float | None,
        tools: Toolbox | None,
        run_options: RunOptions | None,
        notes: CallNotes,
        messages: MessageNotes,
        backplane: Backplane,
        stopped: Callable[[Agent], None],
    ) -> None:
        self._thread_id = thread_id
        self._service = service
        self._backplane = backplane
        self._mailbox = mailbox = Mailbox(first)
        self._ownership = ownership_of(
            backplane,
            Scope(service=service.journal_name, thread_id=thread_id),
            mailbox,
            lambda request: remote_verbs.answer(self, request),
        )
        self._subscribers = Subscribers(self, thread_id, self._refuse_to_block)
        self._setup = setup = RunSetup(
            thread_id, service, settings, tools, run_options, self._wants_deltas
        )
        self._worker = Worker(
            self,
            mailbox,
            service,
            settings,
            setup,
            notes,
            messages,
            idle_timeout,
            self._subscribers.deliver,
            self._ownership,
            self._is_heard,
            self._is_streamed,
        )
        self._waiter = Waiter(mailbox, self._refuse_to_block)
        self._poster = Poster(
            mailbox,
            service,
            setup,
            self._waiter,
            messages,
            self._ownership,
            self._worker,
        )
        self._lifecycle = Lifecycle(
            thread_id,
            mailbox,
            self._subscribers,
            setup,
            self._worker,
            self._ownership,
            lambda: stopped(self),
        )

    @property
    def thread_id(self) -> str:
        """The conversation's id."""
        return self._thread_id

    @property
    def service(self) -> Service:
        """The service that runs the assistant."""
        return self._service

    @property
    def backplane(self) -> Backplane:
        """What tells the thread's events to those who listen without an agent, and elsewhere."""
        return self._backplane

    @property
    def is_alive(self) -> bool:
        """Whether the agent has not stopped."""
        return self._mailbox.progress.stopped is None

    @property
    def state(self) -> AgentState:
        """A consistent snapshot of what the agent is doing."""
        return self._mailbox.progress.public()

    @property
    def running(self) -> bool:
        """Whether a turn is in progress."""
        return self.state.running

    @property
    def default_assistant(self) -> str | None:
        """The assistant of the next run."""
        return self.state.default_assistant

    @property
    def last_message_id(self) -> str | None:
        """The newest message that the agent knows of."""
        return self.state.last_message_id

    def set_default_assistant(self, assistant_id: str) -> None:
        """Choose the assistant of the next run.

        Raises:
            BlankValueError: If the id is blank.
            AgentNotAliveError: If the agent has stopped.
        """
        self._mailbox.apply(verbs.set_assistant, require_text("assistant_id", assistant_id))

    def add_user_message(
        self,
        content: str | Sequence[str | Mapping[str, Any]],
        *,
        when_busy: WhenBusy = "raise",
        timeout: float | None = None,
        run_options: RunOptions | None = None,
        attachments: Iterable[Mapping[str, Any]] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str | None:
        """Post a user's message; the worker then starts the run.

        The request is made on the calling thread, so its errors are the caller's, and then
        nothing has changed.

        Args:
            content: Text, or a sequence of content parts (text, image).
            when_busy: What to do while a run is active, of this agent or of another caller.
                ``"raise"``: refuse. ``"wait"``: wait for its end, then post. ``"queue"``: return at
                once; the worker posts queued messages in order, one run each, and a failure becomes
                ``RunFailed``, as does a thread that another caller holds for 600 s. With a journal
                that outlives the process a crash loses no queued message: see ``connect()``.
            timeout: Seconds altogether, for waiting and for the requests of the post; ``None`` for
                as long as it takes. The requests of a message that waits in the queue have no part
                in it.
            run_options: What this run does differently; over those given to ``connect()``.
            attachments: File attachments, as the wire takes them.
            metadata: Up to 16 pairs of texts kept with the message.

        Returns:
            The message's id once the service has it; ``None`` when it was queued.

        Raises:
            AgentNotAliveError: If the agent has stopped.
            BlankValueError: If the content is blank.
            ValueError: If another argument is unusable.
            AssistantNotSetError: If the agent has no assistant.
            ThreadBusyError: If a run is active, with ``when_busy="raise"``: ``RunInProgressError``
                for this agent's, ``ServiceBusyError`` for another caller's, which comes after 600 s
                with ``"wait"`` too.
            WaitTimeoutError: If the run has not ended in time, with ``when_busy="wait"``.
            ConfigurationError: If the wire lacks an option or an attachment, or the assistant is
                not registered.
            ServiceError: If the service fails, or has not answered when time is up; ``in_doubt``
                says that it may have the message.
            JournalError: If the journal cannot be written, with ``"queue"``; nothing is queued.
            TypeError: If JSON cannot hold a message or an option that is to be kept in a journal.
            RuntimeError: If ``"wait"`` would wait for itself, in a callback or handler.
        """
        logger.debug("adding a user message to thread %s", self._thread_id)
        return self._poster.add(content, when_busy, timeout, run_options, attachments, metadata)

    def run(
        self, *, assistant_id: str | None = None, run_options: RunOptions | None = None
    ) -> None:
        """Have the worker start a run without a new message, for what is newest in the thread.

        That is an answer for a message that has none, as its run failed, was cancelled, or never
        began; a thread whose newest message is the assistant's is gone on with. While another
        caller's run holds the thread the start waits, up to 600 s; that it failed is told as
        ``RunFailed``.

        Args:
            assistant_id: The assistant of this run alone; else the agent's.
            run_options: What this run does differently; over those given to ``connect()``.

        Raises:
            BlankValueError: If the id is blank.
            TypeError: If the options are no ``RunOptions``.
            ConfigurationError: If the wire lacks an option.
            AgentNotAliveError: If the agent has stopped.
            AssistantNotSetError: If there is no assistant.
            RunInProgressError: If a run is active.
        """
        logger.debug("starting a run on thread %s", self._thread_id)
        if assistant_id is not None:
            require_text("assistant_id", assistant_id)
        verbs.require_alive(self._mailbox.progress)
        options = self._setup.options(run_options)
        with self._ownership.entered():
            self._mailbox.apply(verbs.reserve_run, assistant_id, options, self._worker.context())

    def submit_tool_output(self, tool_call_id: str, output: object) -> None:
        """Record the output of a tool call; the last one has all of them submitted together.

        Args:
            tool_call_id: The id in ``ToolCallRequested``.
            output: A ``str`` goes to the model as it is, anything else as JSON.

        Raises:
            BlankValueError: If the id is blank.
            TypeError: If JSON cannot hold the output; nothing is recorded.
            AgentNotAliveError: If the agent has stopped.
            RunNotInProgressError: If no run is active.
            InvalidToolCallIdError: If the run waits for no such call.
        """
        logger.debug("output for %s on thread %s", tool_call_id, self._thread_id)
        call_id, text = require_text("tool_call_id", tool_call_id), encode_output(output)
        if not self._done_elsewhere("submit_tool_output", tool_call_id=call_id, output=text):
            self._mailbox.apply(outputs.record_output, call_id, text)

    def _done_elsewhere(self, verb: str, **arguments: Any) -> bool:
        """Have the process that runs the turn do something, if that is not this one.

        Raises:
            BackplaneError: If it does not answer in time.
            GptAgentError: What it raises there.
        """
        verbs.require_alive(self._mailbox.progress)
        found = self._ownership.ask(verb, **arguments)
        if found is None:
            return False
        remote_verbs.read(found)
        return True

    def rerun_tool_call(self, tool_call_id: str) -> None:
        """Call the handler of a call that was interrupted, after ``ToolCallInterrupted``.

        Args:
            tool_call_id: The id in the event.

        Raises:
            BlankValueError: If the id is blank.
            AgentNotAliveError: If the agent has stopped.
            RunNotInProgressError: If no run is active.
            InvalidToolCallIdError: If the run waits for no such call.
        """
        call_id = require_text("tool_call_id", tool_call_id)
        if not self._done_elsewhere("rerun_tool_call", tool_call_id=call_id):
            self._mailbox.apply(outputs.rerun_call, call_id)

    def cancel_run(self) -> None:
        """Ask the service to cancel the run; ``RunCancelled`` follows.

        Raises:
            AgentNotAliveError: If the agent has stopped.
            RunNotInProgressError: If no run is active.
            ServiceError: If the service fails or refuses; the run goes on.
        """
        if self._done_elsewhere("cancel_run"):
            return
        run_id = self._mailbox.apply(verbs.request_cancel, self._worker.context())
        logger.debug("cancelling run %s on thread %s", run_id, self._thread_id)
        if run_id is not None:
            self._service.cancel_run(self._thread_id, run_id)
            # Else the worker would sit out its pause, or wait in a stream that may stay silent.
            turn = self._mailbox.apply(verbs.poll_now, run_id)
            if turn is not None:
                self._worker.poll_now(turn)

    def wait(self, timeout: float | None = None) -> ClosingEvent | None:
        """Wait until no run is active, nothing is queued and all events have been delivered.

        Args:
            timeout: Seconds; ``None`` for as long as it takes.

        Returns:
            The closing event of the last run, ``None`` when there was none.

        Raises:
            WaitTimeoutError: If it takes longer.
            AgentNotAliveError: If the agent has stopped, or stops in the middle of a run.
            RuntimeError: If called in a callback or handler of this agent.
        """
        verbs.require_alive(self._mailbox.progress)
        check_timeout(timeout)
        self._refuse_to_block("wait()")
        return self._waiter.until_settled(timeout).last_closing

    def ask(
        self,
        content: str | Sequence[str | Mapping[str, Any]],
        *,
        when_busy: Literal["raise", "wait"] = "raise",
        timeout: float | None = None,
        run_options: RunOptions | None = None,
    ) -> str:
        """Add a user's message, wait for its run, and return the assistant's text.

        Args:
            content: Text, or a sequence of content parts.
            when_busy: What to do while another run is active: ``"raise"`` or ``"wait"``.
            timeout: Seconds altogether, requests included; ``None`` for as long as it takes.
            run_options: What this run does differently.

        Returns:
            The texts of the run's messages, joined by a blank line.

        Raises:
            RunFailedError: If the run does not complete; it carries the closing event.
            WaitTimeoutError: If it takes longer; the run goes on. Where the service has not even
                answered the message by then, that is a ``ServiceError``, in doubt.
            GptAgentError: All else that ``add_user_message()`` raises.
            RuntimeError: If called in a callback or handler of this agent.
        """
        pending = self._poster.ask("ask()", content, when_busy, timeout, run_options)
        outcome = self._waiter.outcome(pending)
        if not isinstance(outcome.closing, RunCompleted):
            raise RunFailedError(outcome.closing)
        return MESSAGE_SEPARATOR.join(outcome.texts)

    def ask_stream(
        self,
        content: str | Sequence[str | Mapping[str, Any]],
        *,
        when_busy: Literal["raise", "wait"] = "raise",
        timeout: float | None = None,
        run_options: RunOptions | None = None,
    ) -> TextStream:
        """Add a user's message, and return the assistant's text as an iterator.

        The message is with the service when this returns. Put together, the pieces of text are what
        ``ask()`` returns, and the arguments are the same; where the service does not stream, the
        text comes when the run has ended.

        Returns:
            An iterator and context manager; iterating raises ``RunFailedError`` if the run does not
            complete, ``WaitTimeoutError`` if it takes longer, and ``AgentNotAliveError`` if the
            agent stops.

        Raises:
            GptAgentError: All that ``add_user_message()`` raises.
            RuntimeError: If called in a callback or handler of this agent.
        """
        verbs.require_alive(self._mailbox.progress)
        events = self._subscribers.stream(0)  # before the message, so that nothing is missed
        try:
            pending = self._poster.ask("ask_stream()", content, when_busy, timeout, run_options)
        except BaseException:
            events.close()
            raise
        return TextStream(TurnEvents(self._thread_id, events, self._waiter, pending))

    @overload
    def on(
        self, event_type: type[E], callback: None = None
    ) -> Callable[[Callback[E]], Callback[E]]: ...

    @overload
    def on(self, event_type: type[E], callback: Callback[E]) -> Subscription: ...

    def on(self, event_type: type[E], callback: Callback[E] | None = None) -> Any:
        """Subscribe to an event of this agent; the subscription ends when the agent stops.

        The callback is called with the event on the worker thread; what it raises is logged.

        Args:
            event_type: The event's class, or a base class such as ``RunEvent`` or ``Event``.
            callback: What to call; without it ``on`` is a decorator.

        Returns:
            A ``Subscription``; as a decorator the function.

        Raises:
            TypeError: If ``event_type`` is no event class, or the callback cannot be one.
            AgentNotAliveError: If the agent has stopped.
        """

        def subscribe(function: Callback[E]) -> Subscription:
            verbs.require_alive(self._mailbox.progress)
            return self._subscribers.subscribe(event_type, function)

        return subscribe_or_decorate(event_type, callback, subscribe)

    def events(self, *, maxsize: int = 0) -> EventStream:
        """Return an iterator over this agent's events from now on.

        Args:
            maxsize: How many untaken events the stream holds before the worker waits; 0 for any.

        Raises:
            AgentNotAliveError: If the agent has stopped.
            ValueError: If ``maxsize`` is no such number.
        """
        verbs.require_alive(self._mailbox.progress)
        return self._subscribers.stream(maxsize)

    def messages(
        self, *, after: str | None = None, order: Order = "asc", limit: int | None = None
    ) -> Iterator[Message]:
        """Return an iterator over the thread's messages, the user's and the assistant's.

        Pages are requested when they are needed, on the thread that iterates, callbacks and
        handlers included; errors of the service come out of ``next()``. Events are told
        independently of it. What a run has not finished writing is left out; on the Responses
        wire that is all of its turn, the user's message included.

        Args:
            after: The id of a message, as ``add_user_message()``, events and messages have it:
                those after it, in the order asked for.
            order: ``"asc"`` for the oldest first, ``"desc"`` for the newest first.
            limit: How many there are at most; ``None`` for all.

        Raises:
            AgentNotAliveError: If the agent has stopped.
            BlankValueError: If ``after`` is blank.
            TypeError: If ``limit`` is no whole number.
            ValueError: If ``order`` or ``limit`` is none.
            RequestRejectedError: While iterating, if there is no message of the id ``after``.
            ServiceError: While iterating, if the service fails.
        """
        if after is not None:
            require_text("after", after)
        check_order(order)
        check_limit(limit)
        self._mailbox.apply(verbs.touch)
        return self._service.messages(self._thread_id, after=after, order=order, limit=limit)

    def tool(self, function: Any = None, **options: Any) -> Any:
        """Register a handler for this agent alone; see ``Toolbox.tool``.

        It goes before one of the same name in the toolbox given to ``connect()``, and that
        one before one in the shared toolbox.
        """
        return self._setup.own_tools.tool(function, **options)

    def has_handler(self, name: str) -> bool:
        """Return whether this process has a handler for a tool of this name."""
        return self._setup.find_tool(name) is not None

    def shutdown(self, timeout: float | None = None) -> None:
        """Stop the agent; the service's run, if there is one, goes on without it.

        The events so far are still delivered, then ``AgentStopped``; queued messages that were not
        posted yet are dropped, or stay in a journal that outlives the process, for the next
        ``connect()``. Idempotent, and may be called from callbacks. A request in flight
        is not waited for longer than the timeout; its thread ends by itself when the answer comes.

        Args:
            timeout: Seconds to wait for the worker's end; ``None`` for 2.
        """
        check_timeout(timeout)
        self._lifecycle.begin_shutdown()
        self._lifecycle.finish_shutdown(SHUTDOWN_PATIENCE if timeout is None else timeout)

    def __enter__(self) -> Self:
        """Return the agent."""
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        """Wait for the run, unless the body raised, and shut down."""
        try:
            # A callback may leave the block too: it cannot wait for the worker that it runs on.
            if exc_type is None and not self._worker.is_current():
                with contextlib.suppress(AgentNotAliveError):
                    self.wait()
        finally:
            self.shutdown()

    def __repr__(self) -> str:
        """Show the thread, the service and the state."""
        state = self.state
        doing = f"{state.run_status or 'running'}" if state.running else "idle"
        return (
            f"<Agent {self._thread_id} over {self._service!r} "
            f"({doing if self.is_alive else 'stopped'})>"
        )

    def _is_heard(self) -> bool:
        return self._subscribers.has_receivers() or self._ownership.wants_deltas()

    def _is_streamed(self) -> bool:
        return self._subscribers.has_streams() or self._ownership.is_listened_to()

    def _wants_deltas(self) -> bool:
        return self._subscribers.wants_deltas() or self._ownership.wants_deltas()

    def _refuse_to_block(self, what: str) -> None:
        """Raise where waiting for this agent would be waiting for oneself.

        Raises:
            RuntimeError: If called in a callback or handler of this agent.
        """
        # A handler is another thread, but the run that would be waited for waits for its output.
        if self._worker.is_current() or handling_for() is self:
            raise RuntimeError(
                f"{what} in a callback or handler of the same agent would wait for itself; "
                "add messages with when_busy='queue' and listen to events instead"
            )
