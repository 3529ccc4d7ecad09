"""The wire-neutral records that services, the pure layer and the agent exchange.

None of them depends on a wire. All are frozen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Literal

import attrs

from gpt_agent_sync.arguments import ContentParts, read_metadata

LIVE_STATUSES = frozenset({"queued", "in_progress", "requires_action", "cancelling"})
FINAL_STATUSES = frozenset({"completed", "failed", "cancelled", "expired", "incomplete"})

TOKEN_KEY = "gpt_agent_sync_token"  # noqa: S105  # nosec B105
"""The metadata key, no secret, by which a message or run is found again after a lost answer."""

Order = Literal["asc", "desc"]
"""The order of a list: oldest first, or newest first."""


@attrs.frozen(kw_only=True)
class Usage:
    """Tokens that a run used.

    Attributes:
        input_tokens: Tokens read (the Assistants wire says ``prompt_tokens``).
        output_tokens: Tokens written (the Assistants wire says ``completion_tokens``).
        total_tokens: Both together, as the service counts.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0


def _no_flag(instance: object, field: attrs.Attribute[Any], value: object) -> None:
    # To ``isinstance`` a bool is an int.
    if isinstance(value, bool):
        raise TypeError(f"{field.name} must be a number, not {value!r}")


def _optional_range(low: float, high: float) -> Any:
    return attrs.validators.optional(
        [
            attrs.validators.instance_of((int, float)),
            _no_flag,
            attrs.validators.ge(low),
            attrs.validators.le(high),
        ]
    )


_optional_text = attrs.validators.optional(attrs.validators.instance_of(str))
_optional_count = attrs.validators.optional(
    [attrs.validators.instance_of(int), _no_flag, attrs.validators.ge(1)]
)


def _optional_metadata(metadata: Mapping[str, str] | None) -> dict[str, str] | None:
    return None if metadata is None else read_metadata(metadata)


@attrs.frozen(kw_only=True)
class RunOptions:
    """What a run does differently from its assistant; ``None`` leaves an option as it is.

    A service refuses, by name, an option that its wire does not have.

    Attributes:
        model: The model to use.
        instructions: Instructions in place of the assistant's.
        additional_instructions: Instructions after the assistant's.
        temperature: 0 to 2.
        top_p: 0 to 1.
        max_output_tokens: The most tokens the run may write.
        tool_choice: ``"auto"``, ``"none"``, ``"required"``, or the wire's object naming a tool.
        parallel_tool_calls: Whether several calls may be asked for at once.
        response_format: The format of the reply, such as a JSON schema, as the wire takes it.
        reasoning_effort: How much a reasoning model thinks, such as ``"low"``.
        metadata: Up to 16 pairs of texts kept with the run.
        truncation: How the history is cut to the model's window, as the wire takes it.

    Raises:
        TypeError: If a value has the wrong type.
        ValueError: If a number is out of its range.
    """

    model: str | None = attrs.field(default=None, validator=_optional_text)
    instructions: str | None = attrs.field(default=None, validator=_optional_text)
    additional_instructions: str | None = attrs.field(default=None, validator=_optional_text)
    temperature: float | None = attrs.field(default=None, validator=_optional_range(0, 2))
    top_p: float | None = attrs.field(default=None, validator=_optional_range(0, 1))
    max_output_tokens: int | None = attrs.field(default=None, validator=_optional_count)
    tool_choice: str | Mapping[str, Any] | None = None
    parallel_tool_calls: bool | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(attrs.validators.instance_of(bool)),
    )
    response_format: str | Mapping[str, Any] | None = None
    reasoning_effort: str | None = attrs.field(default=None, validator=_optional_text)
    metadata: Mapping[str, str] | None = attrs.field(default=None, converter=_optional_metadata)
    truncation: str | Mapping[str, Any] | None = None

    def given(self) -> dict[str, Any]:
        """Return the options that were set, by name."""
        return {
            name: value
            for name, value in attrs.asdict(self, recurse=False).items()
            if value is not None
        }


