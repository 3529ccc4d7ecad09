"""Assistants v2: Azure's classic agents, self-hosted servers, and the embedded one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from gpt_agent_sync.errors import (
    AuthenticationError,
    InvalidThreadIdError,
    RequestRejectedError,
)
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.records import (
    AssistantDefinition,
    Message,
    Order,
    Pause,
    Posted,
    RunOptions,
    RunRequest,
    RunSnapshot,
    ToolOutput,
    UserMessage,
)
from gpt_agent_sync.secret import conceal
from gpt_agent_sync.services.assistants import wire
from gpt_agent_sync.services.assistants.abandoned import AbandonedRuns
from gpt_agent_sync.services.assistants.starting import RunStarter, read_result
from gpt_agent_sync.services.assistants.threads import Threads, run_path, thread_path
from gpt_agent_sync.services.assistants.tools import AssistantTools
from gpt_agent_sync.services.base import Feed, check_thread_id
from gpt_agent_sync.services.checks import check_flag, conceal_headers
from gpt_agent_sync.services.feeds.polling import FirstRequest, PollResult
from gpt_agent_sync.services.http.client import wait_on_this_thread
from gpt_agent_sync.services.http.errors import too_long
from gpt_agent_sync.services.remote import AuthSource, RemoteService

if TYPE_CHECKING:
    import requests

logger = get_logger(__name__)

MESSAGES_WITH_THREAD = 32
"""Messages that go along when a thread is created; more are added one by one."""


class AssistantsService(RemoteService):
    """Assistants v2 at a server.

    Args:
        base_url: Where the wire begins, such as ``"http://host/v1"``; else ``OPENAI_BASE_URL``.
        api_key: The bearer key; else, at ``OPENAI_BASE_URL`` or OpenAI, ``OPENAI_API_KEY``. May be
            missing for servers without keys.
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
        additional_messages: Whether a user's message goes in the request that creates its run, so
            that the run answers that message and no other caller's. ``None`` finds out with the
            first message: a server that refuses the field, or leaves the message out, gets
            messages on their own before their runs. A run without its message is cancelled.

    Raises:
        ConfigurationError: If there is no usable base URL, or another argument is unusable.
    """

    name = "assistants"

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        organization: str | None = None,
        project: str | None = None,
        headers: Mapping[str, str] | None = None,
        api_version: str | None = None,
        auth: AuthSource | None = None,
        timeout: float | tuple[float, float] | None = None,
        http_retries: int | None = None,
        session: requests.Session | None = None,
        additional_messages: bool | None = None,
    ) -> None:
        # Rebound before anything can fail: error trackers keep the variables of a frame.
        base_url, api_key = conceal(base_url), conceal(api_key)
        headers = conceal_headers(headers)
        self._additional_messages = check_flag("additional_messages", additional_messages)
        super().__init__(
            base_url,
            api_key,
            organization=organization,
            project=project,
            headers=headers,
            api_version=api_version,
            auth=auth,
            timeout=timeout,
            http_retries=http_retries,
            session=session,
        )

    def _wire_headers(self) -> Mapping[str, str]:
        return {"OpenAI-Beta": "assistants=v2"} if self._api_version is None else {}

    def _set_up(self) -> None:
        self._threads = Threads(self._get)
        self._tools = AssistantTools(self._get)
        self._abandoned = AbandonedRuns()
        self._starter = RunStarter(
            self._post,
            self._poll,
            self._threads,
            self._tools,
            self._streaming,
            self._abandoned,
            takes_messages=self._additional_messages,
        )

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
        self._tools.given(assistant_id, definition)
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

    def newest_run(self, thread_id: str) -> RunSnapshot | None:
        """Return the thread's newest run; see ``Service``."""
        return self._threads.newest_run(thread_id)

    def messages(
        self,
        thread_id: str,
        *,
        after: str | None = None,
        order: Order = "asc",
        limit: int | None = None,
    ) -> Iterator[Message]:
        """Read the messages, page by page; see ``Service``."""
        return self._threads.messages(thread_id, after, order, limit)

    def check_options(self, options: RunOptions) -> None:
        """Refuse what the wire does not have; see ``Service``."""
        wire.check_options(options)

    def post_message(self, request: RunRequest, message: UserMessage) -> Posted:
        """Add the message to the thread, with its run where the server can; see ``Service``."""
        return self._starter.post(request, message, request.pause or wait_on_this_thread)

    def start_run(self, request: RunRequest) -> Feed:
        """Return a feed of the run, created now or with its message; see ``Service``."""
        return self._follow(
            request, lambda pause: self._starter.start(request, pause), stage="start"
        )

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
        try:
            self._cancel(thread_id, run_id)
        except BaseException:
            self._abandoned.not_cancelled(thread_id, run_id)
            raise

    def _cancel(self, thread_id: str, run_id: str) -> None:
        url = f"{run_path(thread_id, run_id)}/cancel"
        try:
            self._post(url, {}, idempotent=True)
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
        return read_result(self._get(run_path(thread_id, run_id), pause=pause, known=True))

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
            return self._starter.begin(request, url, wire.outputs_body(outputs), find, pause)
        except RequestRejectedError as exc:
            # Not waiting any more: answered before, expired, cancelled. The run itself says which.
            # It may also wait for other calls by now, when another process answered ours.
            found = find()
            if found is None:
                raise too_long(exc, wire.LONGEST_OUTPUT) from exc
            return found
