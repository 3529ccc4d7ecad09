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
    """A user's message and its run, or its runs after rate limits; or a run without a message.

    Attributes:
        number: Counts the agent's turns from 1.
        phase: What is being done for it.
        began_at: When it began, monotonic seconds.
        message: The user's message; ``None`` for a run that was found in progress, or is to answer
            what is there already.
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
        troubles: How many requests in a row have failed for that.
        unknown_since: Since when the run has a status that no transition is known for.
        cancel_requested: Whether to cancel the run as soon as its id is known.
        run_since: Since when the run is followed, monotonic seconds, as all times here are.
        queued_since: Since when it is queued.
        expires_at: When the service gives up waiting for outputs.
        key: The message's key in the journal until its run is there; ``None`` where none is kept.
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
    troubles: int = 0
    unknown_since: float | None = None
    cancel_requested: bool = False
    run_since: float | None = None
    queued_since: float | None = None
    expires_at: float | None = None
    key: str | None = None


@attrs.frozen(kw_only=True)
class RemoteTurn:
    """A turn that another process runs, as far as it has told.

    Attributes:
        fence: The fence of its lease.
        message_id: The user's message.
        run_id: The run.
        run_status: What its events say of it.
        assistant_id: The assistant.
        tool_calls: Calls without an output.
        tool_outputs: Outputs not yet with the service.
        closing: Its closing event.
        texts: The contents of the assistant's messages that have text.
        run_texts: Those of them that are known to be the run's.
        own: The number that it had here, before another process took it over.
    """

    fence: int
    message_id: str | None = None
    run_id: str | None = None
    run_status: str | None = None
    assistant_id: str | None = None
    tool_calls: tuple[ToolCallRequested, ...] = ()
    tool_outputs: tuple[ToolCallOutputRecorded, ...] = ()
    closing: ClosingEvent | None = None
    texts: tuple[str, ...] = ()
    run_texts: tuple[str, ...] = ()
    own: int | None = None

    @property
    def reply(self) -> tuple[str, ...]:
        """The texts of the run, as far as that is known; else all that were told since it began.

        Whoever has not heard all of a thread tells messages of earlier turns with it.
        """
        return self.run_texts or self.texts


@attrs.frozen(kw_only=True)
class QueuedMessage:
    """A message that waits for the turns before it.

    Attributes:
        message: The message.
        options: What its run does differently.
        assistant_id: The assistant where the agent has none.
        key: Its key in the journal; ``None`` where none is kept.
    """

    message: UserMessage
    options: RunOptions
    assistant_id: str | None = None
    key: str | None = None


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
        handles_tools: Whether handlers are called; if not, the agent only tells of calls.
        turn: The turn in progress.
        remote: The turn of another process, over a shared backplane.
        heard: The last turn of another process that has come to its end.
        cursor: What was heard last of the thread's log.
        told_alone: What was told here of a turn that another process has taken over, and that it
            may tell again.
        hears_itself: Whether what comes next in the log is this agent's own.
        pending: The keys of this process's messages that wait at the backplane for any process.
        queue: Messages that wait, oldest first.
        turns_begun: How many turns there have been.
        last_message_id: The newest message known.
        announced: Ids of the last run's messages that were announced, so that none is twice.
        last_run_id: The last run that has ended.
        told_runs: The runs whose end was told last, so that a look tells none again.
        last_run_status: Its status.
        last_closing: The last closing event.
        awaited: Numbers of the turns whose outcome a caller waits for.
        outcomes: Outcomes that callers have not taken yet.
        stopped: Why the agent stops or has stopped; ``None`` while it lives.
        interrupted: Whether the stop cut a turn short.
    """

    thread_id: str
    default_assistant: str | None = None
    handles_tools: bool = True
    turn: Turn | None = None
    remote: RemoteTurn | None = None
    heard: RemoteTurn | None = None
    cursor: str = ""
    told_alone: tuple[Event, ...] = ()
    hears_itself: bool = False
    pending: frozenset[str] = frozenset()
    queue: tuple[QueuedMessage, ...] = ()
    turns_begun: int = 0
    last_message_id: str | None = None
    announced: frozenset[str] = frozenset()
    last_run_id: str | None = None
    told_runs: tuple[str, ...] = ()
    last_run_status: str | None = None
    last_closing: ClosingEvent | None = None
    awaited: frozenset[int] = frozenset()
    outcomes: tuple[Outcome, ...] = ()
    stopped: str | None = None
    interrupted: bool = False

    def public(self) -> AgentState:
        """Return the public part."""
        turn = self.turn or self.remote
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
        rerun: Whether they are made although they were interrupted.
    """

    calls: tuple[ToolCallRequested, ...]
    rerun: bool = False


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
class ForgetMessage(Action):
    """The removal of the turn's message from the journal: its run is there, or will never be.

    Attributes:
        key: The message's key.
    """

    key: str


class TakeOver(Action):
    """The taking over of a turn whose owner has fallen silent; of no turn of this agent's."""


class TakeUpMessages(Action):
    """A look for messages that wait at the backplane, now that the thread is free."""


class DropTurn(Action):
    """The end of all work for a turn that another process has taken over."""


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
        drops: Whether steps that are not done yet are dropped, but for what was heard of others and
            the outcomes of turns.
    """

    progress: Progress
    steps: tuple[Step, ...] = ()
    result: Any = None
    drops: bool = False
