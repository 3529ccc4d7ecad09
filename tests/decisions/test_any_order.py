"""Whatever the order of commands, polls, outputs and failures: no output is lost or doubled."""

from __future__ import annotations

import collections
from typing import Any

import attrs
import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gpt_agent_sync.decisions import failures, outputs, runs, verbs
from gpt_agent_sync.decisions.state import (
    CallTools,
    CancelRun,
    FollowRun,
    Phase,
    PostMessage,
    Progress,
    SettleTurn,
    StartRun,
    Step,
    SubmitOutputs,
)
from gpt_agent_sync.errors import (
    AgentNotAliveError,
    InvalidToolCallIdError,
    RateLimitError,
    RequestRejectedError,
    RunInProgressError,
    RunNotInProgressError,
    ServiceBusyError,
    ServiceUnavailableError,
)
from gpt_agent_sync.events import (
    AgentStopped,
    AssistantMessageAdded,
    Event,
    RateLimited,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunStarted,
    ToolCallFailed,
    ToolCallOutputRecorded,
    ToolCallRequested,
    UserMessageAdded,
)
from gpt_agent_sync.records import Message, Posted, RunSnapshot, ToolCall
from tests.support.progress import HELLO, OPTIONS, context, fresh

CLOSING = (RunCompleted, RunFailed, RunCancelled)
REFUSALS = (
    AgentNotAliveError,
    InvalidToolCallIdError,
    RunInProgressError,
    RunNotInProgressError,
)
ERRORS = [
    ServiceUnavailableError("gone"),
    ServiceBusyError("busy"),
    RateLimitError("slow", status=429),
    RateLimitError("pay", status=429, code="insufficient_quota"),
    RequestRejectedError("no", status=400),
]
FINAL = ["completed", "failed", "expired", "cancelled", "incomplete"]


class SimulatedService:
    """One thread's newest run, as a service keeps it."""

    def __init__(self) -> None:
        self.runs = 0
        self.calls = 0
        self.messages = 0
        self.status = "none"
        self.fresh = False
        self.waiting: list[str] = []
        self.submissions: list[tuple[set[str], set[str]]] = []

    def start(self) -> None:
        """Begin a run."""
        self.runs += 1
        self.status, self.waiting = "queued", []

    def ask(self, count: int) -> None:
        """Have the run ask for tool calls."""
        self.waiting = [f"call_{self.calls + number}" for number in range(count)]
        self.calls += count
        self.status, self.fresh = "requires_action", False

    def submit(self, ids: list[str]) -> None:
        """Take outputs, noting which were wanted."""
        self.submissions.append((set(self.waiting), set(ids)))
        assert len(ids) == len(set(ids))
        self.status, self.waiting, self.fresh = "queued", [], True

    def snapshot(self) -> RunSnapshot:
        """Return the run as it is."""
        return RunSnapshot(
            id=f"run_{self.runs}",
            status=self.status,
            assistant_id="asst_1",
            tool_calls=tuple(
                ToolCall(id=call_id, name="add", arguments="{}") for call_id in self.waiting
            ),
        )


