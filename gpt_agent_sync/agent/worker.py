"""An agent's thread: it takes steps from the mailbox and follows the run's feed."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from gpt_agent_sync.agent.tool_calls import Call
from gpt_agent_sync.decisions import failures, runs, verbs
from gpt_agent_sync.decisions.state import (
    Action,
    CallTools,
    CancelRun,
    DecisionContext,
    FollowRun,
    Phase,
    PostMessage,
    Progress,
    Request,
    SettleTurn,
    StartRun,
    SubmitOutputs,
    Turn,
)
from gpt_agent_sync.errors import ServiceError
from gpt_agent_sync.events import AgentStopped, Event, ToolCallOutputRecorded
from gpt_agent_sync.records import RunRequest, RunSnapshot, ToolOutput
from gpt_agent_sync.services.http.closing import FeedClosed

if TYPE_CHECKING:
    from gpt_agent_sync.agent.agent import Agent
    from gpt_agent_sync.agent.mailbox import Mailbox
    from gpt_agent_sync.services.base import Feed, Service
    from gpt_agent_sync.settings import Settings

logger = logging.getLogger(__name__)

LOOKS_WHILE_AWAITING = 10
"""Heartbeats between two looks at a run that waits for outputs: it may expire meanwhile."""


@attrs.define
class _Following:
    """Hold the feed that is followed, and what for."""

    feed: Feed
    turn: int
    origin: Phase
    interrupted: bool = False
    over: bool = False


class Worker:
    """Obey the decisions on a thread of its own.

    Args:
        agent: The agent, for callbacks and handlers.
        mailbox: Its progress and steps.
        service: The service.
        settings: The settings the agent was made under.
        idle_timeout: Seconds without a turn after which the agent stops; ``None`` for never.
        tell: Delivers an event; called on the worker's thread, raises nothing.
        finished: Called last, on the worker's thread, whatever happened.
    """

    def __init__(
        self,
        agent: Agent,
        mailbox: Mailbox,
        service: Service,
        settings: Settings,
        idle_timeout: float | None,
        tell: Callable[[Event], None],
        finished: Callable[[], None],
    ) -> None:
        self._agent = agent
        self._mailbox = mailbox
        self._service = service
        self._settings = settings
        self._idle_timeout = idle_timeout
        self._tell = tell
        self._finished = finished
        self._following: _Following | None = None
        self._stopping = threading.Event()
        self._deferred: tuple[float, Request] | None = None
        self._calls: list[Call] = []
        self._look_at: float | None = None
        self._thread = threading.Thread(
            target=self._run, name=f"gpt-agent-{agent.thread_id}", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def is_current(self) -> bool:
        """Tell whether the calling thread is the worker's."""
        return threading.current_thread() is self._thread

    def join(self, timeout: float | None) -> bool:
        """Wait for the thread's end; tell whether it came, or never was to come."""
        if self._thread.ident is None:
            return True
        self._thread.join(None if timeout is None else min(timeout, threading.TIMEOUT_MAX))
        return not self._thread.is_alive()

    def stop(self) -> None:
        """End whatever the worker waits for, from any thread; the agent has been stopped."""
        self._stopping.set()
        following = self._following
        if following is not None:
            following.feed.close()
        self._mailbox.poke()

    def poll_now(self, turn: int) -> None:
        """End the wait of a turn's feed, from any thread, so that what is new is seen at once."""
        following = self._following
        if following is not None and following.turn == turn:
            following.interrupted = True
            following.feed.close()
        deferred = self._deferred
        if deferred is not None and deferred[1].turn == turn and isinstance(deferred[1], FollowRun):
            self._deferred = (0.0, deferred[1])
        self._mailbox.poke()

    def context(self) -> DecisionContext:
        """Give the circumstances of a decision made now."""
        return DecisionContext(now=time.monotonic(), settings=self._settings)

    # the loop

    def _run(self) -> None:
        try:
            while self._go_on():
                pass
        except BaseException:
            logger.exception("the agent of thread %s broke", self._agent.thread_id)
            self._mailbox.apply(verbs.stop, AgentStopped.ERROR)
            self._drain()
        finally:
            try:
                self._drop_feed()
                for call in self._calls:
                    call.abandon()
                self._finished()
            finally:
                self._mailbox.finish()

    def _go_on(self) -> bool:
        """Do one thing, and tell whether there will be more."""
        step = self._mailbox.take(self._patience())
        if step is None:
            self._idle() if self._following is None else self._advance(self._following)
        elif isinstance(step, Event):
            self._deliver(step)
        elif self._mailbox.progress.stopped is None or isinstance(step, SettleTurn):
            _ACTIONS[type(step)](self, step)
        return not isinstance(step, AgentStopped)

    def _deliver(self, event: Event) -> None:
        logger.debug("%s", event)
        self._tell(event)

    def _drain(self) -> None:
        while (step := self._mailbox.take(0)) is not None:
            if isinstance(step, Event):
                self._deliver(step)

    # waiting

    def _patience(self) -> float | None:
        """Give the seconds until a clock of ours runs out; none while a feed is open."""
        if self._following is not None:
            return 0
        times = [self._deferred_at(), self._looking_at(), *self._deadlines()]
        if not self._is_busy() and self._idle_timeout is not None:
            times.append(self._mailbox.changed_at + self._idle_timeout)
        due = min((at for at in times if at is not None), default=None)
        return None if due is None else max(0.0, due - time.monotonic())

    def _is_busy(self) -> bool:
        return verbs.is_busy(self._mailbox.progress)

    def _deferred_at(self) -> float | None:
        if self._deferred is None:
            return None
        at, action = self._deferred
        dropped = verbs.current_turn(self._mailbox.progress, action.turn) is None
        return 0.0 if dropped else at

    def _looking_at(self) -> float | None:
        turn = self._mailbox.progress.turn
        if turn is None or turn.phase is not Phase.AWAITING_OUTPUTS:
            self._look_at = None
        elif self._look_at is None:
            self._look_at = time.monotonic() + (
                LOOKS_WHILE_AWAITING * self._settings.heartbeat_interval
            )
        return self._look_at

    def _deadlines(self) -> list[float | None]:
        self._calls = [call for call in self._calls if not call.done]
        return [call.deadline for call in self._calls]

    def _idle(self) -> None:
        """Do what the clocks say, when there is nothing else to do."""
        now = time.monotonic()
        for call in self._calls:
            if call.deadline is not None and call.deadline <= now and not call.done:
                call.expire()
        deferred_at, look_at = self._deferred_at(), self._look_at
        if deferred_at is not None and deferred_at <= now and self._deferred is not None:
            action, self._deferred = self._deferred[1], None
            _ACTIONS[type(action)](self, action)
        elif look_at is not None and look_at <= now:
            self._look_at = None
            self._mailbox.apply(verbs.poll_now)
        elif self._idle_timeout is not None:
            changed_at = self._mailbox.changed_at
            if changed_at + self._idle_timeout <= now:
                self._mailbox.apply_if_quiet_since(
                    changed_at, verbs.stop, AgentStopped.IDLE, only_if_idle=True
                )

    # the feed

    def _advance(self, following: _Following) -> None:
        number, origin = following.turn, following.origin
        try:
            update = next(following.feed)
            if isinstance(update, RunSnapshot):
                logger.debug("run %s is %s", update.id, update.status)
                following.over = update.ends_feed
            self._mailbox.apply(runs.feed_update, number, origin, update, self.context())
        except StopIteration:
            self._drop_feed()
            if following.over:
                return
            self._mailbox.apply(
                runs.feed_ended, number, origin, self.context(), interrupted=following.interrupted
            )
        except Exception as exc:
            self._drop_feed()
            self._failed(number, origin, exc)

    def _failed(self, number: int, origin: Phase, error: Exception) -> None:
        level = logging.WARNING if isinstance(error, ServiceError) else logging.ERROR
        logger.log(
            level,
            "%s on thread %s failed: %s",
            origin.value,
            self._agent.thread_id,
            error,
            exc_info=level == logging.ERROR,
        )
        self._mailbox.apply(failures.request_failed, number, origin, error, self.context())

    def _open(self, turn: Turn, origin: Phase, make: Callable[[RunRequest], Feed]) -> None:
        self._drop_feed()
        try:
            feed = make(self._agent._run_request(turn))
        except Exception as exc:
            self._failed(turn.number, origin, exc)
            return
        self._following = _Following(feed, turn.number, origin)
        if self._stopping.is_set():
            feed.close()

    def _drop_feed(self) -> None:
        following, self._following = self._following, None
        if following is None:
            return
        if not following.over:
            following.feed.close()
        with contextlib.suppress(Exception):
            next(following.feed, None)  # has it let go of what it holds

    # the actions

    def _claim(self, request: Request) -> Turn | None:
        """Give the request's turn when it still goes on and the request's time has come."""
        if request.delay > 0:
            logger.debug("%s in %.2f s", type(request).__name__, request.delay)
            later = attrs.evolve(request, delay=0.0)
            self._deferred = (time.monotonic() + request.delay, later)
            return None
        turn: Turn | None = self._mailbox.apply(verbs.claim_turn, request.turn)
        return turn

    def _post_message(self, action: PostMessage) -> None:
        turn = self._claim(action)
        if turn is None or turn.message is None:
            return
        request = attrs.evolve(self._agent._run_request(turn), pause=self._pause)
        try:
            posted = self._service.post_message(request, turn.message)
        except FeedClosed as exc:
            # The agent stops, or the run was cancelled before it began.
            logger.debug("a queued message of thread %s is let go", self._agent.thread_id)
            self._mailbox.apply(
                failures.request_failed, turn.number, Phase.POSTING, exc, self.context()
            )
        except Exception as exc:
            self._failed(turn.number, Phase.POSTING, exc)
        else:
            if not self._mailbox.apply(verbs.message_posted, turn.number, posted):
                posted.drop()

    def _pause(self, seconds: float) -> None:
        if self._mailbox.wait_until(_is_pointless, seconds):
            raise FeedClosed

    def _start_run(self, action: StartRun) -> None:
        turn = self._claim(action)
        if turn is not None:
            self._open(turn, Phase.STARTING, self._service.start_run)

    def _follow_run(self, action: FollowRun) -> None:
        turn = self._claim(action)
        if turn is not None and turn.run_id is not None:
            run_id = turn.run_id
            self._open(turn, turn.phase, lambda request: self._service.resume_run(request, run_id))

    def _submit_outputs(self, action: SubmitOutputs) -> None:
        turn = self._claim(action)
        if turn is not None and turn.run_id is not None:
            run_id, outputs = turn.run_id, [_output(recorded) for recorded in action.outputs]
            self._open(
                turn,
                Phase.SUBMITTING,
                lambda request: self._service.submit_tool_outputs(request, run_id, outputs),
            )

    def _call_tools(self, action: CallTools) -> None:
        turn = verbs.current_turn(self._mailbox.progress, action.turn)
        waiting = {id(call) for call in turn.tool_calls} if turn else set()
        for request in action.calls:
            if id(request) not in waiting:
                continue  # a callback has answered it
            tool = self._agent._find_tool(request.name)
            if tool is None:
                logger.debug("no handler for %s; %s waits", request.name, request.id)
                continue
            timeout = self._settings.tool_timeout if tool.timeout is None else tool.timeout
            call = Call(self._agent, self._mailbox, request, tool, timeout)
            self._calls.append(call)
            call.begin()

    def _cancel_run(self, action: CancelRun) -> None:
        try:
            self._service.cancel_run(self._agent.thread_id, action.run_id)
        except Exception as exc:
            logger.warning("run %s could not be cancelled: %s", action.run_id, exc)

    def _settle_turn(self, action: SettleTurn) -> None:
        for call in self._calls:
            call.abandon()
        self._mailbox.apply(verbs.settle_turn, action.outcome)


def _is_pointless(progress: Progress, quiet: bool) -> bool:
    """Tell whether nobody waits for the post of the turn's message any more."""
    turn = progress.turn
    return progress.stopped is not None or turn is None or turn.cancel_requested


def _output(recorded: ToolCallOutputRecorded) -> ToolOutput:
    return ToolOutput(tool_call_id=recorded.id, output=recorded.output)


_ACTIONS: dict[type[Action], Callable[[Worker, Any], None]] = {
    PostMessage: Worker._post_message,
    StartRun: Worker._start_run,
    FollowRun: Worker._follow_run,
    CallTools: Worker._call_tools,
    SubmitOutputs: Worker._submit_outputs,
    CancelRun: Worker._cancel_run,
    SettleTurn: Worker._settle_turn,
}
