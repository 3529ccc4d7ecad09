"""The functions of the package: create threads and assistants, connect, shut down."""

from __future__ import annotations

import atexit
import math
import os
import sys
import time
import weakref
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from gpt_agent_sync.agent.agent import Agent
from gpt_agent_sync.agent.call_notes import CallNotes
from gpt_agent_sync.agent.lifecycle import SHUTDOWN_PATIENCE
from gpt_agent_sync.agent.message_notes import MessageNotes
from gpt_agent_sync.agent.ownership import look
from gpt_agent_sync.agent.registry import registry
from gpt_agent_sync.arguments import DOTS, check_bool, read_metadata, require_text
from gpt_agent_sync.backplane.base import Backplane
from gpt_agent_sync.backplane.choosing import backplane_of
from gpt_agent_sync.configuration import get_settings
from gpt_agent_sync.decisions import verbs
from gpt_agent_sync.decisions.state import DecisionContext
from gpt_agent_sync.errors import AgentNotAliveError, BlankThreadIdError, InvalidThreadIdError
from gpt_agent_sync.event_log import place_of_cursor
from gpt_agent_sync.events import Event
from gpt_agent_sync.journal.base import Journal, Scope
from gpt_agent_sync.journal.choosing import journal_of
from gpt_agent_sync.listening.subscriptions import Callback, check_subscription
from gpt_agent_sync.listening.thread_events import ThreadEvents
from gpt_agent_sync.records import (
    Message,
    RunOptions,
    RunSnapshot,
)
from gpt_agent_sync.services.base import Service
from gpt_agent_sync.services.choosing import choose_service
from gpt_agent_sync.services.http.deadlines import deadlines
from gpt_agent_sync.settings import Settings
from gpt_agent_sync.tools.definitions import ToolsArgument, read_definition
from gpt_agent_sync.tools.pool import shared_pool
from gpt_agent_sync.tools.toolbox import Toolbox


# ``None`` is taken: it means that the agent never stops for idleness.
class _FromSettings:
    """The default of an argument whose value is in the settings."""

    def __repr__(self) -> str:
        return "<settings>"


_FROM_SETTINGS = _FromSettings()
_ROLES = ("user", "assistant")


def create_thread(
    *,
    messages: Iterable[Mapping[str, Any]] = (),
    metadata: Mapping[str, str] | None = None,
    service: Service | None = None,
) -> str:
    """Create a conversation thread.

    Args:
        messages: Earlier history, oldest first, any number: ``{"role", "content"}`` with role
            ``"user"`` or ``"assistant"`` and a text.
        metadata: Up to 16 pairs of texts kept with the thread.
        service: The service; else the configured one.

    Returns:
        The thread's id.

    Raises:
        BlankValueError: If a message's text is blank.
        ValueError: If a role or the metadata are unusable.
        ServiceError: If the service fails.
    """
    history = [_read_history(message) for message in messages]
    return choose_service(service).create_thread(history, read_metadata(metadata))


def _read_history(message: Mapping[str, Any]) -> Message:
    if not isinstance(message, Mapping):
        raise ValueError(f"a message must be a mapping with role and content, not {message!r}")
    role = message.get("role")
    if role not in _ROLES:
        raise ValueError(f"a message's role must be 'user' or 'assistant', not {role!r}")
    content = require_text("message content", message.get("content"))
    return Message(id="", role=role, content=content)


def create_assistant(
    *,
    model: str,
    instructions: str = "",
    name: str | None = None,
    description: str | None = None,
    tools: ToolsArgument = None,
    metadata: Mapping[str, str] | None = None,
    service: Service | None = None,
) -> str:
    """Create an assistant.

    Args:
        model: The model's name; the embedded server's offline model is ``"demo"``.
        instructions: The system text.
        name: A name for people.
        description: A description for people.
        tools: A ``Toolbox``, or tool objects as the wire takes them.
        metadata: Up to 16 pairs of texts kept with the assistant.
        service: The service; else the configured one.

    Returns:
        The assistant's id.

    Raises:
        BlankValueError: If the model is blank.
        TypeError: If ``tools`` are neither.
        ValueError: If the metadata are unusable.
        ServiceError: If the service fails.
    """
    definition = read_definition(
        model=model,
        instructions=instructions,
        name=name,
        description=description,
        tools=tools,
        metadata=metadata,
    )
    return choose_service(service).create_assistant(definition)


