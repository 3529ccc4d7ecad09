"""A synchronous, threaded SDK for LLM agents: one agent per conversation thread.

An agent adds user messages, runs the assistant in a background ``threading.Thread``, calls the
program's tool handlers, and delivers everything that happens as events. There is no event loop.

    import gpt_agent_sync as gpt

    @gpt.tool
    def add(a: float, b: float) -> float:
        '''Add two numbers.'''
        return a + b

    assistant_id = gpt.create_assistant(model="demo")
    with gpt.connect(gpt.create_thread(), assistant_id) as agent:
        print(agent.ask("What is 2 + 3?"))
"""

import importlib
import logging
from typing import TYPE_CHECKING, Any

from gpt_agent_sync import signals
from gpt_agent_sync.agent.agent import Agent
from gpt_agent_sync.agent.text_streams import TextStream
from gpt_agent_sync.api import connect, create_assistant, create_thread, shutdown_all
from gpt_agent_sync.configuration import configure, get_settings
from gpt_agent_sync.decisions.state import AgentState
from gpt_agent_sync.errors import (
    AgentNotAliveError,
    AssistantNotSetError,
    AuthenticationError,
    BlankThreadIdError,
    BlankValueError,
    ConfigurationError,
    GptAgentError,
    InvalidThreadIdError,
    InvalidToolCallIdError,
    ProtocolError,
    RateLimitError,
    RequestRejectedError,
    RunFailedError,
    RunInProgressError,
    RunNotInProgressError,
    ServiceBusyError,
    ServiceError,
    ServiceUnavailableError,
    ToolRegistrationError,
    WaitTimeoutError,
)
from gpt_agent_sync.events import (
    AgentStopped,
    AssistantMessageAdded,
    AssistantMessageDelta,
    Event,
    QuotaExceeded,
    RateLimited,
    RateLimitRetriesExhausted,
    RunCancelled,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunStarted,
    ToolCallFailed,
    ToolCallOutputRecorded,
    ToolCallRequested,
    ToolEvent,
    ToolOutputSubmissionFailed,
    UserMessageAdded,
)
from gpt_agent_sync.listening.event_streams import EventStream
from gpt_agent_sync.listening.subscriptions import Subscription, on
from gpt_agent_sync.records import RunOptions, Usage
from gpt_agent_sync.services.base import Service
from gpt_agent_sync.settings import Settings
from gpt_agent_sync.tools.tool import ToolContext
from gpt_agent_sync.tools.toolbox import Toolbox, default_toolbox
from gpt_agent_sync.version import __version__

if TYPE_CHECKING:
    from gpt_agent_sync.services.assistants.service import AssistantsService
    from gpt_agent_sync.services.local import LocalService
    from gpt_agent_sync.services.responses import ResponsesService

tool = default_toolbox.tool

_SERVICES = {
    "AssistantsService": "gpt_agent_sync.services.assistants.service",
    "LocalService": "gpt_agent_sync.services.local",
    "ResponsesService": "gpt_agent_sync.services.responses",
}


def __getattr__(name: str) -> Any:
    """Load a service class when it is first named: a program needs one of them, if any."""
    if name not in _SERVICES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(importlib.import_module(_SERVICES[name]), name)
    return found


def __dir__() -> list[str]:
    """Name the service classes too."""
    return sorted({*globals(), *_SERVICES})


logging.getLogger(__name__).addHandler(logging.NullHandler())

__all__ = [  # noqa: RUF022  (grouped by what they are, not by letter)
    # functions
    "configure",
    "connect",
    "create_assistant",
    "create_thread",
    "get_settings",
    "on",
    "shutdown_all",
    "tool",
    # what they give and take
    "Agent",
    "AgentState",
    "EventStream",
    "RunOptions",
    "Settings",
    "Subscription",
    "TextStream",
    "ToolContext",
    "Toolbox",
    "Usage",
    # services
    "AssistantsService",
    "LocalService",
    "ResponsesService",
    "Service",
    # events
    "Event",
    "RunEvent",
    "ToolEvent",
    "AgentStopped",
    "AssistantMessageAdded",
    "AssistantMessageDelta",
    "QuotaExceeded",
    "RateLimitRetriesExhausted",
    "RateLimited",
    "RunCancelled",
    "RunCompleted",
    "RunFailed",
    "RunStarted",
    "ToolCallFailed",
    "ToolCallOutputRecorded",
    "ToolCallRequested",
    "ToolOutputSubmissionFailed",
    "UserMessageAdded",
    "signals",
    # errors
    "GptAgentError",
    "AgentNotAliveError",
    "AssistantNotSetError",
    "AuthenticationError",
    "BlankThreadIdError",
    "BlankValueError",
    "ConfigurationError",
    "InvalidThreadIdError",
    "InvalidToolCallIdError",
    "ProtocolError",
    "RateLimitError",
    "RequestRejectedError",
    "RunFailedError",
    "RunInProgressError",
    "RunNotInProgressError",
    "ServiceBusyError",
    "ServiceError",
    "ServiceUnavailableError",
    "ToolRegistrationError",
    "WaitTimeoutError",
    "__version__",
]
