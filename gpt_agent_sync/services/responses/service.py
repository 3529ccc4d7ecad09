"""The contract's verbs on OpenAI's Conversations + Responses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gpt_agent_sync.arguments import require_text
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
    Posted,
    RunOptions,
    RunRequest,
    RunSnapshot,
    ToolOutput,
    UserMessage,
)
from gpt_agent_sync.secret import conceal
from gpt_agent_sync.services.base import Feed, check_thread_id
from gpt_agent_sync.services.checks import check_flag, conceal_headers
from gpt_agent_sync.services.feeds.polling import FirstRequest
from gpt_agent_sync.services.feeds.streaming import Streaming
from gpt_agent_sync.services.http.client import wait_on_this_thread
from gpt_agent_sync.services.remote import OPENAI, AuthSource, RemoteService
from gpt_agent_sync.services.responses import bodies
from gpt_agent_sync.services.responses.wire import read_note
from gpt_agent_sync.tools.definitions import ToolsArgument, read_definition

if TYPE_CHECKING:
    import requests

logger = get_logger(__name__)

FOREGROUND_TIMEOUT = 600.0
"""Seconds of silence, unless the service was made with others, while a server that has no
background makes a whole response."""


class ResponsesService(RemoteService):
    """Conversations + Responses at OpenAI, or at another server that has them.

    A thread is a conversation. A run is a response, and those that go on from it when the
    program has answered its tool calls; its id is that of the first. A user's message is the
    input of the response that it asks for, so both have one id. Assistants live in the program,
    by the ids that ``create_assistant()`` returns or ``register_assistant()`` names; equal services
    share them. A model's name is an assistant id too.

    Args:
        base_url: Where the wire begins; else ``OPENAI_BASE_URL``, else OpenAI.
        api_key: The bearer key; else, at ``OPENAI_BASE_URL`` or OpenAI, ``OPENAI_API_KEY``. May be
            missing for servers without keys.
        organization: Sent as ``OpenAI-Organization``.
        project: Sent as ``OpenAI-Project``.
        headers: Further headers of every request.
        api_version: Azure's ``api-version`` parameter.
        auth: Returns a bearer token in place of the key; called before each request, on any thread.
        timeout: Seconds a request may be silent, or ``(connect, read)``; else the settings.
        http_retries: How often a request is repeated where that is safe; else the settings.
        session: A ``requests.Session`` of the program's: its adapters, proxies, ``verify``,
            ``cert``, ``auth``, hooks and headers count, and it is never changed or closed by us. A
            key given here goes before the session's headers, and its ``auth`` before both;
            ``OPENAI_API_KEY`` is not looked at where the session carries credentials.
        background: Whether responses are made in the background, where they go on by themselves
            and can be cancelled. ``True``: always; a server that refuses it is an error. ``False``:
            never. ``None``: where the server takes it; one that takes no stream together with it
            is asked for a stream in the foreground while somebody listens to text.

    Raises:
        ConfigurationError: If there is no key for OpenAI, or another argument is unusable.
    """

    name = "responses"
    _default_base_url = OPENAI

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
        background: bool | None = None,
    ) -> None:
        # Rebound before anything can fail: error trackers keep the variables of a frame.
        base_url, api_key = conceal(base_url), conceal(api_key)
        headers = conceal_headers(headers)
        self._background = check_flag("background", background)
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

    def _set_up(self) -> None:
        # Imported here: programs that speak another wire need not pay for this one.
        from gpt_agent_sync.services.responses import creation
        from gpt_agent_sync.services.responses.cancelling import RunCanceller
        from gpt_agent_sync.services.responses.definitions import registered_assistants
        from gpt_agent_sync.services.responses.history import MessageHistory
        from gpt_agent_sync.services.responses.modes import ResponseModes
        from gpt_agent_sync.services.responses.resources import Conversations, Responses
        from gpt_agent_sync.services.responses.starting import RunStarter
        from gpt_agent_sync.services.responses.submitting import OutputSubmitter
        from gpt_agent_sync.services.responses.tracking import RunTracker

        conversations = Conversations(self._get, self._post)
        responses = Responses(self._get, self._post)
        tracker = RunTracker(conversations, responses)
        canceller = RunCanceller(conversations, responses, tracker)
        self._streaming = Streaming(self, "responses in the background")
        modes = ResponseModes(
            self._post,
            self._background,
            self._streaming,
            Streaming(self, "responses in the foreground"),
            self._foreground_timeout,
        )
        creator = creation.ResponseCreator(
            modes,
            responses,
            tracker,
            locks=urlsplit(self.base_url).hostname in creation.LOCKING_HOSTS,
            lock_patience=lambda: self._limits().read_timeout,
        )
        assistants = registered_assistants(self.identity)
        shared = conversations, responses, tracker, canceller, creator, assistants
        self._assistants = assistants
        self._conversations = conversations
        self._tracker = tracker
        self._canceller = canceller
        self._history = MessageHistory(conversations, responses, tracker.cache)
        self._starter = RunStarter(*shared)
        self._submitter = OutputSubmitter(*shared)

    def _foreground_timeout(self) -> float:
        read = self._limits().read_timeout
        return read if self._timeout is not None else max(read, FOREGROUND_TIMEOUT)

    def register_assistant(
        self,
        assistant_id: str,
        *,
        model: str,
        instructions: str = "",
        name: str | None = None,
        description: str | None = None,
        tools: ToolsArgument = None,
        metadata: Mapping[str, str] | None = None,
    ) -> str:
        """Keep an assistant under an id of your choice, in place of the one that had it.

        Called when the program starts, it lets the ids live on that the program knows, those of
        assistants that were on the Assistants wire among them. No request is made.

        Args:
            assistant_id: The id.
            model: The model's name.
            instructions: The system text.
            name: A name for people.
            description: A description for people.
            tools: A ``Toolbox``, or tool objects in the words of either wire.
            metadata: Up to 16 pairs of texts.

        Returns:
            The id.

        Raises:
            BlankValueError: If the id or the model are blank.
            ConfigurationError: If a tool cannot be used on this wire.
        """
        definition = read_definition(
            model=model,
            instructions=instructions,
            name=name,
            description=description,
            tools=tools,
            metadata=metadata,
        )
        self._assistants.put(require_text("assistant_id", assistant_id), definition)
        return assistant_id

    def create_thread(
        self, messages: Sequence[Message] = (), metadata: Mapping[str, str] | None = None
    ) -> str:
        """Create a conversation and return its id; see ``Service``."""
        return self._conversations.create(messages, metadata)

    def create_assistant(self, definition: AssistantDefinition) -> str:
        """Keep an assistant and return its id; see ``Service``. No request is made."""
        return self._assistants.add(definition)

    def open_thread(self, thread_id: str) -> RunSnapshot | None:
        """Look the conversation up, and its newest run; see ``Service``."""
        check_thread_id(
            thread_id,
            {
                "thread_": "it is a thread of the Assistants wire, not a conversation; "
                "docs/moving_to_responses.md tells how to move its messages"
            },
        )
        try:
            metadata = self._conversations.metadata(thread_id, known=False)
        except (RequestRejectedError, AuthenticationError) as exc:
            # A malformed id is 400, and one of another key's conversations may be 403.
            if exc.status in (400, 403, 404, 422):
                raise InvalidThreadIdError(thread_id, exc.message) from exc
            raise
        chain = self._tracker.find_live(thread_id, metadata)
        return None if chain is None else chain.snapshot()

    def newest_run(self, thread_id: str) -> RunSnapshot | None:
        """Return the run that the conversation's metadata name; see ``Service``."""
        note = read_note(self._conversations.metadata(thread_id, known=False))
        chain = None if note is None else self._tracker.load_chain(note, wait_on_this_thread)
        return None if chain is None else chain.snapshot()

    def messages(
        self,
        thread_id: str,
        *,
        after: str | None = None,
        order: Order = "asc",
        limit: int | None = None,
    ) -> Iterator[Message]:
        """Read the messages, page by page; see ``Service``.

        A user's message has two ids: that of the response it asked for, which ``post_message()``
        gives, and the one of its item, by which it is listed. Either will do for ``after``.
        """
        return self._history.messages(thread_id, after, order, limit)

    def check_options(self, options: RunOptions) -> None:
        """Refuse what the wire does not have; see ``Service``."""
        bodies.check_options(options)

    def check_message(self, message: UserMessage, options: RunOptions) -> None:
        """Refuse attachments, which the wire does not have; see ``Service``."""
        bodies.check_message(message, options)

    def post_message(self, request: RunRequest, message: UserMessage) -> Posted:
        """Create the response that the message asks for; see ``Service``."""
        created = self._starter.post(request, message, request.pause or wait_on_this_thread)
        run_id = created.chain.run_id
        return Posted(message_id=run_id, receipt=created.stream, run_id=run_id)

    def start_run(self, request: RunRequest) -> Feed:
        """Return a feed of the response that the message started; see ``Service``."""
        return self._follow(
            request, lambda pause: self._starter.start(request, pause), stage="start"
        )

    def resume_run(self, request: RunRequest, run_id: str) -> Feed:
        """Return a feed that polls the run at once; see ``Service``."""
        thread_id = request.thread_id
        return self._follow(
            request, lambda pause: self._tracker.poll(thread_id, run_id, pause), stage=None
        )

    def submit_tool_outputs(
        self, request: RunRequest, run_id: str, outputs: Sequence[ToolOutput]
    ) -> Feed:
        """Return a feed that continues the run with the outputs; see ``Service``."""
        return self._follow(
            request,
            lambda pause: self._submitter.submit(request, run_id, outputs, pause),
            stage="submit",
        )

    def cancel_run(self, thread_id: str, run_id: str) -> None:
        """Cancel the response in progress, and free the conversation; see ``Service``."""
        self._canceller.cancel(thread_id, run_id)

    def _follow(self, request: RunRequest, begin: FirstRequest, *, stage: str | None) -> Feed:
        thread_id = request.thread_id
        return self._feed(
            request,
            begin,
            lambda run_id, pause: self._tracker.poll(thread_id, run_id, pause),
            lambda run, pause: self._tracker.messages_of_run(thread_id, run.id, pause),
            stage=stage,
        )
