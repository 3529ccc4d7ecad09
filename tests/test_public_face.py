"""What programs see when they import the package."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib.metadata import requires, version

import pytest

import gpt_agent_sync as gpt

PROMISED = [
    "create_thread",
    "create_assistant",
    "connect",
    "on",
    "tool",
    "configure",
    "get_settings",
    "shutdown_all",
    "Agent",
    "AgentState",
    "EventStream",
    "Subscription",
    "TextStream",
    "Toolbox",
    "ToolContext",
    "RunOptions",
    "Settings",
    "Usage",
    "signals",
    "AssistantsService",
    "LocalService",
    "Service",
    "Event",
    "RunEvent",
    "UserMessageAdded",
    "RunStarted",
    "RunCompleted",
    "RunFailed",
    "RunCancelled",
    "AssistantMessageAdded",
    "AssistantMessageDelta",
    "ToolCallRequested",
    "ToolCallOutputRecorded",
    "ToolCallFailed",
    "ToolCallInterrupted",
    "RERUN",
    "FAIL",
    "ToolOutputSubmissionFailed",
    "RateLimited",
    "RateLimitRetriesExhausted",
    "QuotaExceeded",
    "AgentStopped",
    "GptAgentError",
    "BlankValueError",
    "InvalidThreadIdError",
    "InvalidToolCallIdError",
    "RunInProgressError",
    "RunNotInProgressError",
    "AssistantNotSetError",
    "AgentNotAliveError",
    "RunFailedError",
    "WaitTimeoutError",
    "ToolRegistrationError",
    "ConfigurationError",
    "ServiceError",
    "AuthenticationError",
    "RequestRejectedError",
    "ServiceBusyError",
    "ThreadBusyError",
    "RateLimitError",
    "ServiceUnavailableError",
    "OutputTooLongError",
    "ProtocolError",
    "Journal",
    "MemoryJournal",
    "SqliteJournal",
    "JournalError",
]


@pytest.mark.parametrize("name", PROMISED)
def test_promised_names_are_there(name: str) -> None:
    """Every promised name can be imported, and is listed."""
    assert hasattr(gpt, name)
    assert name in gpt.__all__


@pytest.mark.parametrize("name", [name for name in gpt.__all__ if name != "__version__"])
def test_public_names_are_documented(name: str) -> None:
    """Every public name has a docstring of its own."""
    assert (inspect.getdoc(getattr(gpt, name)) or "").strip()


@pytest.mark.parametrize("owner", [gpt.Agent, gpt.EventStream, gpt.Subscription, gpt.Toolbox])
def test_public_methods_are_documented(owner: type) -> None:
    """Every public method and property has a docstring."""
    public = {name: member for name, member in vars(owner).items() if not name.startswith("_")}
    assert [name for name, member in public.items() if not inspect.getdoc(member)] == []


def test_version_is_that_of_the_distribution() -> None:
    """The version is said in one place."""
    assert gpt.__version__ == version("gpt_agent_sync")


def test_core_dependencies_are_few() -> None:
    """The core needs four libraries, and urllib3, which requests brings; all else is an extra."""
    core = [line for line in requires("gpt_agent_sync") or () if "extra ==" not in line]
    assert sorted(line.partition(">")[0] for line in core) == [
        "attrs",
        "blinker",
        "msgspec",
        "requests",
        "urllib3",
    ]


def test_import_loads_no_optional_library() -> None:
    """Server, command, schema, database and HTTP libraries are loaded when they are used."""
    code = (
        # What measures coverage has loaded some of them before.
        "import sys; before = set(sys.modules); "
        "import gpt_agent_sync, gpt_agent_sync.journal.choosing; "
        "print(sorted({'flask', 'sqlalchemy', 'click', 'rich', 'msgspec', 'requests', 'asyncio',"
        " 'sqlite3'}"
        " & (set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"
