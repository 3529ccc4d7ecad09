"""Responses at work: which one holds a conversation, what its model is asked, what comes of it."""

from __future__ import annotations

import sqlalchemy as sa

from gpt_agent_sync.server.engine import Engine, Work
from gpt_agent_sync.server.models.base import (
    CallPiece,
    Chat,
    Finish,
    ModelError,
    ModelRequest,
    TextPiece,
)
from gpt_agent_sync.server.responses import lifecycle
from gpt_agent_sync.server.responses.chat import as_chat, chat_choice, chat_format, chat_tool
from gpt_agent_sync.server.responses.lifecycle import INPUT
from gpt_agent_sync.server.responses.response_events import Telling, response_told
from gpt_agent_sync.server.storage import Object
from gpt_agent_sync.server.streams import Stream, Told


def live_response(engine: Engine, connection: sa.Connection, conversation_id: str) -> Object | None:
    """Give the response that holds the conversation, ending those whose time is up."""
    responses = engine.storage.responses
    for response in responses.with_status(connection, conversation_id, lifecycle.LIVE):
        if current(engine, connection, response)["status"] in lifecycle.LIVE:
            return response
    return None


def current(engine: Engine, connection: sa.Connection, response: Object) -> Object:
    """Give the response as it is now, ended if its time is up."""
    if lifecycle.is_expired(response, engine.clock()):
        response = lifecycle.expired(response)
        engine.storage.responses.update(connection, response)
    return response


def history(engine: Engine, connection: sa.Connection, response: Object) -> list[Object]:
    """Give the items that come before the response's own input, oldest first."""
    conversation = response["conversation"]
    if conversation is not None:
        return engine.storage.items.all_of(connection, conversation["id"])
    before: list[Object] = []
    earlier_id = response["previous_response_id"]
    while earlier_id is not None:
        earlier = engine.storage.responses.get(connection, earlier_id)
        if earlier is None:
            break
        before = [*earlier[INPUT], *earlier["output"], *before]
        earlier_id = earlier["previous_response_id"]
    return before


class ResponseWork(Work):
    """Have a response made.

    Args:
        engine: Who does it.
        response: The response, queued.
        stream: What is told of it, if anybody wants to know.
    """

    kind = "response"

    def __init__(self, engine: Engine, response: Object, stream: Stream | None = None) -> None:
        super().__init__(response["id"], stream)
        self._telling = Telling()
        self.tell(response_told(response, "created"), response_told(response))
        self._engine = engine
        self._storage = engine.storage
        self.response = response

    def begin(self) -> bool:
        """Put a queued response to work."""
        with self._storage.write() as connection:
            response = self._storage.responses.get(connection, self.id, lock=True)
            if response is None:
                return False
            if response["status"] == "queued":
                response = current(self._engine, connection, response)
            begins: bool = response["status"] == "queued"
            if begins:
                response = lifecycle.begun(response)
                self._storage.responses.update(connection, response)
            else:
                self._forget(connection, response)
        self.response = response
        self.tell(response_told(response), last=not begins)
        return begins

    def request(self) -> ModelRequest:
        """Give the conversation and the response's own input."""
        response = self.response
        with self._storage.read() as connection:
            before = history(self._engine, connection, response)
        chat: list[Chat] = []
        if response["instructions"]:
            chat.append({"role": "system", "content": response["instructions"]})
        options = {
            "temperature": response["temperature"],
            "top_p": response["top_p"],
            "max_tokens": response["max_output_tokens"],
            "response_format": chat_format(response["text"]["format"]),
            "reasoning_effort": response["reasoning"]["effort"],
            "parallel_tool_calls": response["parallel_tool_calls"],
        }
        return ModelRequest(
            model=response["model"],
            messages=(*chat, *as_chat([*before, *response[INPUT]])),
            tools=tuple(chat_tool(tool) for tool in response["tools"]),
            tool_choice=chat_choice(response["tool_choice"]),
            options={name: value for name, value in options.items() if value is not None},
        )

    def hear(self, piece: TextPiece | CallPiece) -> None:
        """Take in a piece, and tell of it."""
        self.tell(*self._telling.hear(piece))

    def finish(self, end: Finish | ModelError) -> None:
        """Give the response its outcome, unless it was cancelled or is out of time.

        Input and output come into the conversation together, and only if there is an output.
        """
        told: list[Told] = []
        with self._storage.write() as connection:
            response = self._storage.responses.get(connection, self.id, lock=True)
            if response is None:
                return
            response = current(self._engine, connection, response)
            if response["status"] == "in_progress":
                response, told = self._outcome(response, end)
                self._storage.responses.update(connection, response)
                self._add_items(connection, response)
            self._forget(connection, response)
        self.response = response
        self.tell(*told, response_told(response), last=True)

    def _forget(self, connection: sa.Connection, response: Object) -> None:
        if not response[lifecycle.STORED]:
            self._storage.responses.delete(connection, self.id)

    def _add_items(self, connection: sa.Connection, response: Object) -> None:
        conversation = response["conversation"]
        if response["status"] == "failed" or conversation is None:
            return
        if self._storage.conversations.get(connection, conversation["id"]) is not None:
            for item in (*response[INPUT], *response["output"]):
                self._storage.items.insert(connection, item, conversation["id"])

    def _outcome(self, response: Object, end: Finish | ModelError) -> tuple[Object, list[Told]]:
        if isinstance(end, ModelError):
            return lifecycle.failed(response, end.code, end.message), []
        output, told = self._telling.finish(end.cut_short)
        if end.cut_short is not None:
            return lifecycle.incomplete(response, output, end.usage, end.cut_short), told
        return lifecycle.completed(response, output, end.usage, self._engine.clock()), told
