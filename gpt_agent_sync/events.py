"""The events of agents: frozen facts, in the past tense.

Every event is an attrs class with keyword-only fields, a ``thread_id`` and ``at``, the time at
which it was noted (UTC; not part of equality). ``to_dict()`` returns JSON-ready data whose
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
    """The base of all events; subscribe to it to receive every one.

    Attributes:
        thread_id: The conversation the fact belongs to.
        at: When it was noted, UTC; left out of comparisons.
        cursor: Its place among the thread's events, from which ``gpt_agent_sync.events()`` goes on;
            ``None`` for what is told in one process alone. Left out of comparisons.
    """

    thread_id: str
    at: datetime = attrs.field(factory=_now, eq=False)
    cursor: str | None = attrs.field(default=None, eq=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the event as JSON-ready data, with its class's name under ``"type"``.

        A cursor is there where the event has one.
        """
        data: dict[str, Any] = {"type": type(self).__name__}
        for field in attrs.fields(type(self)):
            data[field.name] = _to_json(getattr(self, field.name))
        if self.cursor is None:
            del data["cursor"]
        return data

    def _take_place(self, cursor: str) -> None:
        """Give the event its place, before anybody is told of it."""
        object.__setattr__(self, "cursor", cursor)

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Event:
        """Return the event that ``to_dict()`` made this data of.

        Args:
            data: The data, with ``"type"``.

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
    # JSON has no tuples.
    "parts": tuple,
    "content": lambda value: value if isinstance(value, str) else tuple(value),
}


@attrs.frozen(kw_only=True)
class UserMessageAdded(Event):
    """The service has the user's message.

    Attributes:
        id: The message's id.
        content: The text, or the tuple of content parts that was given.
    """

    id: str
    content: str | tuple[dict[str, Any], ...]


@attrs.frozen(kw_only=True)
class RunEvent(Event):
    """The base of the events about a run."""


@attrs.frozen(kw_only=True)
class RunStarted(RunEvent):
    """The service has taken the run on.

    Attributes:
        id: The run's id.
        assistant_id: The assistant that runs.
    """

    id: str
    assistant_id: str | None


@attrs.frozen(kw_only=True)
class RunCompleted(RunEvent):
    """The run completed; its messages follow.

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
    """The run ended without completing.

    Attributes:
        id: The run's id, ``None`` when it could not be started.
        assistant_id: The assistant.
        status: ``"failed"``, ``"expired"`` or ``"incomplete"``.
        code: The code of the reason, where there is one.
        message: The reason, in the service's words or in ours.
        in_doubt: Whether the service may have started it all the same.
    """

    id: str | None
    assistant_id: str | None
    status: str
    code: str | None = None
    message: str | None = None
    in_doubt: bool = False


@attrs.frozen(kw_only=True)
class RunCancelled(RunEvent):
    """The run was cancelled.

    Attributes:
        id: The run's id, ``None`` when it was cancelled before it started.
        assistant_id: The assistant.
    """

    id: str | None
    assistant_id: str | None


@attrs.frozen(kw_only=True)
class RateLimited(RunEvent):
    """A run met a rate limit and will be started again.

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
    """The last start met the rate limit too; ``RunFailed`` follows.

    Attributes:
        run_id: The last run, ``None`` when not even the start was let through.
        assistant_id: The assistant.
    """

    run_id: str | None
    assistant_id: str | None


@attrs.frozen(kw_only=True)
class QuotaExceeded(RunEvent):
    """The account's quota is used up; ``RunFailed`` follows, without a retry.

    Attributes:
        run_id: The run, ``None`` when not even the start was let through.
        assistant_id: The assistant.
    """

    run_id: str | None
    assistant_id: str | None


@attrs.frozen(kw_only=True)
class AssistantMessageAdded(Event):
    """The assistant's message was added; announced once the run that wrote it has ended.

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
    """Text of a message arrived; only where the service streams, and somebody receives it.

    Attributes:
        message_id: The message being written.
        run_id: The run that writes it.
        text: The text that follows the previous delta's.
    """

    message_id: str | None
    run_id: str
    text: str


@attrs.frozen(kw_only=True)
class ToolEvent(Event):
    """The base of the events about tool calls."""


@attrs.frozen(kw_only=True)
class ToolCallRequested(ToolEvent):
    """The model has asked for a tool call.

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
    """A call has its output; all are submitted when the last one is there.

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
    """A handler could not answer; an error output is recorded in its place.

    Attributes:
        id: The call's id.
        run_id: The run that waits.
        name: The tool's name.
        message: What went wrong.
        code: What kind of failure it is, where there is a word for it: ``"output_too_long"`` when
            the service refused the handler's output for its length, ``"interrupted"`` when it was
            begun before and not finished, ``"journal_error"`` when it could not be noted.
    """

    id: str
    run_id: str
    name: str
    message: str
    code: str | None = None


@attrs.frozen(kw_only=True)
class ToolCallInterrupted(ToolEvent):
    """A call was begun before and not finished, and its tool has ``after_crash="ask"``.

    It waits for ``submit_tool_output()`` or ``rerun_tool_call()``.

    Attributes:
        id: The call's id.
        run_id: The run that waits.
        name: The tool's name.
        arguments: The arguments.
        attempt: How often it was begun.
    """

    id: str
    run_id: str
    name: str
    arguments: dict[str, Any] | str
    attempt: int


@attrs.frozen(kw_only=True)
class ToolOutputSubmissionFailed(ToolEvent):
    """The recorded outputs could not be submitted to the service.

    Attributes:
        run_id: The run that waited for them.
        message: What went wrong.
    """

    run_id: str
    message: str


@attrs.frozen(kw_only=True)
class EventsMissed(Event):
    """Events of other processes are not kept any more, and were not told; those after them follow.

    Attributes:
        after: The place of the last event that was told before them.
    """

    after: str


@attrs.frozen(kw_only=True)
class AgentStopped(Event):
    """The agent has stopped; its last event.

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
        ToolCallInterrupted,
        ToolOutputSubmissionFailed,
        EventsMissed,
        AgentStopped,
    )
}
"""The concrete events by name, the table that ``Event.from_dict()`` reads."""

ClosingEvent = RunCompleted | RunFailed | RunCancelled
"""The events that end a run."""
