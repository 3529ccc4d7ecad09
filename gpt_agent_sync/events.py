"""What agents tell programs: frozen facts, in the past tense.

Every event is an attrs class with keyword-only fields, a ``thread_id`` and ``at``, the
moment it was noted (UTC; not part of equality). ``to_dict()`` gives JSON-ready data whose
``"type"`` names the class, and ``Event.from_dict()`` reads it back.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, ClassVar

import attrs

from gpt_agent_sync.records import Usage


def _now() -> datetime:
    return datetime.now(timezone.utc)


@attrs.frozen(kw_only=True)
class Event:
    """Be the base of all events; subscribe to it to hear everything.

    Attributes:
        thread_id: The conversation the fact belongs to.
        at: When it was noted, UTC; left out of comparisons.
    """

    thread_id: str
    at: datetime = attrs.field(factory=_now, eq=False)

    def to_dict(self) -> dict[str, Any]:
        """Give the event as JSON-ready data, with its class's name under ``"type"``."""
        data: dict[str, Any] = {"type": type(self).__name__}
        for field in attrs.fields(type(self)):
            data[field.name] = _to_json(getattr(self, field.name))
        return data

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Event:
        """Read an event back from what ``to_dict()`` gave.

        Args:
            data: The mapping, with ``"type"``.

        Raises:
            ValueError: If ``"type"`` names no event, or a field is missing or unknown.
        """
        values = dict(data)
        name = values.pop("type", None)
        event_class = EVENT_TYPES.get(name) if isinstance(name, str) else None
        if event_class is None:
            raise ValueError(f"no event type {name!r}; known: {', '.join(EVENT_TYPES)}")
        try:
            for field, read in _READERS.items():
                if values.get(field) is not None:
                    values[field] = read(values[field])
            return event_class(**values)
        except TypeError as exc:
            raise ValueError(f"not a {name} event: {exc}") from exc


def _to_json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Usage):
        return attrs.asdict(value)
    if isinstance(value, tuple):
        return [_to_json(item) for item in value]
    return value


_READERS: Mapping[str, Any] = {
    "at": datetime.fromisoformat,
    "usage": lambda value: Usage(**value),
    "parts": tuple,
    "content": lambda value: value if isinstance(value, str) else tuple(value),
}


@attrs.frozen(kw_only=True)
class UserMessageAdded(Event):
    """Tell that the service has the user's message.

    Attributes:
        id: The message's id.
        content: The text, or the tuple of content parts that was given.
    """

    id: str
    content: str | tuple[dict[str, Any], ...]


@attrs.frozen(kw_only=True)
class RunEvent(Event):
    """Be the base of the events that tell how a run goes."""


@attrs.frozen(kw_only=True)
class RunStarted(RunEvent):
    """Tell that the service has taken the run on.

    Attributes:
        id: The run's id.
        assistant_id: The assistant that runs.
    """

    id: str
    assistant_id: str | None


@attrs.frozen(kw_only=True)
class RunCompleted(RunEvent):
    """Tell that the run completed; its messages follow.

    Attributes:
        id: The run's id.
        assistant_id: The assistant that ran.
        usage: Tokens used, ``None`` where the service does not say.
    """

    id: str
    assistant_id: str | None
    usage: Usage | None = None


@attrs.frozen(kw_only=True)
class RunFailed(RunEvent):
    """Tell that the run ended without completing.

    Attributes:
        id: The run's id, ``None`` when it could not be started.
        assistant_id: The assistant.
        status: ``"failed"``, ``"expired"`` or ``"incomplete"``.
        code: A word for the reason, where there is one.
        message: The reason in the service's words, or in ours.
    """

    id: str | None
    assistant_id: str | None
    status: str
    code: str | None = None
    message: str | None = None


@attrs.frozen(kw_only=True)
class RunCancelled(RunEvent):
    """Tell that the run was cancelled.

    Attributes:
        id: The run's id, ``None`` when it was cancelled before it started.
        assistant_id: The assistant.
    """

    id: str | None
    assistant_id: str | None


@attrs.frozen(kw_only=True)
class RateLimited(RunEvent):
    """Tell that a run met a rate limit and will be started again.

    Attributes:
        run_id: The run that failed, ``None`` when not even the start was let through.
        assistant_id: The assistant.
        retry_in: Seconds until the next start.
        retries_remaining: How many more starts may follow that one.
    """

    run_id: str | None
    assistant_id: str | None
    retry_in: float
    retries_remaining: int