@attrs.frozen(kw_only=True)
class UserMessage:
    """A user's message on its way to the service.

    Attributes:
        content: Text, or a tuple of content parts (``text``, ``image_url``, ``image_file``).
        attachments: File attachments as the wire takes them.
        metadata: Up to 16 pairs of texts kept with the message.
    """

    content: str | ContentParts
    attachments: tuple[dict[str, Any], ...] = ()
    metadata: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class ToolSchema:
    """A tool as it is described to a model.

    Attributes:
        name: The tool's name.
        description: What it does and when to use it.
        parameters: The JSON schema of its arguments.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class AssistantDefinition:
    """What an assistant is created from.

    Attributes:
        model: The model's name.
        instructions: The system text.
        name: A name for people.
        description: A description for people.
        tools: Schemas of function tools, or raw tool objects of the wire.
        metadata: Up to 16 pairs of texts.
    """

    model: str
    instructions: str = ""
    name: str | None = None
    description: str | None = None
    tools: tuple[ToolSchema | Mapping[str, Any], ...] = ()
    metadata: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class ToolCall:
    """A function call that the model asks for.

    Attributes:
        id: The id to answer it by.
        name: The tool's name.
        arguments: The arguments as the model wrote them, which may not be JSON.
    """

    id: str
    name: str
    arguments: str


@attrs.frozen(kw_only=True)
class ToolOutput:
    """The answer to a tool call.

    Attributes:
        tool_call_id: The call's id.
        output: The text that goes to the model.
    """

    tool_call_id: str
    output: str


@attrs.frozen(kw_only=True)
class Message:
    """A finished message of the thread.

    Attributes:
        id: The message's id.
        role: ``"assistant"`` or ``"user"``.
        run_id: The run that wrote it, where there is one and the service says so.
        assistant_id: The assistant that wrote it, likewise.
        content: All text parts joined.
        parts: The raw content parts.
        metadata: The pairs kept with it.
        created_at: When it was added, UTC; ``None`` where the wire does not say, as Responses.
    """

    id: str
    role: str
    run_id: str | None = None
    assistant_id: str | None = None
    content: str = ""
    parts: ContentParts = ()
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    created_at: datetime | None = None


@attrs.frozen(kw_only=True)
class RunSnapshot:
    """A run as the service showed it at one time.

    Attributes:
        id: The run's id.
        status: One of ``LIVE_STATUSES`` or ``FINAL_STATUSES``, or one that we do not know.
        assistant_id: The assistant that runs.
        tool_calls: The calls a run in ``requires_action`` waits for.
        unsupported_action: The kind of a required action that cannot be answered.
        unsupported_call: The kind of call that a run failed for, as it cannot be answered.
            Cancelling the run closes the call.
        error_code: The code of a failed run, or the reason of an incomplete one.
        error_message: The service's words for it.
        usage: Tokens used, once the service says.
        messages_known: Whether the feed has given all messages that the run has finished so far.
        age: Seconds since it was created, by the service's clock, where that is known.
        expires_in: Seconds until the service gives it up, likewise.
    """

    id: str
    status: str
    assistant_id: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    unsupported_action: str | None = None
    unsupported_call: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    usage: Usage | None = None
    messages_known: bool = False
    age: float | None = None
    expires_in: float | None = None

    @property
    def is_final(self) -> bool:
        """Whether the run has ended."""
        return self.status in FINAL_STATUSES

    @property
    def is_live(self) -> bool:
        """Whether the run is known to be in progress."""
        return self.status in LIVE_STATUSES

    @property
    def ends_feed(self) -> bool:
        """Whether there is nothing to follow: the run has ended, or waits for outputs."""
        waits = bool(self.tool_calls or self.unsupported_action)
        return self.is_final or (self.status == "requires_action" and waits)


@attrs.frozen(kw_only=True)
class TextDelta:
    """The next text of a message that is being written.

    Attributes:
        message_id: The message, where the service names it.
        text: The text.
    """

    message_id: str | None
    text: str


FeedUpdate = RunSnapshot | TextDelta | Message
"""What a feed yields."""


@attrs.frozen(kw_only=True)
class Posted:
    """A service's receipt for a user's message.

    Attributes:
        message_id: The message's id.
        receipt: What the service wants back when the run is started, opaque to others. It may
            hold a connection.
        run_id: The run that was started with the message, if it was.
    """

    message_id: str
    receipt: Any = None
    run_id: str | None = None

    def drop(self) -> None:
        """Close what the receipt holds, if no run is started with it."""
        if self.receipt is not None and hasattr(self.receipt, "close"):
            self.receipt.close()


def _always() -> bool:
    return True


def _nothing() -> None:
    pass


Pause = Callable[[float], None]
"""Waits for that many seconds, or raises ``FeedClosed`` when nobody wants the answer any more."""


@attrs.frozen(kw_only=True)
class TimedPause:
    """A ``Pause`` of a caller whose time is limited: requests too take no longer than that.

    Attributes:
        wait: Waits for that many seconds; raises at once where the time would be up by then.
        until: When the time is up, monotonic seconds; ``None`` for never.
    """

    wait: Pause
    until: float | None = None

    def __call__(self, seconds: float) -> None:
        """Wait."""
        self.wait(seconds)


@attrs.frozen(kw_only=True)
class RunRequest:
    """What a service needs to know to start, follow or continue a run.

    Attributes:
        thread_id: The conversation.
        assistant_id: The assistant, ``None`` for a run that was found in progress.
        posted: The receipt of the message that the run answers, if we posted it; without it a run
            that is started answers what is newest in the thread.
        run_id: The turn's run so far, which one that is started takes the place of; ``None`` for
            the turn's first.
        options: What the run does differently.
        tools: Schemas of the registered handlers.
        heartbeat_interval: The longest pause between two polls, seconds.
        streaming: Whether the service is to stream the run, where it can.
        wants_deltas: Returns whether anybody receives text as it arrives; where nobody does, a feed
            may leave it out. Called on the worker's thread, and on the one that posts the message.
        messages_known: Whether feeds have given all messages that the run has finished so far.
        last_message_id: The newest message known before this one, if any.
        last_run_id: The newest run known before this one, if any.
        pause: Waits before the message's post is repeated; ``None`` for a plain wait. A
            ``TimedPause`` bounds the requests of the post too.
        token: What the message is found again by; ``None`` for one that the service makes up.
        may_be_posted: Whether a process that was killed may have posted the message. It was not
            there a moment ago, but may be in a response that holds the conversation until it ends.
        before_post: Called before the message is posted without its run, which is to be started
            later: a process that was killed in between would leave it unanswered.
        waits_for_lock: Whether what begins a run may wait, as long as a request may take, for a
            thread that another caller's run holds; if not, it is refused at once.
        deadline: When the run is given up, monotonic seconds; ``None`` for never. A feed yields a
            snapshot then, or ends.
    """

    thread_id: str
    assistant_id: str | None
    posted: Posted | None = None
    run_id: str | None = None
    options: RunOptions = attrs.field(factory=RunOptions)
    tools: tuple[ToolSchema, ...] = ()
    heartbeat_interval: float = 1.0
    streaming: bool = False
    wants_deltas: Callable[[], bool] = attrs.field(default=_always, eq=False, repr=False)
    messages_known: bool = True
    last_message_id: str | None = None
    last_run_id: str | None = None
    pause: Pause | None = attrs.field(default=None, eq=False, repr=False)
    token: str | None = None
    may_be_posted: bool = False
    before_post: Callable[[], None] = attrs.field(default=_nothing, eq=False, repr=False)
    waits_for_lock: bool = True
    deadline: float | None = None
