"""The frozen values that describe an agent, and the steps that decisions lead to.

``AgentState`` is the public part. ``Progress`` is the whole, and ``Turn`` the part of it that lasts
from a user's message to the end of its run. A decision returns a ``Transition``: the next progress,
and the steps (events to deliver, actions to perform) in order.
"""

from __future__ import annotations

import enum
from typing import Any

import attrs

from gpt_agent_sync.events import (
    ClosingEvent,
    Event,
    ToolCallOutputRecorded,
    ToolCallRequested,
)
from gpt_agent_sync.records import Message, Posted, RunOptions, UserMessage
from gpt_agent_sync.settings import Settings


@attrs.frozen(kw_only=True)
class AgentState:
    """A consistent snapshot of what an agent is doing.

    Attributes:
        thread_id: The conversation.
        default_assistant: The assistant of the next run.
        running: Whether a turn is in progress, from the posting of the message on.
        run_id: The run in progress, else the last one.
        run_status: Its last known status, in the service's words.
        tool_calls: The calls that wait for an output.
        tool_outputs: The outputs recorded and not yet with the service.
        last_message_id: The newest message this agent knows of.
    """

    thread_id: str
    default_assistant: str | None = None
    running: bool = False
    run_id: str | None = None
    run_status: str | None = None
    tool_calls: tuple[ToolCallRequested, ...] = ()
    tool_outputs: tuple[ToolCallOutputRecorded, ...] = ()
    last_message_id: str | None = None


class Phase(enum.Enum):
    """The phases of a turn."""

    POSTING = "posting"
    STARTING = "starting"
    FOLLOWING = "following"
    AWAITING_OUTPUTS = "awaiting_outputs"
    SUBMITTING = "submitting"


@attrs.frozen(kw_only=True)
class Turn:
    """A user's message and its run, or its runs after rate limits.

    Attributes:
        number: Counts the agent's turns from 1.
        phase: What is being done for it.
        began_at: When it began, monotonic seconds.
        message: The user's message; ``None`` for a run that was found in progress.
        options: What its runs do differently.
        assistant_id: The assistant; ``None`` where a found run does not say.
        posted: The service's receipt for the message.
        run_id: The run, once there is one.
        run_status: Its last known status.
        call_order: Ids of the calls that the run asks for, in the order in which it asked.
        tool_calls: Calls without an output.
        tool_outputs: Outputs not yet with the service.
        submitted: Ids of the calls answered last, while the service still shows them.
        messages: Finished messages, held back until the run's closing event.
        messages_known: Whether these are all that the run has finished so far.
        retries_left: How many more starts a rate limit may cost.
        start_delayed: Whether the next start waits for its time.
        blocked_since: When a start was first refused because the thread was busy.
        trouble_since: Since when the service cannot be reached to follow the run.
        unknown_since: Since when the run has a status that no transition is known for.
        cancel_requested: Whether to cancel the run as soon as its id is known.
    """

    number: int
    phase: Phase
    began_at: float
    assistant_id: str | None
    message: UserMessage | None = None
    options: RunOptions = attrs.field(factory=RunOptions)
    posted: Posted | None = None
    run_id: str | None = None
    run_status: str | None = None
    call_order: tuple[str, ...] = ()
    tool_calls: tuple[ToolCallRequested, ...] = ()
    tool_outputs: tuple[ToolCallOutputRecorded, ...] = ()
    submitted: frozenset[str] = frozenset()
    messages: tuple[Message, ...] = ()
    messages_known: bool = True
    retries_left: int = 0
    start_delayed: bool = False
    blocked_since: float | None = None
    trouble_since: float | None = None
    unknown_since: float | None = None
    cancel_requested: bool = False


@attrs.frozen(kw_only=True)
class QueuedMessage:
    """A message that waits for the turns before it.

    Attributes:
        message: The message.
        options: What its run does differently.
    """

    message: UserMessage
    options: RunOptions


