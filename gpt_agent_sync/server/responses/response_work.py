"""Responses in progress: which one locks a conversation, what its model is asked, how it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from gpt_agent_sync.server.bodies import Json
from gpt_agent_sync.server.engine import Engine
from gpt_agent_sync.server.models.base import (
    ChatObject,
    Finish,
    ModelError,
    ModelRequest,
    TextDelta,
    ToolCall,
)
from gpt_agent_sync.server.responses import compaction, input_items, items, lifecycle
from gpt_agent_sync.server.responses.errors import item_not_found
from gpt_agent_sync.server.responses.lifecycle import INPUT
from gpt_agent_sync.server.responses.response_events import ResponseOutput, response_event
from gpt_agent_sync.server.storage.collection import Collection, Connection, Object
from gpt_agent_sync.server.streams import Stream, StreamEvent
from gpt_agent_sync.server.work import Ending, Work


def live_response(engine: Engine, connection: Connection, conversation_id: str) -> Object | None:
    """Return the response that locks the conversation, ending those past their time."""
    responses = engine.storage.responses
    for response in responses.with_status(connection, conversation_id, lifecycle.LIVE):
        if lifecycle.is_live(end_if_expired(engine, connection, response)):
            return response
    return None


def end_if_expired(engine: Engine, connection: Connection, response: Object) -> Object:
    """Return the response as it is now: failed, and kept so, if it is past its time."""
    if lifecycle.is_expired(response, engine.clock()):
        response = lifecycle.expired(response)
        engine.storage.responses.update(connection, response)
    return response


def read_input(
    engine: Engine,
    connection: Connection,
    given: str | Sequence[Json] | None,
    param: str = "input",
) -> list[Object]:
    """Return items of a request as they are kept; those that it refers to are looked up.

    Raises:
        WireError: If an item is not of the wire, or one that is referred to is not there.
    """
    if given is None or isinstance(given, str):
        return input_items.read_input(given, param)
    references = [
        input_items.reference(item, f"{param}[{index}]") for index, item in enumerate(given)
    ]
    found = engine.storage.items.get_all(connection, filter(None, references))
    read: list[Object] = []
    for index, (item, reference) in enumerate(zip(given, references, strict=True)):
        if reference is None:
            read.append(input_items.read_item(item, f"{param}[{index}]"))
        elif reference in found:
            read.append(items.copied(found[reference]))
        else:
            raise item_not_found(reference)
    return read


def history(engine: Engine, connection: Connection, response: Object) -> list[Object]:
    """Return the items that come before the response's own input, oldest first."""
    conversation = response["conversation"]
    # A response has one of the two, or none: requests with both are refused.
    if conversation is not None:
        return engine.storage.items.all_of(connection, conversation["id"])
    before: list[Object] = []
    earlier_id = response["previous_response_id"]
    while earlier_id is not None:
        earlier = engine.storage.responses.get(connection, earlier_id)
        # One deleted since then ends the chain: what came before it is unknown.
        if earlier is None:
            break
        before = [*earlier[INPUT], *earlier["output"], *before]
        earlier_id = earlier["previous_response_id"]
    return before


