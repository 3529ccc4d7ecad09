"""The functions of the package: create threads and assistants, connect, shut down."""

from __future__ import annotations

import atexit
import math
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

from gpt_agent_sync.agent.agent import Agent
from gpt_agent_sync.agent.lifecycle import SHUTDOWN_PATIENCE
from gpt_agent_sync.agent.registry import registry
from gpt_agent_sync.arguments import read_metadata, require_text
from gpt_agent_sync.configuration import get_settings
from gpt_agent_sync.decisions import verbs
from gpt_agent_sync.decisions.state import DecisionContext
from gpt_agent_sync.errors import AgentNotAliveError, BlankThreadIdError
from gpt_agent_sync.events import Event
from gpt_agent_sync.listening.subscriptions import Callback, check_subscription
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
) -> Agent:
    """Return the live agent of a thread, and start one if this process has none.

    A newest run that is in progress is followed from there on. Callers of one thread share one
    agent; on a live one the assistant, tools and options given here replace the former, and the
    subscription is added.

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

    Raises:
        BlankValueError: If an id is blank; for ``thread_id`` an ``InvalidThreadIdError`` too.
        InvalidThreadIdError: If the service has no such thread.
        ToolRegistrationError: If a handler in ``tools`` cannot be one.
        ServiceError: If the service fails.
    """
    _check_ids(thread_id, assistant_id=assistant_id, last_message_id=last_message_id)
    if on_event is not None:
        check_subscription(Event, on_event)
    if run_options is not None and not isinstance(run_options, RunOptions):
        raise TypeError(f"run_options must be RunOptions, not {run_options!r}")
    settings = get_settings()
    idle = _read_idle_timeout(idle_timeout, settings)
    toolbox = _read_tools(tools)
    chosen = choose_service(service)
    if run_options is not None:
        chosen.check_options(run_options)

    def create(live_run: RunSnapshot | None) -> Agent:
        missed = chosen.messages_after(thread_id, last_message_id) if last_message_id else ()
        agent = Agent(
            thread_id,
            chosen,
            settings,
            verbs.begin(
                thread_id,
                assistant_id,
                live_run=live_run,
                missed=missed,
                last_message_id=last_message_id,
                context=DecisionContext(now=time.monotonic(), settings=settings),
            ),
            idle_timeout=idle,
            tools=toolbox,
            run_options=run_options,
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
            agent._lifecycle.attach(assistant_id, toolbox, run_options, on_event)
        except AgentNotAliveError:
            registry.remove(key, agent)
        else:
            return agent


def _check_ids(thread_id: object, **others: object) -> None:
    if not isinstance(thread_id, str) or not thread_id.strip():
        raise BlankThreadIdError(thread_id)
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
    deadlines.close(max(0.0, until - time.monotonic()))


def _close_servers() -> None:
    local = sys.modules.get("gpt_agent_sync.services.local")
    if local is not None:  # it is loaded when it is first used
        local.close_all()


# Called in reverse: the agents stop first, and then the servers that they talk to.
atexit.register(_close_servers)
atexit.register(shutdown_all)
