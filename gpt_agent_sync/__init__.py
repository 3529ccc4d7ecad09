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
import sys
from typing import TYPE_CHECKING, Any

from gpt_agent_sync import signals
from gpt_agent_sync.agent.agent import Agent
from gpt_agent_sync.agent.text_streams import TextStream
from gpt_agent_sync.api import (
    EventsModule,
    connect,
    create_assistant,
    create_thread,
    shutdown_all,
)
from gpt_agent_sync.backplane.base import Backplane
from gpt_agent_sync.configuration import configure, get_settings
from gpt_agent_sync.decisions.state import AgentState
from gpt_agent_sync.errors import (
    AgentNotAliveError,
    AssistantNotSetError,
    AuthenticationError,
    BackplaneError,
    BlankThreadIdError,
    BlankValueError,
    ConfigurationError,
    GptAgentError,
    InvalidThreadIdError,
    InvalidToolCallIdError,
    JournalError,
    OutputTooLongError,
    ProtocolError,
    RateLimitError,
    RequestRejectedError,
    RunFailedError,
    RunInProgressError,
    RunNotInProgressError,
    ServiceBusyError,
    ServiceError,
    ServiceUnavailableError,
    ThreadBusyError,
    ToolRegistrationError,
    WaitTimeoutError,
)
from gpt_agent_sync.events import (
    AgentStopped,
    AssistantMessageAdded,
    AssistantMessageDelta,
    Event,
    EventsMissed,
    QuotaExceeded,
    RateLimited,
    RateLimitRetriesExhausted,
    RunCancelled,
    RunCompleted,
    RunEvent,
    RunFailed,
    RunStarted,
    ToolCallFailed,
    ToolCallInterrupted,
    ToolCallOutputRecorded,
    ToolCallRequested,
    ToolEvent,
    ToolOutputSubmissionFailed,
    UserMessageAdded,
)
from gpt_agent_sync.journal.base import Journal
from gpt_agent_sync.journal.memory import MemoryJournal
from gpt_agent_sync.listening.event_streams import EventStream
from gpt_agent_sync.listening.subscriptions import Subscription, on
from gpt_agent_sync.listening.thread_events import ThreadEvents
from gpt_agent_sync.records import Message, RunOptions, Usage
from gpt_agent_sync.services.base import Service
from gpt_agent_sync.settings import Settings
from gpt_agent_sync.tools.recovery import FAIL, RERUN
from gpt_agent_sync.tools.tool import ToolContext
from gpt_agent_sync.tools.toolbox import Toolbox, default_toolbox
from gpt_agent_sync.version import __version__

if TYPE_CHECKING:
    from gpt_agent_sync.api import thread_events as events
    from gpt_agent_sync.backplane.redis import RedisBackplane
    from gpt_agent_sync.journal.redis import RedisJournal
    from gpt_agent_sync.journal.sqlite import SqliteJournal
    from gpt_agent_sync.services.assistants.service import AssistantsService
    from gpt_agent_sync.services.local import LocalService
    from gpt_agent_sync.services.responses import ResponsesService

tool = default_toolbox.tool

# ``events`` is the module of the events, and the function that iterates over a thread's: both are
# names of this package, and programs use both.
sys.modules[f"{__name__}.events"].__class__ = EventsModule

_LOADED_WHEN_NAMED = {
    "AssistantsService": "gpt_agent_sync.services.assistants.service",
    "RedisBackplane": "gpt_agent_sync.backplane.redis",
    "RedisJournal": "gpt_agent_sync.journal.redis",
    "LocalService": "gpt_agent_sync.services.local",
    "ResponsesService": "gpt_agent_sync.services.responses",
    "SqliteJournal": "gpt_agent_sync.journal.sqlite",
}


def __getattr__(name: str) -> Any:
    """Load a class when it is first named: a program needs one service and one journal, if any."""
    if name not in _LOADED_WHEN_NAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(_LOADED_WHEN_NAMED[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Name these classes too."""
    return sorted({*globals(), *_LOADED_WHEN_NAMED})


logging.getLogger(__name__).addHandler(logging.NullHandler())

__all__ = [  # noqa: RUF022  (grouped by what they are, not by letter)
    # functions
    "configure",
    "connect",
    "create_assistant",
    "create_thread",
    "events",
    "get_settings",
    "on",
    "shutdown_all",
    "tool",
    # what they give and take
    "FAIL",
    "RERUN",
    "Agent",
    "AgentState",
    "EventStream",
    "Message",
    "RunOptions",
    "Settings",
    "Subscription",
    "TextStream",
    "ThreadEvents",
    "ToolContext",
    "Toolbox",
    "Usage",
    # services
    "AssistantsService",
    "LocalService",
    "ResponsesService",
    "Service",
    # journals
    "Journal",
    "MemoryJournal",
    "RedisJournal",
    "SqliteJournal",
    # backplanes
    "Backplane",
    "RedisBackplane",
    # events
    "Event",
    "RunEvent",
    "ToolEvent",
    "AgentStopped",
    "AssistantMessageAdded",
    "AssistantMessageDelta",
    "EventsMissed",
    "QuotaExceeded",
    "RateLimitRetriesExhausted",
    "RateLimited",
    "RunCancelled",
    "RunCompleted",
    "RunFailed",
    "RunStarted",
    "ToolCallFailed",
    "ToolCallInterrupted",
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
    "BackplaneError",
    "BlankThreadIdError",
    "BlankValueError",
    "ConfigurationError",
    "InvalidThreadIdError",
    "InvalidToolCallIdError",
    "JournalError",
    "OutputTooLongError",
    "ProtocolError",
    "RateLimitError",
    "RequestRejectedError",
    "RunFailedError",
    "RunInProgressError",
    "RunNotInProgressError",
    "ServiceBusyError",
    "ServiceError",
    "ServiceUnavailableError",
    "ThreadBusyError",
    "ToolRegistrationError",
    "WaitTimeoutError",
    "__version__",
]
