"""An agent's thread: it takes steps from the mailbox and performs them."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gpt_agent_sync import logs
from gpt_agent_sync.agent.call_notes import CallNotes
from gpt_agent_sync.agent.clocks import Clocks
from gpt_agent_sync.agent.following import RunFollower
from gpt_agent_sync.agent.mailbox import Mailbox
from gpt_agent_sync.agent.message_notes import MessageNotes
from gpt_agent_sync.agent.message_queue import MessageQueue
from gpt_agent_sync.agent.ownership import Ownership
from gpt_agent_sync.agent.run_setup import RunSetup
from gpt_agent_sync.agent.tool_calls import HandlerCalls
from gpt_agent_sync.agent.watch import Watch
from gpt_agent_sync.decisions import bounds, failures, remote, verbs
from gpt_agent_sync.decisions.state import (
    Action,
    CallTools,
    CancelRun,
    DecisionContext,
    DropTurn,
    FollowRun,
    ForgetMessage,
    Phase,
    PostMessage,
    Request,
    SettleTurn,
    StartRun,
    SubmitOutputs,
    TakeOver,
    TakeUpMessages,
    Turn,
)
from gpt_agent_sync.errors import (
    AgentNotAliveError,
    BackplaneError,
    GptAgentError,
    JournalError,
    RunInProgressError,
    ServiceError,
)
from gpt_agent_sync.events import AgentStopped, Event
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.records import Message, RunRequest, ToolOutput
from gpt_agent_sync.services.base import Feed, Service
from gpt_agent_sync.settings import Settings
from gpt_agent_sync.threads import Thread

if TYPE_CHECKING:
    from gpt_agent_sync.agent.agent import Agent

logger = get_logger(__name__)


class Worker:
    """The thread that performs what is decided for an agent.

    Args:
        agent: The agent, as handlers see it.
        mailbox: Its progress and steps.
        service: The service.
        settings: The settings the agent was made under.
        setup: What its runs are made with.
        notes: The notes on its tool calls.
        messages: The notes on its messages.
        idle_timeout: Seconds without a turn after which the agent stops; ``None`` for never.
        deliver: Delivers an event; called on the worker's thread, raises nothing.
        ownership: Its part in the turns of its thread.
        is_heard: Returns whether anybody hears the agent's events.
        is_streamed: Returns whether anybody iterates over them.
    """

    def __init__(
        self,
        agent: Agent,
        mailbox: Mailbox,
        service: Service,
        settings: Settings,
        setup: RunSetup,
        notes: CallNotes,
        messages: MessageNotes,
        idle_timeout: float | None,
        deliver: Callable[[Event], None],
        ownership: Ownership,
        is_heard: Callable[[], bool],
        is_streamed: Callable[[], bool],
    ) -> None:
        self._ownership = ownership
        self._thread_id = agent.thread_id
        self._mailbox = mailbox
        self._service = service
        self._settings = settings
        self._setup = setup
        self._deliver_event = deliver
        self._calls = HandlerCalls(agent, mailbox, setup.find_tool, notes, settings)
        self._messages = messages
        interval = None if ownership.shared else settings.watch
        self._watch = Watch(self._thread_id, mailbox, service, interval, is_heard, is_streamed)
        self._clocks = Clocks(mailbox, self._calls, messages, settings, idle_timeout, self._watch)
        self._follower = RunFollower(mailbox, self.context, self._failed)
        self._queue = MessageQueue(
            self._thread_id,
            mailbox,
            service,
            setup,
            messages,
            self.context,
            self._failed,
            lambda: ownership.regain(None),
        )
        self._finished: Callable[[], None] | None = None
        self._thread = Thread(self._run, f"gpt-agent-{self._thread_id}")

    def start(self, finished: Callable[[], None]) -> None:
        """Start the thread.

        Args:
            finished: Called last, on the worker's thread, whatever happened.
        """
        self._finished = finished
        try:
            self._thread.start()
        except BaseException:
            self._messages.release()
            raise

    def begin_watch(self) -> None:
        """See what others have done up to now, which is not told, before the thread starts."""
        self._watch.begin()

    def give_up(self) -> None:
        """Let go of messages that were taken up, where the thread never starts."""
        self._messages.release()

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

    def take_up_messages(self) -> None:
        """Queue the messages that other processes have left, from any thread.

        Raises:
            AgentNotAliveError: If the agent has stopped.
            JournalError: If the journal cannot be read or written.
            BackplaneError: If the backplane cannot be reached.
        """
        if self._ownership.shared and not self._messages.waiting():
            return
        # Else the process that runs a turn takes them up after it.
        with contextlib.suppress(RunInProgressError), self._ownership.entered():
            self._queue.take_up()
        self._mailbox.wake_worker()  # there may be a later look to wait for

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
            if self._mailbox.is_inherited:
                raise  # the copy of a greenlet is ended in a forked child
            # A fault of ours, or an interpreter that is torn down: who waits must not hang.
            logs.log_exception(
                logger, logging.ERROR, "the agent of thread %s broke", self._thread_id
            )
            self._mailbox.apply(verbs.stop, AgentStopped.ERROR)
            self._drain()
        finally:
            try:
                self._follower.drop()
                self._calls.abandon()
                self._messages.release()
                if self._finished is not None:
                    self._finished()
            finally:
                self._mailbox.finish()

    def _do_next(self) -> bool:
        """Do one thing, and return whether there will be more."""
        # While a feed is open the worker waits in it, so it takes steps without waiting.
        following, ending = self._follower.is_open, self._ownership.is_ending()
        step = self._mailbox.take(0 if following or ending else self._clocks.seconds_left())
        if step is None and ending:
            self._end_ownership()
        elif step is None:
            self._follower.advance() if following else self._do_what_is_due()
        elif isinstance(step, Event):
            self._deliver(step)
        elif self._mailbox.progress.stopped is None or isinstance(step, _ALWAYS):
            # A stopped agent makes no requests, but a caller still gets the outcome of its turn.
            self._act(step)
        return not isinstance(step, AgentStopped)

    def _deliver(self, event: Event) -> None:
        told = self._ownership.publish(event)
        if told is not None:
            logger.debug("%s", told)
            self._deliver_event(told)

    def _act(self, action: Action) -> None:
        if isinstance(action, _OWNERS):
            try:
                if not self._ownership.may_act():
                    if isinstance(action, PostMessage):
                        self._give_back(action)
                    return
            except BackplaneError as exc:
                logger.warning("%s waits: %s", type(action).__name__, exc)
                self._ownership.retry(lambda: self._mailbox.apply(verbs.again, action))
                return
        _ACTIONS[type(action)](self, action)

    def _give_back(self, action: PostMessage) -> None:
        """Leave a queued message to the process that has the thread now."""
        turn = verbs.current_turn(self._mailbox.progress, action.turn)
        if turn is None:
            return
        self._messages.release()  # and those behind it
        self._mailbox.apply(remote.give_back, turn.number)

    def _end_ownership(self) -> None:
        """Let others have the thread, unless messages have come to wait here."""
        try:
            self._queue.take_up()
        except (AgentNotAliveError, JournalError, RuntimeError) as exc:
            logger.info("messages of thread %s may be left: %s", self._thread_id, exc)
        self._ownership.leave()

    def _drain(self) -> None:
        while (step := self._mailbox.take(0)) is not None:
            if isinstance(step, Event):
                self._deliver(step)

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        self._calls.expire(now)
        self._queue.look(now)
        self._watch.look(now)
        if self._clocks.is_overdue(now):
            self._mailbox.apply(bounds.expire, self.context())
        elif (request := self._clocks.take_request(now)) is not None:
            self._act(request)
        elif self._clocks.take_poll(now):
            self._mailbox.apply(verbs.poll_now)
        elif (since := self._clocks.idle_since(now)) is not None:
            self._mailbox.apply_if_quiet_since(
                since, verbs.stop, AgentStopped.IDLE, only_if_idle=True
            )

    def _failed(self, number: int, origin: Phase, error: Exception) -> None:
        what = origin.value
        if isinstance(error, ServiceError):
            # Of a stopped agent nobody waits for it any more.
            stopped = self._mailbox.progress.stopped is not None
            level = logging.DEBUG if stopped else logging.WARNING
            logger.log(level, "%s on thread %s failed: %s", what, self._thread_id, error)
        else:
            logs.log_exception(
                logger, logging.ERROR, "%s on thread %s failed", what, self._thread_id
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
        self._queue.post(turn)

    def _forget_message(self, action: ForgetMessage) -> None:
        self._queue.forget(action.key)

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
        requests = [request for request in action.calls if id(request) in waiting]
        self._calls.begin(requests, rerun=action.rerun)

    def _cancel_run(self, action: CancelRun) -> None:
        try:
            self._service.cancel_run(self._thread_id, action.run_id)
        except Exception as exc:
            logger.warning("run %s could not be cancelled: %s", action.run_id, exc)

    def _drop_turn(self, action: DropTurn) -> None:
        """End all that is done for a turn that another process has taken over."""
        self._follower.drop()
        self._calls.abandon()

    def _take_over(self, action: TakeOver) -> None:
        """Go on with the turn of an owner that has fallen silent."""
        try:
            with self._ownership.entered(goes_on=True):
                self._ownership.catch_up()
                live_run = self._service.open_thread(self._thread_id)
                written = self._written_since()
                self._mailbox.apply(remote.take_over, live_run, written, self.context())
                self._queue.take_up()
        except RunInProgressError:
            logger.debug("another process takes over thread %s", self._thread_id)
        except GptAgentError as exc:
            logger.warning("the turn of thread %s is not taken over: %s", self._thread_id, exc)
            # By this agent first: others would fail as well, and all would try without a pause.
            self._ownership.retry(
                lambda: self._mailbox.apply(remote.ownerless, by_anybody=True), stays=True
            )

    def _written_since(self) -> list[Message]:
        """Return what stands after the newest message of a turn that is taken over."""
        progress = self._mailbox.progress
        known = progress.remote.message_id if progress.remote is not None else None
        after = known or progress.last_message_id
        # Of what stands in a thread of which nothing is known nothing can be told to be new.
        return list(self._service.messages(self._thread_id, after=after)) if after else []

    def _take_up_messages(self, action: TakeUpMessages) -> None:
        """Take up messages that wait at the backplane, if nobody else does."""
        try:
            self.take_up_messages()
            self._mailbox.apply(remote.left_waiting, frozenset(self._messages.waiting()))
        except GptAgentError as exc:
            logger.warning("messages of thread %s may be left: %s", self._thread_id, exc)
            self._ownership.retry(lambda: self._mailbox.apply(verbs.again, action))

    def _settle_turn(self, action: SettleTurn) -> None:
        self._calls.abandon()
        self._calls.forget_notes()
        # Before anybody here learns that the turn has ended, and asks another process for one.
        if self._ownership.is_ending():
            self._end_ownership()
        self._mailbox.apply(verbs.settle_turn, action.outcome)


_ALWAYS = (SettleTurn, ForgetMessage)

_OWNERS = (PostMessage, StartRun, CallTools, SubmitOutputs)
"""What an agent may only do while the turn is its own."""

_ACTIONS: dict[type[Action], Callable[[Worker, Any], None]] = {
    PostMessage: Worker._post_message,
    ForgetMessage: Worker._forget_message,
    StartRun: Worker._start_run,
    FollowRun: Worker._follow_run,
    CallTools: Worker._call_tools,
    SubmitOutputs: Worker._submit_outputs,
    CancelRun: Worker._cancel_run,
    SettleTurn: Worker._settle_turn,
    DropTurn: Worker._drop_turn,
    TakeOver: Worker._take_over,
    TakeUpMessages: Worker._take_up_messages,
}
