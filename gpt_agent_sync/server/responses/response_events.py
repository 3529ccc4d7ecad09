"""The output of a response's model as output items, and as stream events; pure.

Names, order and fields of the events are those of OpenAI's published description.
"""

from __future__ import annotations

from typing import Any

from gpt_agent_sync.server.listing import shown
from gpt_agent_sync.server.models.base import TextDelta, ToolCall
from gpt_agent_sync.server.responses import items
from gpt_agent_sync.server.storage.collection import Object
from gpt_agent_sync.server.streams import StreamEvent


class ResponseOutput:
    """What the model answers to a response, as output items and stream events.

    Args:
        most_calls: How many calls it may have; further ones are left out.
    """

    def __init__(self, most_calls: int | None = None) -> None:
        self._calls_left = most_calls
        self._output: list[Object] = []
        self._texts: list[str] = []
        self._message_is_open = False

    def add(self, chunk: TextDelta | ToolCall) -> list[StreamEvent]:
        """Add the next chunk of the model's answer, and return its events."""
        if isinstance(chunk, ToolCall):
            return self._add_call(chunk)
        return self._add_text(chunk.text) if chunk.text else []

    def finish(self, cut_short: str | None) -> tuple[list[Object], list[StreamEvent]]:
        """Return the whole output, and the events of its end.

        An answer without text or calls is an empty text.

        Args:
            cut_short: Why the text ends early, if it does.
        """
        events = [] if self._output else self._add_text("")
        events.extend(self._close_message("completed" if cut_short is None else "incomplete"))
        return self._output, events

    def _add_text(self, text: str) -> list[StreamEvent]:
        events = [] if self._message_is_open else self._open_message()
        self._texts.append(text)
        if text:
            events.append(self._part_event("response.output_text.delta", delta=text, logprobs=[]))
        return events

    def _open_message(self) -> list[StreamEvent]:
        self._message_is_open, self._texts = True, []
        self._output.append({**items.reply("", "in_progress"), "content": []})
        return [
            self._item_event("response.output_item.added"),
            self._part_event("response.content_part.added", part=items.output_text("")),
        ]

    def _close_message(self, status: str) -> list[StreamEvent]:
        if not self._message_is_open:
            return []
        self._message_is_open = False
        text = "".join(self._texts)
        part = items.output_text(text)
        self._output[-1] = {**self._output[-1], "status": status, "content": [part]}
        return [
            self._part_event("response.output_text.done", text=text, logprobs=[]),
            self._part_event("response.content_part.done", part=part),
            self._item_event("response.output_item.done"),
        ]

    def _add_call(self, tool_call: ToolCall) -> list[StreamEvent]:
        if self._calls_left is not None:
            if not self._calls_left:
                return []
            self._calls_left -= 1
        events = self._close_message("completed")
        call = items.call(tool_call.name, tool_call.arguments)
        self._output.append({**call, "status": "in_progress", "arguments": ""})
        events.append(self._item_event("response.output_item.added"))
        # Models give calls whole, so that one delta has all of the arguments; clients that build
        # the call from the deltas get the same as those that wait for "done".
        arguments = "response.function_call_arguments"
        events.append(self._output_event(f"{arguments}.delta", delta=tool_call.arguments))
        events.append(self._output_event(f"{arguments}.done", arguments=tool_call.arguments))
        self._output[-1] = call
        events.append(self._item_event("response.output_item.done"))
        return events

    def _item_event(self, name: str) -> StreamEvent:
        return _event(name, output_index=len(self._output) - 1, item=self._output[-1])

    def _output_event(self, name: str, **fields: Any) -> StreamEvent:
        index = len(self._output) - 1
        return _event(name, item_id=self._output[-1]["id"], output_index=index, **fields)

    def _part_event(self, name: str, **fields: Any) -> StreamEvent:
        return self._output_event(name, content_index=0, **fields)


def response_event(response: Object, status: str | None = None) -> StreamEvent:
    """Return the event of a response's status.

    Args:
        response: The response.
        status: Another status to name, such as ``"created"``, which no response has.
    """
    # There is no event of a cancel: a "response.failed" carries the cancelled response.
    own = "failed" if response["status"] == "cancelled" else response["status"]
    return _event(f"response.{status or own}", response=shown(response))


def _event(name: str, **fields: Any) -> StreamEvent:
    return StreamEvent(name, {"type": name, **fields})