def connect(
    thread_id: str,
    assistant_id: str | None = None,
    *,
    service: Service | None = None,
    tools: Toolbox | Iterable[Any] | None = None,
    on_event: Callback[Event] | None = None,
    last_message_id: str | None = None,
    run_options: RunOptions | None = None,
    idle_timeout: float | _FromSettings | None = _FROM_SETTINGS,
    journal: Journal | str | os.PathLike[str] | None = None,
    backplane: Backplane | str | None = None,
    handle_tools: bool = True,
) -> Agent:
    """Return the live agent of a thread, and start one if this process has none.

    A newest run that is in progress is followed from there on. Callers of one thread share one
    agent; on a live one the assistant, tools and options given here replace the former, and the
    subscription is added.

    With a journal that outlives processes the messages that others have left in their queues are
    posted, in order, when that run is over; and one that was posted by a process which was killed
    before its run began gets its run. What a process that was killed was at work on is free when
    its lease has run out, up to 30 s later.

    Args:
        thread_id: The conversation.
        assistant_id: The assistant of the next run.
        service: The service; else the configured one.
        tools: This agent's handlers, a ``Toolbox`` or functions; looked up before the shared ones.
        on_event: Called with every event, as by ``on(Event, ...)``, from the very first one.
        last_message_id: The newest message that the program has seen: the assistant's
            messages after it are announced first. Only a new agent reads it.
        run_options: What this agent's runs do differently.
        idle_timeout: Seconds without a run after which the agent stops; ``None`` for never.
            Only a new agent reads it.
        journal: What keeps tool calls and queued messages over crashes and processes, a
            ``Journal`` or the path of a file; else that of the settings. Only a new agent reads it.
        backplane: What the processes share that have agents of the thread, a ``Backplane`` or the
            URL of a Redis; else that of the settings. Over a shared one, one process runs a turn,
            and the agents of all tell its events; where no journal is configured, that of the
            backplane keeps the calls. Only a new agent reads it.
        handle_tools: Whether this process calls handlers. Where several processes connect to a
            thread, let one of them do it: each other one, with ``False``, is told of the calls and
            leaves them, and messages in the journal, to that one, or calls to
            ``submit_tool_output()``. It looks at a run that waits
            each heartbeat, and calls that are answered in between are not told. On a live agent
            ``True`` turns handlers on, also for the calls that wait, and ``False`` leaves it as it
            is.

    Raises:
        BlankValueError: If an id is blank; for ``thread_id`` an ``InvalidThreadIdError`` too.
        InvalidThreadIdError: If the service has no such thread.
        ToolRegistrationError: If a handler in ``tools`` cannot be one.
        TypeError: If another argument is of the wrong type.
        ServiceError: If the service fails.
        JournalError: If the journal cannot be read or written.
        BackplaneError: If the backplane cannot be reached.
    """
    _check_ids(thread_id, assistant_id=assistant_id, last_message_id=last_message_id)
    if on_event is not None:
        check_subscription(Event, on_event)
    if run_options is not None and not isinstance(run_options, RunOptions):
        raise TypeError(f"run_options must be RunOptions, not {run_options!r}")
    check_bool("handle_tools", handle_tools)
    settings = get_settings()
    idle = _read_idle_timeout(idle_timeout, settings)
    toolbox = _read_tools(tools)
    chosen = choose_service(service)
    if run_options is not None:
        chosen.check_options(run_options)
    shared = backplane_of(settings.backplane if backplane is None else backplane)
    kept_in = journal_of(_first(journal, settings.journal, shared.journal))
    scope = Scope(service=chosen.journal_name, thread_id=thread_id)

    def create(live_run: RunSnapshot | None) -> Agent:
        seen = look(shared, scope)
        if shared.shared and live_run is not None and seen.remote is None:
            # Its owner may have told its end since.
            live_run = chosen.open_thread(thread_id)
        missed = tuple(chosen.messages(thread_id, after=last_message_id)) if last_message_id else ()
        agent = Agent(
            thread_id,
            chosen,
            settings,
            verbs.begin(
                thread_id,
                assistant_id,
                # What another process runs, that one follows; this one is told of it.
                live_run=None if seen.remote is not None else live_run,
                missed=missed,
                last_message_id=last_message_id,
                context=DecisionContext(now=time.monotonic(), settings=settings),
                handles_tools=handle_tools,
                remote=seen.remote,
                cursor=seen.cursor,
            ),
            idle_timeout=idle,
            tools=toolbox,
            run_options=run_options,
            notes=CallNotes(kept_in, chosen.journal_name, thread_id),
            messages=MessageNotes(
                # One queue for all who share the thread.
                _first(shared.journal, kept_in),
                chosen.journal_name,
                thread_id,
                settings.heartbeat_interval,
            ),
            backplane=shared,
            stopped=lambda stopped: registry.remove(key, stopped),
        )
        if on_event is not None:
            agent.on(Event, on_event)
        agent._lifecycle.start()
        return agent

    key = (chosen, thread_id)
    while True:
        agent, is_new = registry.obtain(key, lambda: chosen.open_thread(thread_id), create)
        if is_new:
            return agent
        try:
            # It may have stopped since it was found: then a new one takes its place.
            agent._lifecycle.attach(
                assistant_id, toolbox, run_options, on_event, handle_tools=handle_tools
            )
        except AgentNotAliveError:
            registry.remove(key, agent)
        else:
            return agent


