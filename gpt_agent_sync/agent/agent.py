"""The object programs hold: an agent stands for one conversation thread."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import attrs

from gpt_agent_sync.agent import tool_calls as calls
from gpt_agent_sync.agent.mailbox import Mailbox
from gpt_agent_sync.agent.posting import Poster
from gpt_agent_sync.agent.text_streams import AskedTurn, TextStream
from gpt_agent_sync.agent.worker import Worker
from gpt_agent_sync.arguments import check_timeout, read_content, read_metadata, require_text
from gpt_agent_sync.decisions import outputs, verbs
from gpt_agent_sync.decisions.state import AgentState, Transition, Turn
from gpt_agent_sync.errors import (
    AgentNotAliveError,
    RunFailedError,
)
from gpt_agent_sync.events import AgentStopped, ClosingEvent, Event, RunCompleted
from gpt_agent_sync.listening.event_streams import EventStream
from gpt_agent_sync.listening.subscribers import Audience
from gpt_agent_sync.listening.subscriptions import Callback, Subscription, check_subscription
from gpt_agent_sync.records import (
    RunOptions,
    RunRequest,
    UserMessage,
)
from gpt_agent_sync.tools.encoding import encode_output
from gpt_agent_sync.tools.toolbox import Tool, Toolbox, default_toolbox

if TYPE_CHECKING:
    from typing_extensions import Self

    from gpt_agent_sync.services.base import Service
    from gpt_agent_sync.settings import Settings

logger = logging.getLogger(__name__)

E = TypeVar("E", bound=Event)

SHUTDOWN_PATIENCE = 2.0
"""Seconds that ``shutdown()`` waits by itself for a worker that is in a request or a callback."""

WhenBusy = Literal["raise", "wait", "queue"]


class Agent:
    """Run an assistant on one conversation thread, in the background, and tell what happens.

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
        stopped: Callable[[Agent], None],
    ) -> None:
        self._thread_id = thread_id
        self._service = service
        self._settings = settings
        self._own_tools = Toolbox()
        self._given_tools = tools
        self._run_options = run_options or RunOptions()
        self._stopped = stopped
        self._audience = Audience(self)
        self._mailbox = Mailbox(first)
        self._worker = Worker(
            self,
            self._mailbox,
            service,
            settings,
            idle_timeout,
            tell=self._audience.tell,
            finished=self._finish,
        )
        self._poster = Poster(
            self._mailbox, service, self._worker.context, self._run_request, self._refuse_to_block
        )

    # identity and state

    @property
    def thread_id(self) -> str:
        """The conversation's id."""
        return self._thread_id

    @property
    def service(self) -> Service:
        """The service that runs the assistant."""
        return self._service

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
        """Whether a turn is under way."""
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

    # messages and runs

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
            when_busy: What to do while a run is active. ``"raise"``: refuse. ``"wait"``: wait for
                its end, then post. ``"queue"``: return at once; the worker posts queued messages
                in order, one run each, and tells of failures by ``RunFailed``.
            timeout: Seconds that ``"wait"`` waits at most; ``None`` for as long as it takes.
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
            RunInProgressError: If a run is active, with ``when_busy="raise"``.
            WaitTimeoutError: If the run has not ended in time, with ``when_busy="wait"``.
            ConfigurationError: If the wire lacks an option or an attachment, or the assistant is
                not registered.
            ServiceBusyError: If another caller's run is active on the thread.
            ServiceError: If the service fails; ``in_doubt`` tells that it may have the message.
            RuntimeError: If ``"wait"`` would wait for itself, in a callback or handler.
        """
        logger.debug("adding a user message to thread %s", self._thread_id)
        verbs.require_alive(self._mailbox.progress)
        check_timeout(timeout)
        message, options = self._checked(content, run_options, attachments, metadata)
        if when_busy == "raise":
            return self._poster.post(message, options)
        if when_busy == "wait":
            return self._poster.post_when_free(message, options, timeout)
        if when_busy == "queue":
            return self._poster.queue(message, options)
        raise ValueError(f"when_busy must be 'raise', 'wait' or 'queue', not {when_busy!r}")

    def submit_tool_output(self, tool_call_id: str, output: object) -> None:
        """Record the output of a tool call; the last one has all of them sent together.

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
        call_id = require_text("tool_call_id", tool_call_id)
        self._mailbox.apply(outputs.record_output, call_id, encode_output(output))

    def cancel_run(self) -> None:
        """Ask the service to cancel the run; ``RunCancelled`` follows.

        Raises:
            AgentNotAliveError: If the agent has stopped.
            RunNotInProgressError: If no run is active.
            ServiceError: If the service fails or refuses; the run goes on.
        """
        run_id = self._mailbox.apply(verbs.request_cancel, self._worker.context())
        logger.debug("cancelling run %s on thread %s", run_id, self._thread_id)
        if run_id is not None:
            self._service.cancel_run(self._thread_id, run_id)
            turn = self._mailbox.apply(verbs.poll_now, run_id)
            if turn is not None:
                self._worker.poll_now(turn)

    def wait(self, timeout: float | None = None) -> ClosingEvent | None:
        """Wait until no run is active, nothing is queued and all events have been delivered.

        Args:
            timeout: Seconds; ``None`` for as long as it takes.

        Returns:
            The closing event of the last run, ``None`` when none was made.

        Raises:
            WaitTimeoutError: If it takes longer.
            AgentNotAliveError: If the agent has stopped, or stops in the middle of a run.
            RuntimeError: If called in a callback or handler of this agent.
        """
        verbs.require_alive(self._mailbox.progress)
        check_timeout(timeout)
        self._refuse_to_block("wait()")
        return self._poster.wait(timeout).last_closing

    def ask(
        self,
        content: str | Sequence[str | Mapping[str, Any]],
        *,
        when_busy: Literal["raise", "wait"] = "raise",
        timeout: float | None = None,
        run_options: RunOptions | None = None,
    ) -> str:
        """Add a user's message, wait for its run, and give the assistant's text.

        Args:
            content: Text, or a sequence of content parts.
            when_busy: What to do while another run is active: ``"raise"`` or ``"wait"``.
            timeout: Seconds to wait altogether; ``None`` for as long as it takes.
            run_options: What this run does differently.

        Returns:
            The texts of the run's messages, joined by a blank line.

        Raises:
            RunFailedError: If the run does not complete; it carries the closing event.
            WaitTimeoutError: If it takes longer; the run goes on.
            GptAgentError: All else that ``add_user_message()`` raises.
            RuntimeError: If called in a callback or handler of this agent.
        """
        message, options = self._to_ask("ask()", content, when_busy, timeout, run_options)
        outcome = self._poster.ask(message, options, timeout, when_free=when_busy == "wait")
        if not isinstance(outcome.closing, RunCompleted):
            raise RunFailedError(outcome.closing)
        return "\n\n".join(outcome.texts)

    def ask_stream(
        self,
        content: str | Sequence[str | Mapping[str, Any]],
        *,
        when_busy: Literal["raise", "wait"] = "raise",
        timeout: float | None = None,
        run_options: RunOptions | None = None,
    ) -> TextStream:
        """Add a user's message, and give the assistant's text piece by piece as it comes.

        The message is with the service when this returns. Put together, the pieces are what
        ``ask()`` gives; where the service does not stream, they come when the run is over.

        Args:
            content: Text, or a sequence of content parts.
            when_busy: What to do while another run is active: ``"raise"`` or ``"wait"``.
            timeout: Seconds to wait altogether; ``None`` for as long as it takes.
            run_options: What this run does differently.

        Returns:
            An iterator and context manager; iterating raises ``RunFailedError`` if the run does not
            complete, ``WaitTimeoutError`` if it takes longer, and ``AgentNotAliveError`` if the
            agent stops.

        Raises:
            GptAgentError: All that ``add_user_message()`` raises.
            RuntimeError: If called in a callback or handler of this agent.
        """
        message, options = self._to_ask("ask_stream()", content, when_busy, timeout, run_options)
        until = None if timeout is None else time.monotonic() + timeout
        events = self._audience.stream(0)  # before the message, so that nothing is missed
        try:
            asked = self._poster.begin_asking(
                message, options, until, when_free=when_busy == "wait"
            )
        except BaseException:
            events.close()
            raise
        return TextStream(AskedTurn(self._thread_id, events, self._poster, asked, until))

    # events and tools

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
        if callback is None:
            check_subscription(event_type, print)

            def decorate(function: Callback[E]) -> Callback[E]:
                self.on(event_type, function)
                return function

            return decorate
        check_subscription(event_type, callback)
        verbs.require_alive(self._mailbox.progress)
        return self._audience.subscribe(event_type, callback)

    def events(self, *, maxsize: int = 0) -> EventStream:
        """Give an iterator over this agent's events from now on.

        Args:
            maxsize: How many untaken events the stream holds before the worker waits; 0 for any.

        Raises:
            AgentNotAliveError: If the agent has stopped.
            ValueError: If ``maxsize`` is no such number.
        """
        verbs.require_alive(self._mailbox.progress)
        return self._audience.stream(maxsize)

    def tool(self, function: Any = None, **options: Any) -> Any:
        """Register a handler for this agent alone; see ``Toolbox.tool``.

        It goes before one of the same name in the toolbox given to ``connect()``, and that
        one before one in the shared toolbox.
        """
        return self._own_tools.tool(function, **options)

    # the end

    def shutdown(self, timeout: float | None = None) -> None:
        """Stop the agent; the service's run, if there is one, goes on without it.

        What happened so far is still told, then ``AgentStopped``; queued messages that were not
        posted yet are dropped. Idempotent, and may be called from callbacks. A request in flight
        is not waited for longer than the timeout; its thread ends by itself when the answer comes.

        Args:
            timeout: Seconds to wait for the worker's end; ``None`` for 2.
        """
        check_timeout(timeout)
        self._begin_shutdown()
        if not self._worker.is_current():
            patience = SHUTDOWN_PATIENCE if timeout is None else timeout
            if not self._worker.join(patience):
                logger.info("the worker of thread %s is still in a request", self._thread_id)

    def _begin_shutdown(self) -> None:
        """Stop the agent without waiting for its worker."""
        self._mailbox.apply(verbs.stop, AgentStopped.SHUTDOWN)
        self._stopped(self)
        self._audience.begin_to_end()
        self._worker.stop()

    def __enter__(self) -> Self:
        """Give the agent."""
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        """Wait for the run, unless the body raised, and shut down."""
        try:
            if exc_type is None and not self._worker.is_current():
                with contextlib.suppress(AgentNotAliveError):
                    self.wait()
        finally:
            self.shutdown()

    def __repr__(self) -> str:
        """Show the thread, the service and what goes on."""
        state = self.state
        doing = f"{state.run_status or 'running'}" if state.running else "idle"
        return (
            f"<Agent {self._thread_id} over {self._service!r} "
            f"({doing if self.is_alive else 'stopped'})>"
        )

    # for the modules around

    def _start(self) -> None:
        """Start the worker; ``connect()`` does. An agent that cannot be started is stopped."""
        logger.info("agent of thread %s starts", self._thread_id)
        try:
            self._worker.start()
        except BaseException:
            self._mailbox.apply(verbs.stop, AgentStopped.ERROR)
            self._audience.end()
            raise

    def _attach(
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
        if assistant_id is None:
            self._mailbox.apply(verbs.touch)
        else:
            self._mailbox.apply(verbs.set_assistant, assistant_id)
        if tools is not None:
            self._given_tools = tools
        if run_options is not None:
            self._run_options = run_options
        if on_event is not None:
            self._audience.subscribe(Event, on_event)

    def _run_request(self, turn: Turn) -> RunRequest:
        """Give what the service needs to know for a turn."""
        schemas = {
            tool.name: tool.schema for toolbox in reversed(self._toolboxes()) for tool in toolbox
        }
        progress = self._mailbox.progress
        return RunRequest(
            thread_id=self._thread_id,
            assistant_id=turn.assistant_id,
            posted=turn.posted,
            options=turn.options,
            tools=tuple(schemas.values()),
            heartbeat_interval=self._settings.heartbeat_interval,
            streaming=self._settings.streaming,
            wants_deltas=self._audience.hears_deltas,
            messages_known=turn.messages_known,
            last_message_id=progress.last_message_id,
            last_run_id=progress.last_run_id,
        )

    def _find_tool(self, name: str) -> Tool | None:
        """Give the handler for a tool's name: this agent's own, the given one, the shared."""
        found = (toolbox.get(name) for toolbox in self._toolboxes())
        return next((tool for tool in found if tool is not None), None)

    def _refuse_to_block(self, what: str) -> None:
        """Raise where waiting for this agent would be waiting for oneself.

        Raises:
            RuntimeError: If called in a callback or handler of this agent.
        """
        if self._worker.is_current() or calls.handling_for() is self:
            raise RuntimeError(
                f"{what} in a callback or handler of the same agent would wait for itself; "
                "add messages with when_busy='queue' and listen to events instead"
            )

    def _forget(self) -> None:
        """Be stopped, in a forked child: the worker lives in the parent only."""
        stopped = verbs.stop(self._mailbox.progress, AgentStopped.SHUTDOWN)
        self._mailbox.forget(attrs.evolve(stopped, steps=()))
        self._audience.forget()

    # inside

    def _toolboxes(self) -> list[Toolbox]:
        given = self._given_tools
        return [box for box in (self._own_tools, given, default_toolbox) if box is not None]

    def _to_ask(
        self,
        what: str,
        content: str | Sequence[str | Mapping[str, Any]],
        when_busy: str,
        timeout: float | None,
        run_options: RunOptions | None,
    ) -> tuple[UserMessage, RunOptions]:
        """Check what is asked, and that the caller can wait for the answer."""
        verbs.require_alive(self._mailbox.progress)
        self._refuse_to_block(what)
        check_timeout(timeout)
        message, options = self._checked(content, run_options)
        if when_busy not in ("raise", "wait"):
            raise ValueError(f"when_busy must be 'raise' or 'wait', not {when_busy!r}")
        return message, options

    def _checked(
        self,
        content: str | Sequence[str | Mapping[str, Any]],
        run_options: RunOptions | None,
        attachments: Iterable[Mapping[str, Any]] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> tuple[UserMessage, RunOptions]:
        message = UserMessage(
            content=read_content(content),
            attachments=tuple(dict(attachment) for attachment in attachments or ()),
            metadata=read_metadata(metadata),
        )
        options = self._options(run_options)
        self._service.check_message(message, options)
        return message, options

    def _options(self, run_options: RunOptions | None) -> RunOptions:
        if run_options is not None and not isinstance(run_options, RunOptions):
            raise TypeError(f"run_options must be RunOptions, not {run_options!r}")
        options = self._run_options
        if run_options is not None:
            options = attrs.evolve(options, **run_options.given())
        self._service.check_options(options)
        return options

    def _finish(self) -> None:
        """Leave nothing behind; on the worker's thread, after the last event."""
        self._stopped(self)
        self._audience.end()
        logger.info("agent of thread %s has stopped", self._thread_id)
