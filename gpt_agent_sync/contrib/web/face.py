"""The HTTP face of agents, for any framework: what each request does, and its answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from gpt_agent_sync.api import create_thread
from gpt_agent_sync.contrib.web import reading
from gpt_agent_sync.contrib.web.answers import Answer, Refusal, answer_to, is_the_clients
from gpt_agent_sync.contrib.web.event_streams import EventLines
from gpt_agent_sync.contrib.web.showing import show_to_users
from gpt_agent_sync.errors import AgentNotAliveError, GptAgentError, InvalidToolCallIdError
from gpt_agent_sync.events import Event
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.records import Message

if TYPE_CHECKING:
    from gpt_agent_sync.agent.agent import Agent

logger = get_logger(__name__)

R = TypeVar("R")
"""A request of the framework."""

T = TypeVar("T")

HEARTBEAT = 15.0
"""Seconds of silence after which an event stream says that it is alive."""

STREAM_TIME = 600.0
"""Seconds after which an event stream ends, to be authorized anew."""

MAX_BODY = 1024 * 1024
"""Bytes of a request's body at most."""


def _create_thread(request: object) -> str:
    return create_thread()


@attrs.frozen(kw_only=True)
class ChatFace(Generic[R]):
    """The verbs of the HTTP face, each from a framework's request to an answer.

    What hooks raise that is none of this package's errors goes on to the framework.

    Attributes:
        authorize: Called with the request and a thread's id before anything is done, on the
            request's thread; ``True`` lets it pass, anything else is refused (403). The id is
            ``None`` where a thread is to be created, and for a page without one.
        connect: Connects to a thread: ``gpt.connect(thread_id, ...)`` with the program's assistant
            and tools.
        create_thread: Creates a thread for a request, and notes whose it is; returns its id.
        add_message: Adds a message elsewhere, in a queue of tasks, say: called with the request,
            the thread's id and the text; returns the message's id, or ``None`` where it is not
            known yet. Without it the thread's agent in this process adds it.
        show_event: Called with each event of a stream; returns what the client is to see of it,
            ``None`` for nothing. Without it ``show_to_users()``.
        heartbeat: Seconds of silence after which an event stream writes a comment.
        stream_time: Seconds after which an event stream ends: a browser comes back by itself, and
            is authorized anew.
        max_body: Bytes of a request's body at most.
    """

    authorize: Callable[[R, str | None], bool]
    connect: Callable[[str], Agent]
    create_thread: Callable[[R], str] = _create_thread
    add_message: Callable[[R, str, str], str | None] | None = None
    show_event: Callable[[Event], Event | None] = show_to_users
    heartbeat: float = HEARTBEAT
    stream_time: float = STREAM_TIME
    max_body: int = MAX_BODY

    def __attrs_post_init__(self) -> None:
        """Check what was given.

        Raises:
            TypeError: If a hook cannot be called.
            ValueError: If a number is none, or out of its range.
        """
        for name in ("authorize", "connect", "create_thread", "add_message", "show_event"):
            hook = getattr(self, name)
            if not callable(hook) and not (name == "add_message" and hook is None):
                raise TypeError(f"{name} must be a function, not {hook!r}")
        for name in ("heartbeat", "stream_time"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise ValueError(f"{name} must be seconds above 0, not {value!r}")
        if type(self.max_body) is not int or self.max_body < 1:
            raise ValueError(f"max_body must be bytes above 0, not {self.max_body!r}")

    def permit(self, request: R, thread_id: str | None) -> None:
        """Let a request pass, or not.

        Raises:
            Refusal: If there is no such id (404), or the program does not authorize it (403).
        """
        if thread_id is not None:
            reading.read_id("conversation", thread_id)
        if self.authorize(request, thread_id) is not True:
            raise Refusal(403, "ForbiddenError", "this is not allowed")

    def post_thread(self, request: R, content_type: str | None, body: bytes) -> Answer:
        """Create a thread; 201 with its id."""
        self.permit(request, None)
        reading.read_object(content_type, body, self.max_body)
        return Answer(201, {"id": self.create_thread(request)})

    def post_message(
        self, request: R, thread_id: str, content_type: str | None, body: bytes
    ) -> Answer:
        """Add a user's message; 202 with its id, ``None`` while it is not with the service."""
        self.permit(request, thread_id)
        sent = reading.read_object(content_type, body, self.max_body)
        content, when_busy = reading.read_message(sent)
        if self.add_message is not None:
            message_id = self.add_message(request, thread_id, content)
        else:
            message_id = self._with_agent(
                thread_id, lambda agent: agent.add_user_message(content, when_busy=when_busy)
            )
        return Answer(202, {"id": message_id})

    def post_cancel(
        self, request: R, thread_id: str, content_type: str | None, body: bytes
    ) -> Answer:
        """Ask for the run to be cancelled; 202, and the event follows."""
        self.permit(request, thread_id)
        reading.read_object(content_type, body, self.max_body)
        self._with_agent(thread_id, lambda agent: agent.cancel_run())
        return Answer(202)

    def post_output(
        self, request: R, thread_id: str, call_id: str, content_type: str | None, body: bytes
    ) -> Answer:
        """Record the output of a tool call that the program has no handler for; 202.

        What its handlers do is not the client's to say.
        """
        self.permit(request, thread_id)
        reading.read_id("tool call", call_id)
        sent = reading.read_object(content_type, body, self.max_body)
        output = reading.read_output(sent)

        def submit(agent: Agent) -> None:
            calls = [call for call in agent.state.tool_calls if call.id == call_id]
            if any(agent.has_handler(call.name) for call in calls):
                raise Refusal(403, "ForbiddenError", "this tool call is the program's to answer")
            if not calls and agent.running:
                raise InvalidToolCallIdError(call_id)
            agent.submit_tool_output(call_id, output)

        self._with_agent(thread_id, submit)
        return Answer(202)

    def get_messages(self, request: R, thread_id: str, query: Mapping[str, str]) -> Answer:
        """Return messages, and whether a run is active.

        Args:
            request: The request.
            thread_id: The thread.
            query: ``after``, the id of a message; ``order``, ``"asc"`` or ``"desc"``; ``limit``.
        """
        self.permit(request, thread_id)
        after, limit = query.get("after") or None, reading.read_limit(query.get("limit"))
        order = reading.read_order(query.get("order"))
        if after is not None:
            reading.read_id("message", after)

        def read(agent: Agent) -> Answer:
            # First, as a run that ends meanwhile is told by an event.
            running = agent.running
            found = agent.messages(after=after, order=order, limit=limit)
            return Answer(200, {"messages": [_show(each) for each in found], "running": running})

        return self._with_agent(thread_id, read)

    def get_events(
        self,
        request: R,
        thread_id: str,
        last_event_id: str | None,
        after: str | None,
        connect: Callable[[str], Agent] | None = None,
    ) -> EventLines:
        """Return a thread's events as they are sent.

        Args:
            request: The request.
            thread_id: The thread.
            last_event_id: The header that a browser comes back with.
            after: The cursor in the address.
            connect: Connects to it again, where the request is over, and its context with it.

        Raises:
            Refusal: If it is refused.
            GptAgentError: If connecting fails.
        """
        self.permit(request, thread_id)
        cursor = reading.read_cursor(last_event_id, after)
        return EventLines(
            self.connect(thread_id),
            connect or self.connect,
            cursor,
            show_event=self.show_event,
            heartbeat=self.heartbeat,
            stream_time=self.stream_time,
        )

    def guard(self, act: Callable[[], T]) -> T | Answer:
        """Return what a verb returns, or the answer to the error that it raises."""
        try:
            return act()
        except Refusal as exc:
            return exc.answer
        except GptAgentError as exc:
            answer = answer_to(exc)
            if not is_the_clients(answer):
                logger.warning("a request was answered %d: %s", answer.status, exc)
            return answer

    def _with_agent(self, thread_id: str, act: Callable[[Agent], T]) -> T:
        """Do something with a thread's agent, and once more if it has just stopped for idleness."""
        try:
            return act(self.connect(thread_id))
        except AgentNotAliveError as exc:
            if exc.in_doubt:
                raise
        return act(self.connect(thread_id))


def _show(message: Message) -> dict[str, Any]:
    """Return a message as the face shows it."""
    return {
        "id": message.id,
        "role": message.role,
        "content": message.content,
        "run_id": message.run_id,
        "created_at": None if message.created_at is None else message.created_at.isoformat(),
    }
