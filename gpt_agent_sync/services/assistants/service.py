"""Assistants v2: Azure's classic agents, self-hosted servers, and the embedded one."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from gpt_agent_sync.errors import (
    AuthenticationError,
    BlankValueError,
    InvalidThreadIdError,
    RequestRejectedError,
)
from gpt_agent_sync.records import (
    AssistantDefinition,
    Message,
    Pause,
    Posted,
    RunOptions,
    RunRequest,
    RunSnapshot,
    ToolOutput,
    UserMessage,
)
from gpt_agent_sync.services.assistants import wire
from gpt_agent_sync.services.assistants.stream import AssistantsTranslation
from gpt_agent_sync.services.assistants.threads import Threads, run_path, thread_path
from gpt_agent_sync.services.base import Feed, check_thread_id
from gpt_agent_sync.services.feeds.polling import FirstRequest, PollResult
from gpt_agent_sync.services.feeds.run_streams import RunStream
from gpt_agent_sync.services.http.answers import Answer
from gpt_agent_sync.services.http.client import wait_on_this_thread
from gpt_agent_sync.services.remote import RemoteService

logger = logging.getLogger(__name__)

MESSAGES_WITH_THREAD = 32
"""Messages that go along when a thread is created; more are added one by one."""


class AssistantsService(RemoteService):
    """Assistants v2 at a server.

    Args:
        base_url: Where the wire begins, such as ``"http://host/v1"``; else ``OPENAI_BASE_URL``.
        api_key: The bearer key; else ``OPENAI_API_KEY``. May be missing for servers without keys.
        organization: Sent as ``OpenAI-Organization``.
        project: Sent as ``OpenAI-Project``.
        headers: Further headers of every request.
        api_version: Azure's ``api-version`` parameter; with it no beta header is sent.
        auth: Returns a bearer token in place of the key; called before each request, on any thread.
        timeout: Seconds a request may be silent, or ``(connect, read)``; else the settings.
        http_retries: How often a request is repeated where that is safe; else the settings.
        session: A ``requests.Session`` of the program's: its adapters, proxies, ``verify``,
            ``cert``, ``auth``, hooks and headers count, and it is never changed or closed by us. A
            key given here goes before the session's headers, and its ``auth`` before both;
            ``OPENAI_API_KEY`` is not looked at where the session carries credentials.

    Raises:
        ConfigurationError: If there is no usable base URL, or another argument is unusable.
    """

    name = "assistants"

    def _wire_headers(self) -> Mapping[str, str]:
        return {"OpenAI-Beta": "assistants=v2"} if self._api_version is None else {}

    def _set_up(self) -> None:
        self._threads = Threads(self._get)
        self._tools_by_assistant: dict[str, Sequence[dict[str, Any]]] = {}

    def create_thread(
        self, messages: Sequence[Message] = (), metadata: Mapping[str, str] | None = None
    ) -> str:
        """Create a thread and return its id; see ``Service``."""
        bodies = [{"role": message.role, "content": message.content} for message in messages]
        body: dict[str, Any] = {}
        if bodies:
            body["messages"] = bodies[:MESSAGES_WITH_THREAD]
        if metadata:
            body["metadata"] = dict(metadata)
        # Sent even when it is empty: some servers refuse the request without a body.
        thread_id: str = self._post("/threads", body).require("id")
        for later in bodies[MESSAGES_WITH_THREAD:]:
            self._post(f"{thread_path(thread_id)}/messages", later)
        logger.debug("created thread %s", thread_id)
        return thread_id

    def create_assistant(self, definition: AssistantDefinition) -> str:
        """Create an assistant on the server and return its id; see ``Service``."""
        assistant_id: str = self._post("/assistants", wire.assistant_body(definition)).require("id")
        logger.debug("created assistant %s", assistant_id)
        return assistant_id

    def open_thread(self, thread_id: str) -> RunSnapshot | None:
        """Look the thread up, and its newest run; see ``Service``."""
        check_thread_id(
            thread_id,
            {"conv_": "it is a conversation, not a thread: ResponsesService speaks of those"},
        )
        try:
            self._get(thread_path(thread_id))
        except (RequestRejectedError, AuthenticationError) as exc:
            # A server whose keys own threads answers 403 for a thread of another key.
            if exc.status in (403, 404):
                raise InvalidThreadIdError(thread_id, exc.message) from exc
            raise
        return self._threads.newest_live_run(thread_id)

    def messages_after(self, thread_id: str, message_id: str) -> list[Message]:
        """Read the messages after one, page by page; see ``Service``."""
        return self._threads.messages_after(thread_id, message_id)

    def check_options(self, options: RunOptions) -> None:
        """Refuse what the wire does not have; see ``Service``."""
        wire.check_options(options)

    def post_message(self, request: RunRequest, message: UserMessage) -> Posted:
        """Add the message to the thread; see ``Service``."""
        # The wire has no idempotency keys: when an answer is lost, the token in the metadata shows
        # whether the service has the message.
        token = uuid.uuid4().hex

        def find() -> Message | None:
            newest = self._threads.newest_messages(request.thread_id)
            return wire.find_posted(newest, token, message.content, request.last_message_id)

        made = self._post(
            f"{thread_path(request.thread_id)}/messages",
            wire.message_body(message, token),
            find=find,
            pause=request.pause or wait_on_this_thread,
        )
        return Posted(message_id=made.id if isinstance(made, Message) else made.require("id"))

    def start_run(self, request: RunRequest) -> Feed:
        """Return a feed that creates the run; see ``Service``."""
        return self._follow(request, lambda pause: self._create_run(request, pause), stage="start")

    def resume_run(self, request: RunRequest, run_id: str) -> Feed:
        """Return a feed that polls the run at once; see ``Service``."""
        thread_id = request.thread_id
        return self._follow(request, lambda pause: self._poll(thread_id, run_id, pause), stage=None)

    def submit_tool_outputs(
        self, request: RunRequest, run_id: str, outputs: Sequence[ToolOutput]
    ) -> Feed:
        """Return a feed that submits the outputs; see ``Service``."""
        return self._follow(
            request, lambda pause: self._submit(request, run_id, outputs, pause), stage="submit"
        )

    def cancel_run(self, thread_id: str, run_id: str) -> None:
        """Cancel the run; see ``Service``."""
        url = f"{run_path(thread_id, run_id)}/cancel"
        try:
            self._post(url, {}, find=lambda: self._find_cancelled(thread_id, run_id))
        except RequestRejectedError:
            # Servers differ in which statuses may be cancelled: the run itself says what it is.
            if self._find_cancelled(thread_id, run_id) is None:
                raise

    def _find_cancelled(self, thread_id: str, run_id: str) -> RunSnapshot | None:
        """Return the run if there is nothing left to cancel."""
        snapshot = self._poll(thread_id, run_id, wait_on_this_thread).snapshot
        return snapshot if snapshot.is_final or snapshot.status == "cancelling" else None

    def _follow(self, request: RunRequest, begin: FirstRequest, *, stage: str | None) -> Feed:
        thread_id = request.thread_id
        posted_id = request.posted.message_id if request.posted else None
        return self._feed(
            request,
            begin,
            lambda run_id, pause: self._poll(thread_id, run_id, pause),
            lambda run, pause: self._threads.messages_of_run(thread_id, run.id, posted_id, pause),
            stage=stage,
        )

    def _poll(self, thread_id: str, run_id: str, pause: Pause) -> PollResult:
        return _read_result(self._get(run_path(thread_id, run_id), pause=pause))

    def _create_run(self, request: RunRequest, pause: Pause) -> PollResult:
        thread_id, token = request.thread_id, uuid.uuid4().hex
        if request.assistant_id is None:
            raise BlankValueError("assistant_id", None)
        tools = self._tools_to_send(request.assistant_id, request, pause)
        body = wire.run_body(request.assistant_id, request.options, tools, token)

        def find() -> PollResult | None:
            runs = self._threads.newest_runs(thread_id, pause)
            run = wire.find_started(runs, token, request.last_run_id)
            return None if run is None else PollResult(wire.read_run(run, "list of runs"))

        return self._begin(request, f"{thread_path(thread_id)}/runs", body, find, pause)

    def _submit(
        self, request: RunRequest, run_id: str, outputs: Sequence[ToolOutput], pause: Pause
    ) -> PollResult:
        ids = {output.tool_call_id for output in outputs}

        def find() -> PollResult | None:
            result = self._poll(request.thread_id, run_id, pause)
            waiting = {call.id for call in result.snapshot.tool_calls}
            waits_still = result.snapshot.status == "requires_action" and waiting & ids
            return None if waits_still else result

        url = f"{run_path(request.thread_id, run_id)}/submit_tool_outputs"
        try:
            return self._begin(request, url, wire.outputs_body(outputs), find, pause)
        except RequestRejectedError:
            # Not waiting any more: answered before, expired, cancelled. The run itself says which.
            # It may also wait for other calls by now, when another process answered ours.
            found = find()
            if found is None:
                raise
            return found

    def _begin(
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
            return made if isinstance(made, PollResult) else _read_result(made)
        translation = AssistantsTranslation(
            f"POST {path}",
            messages_known=request.messages_known,
            wants_deltas=request.wants_deltas,
        )
        made = self._streaming.begin(
            self._post, path, body, translation.open, find=find, pause=pause
        )
        return made if isinstance(made, PollResult) else _read_result(made, translation)

    def _tools_to_send(
        self, assistant_id: str, request: RunRequest, pause: Pause
    ) -> Sequence[dict[str, Any]] | None:
        """Return the run's tools when the assistant's own lack a handler, else ``None``."""
        if not request.tools:
            return None
        own = self._tools_by_assistant.get(assistant_id)
        if own is None:
            answer = self._get(f"/assistants/{quote(assistant_id, safe='')}", pause=pause)
            own = wire.read_tools(answer.data)
            # Kept for good: a request a run is too much for what hardly ever changes.
            self._tools_by_assistant[assistant_id] = own
        return wire.tools_of_run(own, request.tools)


def _read_result(answer: Answer, translation: AssistantsTranslation | None = None) -> PollResult:
    events = answer.events
    stream = None if events is None or translation is None else RunStream(events, translation)
    return PollResult(wire.read_run(answer.data, answer.request), answer.poll_after, stream)