def thread_events(
    thread_id: str,
    after: str | None = None,
    service: Service | None = None,
    *,
    backplane: Backplane | str | None = None,
    whole_turn: bool = False,
) -> ThreadEvents:
    """Return an iterator over a thread's events, without an agent.

    That is what a view of server-sent events needs: its agent may be in another process, if they
    share a backplane. Within one process they are kept from when somebody first listens.

    Args:
        thread_id: The conversation.
        after: The ``cursor`` of the last event that is known: those after it are told first, as far
            as they are kept; where some are not, ``EventsMissed`` comes in their place. ``""`` for
            all that are kept, ``None`` for those from now on.
        service: The service; else the configured one.
        backplane: The backplane; else the configured one.
        whole_turn: Whether, without a cursor, the events of the turn that is under way are told
            first: what a page needs that is opened in the middle of it.

    Raises:
        BlankValueError: If the id is blank; an ``InvalidThreadIdError`` too.
        TypeError: If ``whole_turn`` is no ``bool``.
        ValueError: If ``after`` is no cursor.
        BackplaneError: If the backplane cannot be reached.
    """
    _check_ids(thread_id)
    check_bool("whole_turn", whole_turn)
    if after is not None:
        place_of_cursor(after)
    shared = backplane_of(_first(backplane, get_settings().backplane))
    scope = Scope(service=choose_service(service).journal_name, thread_id=thread_id)
    return ThreadEvents(shared, scope, after, whole_turn=whole_turn)


class EventsModule(ModuleType):
    """The module of the events, which can be called: both have the name ``events``."""

    def __call__(
        self,
        thread_id: str,
        after: str | None = None,
        service: Service | None = None,
        *,
        backplane: Backplane | str | None = None,
        whole_turn: bool = False,
    ) -> ThreadEvents:
        """Return an iterator over a thread's events, without an agent; see ``thread_events``."""
        return thread_events(thread_id, after, service, backplane=backplane, whole_turn=whole_turn)


def _first(*values: Any) -> Any:
    """Return the first that is not ``None``."""
    return next((value for value in values if value is not None), None)


def _check_ids(thread_id: object, **others: object) -> None:
    if not isinstance(thread_id, str) or not thread_id.strip():
        raise BlankThreadIdError(thread_id)
    if thread_id in DOTS:
        raise InvalidThreadIdError(thread_id, "it would lead to another address")
    for name, value in others.items():
        if value is not None:
            require_text(name, value)


def _read_tools(tools: Toolbox | Iterable[Any] | None) -> Toolbox | None:
    if tools is None or isinstance(tools, Toolbox):
        return tools
    if isinstance(tools, str) or not isinstance(tools, Iterable):
        raise TypeError(f"tools must be a Toolbox, or several functions, not {tools!r}")
    return Toolbox(tools)


def _read_idle_timeout(value: object, settings: Settings) -> float | None:
    if isinstance(value, _FromSettings):
        return settings.idle_timeout
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"idle_timeout must be seconds above 0, or None, not {value!r}")
    return float(value)


def shutdown_all(timeout: float | None = None) -> None:
    """Shut every agent of this process down, all at once; also done at interpreter exit.

    Requests that are still under way then are ended, on whatever thread they were made.

    Args:
        timeout: Seconds to wait for their workers altogether; ``None`` for 2.
    """
    agents = registry.agents()
    # All are stopped before any is waited for, so that they take the time of one.
    for agent in agents:
        agent._lifecycle.begin_shutdown()
    until = time.monotonic() + (SHUTDOWN_PATIENCE if timeout is None else timeout)
    for agent in agents:
        agent.shutdown(max(0.0, until - time.monotonic()))
    shared_pool.close(max(0.0, until - time.monotonic()))
    deadlines.end_all()
    deadlines.close(max(0.0, until - time.monotonic()))


def _close_services() -> None:
    """Close the connections of all services, and stop their servers, at interpreter exit."""
    sessions = sys.modules.get("gpt_agent_sync.services.http.sessions")
    if sessions is not None:  # it is loaded when it is first used
        sessions.close_all()
    local = sys.modules.get("gpt_agent_sync.services.local")
    if local is not None:
        local.close_all(SHUTDOWN_PATIENCE)


# Called in reverse: the agents stop first, and then what they talk over and to. By weakref, whose
# finalizers the first one registers with atexit: so they come after the agents have stopped.
# urllib3 empties its pools in such, and knows nothing of connections that come back afterwards.
weakref.finalize(registry, _close_services)
atexit.register(shutdown_all)