class ResponseWork(Work):
    """The work of answering a response, from queued to its end."""

    kind = "response"
    working = lifecycle.LIVE

    def __init__(
        self,
        engine: Engine,
        item: Object,
        stream: Stream | None = None,
        is_wanted: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__(engine, item, stream, is_wanted)
        self._output = ResponseOutput(item.get("max_tool_calls"))
        # Now, and not by the work's thread: a reader gets them though that has not started yet.
        self.publish(response_event(item, "created"), response_event(item))

    @classmethod
    def collection(cls, engine: Engine) -> Collection:
        """Return where responses are kept."""
        return engine.storage.responses

    @classmethod
    def outlives(cls, item: Object) -> bool:
        """Return whether it is one in the background, which is asked for again."""
        return bool(item["background"])

    @classmethod
    def taken_up(cls, engine: Engine, item: Object) -> ResponseWork:
        """Return the work on a response that another process has left before it began."""
        if not item.get(lifecycle.STREAMED):
            return cls(engine, item)
        # What was streamed says no more than what is streamed again.
        with engine.storage.write() as connection:
            engine.storage.events.remove(connection, item["id"])
        return cls(engine, item, engine.streams.open(item["id"]))

    def request(self) -> ModelRequest:
        """Return the instructions, the items before, and the response's own input."""
        response = self.item
        with self._storage.read() as connection:
            before = history(self._engine, connection, response)
        messages: list[ChatObject] = []
        if response["instructions"]:
            messages.append({"role": "system", "content": response["instructions"]})
        options = {
            **response.get(lifecycle.SAMPLING, {}),
            "max_tokens": response["max_output_tokens"],
            "response_format": chat_format(response["text"]["format"]),
            "reasoning_effort": response["reasoning"]["effort"],
            "parallel_tool_calls": response["parallel_tool_calls"],
        }
        return ModelRequest(
            model=response["model"],
            messages=(*messages, *chat_messages([*before, *response[INPUT]])),
            tools=tuple(chat_tool(tool) for tool in response["tools"]),
            tool_choice=chat_choice(response["tool_choice"]),
            options={name: value for name, value in options.items() if value is not None},
            may_shorten=response["truncation"] == "auto",
            cancellation=self.cancellation,
        )

    def added(self, chunk: TextDelta | ToolCall) -> list[StreamEvent]:
        """Add a chunk of the model's answer to the output, and return its events."""
        return self._output.add(chunk)

    def event(self, item: Object) -> StreamEvent:
        """Return the event of the response's status."""
        return response_event(item)

    def is_expired(self, now: float) -> bool:
        """Return whether the response is past its time."""
        return lifecycle.is_expired(self.item, now)

    def end_if_expired(self, connection: Connection, item: Object) -> Object:
        """Return the response as it is now: failed, and kept so, if it is past its time."""
        return end_if_expired(self._engine, connection, item)

    def begun(self, connection: Connection, item: Object) -> Object:
        """Return the response in progress."""
        return lifecycle.begun(item)

    def outcome(
        self, connection: Connection, item: Object, end: Finish | ModelError
    ) -> tuple[Object, list[StreamEvent]]:
        """Insert the items, and return the response with its outcome, and the events."""
        if isinstance(end, ModelError):
            return lifecycle.failed(item, end.code, end.message), []
        output, events = self._output.finish(end.cut_short)
        if end.cut_short is None:
            response = lifecycle.completed(item, output, end.usage, self._engine.clock())
        else:
            response = lifecycle.incomplete(item, output, end.usage, end.cut_short)
        self._insert_items(connection, response)
        return response, events

    def ended(self, item: Object, ending: Ending) -> Object:
        """Return the response cancelled or failed."""
        if ending is Ending.EXPIRED:
            return lifecycle.expired(item)
        if ending is Ending.CANCELLED:
            return lifecycle.abandoned(item)
        return lifecycle.failed(item, "server_error", _ENDINGS[ending])

    def _insert_items(self, connection: Connection, response: Object) -> None:
        conversation = response["conversation"]
        if conversation is None:
            # For those who refer to them by their ids; they go with the response.
            kept = response["output"] if response[lifecycle.STORED] else ()
            self._storage.items.insert_all(connection, kept, response["id"])
            return
        # It may have been deleted while the model answered.
        if self._storage.conversations.get(connection, conversation["id"]) is None:
            return
        # Input and output come into the conversation together, at the end, as on the real wire: of
        # a response that failed or was cancelled it has neither.
        both = (*response[INPUT], *response["output"])
        self._storage.items.insert_all(connection, both, conversation["id"])

    def is_stored(self, item: Object) -> bool:
        """Return whether the response stays in the database when the work is done."""
        return bool(item[lifecycle.STORED])


_ENDINGS = {
    Ending.STOPPED: "The server was stopped while it worked on the response.",
    Ending.LOST: "The server that worked on the response is gone.",
}


def chat_messages(items: Iterable[Object]) -> list[ChatObject]:
    """Return items as ``/chat/completions`` has them; what it has no words for is left out."""
    messages: list[ChatObject] = []
    for item in items:
        if item["type"] == "message":
            role = "system" if item["role"] == "developer" else item["role"]
            messages.append({"role": role, "content": _chat_content(item["content"])})
        elif item["type"] == "function_call":
            function = {"name": item["name"], "arguments": item["arguments"]}
            call = {"id": item["call_id"], "type": "function", "function": function}
            # A text and the calls after it, items of their own here, are one message there.
            if not messages or messages[-1]["role"] != "assistant":
                messages.append({"role": "assistant", "content": None})
            messages[-1].setdefault("tool_calls", []).append(call)
        elif item["type"] == "function_call_output":
            output = item["output"]
            content = output if isinstance(output, str) else _chat_content(output)
            messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": content})
        elif item["type"] == "compaction":
            messages.append(compaction.chat_message(item))
    return messages


def _chat_content(parts: Sequence[Json]) -> str | list[Json]:
    converted = [_chat_part(part) for part in parts]
    known = [part for part in converted if part is not None]
    if all(part["type"] == "text" for part in known):
        return "\n".join(part["text"] for part in known)
    return known


def _chat_part(part: Json) -> Json | None:
    if part["type"] in ("input_text", "output_text"):
        return {"type": "text", "text": part["text"]}
    if part["type"] == "refusal":
        return {"type": "text", "text": part["refusal"]}
    # An image by its file's id lies with the wire's files, which the upstream cannot reach.
    if part["type"] == "input_image" and part["image_url"]:
        image = {"url": part["image_url"], "detail": part["detail"]}
        return {"type": "image_url", "image_url": image}
    return None


def chat_tool(tool: Json) -> ChatObject:
    """Return a function tool as ``/chat/completions`` has it."""
    function = {name: tool[name] for name in ("name", "description", "parameters", "strict")}
    return {
        "type": "function",
        "function": {name: value for name, value in function.items() if value is not None},
    }


def chat_choice(choice: str | Json) -> str | Json:
    """Return a tool choice as ``/chat/completions`` has it."""
    if isinstance(choice, str):
        return choice
    return {"type": "function", "function": {"name": choice["name"]}}


def chat_format(form: Json) -> Json | None:
    """Return a text format as ``/chat/completions`` has it; ``None`` for plain text."""
    if form["type"] == "text":
        return None
    if form["type"] == "json_schema":
        schema = {name: value for name, value in form.items() if name != "type"}
        return {"type": "json_schema", "json_schema": schema}
    return form