class AnyOrder(RuleBasedStateMachine):
    """Play program, service and worker in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.progress: Progress = fresh()
        self.service = SimulatedService()
        self.steps: collections.deque[Step] = collections.deque()
        self.told: list[Event] = []
        self.feed: tuple[int, Phase] | None = None
        self.ended: tuple[int, Phase] | None = None
        self.deferred: Step | None = None
        self.posting: int | None = None
        self.requested: collections.Counter[str] = collections.Counter()
        self.recorded: collections.Counter[str] = collections.Counter()

    def apply(self, decide: Any, *arguments: Any, **keywords: Any) -> Any:
        """Make a decision; a refusal changes nothing."""
        before = self.progress
        try:
            transition = decide(before, *arguments, **keywords)
        except REFUSALS:
            assert self.progress is before
            return None
        self.progress = transition.progress
        self.steps.extend(transition.steps)
        return transition.result

    # the program

    @precondition(lambda self: self.posting is None)
    @rule()
    def add_message(self) -> None:
        """Reserve a turn for a message."""
        turn = self.apply(verbs.reserve_turn, HELLO, OPTIONS, context())
        if turn is not None:
            self.posting = turn.number

    @precondition(lambda self: self.posting is not None)
    @rule(accepted=st.booleans())
    def post_message(self, accepted: bool) -> None:
        """Let the caller's request succeed or fail."""
        number, self.posting = self.posting, None
        if accepted:
            self.apply(verbs.message_posted, number, self.new_message())
        else:
            self.apply(verbs.message_refused, number, context())

    @precondition(lambda self: self.posting is None)
    @rule()
    def queue_message(self) -> None:
        """Queue a message."""
        turn = self.apply(verbs.queue_message, HELLO, OPTIONS, context())
        if turn is not None:
            self.posting = turn.number

    @precondition(lambda self: self.posting is None)
    @rule()
    def run(self) -> None:
        """Ask for a run without a message."""
        self.apply(verbs.reserve_run, None, OPTIONS, context())

    @precondition(lambda self: self.progress.public().tool_calls)
    @rule(place=st.integers(0, 2), failure=st.sampled_from([None, "it broke"]))
    def record_output(self, place: int, failure: str | None) -> None:
        """Answer a call that waits."""
        waiting = self.progress.public().tool_calls
        self.apply(outputs.record_output, waiting[place % len(waiting)].id, "1", failure=failure)

    @rule(number=st.integers(0, 5))
    def record_any_output(self, number: int) -> None:
        """Answer a call that may have been answered, or never asked for."""
        self.apply(outputs.record_output, f"call_{number}", "1")

    @rule()
    def cancel(self) -> None:
        """Cancel, as the service may or may not allow."""
        run_id = self.apply(verbs.request_cancel, context())
        if run_id is not None and self.service.status in ("queued", "in_progress"):
            self.service.status = "cancelled"
            self.apply(verbs.poll_now)

    @rule()
    def look(self) -> None:
        """Look at a waiting run."""
        self.apply(verbs.poll_now)

    @precondition(lambda self: len(self.told) > 30)
    @rule()
    def stop(self) -> None:
        """Stop the agent."""
        self.apply(verbs.stop, "shutdown")

    # the service

    @precondition(lambda self: self.service.status in ("queued", "in_progress"))
    @rule(count=st.integers(1, 3))
    def ask_for_tools(self, count: int) -> None:
        """Let the run ask for tool calls."""
        self.service.ask(count)

    @precondition(lambda self: self.service.status in ("queued", "in_progress"))
    @rule(status=st.sampled_from(["in_progress", *FINAL]))
    def go_on(self, status: str) -> None:
        """Let the run go on, or end."""
        self.service.status, self.service.fresh = status, False

    @precondition(lambda self: self.service.status == "requires_action")
    @rule(status=st.sampled_from(["expired", "in_progress", "requires_action"]))
    def go_on_without_us(self, status: str) -> None:
        """Let a waiting run run out of time, or be answered by another process."""
        if status == "requires_action":
            self.service.ask(1)
        else:
            self.service.status, self.service.waiting = status, []

    # the worker

    @precondition(lambda self: self.steps or self.deferred is not None)
    @rule()
    def take_step(self) -> None:
        """Do the next step."""
        self.do_next(None)

    @precondition(lambda self: self.steps)
    @rule()
    def take_all_steps(self) -> None:
        """Do all steps there are."""
        while self.steps:
            self.do_next(None)

    @precondition(lambda self: self.steps or self.deferred is not None)
    @rule(error=st.sampled_from(ERRORS))
    def take_step_in_vain(self, error: Exception) -> None:
        """Do the next step; if it is a request, it fails."""
        self.do_next(error)

    def do_next(self, error: Exception | None) -> None:
        """Do the next step, or the deferred one when there is none."""
        if not self.steps:
            assert self.deferred is not None
            self.steps.append(self.deferred)
            self.deferred = None
        step = self.steps.popleft()
        if isinstance(step, Event):
            self.tell(step)
        elif self.progress.stopped is None:
            self.act(step, error)

    def tell(self, event: Event) -> None:
        """Note an event."""
        if isinstance(event, ToolCallRequested):
            self.requested[event.id] += 1
        if isinstance(event, ToolCallOutputRecorded):
            self.recorded[event.id] += 1
        self.told.append(event)

    def act(self, step: Step, error: Exception | None) -> None:
        """Do what the worker does, against the simulated service."""
        if isinstance(step, (CallTools, CancelRun, SettleTurn)):
            return
        assert isinstance(step, (PostMessage, StartRun, FollowRun, SubmitOutputs))
        if step.delay:
            self.deferred = attrs.evolve(step, delay=0.0)
            return
        turn = self.apply(verbs.claim_turn, step.turn)
        if turn is None:
            return
        if isinstance(step, PostMessage):
            if error is None:
                self.apply(verbs.message_posted, turn.number, self.new_message())
            else:
                self.fail(turn.number, Phase.POSTING, error)
            return
        self.feed = self.ended = None
        origin = turn.phase
        if error is not None:
            self.fail(turn.number, origin, error)
            return
        if isinstance(step, StartRun):
            self.service.start()
        elif isinstance(step, SubmitOutputs) and self.service.status == "requires_action":
            ids = [output.id for output in step.outputs]
            if set(ids) == set(self.service.waiting):
                assert ids == self.service.waiting
                self.service.submit(ids)
            elif set(ids) & set(self.service.waiting):
                self.fail(turn.number, origin, RequestRejectedError("Expected others", status=400))
                return
        self.feed = (turn.number, origin)

    def fail(self, number: int, origin: Phase, error: Exception) -> None:
        """Let a request of the worker's fail."""
        self.feed = None
        self.apply(failures.request_failed, number, origin, error, context())

    @precondition(lambda self: self.feed is not None)
    @rule()
    def see_snapshot(self) -> None:
        """Let the feed yield the run as it is; no snapshot is older than one before it."""
        self.service.fresh = False
        self.yield_snapshot(self.service.snapshot())

    def yield_snapshot(self, snapshot: RunSnapshot) -> None:
        """Take a snapshot in; the feed ends with the run, or where it waits for outputs."""
        assert self.feed is not None
        number, origin = self.feed
        if snapshot.is_final or snapshot.tool_calls:
            self.feed = None
            self.ended = None if snapshot.is_final else (number, origin)
        self.apply(runs.feed_update, number, origin, snapshot, context())

    @precondition(lambda self: self.ended is not None)
    @rule()
    def end_feed(self) -> None:
        """Notice that a feed has ended where its run waits for outputs."""
        assert self.ended is not None
        (number, origin), self.ended = self.ended, None
        self.apply(runs.feed_ended, number, origin, context())

    @precondition(lambda self: self.feed is not None)
    @rule()
    def see_stale_snapshot(self) -> None:
        """Let the feed yield what a slow replica still shows: the calls answered last."""
        assert self.feed is not None
        if self.service.submissions and self.service.status == "queued":
            answered = self.service.submissions[-1][1]
            snapshot = RunSnapshot(
                id=f"run_{self.service.runs}",
                status="requires_action",
                tool_calls=tuple(
                    ToolCall(id=call_id, name="add", arguments="{}") for call_id in answered
                ),
            )
            if self.feed[1] is Phase.SUBMITTING and self.service.fresh:
                self.yield_snapshot(snapshot)

    @precondition(lambda self: self.feed is not None and self.feed[1] is not Phase.STARTING)
    @rule()
    def see_message(self) -> None:
        """Let the feed yield a finished message."""
        assert self.feed is not None
        self.service.messages += 1
        message = Message(id=f"msg_{self.service.messages}", role="assistant")
        self.apply(runs.feed_update, *self.feed, message, context())

    @precondition(lambda self: self.feed is not None)
    @rule(interrupted=st.booleans())
    def lose_feed(self, interrupted: bool) -> None:
        """Let the feed end before its run, or be closed."""
        assert self.feed is not None
        (number, origin), self.feed = self.feed, None
        self.apply(runs.feed_ended, number, origin, context(), interrupted=interrupted)

    @precondition(lambda self: self.feed is not None)
    @rule(error=st.sampled_from(ERRORS))
    def break_feed(self, error: Exception) -> None:
        """Let the feed fail."""
        assert self.feed is not None
        self.fail(*self.feed, error)

    def new_message(self) -> Posted:
        """Return a receipt."""
        self.service.messages += 1
        return Posted(message_id=f"user_{self.service.messages}")

    @initialize()
    def begin(self) -> None:
        """Begin with an idle agent."""
        assert not self.progress.public().running

    # what always holds

    @invariant()
    def no_output_is_lost_or_doubled(self) -> None:
        """Each submission answers each call of its round once, and no other."""
        for wanted, given in self.service.submissions:
            assert wanted == given
        assert all(count == 1 for count in self.recorded.values())
        assert all(count == 1 for count in self.requested.values())
        assert set(self.recorded) <= set(self.requested)

    @invariant()
    def running_means_that_something_is_to_come(self) -> None:
        """A turn under way has a step, a feed, a caller or a call that will bring it on."""
        turn = self.progress.turn
        assert self.progress.public().running == (turn is not None)
        if turn is not None:
            assert (
                self.steps
                or self.deferred is not None
                or self.feed is not None
                or (self.ended is not None and self.ended[0] == turn.number)
                or self.posting == turn.number
                or (turn.phase is Phase.AWAITING_OUTPUTS and turn.tool_calls)
            )

    @invariant()
    def events_come_in_order(self) -> None:
        """Message, start, calls, end, replies: never otherwise."""
        state = "idle"
        for event in self.told:
            state = after(state, event)


ORDER: dict[type[Event], tuple[set[str], str]] = {
    UserMessageAdded: ({"idle", "closed"}, "posted"),
    # Runs without a message begin with their start.
    RunStarted: ({"posted", "limited", "idle", "closed"}, "running"),
    ToolCallRequested: ({"running"}, "running"),
    ToolCallFailed: ({"running"}, "failing"),
    ToolCallOutputRecorded: ({"running", "failing"}, "running"),
    RateLimited: ({"running", "posted", "limited", "idle", "closed"}, "limited"),
    AssistantMessageAdded: ({"closed", "limited"}, ""),
    AgentStopped: ({"idle", "closed", "posted", "running", "limited"}, "stopped"),
}


def after(state: str, event: Event) -> str:
    """Return the state after an event, checking that the event may come in this one."""
    if isinstance(event, CLOSING):
        assert state not in ("stopped", "failing"), event
        return "closed"
    if type(event) not in ORDER:
        assert state != "stopped", event
        return state
    allowed, following = ORDER[type(event)]
    if isinstance(event, UserMessageAdded):
        allowed = allowed | {"limited"}
    assert state in allowed, (state, event)
    return following or state


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=400, stateful_step_count=80, deadline=None)