@attrs.frozen(kw_only=True)
class Outcome:
    """How a turn ended, for the caller that waits for it.

    Attributes:
        turn: The turn's number.
        closing: Its closing event.
        texts: The contents of the assistant's messages that have text.
    """

    turn: int
    closing: ClosingEvent
    texts: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Progress:
    """Everything that an agent knows.

    Attributes:
        thread_id: The conversation.
        default_assistant: The assistant of the next run.
        turn: The turn in progress.
        queue: Messages that wait, oldest first.
        turns_begun: How many turns there have been.
        last_message_id: The newest message known.
        announced: Ids of the last run's messages that were announced, so that none is twice.
        last_run_id: The last run that has ended.
        last_run_status: Its status.
        last_closing: The last closing event.
        awaited: Numbers of the turns whose outcome a caller waits for.
        outcomes: Outcomes that callers have not taken yet.
        stopped: Why the agent stops or has stopped; ``None`` while it lives.
        interrupted: Whether the stop cut a turn short.
    """

    thread_id: str
    default_assistant: str | None = None
    turn: Turn | None = None
    queue: tuple[QueuedMessage, ...] = ()
    turns_begun: int = 0
    last_message_id: str | None = None
    announced: frozenset[str] = frozenset()
    last_run_id: str | None = None
    last_run_status: str | None = None
    last_closing: ClosingEvent | None = None
    awaited: frozenset[int] = frozenset()
    outcomes: tuple[Outcome, ...] = ()
    stopped: str | None = None
    interrupted: bool = False

    def public(self) -> AgentState:
        """Return the public part."""
        turn = self.turn
        return AgentState(
            thread_id=self.thread_id,
            default_assistant=self.default_assistant,
            running=turn is not None,
            run_id=turn.run_id if turn else self.last_run_id,
            run_status=turn.run_status if turn else self.last_run_status,
            tool_calls=turn.tool_calls if turn else (),
            tool_outputs=turn.tool_outputs if turn else (),
            last_message_id=self.last_message_id,
        )


@attrs.frozen(kw_only=True)
class Action:
    """Something that a decision has the worker do.

    Attributes:
        turn: The number of the turn it is for; performed only while that turn is in progress.
    """

    turn: int


@attrs.frozen(kw_only=True)
class Request(Action):
    """An action that makes a request to the service.

    Attributes:
        delay: Seconds to wait first.
    """

    delay: float = 0.0


class PostMessage(Request):
    """The post of the turn's queued message."""


class StartRun(Request):
    """The start of the turn's run."""


class FollowRun(Request):
    """A poll of the turn's run, which is then followed."""


@attrs.frozen(kw_only=True)
class CallTools(Action):
    """The call of the handlers that are registered for these calls.

    Attributes:
        calls: The calls; those without a handler wait for ``submit_tool_output()``.
    """

    calls: tuple[ToolCallRequested, ...]


@attrs.frozen(kw_only=True)
class SubmitOutputs(Request):
    """The submission of all outputs of the turn's run, in one request.

    Attributes:
        outputs: The outputs, in the order of the calls.
    """

    outputs: tuple[ToolCallOutputRecorded, ...]


@attrs.frozen(kw_only=True)
class CancelRun(Action):
    """A best-effort cancel of a run: a failure is logged and nothing more.

    Attributes:
        run_id: The run.
    """

    run_id: str


@attrs.frozen(kw_only=True)
class SettleTurn(Action):
    """The end of the turn, performed when all its events have been delivered.

    Attributes:
        outcome: The outcome for the caller that waits for it; ``None`` when nobody does.
    """

    outcome: Outcome | None = None


@attrs.frozen(kw_only=True)
class DecisionContext:
    """The circumstances of a decision, which it cannot look up itself.

    Attributes:
        now: Monotonic seconds.
        settings: The settings the agent was made under.
    """

    now: float
    settings: Settings


Step = Event | Action
"""One thing for the worker: an event to deliver, or an action to perform."""


@attrs.frozen(kw_only=True)
class Transition:
    """What a decision returns.

    Attributes:
        progress: The progress from now on.
        steps: The events to deliver and the actions to perform, in order.
        result: The answer for the caller of the decision.
    """

    progress: Progress
    steps: tuple[Step, ...] = ()
    result: Any = None
