"""The start of runs, with the user's message in the same request where the server takes it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import attrs

from gpt_agent_sync.errors import (
    BlankValueError,
    GptAgentError,
    RateLimitError,
    RequestRejectedError,
    ServiceBusyError,
    ServiceError,
    ServiceUnavailableError,
)
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.records import Message, Pause, Posted, RunRequest, RunSnapshot, UserMessage
from gpt_agent_sync.services.assistants import wire
from gpt_agent_sync.services.assistants.abandoned import AbandonedRuns
from gpt_agent_sync.services.assistants.stream import AssistantsTranslation
from gpt_agent_sync.services.assistants.threads import Threads, run_path, thread_path
from gpt_agent_sync.services.assistants.tools import AssistantTools
from gpt_agent_sync.services.feeds.polling import PollResult
from gpt_agent_sync.services.feeds.run_streams import RunStream
from gpt_agent_sync.services.feeds.streaming import Streaming
from gpt_agent_sync.services.http.answers import Answer

logger = get_logger(__name__)

T = TypeVar("T")

LAG_LOOKS, LAG_PAUSE = 3, 0.25
"""How often a message is looked for that the server may have left out, and the seconds between."""

END_PATIENCE, END_PAUSE = 30.0, 0.2
"""Seconds to wait for the end of a run that was cancelled, and between two polls of it."""


@attrs.define
class StartedRun:
    """A run that was started together with its message: the receipt of that.

    Attributes:
        result: What the request showed.
        settled: Called when it is somebody's to follow: until then it is noted as one that was
            given up, as Ctrl-C may strike anywhere.
        taken: Whether the run is followed already; the next start is one of a new run.
    """

    result: PollResult
    settled: Callable[[], None]
    taken: bool = False

    def take(self) -> PollResult:
        """Return the run to whoever follows it from now on."""
        self.taken = True
        self.settled()
        return self.result

    def close(self) -> None:
        """Let go of the stream, if nobody will follow it here."""
        self.settled()
        self.close_stream()

    def close_stream(self) -> None:
        """Let go of the stream."""
        if self.result.stream is not None:
            self.result.stream.close()


class RunStarter:
    """The requests that post messages and start runs.

    A run answers what is newest in its thread when it is created. Posted on its own, a message may
    be answered by the run of another caller, who posts at the same time. So both go in one request
    (``additional_messages``), where the server takes that; whether it does shows the first time.

    Args:
        post: Writes to a path, as ``RemoteService`` does.
        poll: Polls a run of a thread.
        threads: The threads' lists.
        tools: The assistants' tools.
        streaming: What is known of the service's streams.
        abandoned: The runs that were given up, and may hold their threads.
        takes_messages: Whether the server takes messages with runs, where that is known.
    """

    def __init__(
        self,
        post: Callable[..., Any],
        poll: Callable[[str, str, Pause], PollResult],
        threads: Threads,
        tools: AssistantTools,
        streaming: Streaming,
        abandoned: AbandonedRuns,
        *,
        takes_messages: bool | None = None,
    ) -> None:
        self._post = post
        self._poll = poll
        self._threads = threads
        self._tools = tools
        self._streaming = streaming
        self._abandoned = abandoned
        self._takes_messages = takes_messages

    def post(self, request: RunRequest, message: UserMessage, pause: Pause) -> Posted:
        """Post a user's message, with its run where the server takes both together."""
        return self._when_free(
            request.thread_id, pause, lambda: self._post_somehow(request, message, pause)
        )

    def _post_somehow(self, request: RunRequest, message: UserMessage, pause: Pause) -> Posted:
        if self._takes_messages is False:
            return self._post_alone(request, message, pause)
        try:
            return self._post_with_run(request, message, pause)
        except (RequestRejectedError, RateLimitError) as exc:
            if exc.in_doubt or isinstance(exc, ServiceBusyError):
                raise
            if "additional_messages" in exc.message:
                self._note_refusal(exc.message)
            # What is wrong with the run is the program's to hear as the run's failure, and a rate
            # limit is sat out: the message itself may well be taken.
            return self._post_alone(request, message, pause)

    def start(self, request: RunRequest, pause: Pause) -> PollResult:
        """Return the run that was started with its message, or start one."""
        receipt = request.posted.receipt if request.posted else None
        if isinstance(receipt, StartedRun) and not receipt.taken:
            return receipt.take()
        return self._when_free(
            request.thread_id, pause, lambda: self._create(request, uuid.uuid4().hex, pause).take()
        )

    def _when_free(self, thread_id: str, pause: Pause, act: Callable[[], T]) -> T:
        """Do what needs a free thread, once more if a run that we gave up held it."""
        try:
            return act()
        except ServiceBusyError as exc:
            if exc.in_doubt or not self._end_abandoned_run(thread_id, pause):
                raise
            return act()

    def _post_alone(self, request: RunRequest, message: UserMessage, pause: Pause) -> Posted:
        request.before_post()
        # The wire has no idempotency keys: when an answer is lost, the token in the metadata shows
        # whether the service has the message.
        token = request.token or uuid.uuid4().hex

        def find() -> Message | None:
            newest = self._threads.newest_messages(request.thread_id, pause)
            return wire.find_posted(newest, token, message.content, request.last_message_id)

        path = f"{thread_path(request.thread_id)}/messages"
        made = self._post(path, wire.message_body(message, token), find=find, pause=pause)
        return Posted(message_id=made.id if isinstance(made, Message) else made.require("id"))

    def _post_with_run(self, request: RunRequest, message: UserMessage, pause: Pause) -> Posted:
        token = request.token or uuid.uuid4().hex
        started = self._create(request, token, pause, message)
        run = started.result.snapshot
        try:
            sent = self._find_message(request, message, token, run, pause)
        except BaseException as exc:
            self._abandoned.in_doubt(request.thread_id, token)
            started.close()
            if isinstance(exc, GptAgentError):
                exc.in_doubt = True
            else:  # Ctrl-C, say: nobody will follow the run
                self._cancel(request.thread_id, run.id)
            raise
        if sent is not None:
            self._takes_messages = True
            return Posted(message_id=sent.id, receipt=started, run_id=run.id)
        started.close_stream()
        self._note_refusal("it leaves them out")
        if not run.is_final:
            self._end(request.thread_id, run.id, pause)
        started.settled()
        return self._post_alone(request, message, pause)

    def _find_message(
        self,
        request: RunRequest,
        message: UserMessage,
        token: str,
        run: RunSnapshot,
        pause: Pause,
    ) -> Message | None:
        """Return the message that was sent with a run; ``None`` if the server left it out.

        Raises:
            ServiceUnavailableError: If a server that takes messages does not show this one.
        """
        for looks in range(LAG_LOOKS):
            if looks:  # a replica may lag behind
                pause(LAG_PAUSE)
            newest = self._threads.newest_messages(request.thread_id, pause)
            sent = wire.find_sent(newest, token, message.content, request.last_message_id, run.id)
            if sent is not None:
                return sent
        if self._takes_messages:
            raise ServiceUnavailableError(
                f"run {run.id} is there and its message is not to be seen", in_doubt=True
            )
        return None

    def _note_refusal(self, reason: str) -> None:
        if self._takes_messages is None:
            logger.info("messages are posted before their runs are created, because: %s", reason)
        self._takes_messages = False

    def _create(
        self, request: RunRequest, token: str, pause: Pause, message: UserMessage | None = None
    ) -> StartedRun:
        """Create a run, with a message of the user's if there is one."""
        thread_id = request.thread_id
        if request.assistant_id is None:
            raise BlankValueError("assistant_id", None)
        tools = self._tools.of_run(request.assistant_id, request, pause)
        body = wire.run_body(request.assistant_id, request.options, tools, token)
        if message is not None:
            body["additional_messages"] = [wire.message_body(message, token)]

        def find() -> PollResult | None:
            runs = self._threads.newest_runs(thread_id, pause)
            run = wire.find_started(runs, token, request.last_run_id)
            return None if run is None else PollResult(wire.read_run(run, "list of runs"))

        noted = self._abandoned.in_doubt(thread_id, token)

        def settled() -> None:
            self._abandoned.forget(thread_id, noted)

        try:
            made = self.begin(request, f"{thread_path(thread_id)}/runs", body, find, pause)
        except GptAgentError as exc:
            if not exc.in_doubt:
                settled()
            raise
        return StartedRun(made, settled)

    def begin(
        self,
        request: RunRequest,
        path: str,
        body: dict[str, Any],
        find: Callable[[], PollResult | None],
        pause: Pause,
    ) -> PollResult:
        """Make the request that starts a run, or continues it."""
        if not request.streaming:
            made = self._post(path, body, find=find, pause=pause)
            return made if isinstance(made, PollResult) else read_result(made)
        translation = AssistantsTranslation(
            f"POST {path}",
            messages_known=request.messages_known,
            wants_deltas=request.wants_deltas,
        )
        made = self._streaming.begin(self._post, path, body, translation.open, find, pause=pause)
        return made if isinstance(made, PollResult) else read_result(made, translation)

    def _end_abandoned_run(self, thread_id: str, pause: Pause) -> bool:
        """End the run of ours that holds a thread and that nobody follows; return whether it did.

        Whoever asked for it was told: that it was given up, or that it is in doubt.
        """
        noted = self._abandoned.of(thread_id)
        newest = self._threads.newest_runs(thread_id, pause) if noted else ()
        for one in noted:
            run = one.find(newest)
            if run is not None and self._end(thread_id, str(run.get("id")), pause):
                self._abandoned.forget(thread_id, one)
                return True
        return False

    def _end(self, thread_id: str, run_id: str, pause: Pause) -> bool:
        """Cancel a run and wait for its end, for a bounded time; return whether it has ended."""
        until = time.monotonic() + END_PATIENCE
        cancelled = False
        while time.monotonic() < until:
            cancelled = cancelled or self._cancel(thread_id, run_id)
            try:
                if self._poll(thread_id, run_id, pause).snapshot.is_final:
                    return True
            except ServiceError as exc:
                logger.info("run %s cannot be seen: %s", run_id, exc)
            pause(END_PAUSE)
        # The next request shows whether it holds the thread.
        self._abandoned.not_cancelled(thread_id, run_id)
        logger.warning("run %s is left to end by itself", run_id)
        return False

    def _cancel(self, thread_id: str, run_id: str) -> bool:
        """Cancel a run that nobody follows, and return whether the service took that."""
        try:
            self._post(f"{run_path(thread_id, run_id)}/cancel", {}, idempotent=True, retries=0)
        except ServiceError as exc:
            logger.info("run %s is not cancelled: %s", run_id, exc)
            return False
        return True


def read_result(answer: Answer, translation: AssistantsTranslation | None = None) -> PollResult:
    """Read the answer that shows a run, and its stream where there is one."""
    events = answer.events
    stream = None if events is None or translation is None else RunStream(events, translation)
    run = wire.read_run(answer.data, answer.request, answer.server_time)
    return PollResult(run, answer.poll_after, stream)
