"""Assistants v2: Azure's classic agents, self-hosted servers, and the embedded one."""

from __future__ import annotations

import functools
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from gpt_agent_sync.services.base import Feed, check_thread_id
from gpt_agent_sync.services.feeds.polling import First, Look
from gpt_agent_sync.services.feeds.run_streams import RunStream
from gpt_agent_sync.services.http.answers import Answer
from gpt_agent_sync.services.http.client import wait_on_this_thread
from gpt_agent_sync.services.http.paging import PAGE, read_pages
from gpt_agent_sync.services.http.shapes import read_list
from gpt_agent_sync.services.remote import RemoteService

logger = logging.getLogger(__name__)

MESSAGES_WITH_THREAD = 32
"""Messages that go along when a thread is created; more are added one by one."""


class AssistantsService(RemoteService):
    """Speak Assistants v2 to a server.

    Args:
        base_url: Where the wire begins, such as ``"http://host/v1"``; else ``OPENAI_BASE_URL``.
        api_key: The bearer key; else ``OPENAI_API_KEY``. May be missing for servers without keys.
        organization: Sent as ``OpenAI-Organization``.
        project: Sent as ``OpenAI-Project``.
        headers: Further headers of every request.
        api_version: Azure's ``api-version`` parameter; with it no beta header is sent.
        auth: Gives a bearer token in place of the key; called before each request, on any thread.
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

    @functools.cached_property
    def _tools_by_assistant(self) -> dict[str, Sequence[dict[str, Any]]]:
        """Hold the tools of the assistants looked up so far."""
        return {}

    # what a program asks for

    def create_thread(
        self, messages: Sequence[Message] = (), metadata: Mapping[str, str] | None = None
    ) -> str:
        """Create a thread and give its id; see ``Service``."""
        bodies = [{"role": message.role, "content": message.content} for message in messages]
        body: dict[str, Any] = {}
        if bodies:
            body["messages"] = bodies[:MESSAGES_WITH_THREAD]
        if metadata:
            body["metadata"] = dict(metadata)
        thread_id: str = self._post("/threads", body).require("id")
        for later in bodies[MESSAGES_WITH_THREAD:]:
            self._post(f"{_thread(thread_id)}/messages", later)
        logger.debug("created thread %s", thread_id)
        return thread_id

    def create_assistant(self, definition: AssistantDefinition) -> str:
        """Create an assistant on the server and give its id; see ``Service``."""
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
            self._get(_thread(thread_id))
        except (RequestRejectedError, AuthenticationError) as exc:
            # A server whose keys own threads answers 403 for a thread of another key.
            if exc.status in (403, 404):
                raise InvalidThreadIdError(thread_id, exc.message) from exc
            raise
        return self._newest_live_run(thread_id)

    def messages_after(self, thread_id: str, message_id: str) -> list[Message]:
        """Read the messages after one, page by page; see ``Service``."""
        try:
            return list(self._messages(thread_id, {"order": "asc", "after": message_id}))
        except RequestRejectedError as exc:
            # Some servers refuse this parameter; an unknown message is refused the same way.
            listed = self._newest_messages(thread_id, message_id, wait_on_this_thread)
            positions = [place for place, seen in enumerate(listed) if seen.id == message_id]
            if not positions:
                raise
            logger.info("read thread %s from its newer end, because: %s", thread_id, exc)
            return listed[positions[-1] + 1 :]

    def check_options(self, options: RunOptions) -> None:
        """Refuse what the wire does not have; see ``Service``."""
        wire.check_options(options)

    def post_message(self, request: RunRequest, message: UserMessage) -> Posted:
        """Add the message to the thread; see ``Service``."""
        token = uuid.uuid4().hex
        url = f"{_thread(request.thread_id)}/messages"

        def find() -> Message | None:
            answer = self._get(url, {"order": "desc", "limit": 20})
            newest = read_list(answer.data, answer.request, wire.read_message)
            return wire.find_posted(newest, token, message.content, request.last_message_id)

        pause = request.pause or wait_on_this_thread
        made = self._post(url, wire.message_body(message, token), find=find, pause=pause)
        return Posted(message_id=made.id if isinstance(made, Message) else made.require("id"))

    def start_run(self, request: RunRequest) -> Feed:
        """Give a feed that creates the run; see ``Service``."""
        token = uuid.uuid4().hex
        return self._follow(
            request, lambda pause: self._create_run(request, token, pause), leg="start"
        )

    def resume_run(self, request: RunRequest, run_id: str) -> Feed:
        """Give a feed that looks at the run at once; see ``Service``."""
        thread_id = request.thread_id
        return self._follow(request, lambda pause: self._look(thread_id, run_id, pause), leg=None)

    def submit_tool_outputs(
        self, request: RunRequest, run_id: str, outputs: Sequence[ToolOutput]
    ) -> Feed:
        """Give a feed that submits the outputs; see ``Service``."""
        return self._follow(
            request, lambda pause: self._submit(request, run_id, outputs, pause), leg="submit"
        )

    def cancel_run(self, thread_id: str, run_id: str) -> None:
        """Cancel the run; see ``Service``.

        Servers differ in which statuses may be cancelled, so a refusal means: look again.
        """
        url = f"{_run(thread_id, run_id)}/cancel"
        try:
            self._post(url, {}, find=lambda: self._cancelling(thread_id, run_id))
        except RequestRejectedError:
            if self._cancelling(thread_id, run_id) is None:
                raise

    def _cancelling(self, thread_id: str, run_id: str) -> RunSnapshot | None:
        snapshot = self._look(thread_id, run_id, wait_on_this_thread).snapshot
        return snapshot if snapshot.is_final or snapshot.status == "cancelling" else None

    # feeds

    def _follow(self, request: RunRequest, first: First, *, leg: str | None) -> Feed:
        thread_id = request.thread_id
        return self._feed(
            request,
            first,
            lambda run_id, pause: self._look(thread_id, run_id, pause),
            lambda snapshot, pause: self._messages_of_run(request, snapshot.id, pause),
            leg=leg,
        )

    def _begin(
        self,
        request: RunRequest,
        path: str,
        body: dict[str, Any],
        find: Callable[[], Look | None],
        pause: Pause,
    ) -> Look:
        """Have a run begin or go on, and give what the answer shows."""
        if not request.streaming:
            made = self._post(path, body, find=find, pause=pause)
            return made if isinstance(made, Look) else _read_look(made)
        translation = AssistantsTranslation(
            f"POST {path}", known=request.messages_known, wants_deltas=request.wants_deltas
        )
        made = self._streaming.begin(
            self._post, path, body, translation.open, find=find, pause=pause
        )
        return made if isinstance(made, Look) else _read_look(made, translation)

    def _look(self, thread_id: str, run_id: str, pause: Pause) -> Look:
        return _read_look(self._get(_run(thread_id, run_id), pause=pause))

    def _create_run(self, request: RunRequest, token: str, pause: Pause) -> Look:
        thread_id = request.thread_id
        if request.assistant_id is None:
            raise BlankValueError("assistant_id", None)
        tools = self._tools_to_send(request.assistant_id, request, pause)
        body = wire.run_body(request.assistant_id, request.options, tools, token)

        def find() -> Look | None:
            runs = self._newest_runs(thread_id, pause)
            run = wire.find_started(runs, token, request.last_run_id)
            return None if run is None else Look(wire.read_run(run, "list of runs"))

        return self._begin(request, f"{_thread(thread_id)}/runs", body, find, pause)

    def _submit(
        self, request: RunRequest, run_id: str, outputs: Sequence[ToolOutput], pause: Pause
    ) -> Look:
        ids = {output.tool_call_id for output in outputs}

        def find() -> Look | None:
            seen = self._look(request.thread_id, run_id, pause)
            waiting = {call.id for call in seen.snapshot.tool_calls}
            return None if seen.snapshot.status == "requires_action" and waiting & ids else seen

        url = f"{_run(request.thread_id, run_id)}/submit_tool_outputs"
        try:
            return self._begin(request, url, wire.outputs_body(outputs), find, pause)
        except RequestRejectedError:
            # Not waiting any more: answered before, expired, cancelled. The run itself tells.
            # It may also wait for other calls by now, when another process answered ours.
            found = find()
            if found is None:
                raise
            return found

    def _messages_of_run(self, request: RunRequest, run_id: str, pause: Pause) -> Iterator[Message]:
        posted_id = request.posted.message_id if request.posted else None
        listed: list[Message] = []
        try:
            for page in self._pages(request.thread_id, {"order": "asc", "run_id": run_id}, pause):
                listed.extend(page)
                if not wire.is_filtered(page, run_id) and len(page) >= PAGE:
                    # The filter is ignored and the thread is long: read from its newer end.
                    listed = self._newest_messages(request.thread_id, posted_id, pause)
                    break
        except RequestRejectedError as exc:
            logger.info("reading without the run_id filter, because: %s", exc)
            listed = self._newest_messages(request.thread_id, posted_id, pause)
        yield from wire.messages_of_run(listed, run_id, posted_id)

    def _newest_messages(
        self, thread_id: str, posted_id: str | None, pause: Pause
    ) -> list[Message]:
        listed: list[Message] = []
        for page in self._pages(thread_id, {"order": "desc"}, pause):
            listed.extend(page)
            if any(message.id == posted_id for message in page):
                break
        return listed[::-1]

    # lists

    def _newest_live_run(self, thread_id: str) -> RunSnapshot | None:
        try:
            runs = self._newest_runs(thread_id, wait_on_this_thread)
        except RequestRejectedError as exc:
            logger.info("cannot tell whether thread %s has a live run: %s", thread_id, exc)
            return None
        run = wire.newest_live_run(runs)
        return None if run is None else wire.read_run(run, "list of runs")

    def _newest_runs(self, thread_id: str, pause: Pause) -> Sequence[Mapping[str, Any]]:
        params = {"order": "desc", "limit": 20}
        answer = self._get(f"{_thread(thread_id)}/runs", params, pause)
        return read_list(answer.data, answer.request, lambda run: run)

    def _messages(self, thread_id: str, params: Mapping[str, Any]) -> Iterator[Message]:
        for page in self._pages(thread_id, params, wait_on_this_thread):
            yield from page

    def _pages(
        self, thread_id: str, params: Mapping[str, Any], pause: Pause
    ) -> Iterator[list[Message]]:
        path, what = f"{_thread(thread_id)}/messages", f"thread {thread_id}"
        for page in read_pages(self._get, path, params, pause, what):
            yield [message for message in map(wire.read_message, page) if message is not None]

    def _tools_to_send(
        self, assistant_id: str, request: RunRequest, pause: Pause
    ) -> Sequence[dict[str, Any]] | None:
        """Give the run's tools when the assistant's own lack a handler, else ``None``."""
        if not request.tools:
            return None
        own = self._tools_by_assistant.get(assistant_id)
        if own is None:
            answer = self._get(f"/assistants/{quote(assistant_id, safe='')}", pause=pause)
            own = wire.read_tools(answer.data)
            self._tools_by_assistant[assistant_id] = own
        return wire.tools_of_run(own, request.tools)


def _read_look(answer: Answer, translation: AssistantsTranslation | None = None) -> Look:
    events = answer.events
    stream = None if events is None or translation is None else RunStream(events, translation)
    return Look(wire.read_run(answer.data, answer.request), answer.poll_after, stream)


def _thread(thread_id: str) -> str:
    return f"/threads/{quote(thread_id, safe='')}"


def _run(thread_id: str, run_id: str) -> str:
    return f"{_thread(thread_id)}/runs/{quote(run_id, safe='')}"