@attrs.frozen(kw_only=True)
class RateLimitRetriesExhausted(RunEvent):
    """Tell that the last start met the rate limit too; ``RunFailed`` follows.

    Attributes:
        run_id: The last run, ``None`` when not even the start was let through.
        assistant_id: The assistant.
    """

    run_id: str | None
    assistant_id: str | None


@attrs.frozen(kw_only=True)
class QuotaExceeded(RunEvent):
    """Tell that the account's quota is used up; ``RunFailed`` follows, without a retry.

    Attributes:
        run_id: The run, ``None`` when not even the start was let through.
        assistant_id: The assistant.
    """

    run_id: str | None
    assistant_id: str | None


@attrs.frozen(kw_only=True)
class AssistantMessageAdded(Event):
    """Tell an assistant's message, once the run that wrote it is over.

    Attributes:
        message_id: The message's id.
        run_id: The run that wrote it.
        assistant_id: The assistant.
        content: All text parts joined, ``""`` when there is none.
        parts: The raw content parts as the wire gave them.
    """

    message_id: str
    run_id: str | None
    assistant_id: str | None
    content: str
    parts: tuple[dict[str, Any], ...] = ()


@attrs.frozen(kw_only=True)
class AssistantMessageDelta(Event):
    """Tell a piece of text as it arrives, where the service streams.

    Attributes:
        message_id: The message being written.
        run_id: The run that writes it.
        text: The next piece.
    """

    message_id: str | None
    run_id: str
    text: str


@attrs.frozen(kw_only=True)
class ToolEvent(Event):
    """Be the base of the events about tool calls."""


@attrs.frozen(kw_only=True)
class ToolCallRequested(ToolEvent):
    """Tell that the model asks for a tool call.

    Attributes:
        id: The call's id, to answer it by.
        run_id: The run that waits.
        name: The tool's name.
        arguments: The arguments, or the raw text where it is not a JSON object (such a call
            is answered with an error at once).
    """

    id: str
    run_id: str
    name: str
    arguments: dict[str, Any] | str


@attrs.frozen(kw_only=True)
class ToolCallOutputRecorded(ToolEvent):
    """Tell that a call has its output; all are sent when the last one is there.

    Attributes:
        id: The call's id.
        run_id: The run that waits.
        name: The tool's name.
        output: The text that goes to the model.
    """

    id: str
    run_id: str
    name: str
    output: str


@attrs.frozen(kw_only=True)
class ToolCallFailed(ToolEvent):
    """Tell that a handler could not answer; an error output is recorded in its place.

    Attributes:
        id: The call's id.
        run_id: The run that waits.
        name: The tool's name.
        message: What went wrong.
    """

    id: str
    run_id: str
    name: str
    message: str


@attrs.frozen(kw_only=True)
class ToolOutputSubmissionFailed(ToolEvent):
    """Tell that the recorded outputs could not be given to the service.

    Attributes:
        run_id: The run that waited for them.
        message: What went wrong.
    """

    run_id: str
    message: str


@attrs.frozen(kw_only=True)
class AgentStopped(Event):
    """Tell, as an agent's last event, that it has stopped.

    Attributes:
        reason: ``"shutdown"``, ``"idle"`` or ``"error"``.
    """

    SHUTDOWN: ClassVar[str] = "shutdown"
    IDLE: ClassVar[str] = "idle"
    ERROR: ClassVar[str] = "error"

    reason: str


EVENT_TYPES: Mapping[str, type[Event]] = {
    event_class.__name__: event_class
    for event_class in (
        UserMessageAdded,
        RunStarted,
        RunCompleted,
        RunFailed,
        RunCancelled,
        RateLimited,
        RateLimitRetriesExhausted,
        QuotaExceeded,
        AssistantMessageAdded,
        AssistantMessageDelta,
        ToolCallRequested,
        ToolCallOutputRecorded,
        ToolCallFailed,
        ToolOutputSubmissionFailed,
        AgentStopped,
    )
}
"""The concrete events by name, the table that ``Event.from_dict()`` reads."""

ClosingEvent = RunCompleted | RunFailed | RunCancelled
"""The three ways a run is told to have ended."""
