"""An agent's thread: it takes steps from the mailbox and performs them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from gpt_agent_sync.agent.clocks import Clocks
from gpt_agent_sync.agent.following import RunFollower
from gpt_agent_sync.agent.mailbox import Mailbox
from gpt_agent_sync.agent.run_setup import RunSetup
from gpt_agent_sync.agent.tool_calls import HandlerCalls
from gpt_agent_sync.decisions import failures, verbs
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
from gpt_agent_sync.events import AgentStopped, Event
from gpt_agent_sync.records import RunRequest, ToolOutput
from gpt_agent_sync.services.base import Feed, Service
from gpt_agent_sync.services.http.closing import FeedClosed
from gpt_agent_sync.settings import Settings

if TYPE_CHECKING:
    from gpt_agent_sync.agent.agent import Agent

logger = logging.getLogger(__name__)


class Worker:
    """The thread that performs what is decided for an agent.

    Args:
        agent: The agent, as handlers see it.
        mailbox: Its progress and steps.
        service: The service.
        settings: The settings the agent was made under.
        setup: What its runs are made with.
        idle_timeout: Seconds without a turn after which the agent stops; ``None`` for never.
        deliver: Delivers an event; called on the worker's thread, raises nothing.
    """

    def __init__(
        self,
        agent: Agent,
        mailbox: Mailbox,
        service: Service,
        settings: Settings,
        setup: RunSetup,
        idle_timeout: float | None,
        deliver: Callable[[Event], None],
    ) -> None:
        self._thread_id = agent.thread_id
        self._mailbox = mailbox
        self._service = service
        self._settings = settings
        self._setup = setup
        self._deliver_event = deliver
        self._calls = HandlerCalls(agent, mailbox, setup.find_tool, settings.tool_timeout)
        self._clocks = Clocks(mailbox, self._calls, settings.heartbeat_interval, idle_timeout)
        self._follower = RunFollower(mailbox, self.context, self._failed)
        self._finished: Callable[[], None] | None = None
        # A daemon: a program that ends is not to wait for a request in flight.
        self._thread = threading.Thread(
            target=self._run, name=f"gpt-agent-{self._thread_id}", daemon=True
        )

    def start(self, finished: Callable[[], None]) -> None:
        """Start the thread.

        Args:
            finished: Called last, on the worker's thread, whatever happened.
        """
        self._finished = finished
        self._thread.start()

    def is_current(self) -> bool:
        """Return whether the calling thread is the worker's."""
        return threading.current_thread() is self._thread

    def join(self, timeout: float | None) -> bool:
        """Wait for the thread's end; return whether it has ended, or was never started."""
        if self._thread.ident is None:
            return True
        self._thread.join(None if timeout is None else min(timeout, threading.TIMEOUT_MAX))
        return not self._thread.is_alive()

    def stop(self) -> None:
        """End whatever the worker waits for, from any thread; the agent has been stopped."""
        self._follower.stop()
        self._mailbox.wake_worker()

    def poll_now(self, turn: int) -> None:
        """End the wait of a turn's feed, from any thread, so that its run is polled at once."""
        self._follower.interrupt(turn)
        self._clocks.hasten_poll(turn)
        self._mailbox.wake_worker()

    def context(self) -> DecisionContext:
        """Return the context of a decision made now."""
        return DecisionContext(now=time.monotonic(), settings=self._settings)

    def _run(self) -> None:
        try:
            while self._do_next():
                pass
        except BaseException:
            # A fault of ours, or an interpreter that is torn down: who waits must not hang.
            logger.exception("the agent of thread %s broke", self._thread_id)
            self._mailbox.apply(verbs.stop, AgentStopped.ERROR)
            self._drain()
        finally:
            try:
                self._follower.drop()
                self._calls.abandon()
                if self._finished is not None:
                    self._finished()
            finally:
                self._mailbox.finish()

    def _do_next(self) -> bool:
        """Do one thing, and return whether there will be more."""
        # While a feed is open the worker waits in it, so it takes steps without waiting.
        following = self._follower.is_open
        step = self._mailbox.take(0 if following else self._clocks.seconds_left())
        if step is None:
            self._follower.advance() if following else self._do_what_is_due()
        elif isinstance(step, Event):
            self._deliver(step)
        elif self._mailbox.progress.stopped is None or isinstance(step, SettleTurn):
            # A stopped agent makes no requests, but a caller still gets the outcome of its turn.
            _ACTIONS[type(step)](self, step)
        return not isinstance(step, AgentStopped)

    def _deliver(self, event: Event) -> None:
        logger.debug("%s", event)
        self._deliver_event(event)

    def _drain(self) -> None:
        while (step := self._mailbox.take(0)) is not None:
            if isinstance(step, Event):
                self._deliver(step)

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        self._calls.expire(now)
        if (request := self._clocks.take_request(now)) is not None:
            _ACTIONS[type(request)](self, request)
        elif self._clocks.take_poll(now):
            self._mailbox.apply(verbs.poll_now)
        elif (since := self._clocks.idle_since(now)) is not None:
            self._mailbox.apply_if_quiet_since(
                since, verbs.stop, AgentStopped.IDLE, only_if_idle=True
            )

    def _failed(self, number: int, origin: Phase, error: Exception) -> None:
        level = logging.WARNING if isinstance(error, ServiceError) else logging.ERROR
        logger.log(
            level,
            "%s on thread %s failed: %s",
            origin.value,
            self._thread_id,
            error,
            exc_info=level == logging.ERROR,
        )
        self._mailbox.apply(failures.request_failed, number, origin, error, self.context())

    def _follow(self, turn: Turn, origin: Phase, open_feed: Callable[[RunRequest], Feed]) -> None:
        self._follower.open(
            turn.number,
            origin,
            lambda: open_feed(self._setup.request(turn, self._mailbox.progress)),
        )

    def _claim(self, request: Request) -> Turn | None:
        """Return the request's turn if it is in progress and the request is due."""
        if request.delay > 0:
            logger.debug("%s in %.2f s", type(request).__name__, request.delay)
            self._clocks.defer(request)
            return None
        turn: Turn | None = self._mailbox.apply(verbs.claim_turn, request.turn)
        return turn

    def _post_message(self, action: PostMessage) -> None:
        turn = self._claim(action)
        if turn is None or turn.message is None:
            return
        request = attrs.evolve(
            self._setup.request(turn, self._mailbox.progress), pause=self._pause_post
        )
        try:
            posted = self._service.post_message(request, turn.message)
        except FeedClosed as exc:
            # The agent stops, or the run was cancelled before it began.
            logger.debug("a queued message of thread %s is dropped", self._thread_id)
            self._mailbox.apply(
                failures.request_failed, turn.number, Phase.POSTING, exc, self.context()
            )
        except Exception as exc:
            self._failed(turn.number, Phase.POSTING, exc)
        else:
            if not self._mailbox.apply(verbs.message_posted, turn.number, posted):
                posted.drop()

    def _pause_post(self, seconds: float) -> None:
        if self._mailbox.wait_until(_is_pointless, seconds):
            raise FeedClosed

    def _start_run(self, action: StartRun) -> None:
        turn = self._claim(action)
        if turn is not None:
            self._follow(turn, Phase.STARTING, self._service.start_run)

    def _follow_run(self, action: FollowRun) -> None:
        turn = self._claim(action)
        if turn is not None and turn.run_id is not None:
            run_id = turn.run_id
            self._follow(
                turn, turn.phase, lambda request: self._service.resume_run(request, run_id)
            )

    def _submit_outputs(self, action: SubmitOutputs) -> None:
        turn = self._claim(action)
        if turn is not None and turn.run_id is not None:
            run_id = turn.run_id
            outputs = [
                ToolOutput(tool_call_id=recorded.id, output=recorded.output)
                for recorded in action.outputs
            ]
            self._follow(
                turn,
                Phase.SUBMITTING,
                lambda request: self._service.submit_tool_outputs(request, run_id, outputs),
            )

    def _call_tools(self, action: CallTools) -> None:
        # A callback may have answered a call between its event and this step.
        turn = verbs.current_turn(self._mailbox.progress, action.turn)
        waiting = {id(call) for call in turn.tool_calls} if turn else set()
        self._calls.begin(request for request in action.calls if id(request) in waiting)

    def _cancel_run(self, action: CancelRun) -> None:
        try:
            self._service.cancel_run(self._thread_id, action.run_id)
        except Exception as exc:
            logger.warning("run %s could not be cancelled: %s", action.run_id, exc)

    def _settle_turn(self, action: SettleTurn) -> None:
        self._calls.abandon()
        self._mailbox.apply(verbs.settle_turn, action.outcome)


def _is_pointless(progress: Progress, quiet: bool) -> bool:
    """Return whether nobody waits for the post of the turn's message any more."""
    turn = progress.turn
    return progress.stopped is not None or turn is None or turn.cancel_requested


_ACTIONS: dict[type[Action], Callable[[Worker, Any], None]] = {
    PostMessage: Worker._post_message,
    StartRun: Worker._start_run,
    FollowRun: Worker._follow_run,
    CallTools: Worker._call_tools,
    SubmitOutputs: Worker._submit_outputs,
    CancelRun: Worker._cancel_run,
    SettleTurn: Worker._settle_turn,
}
