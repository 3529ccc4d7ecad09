"""What a response's model says, as output items and as the events that tell of them; pure.

Names, order and fields of the events are those of OpenAI's published description.
"""

from __future__ import annotations

from typing import Any

from gpt_agent_sync.server.listing import shown
from gpt_agent_sync.server.models.base import CallPiece, TextPiece
from gpt_agent_sync.server.responses import items
from gpt_agent_sync.server.storage import Object
from gpt_agent_sync.server.streams import Told


class Telling:
    """Collect a response's output, and spell the events of it."""

    def __init__(self) -> None:
        self._output: list[Object] = []
        self._texts: list[str] = []
        self._writing = False

    def hear(self, piece: TextPiece | CallPiece) -> list[Told]:
        """Take in the next piece of the model's answer, and give its events."""
        if isinstance(piece, CallPiece):
            return self._call(piece)
        return self._text(piece.text) if piece.text else []

    def finish(self, cut_short: str | None) -> tuple[list[Object], list[Told]]:
        """Give the whole output, and the events of its end: no answer at all is an empty text.

        Args:
            cut_short: Why the text ends early, if it does.
        """
        told = [] if self._output else self._text("")
        told.extend(self._close("completed" if cut_short is None else "incomplete"))
        return self._output, told

    def _text(self, text: str) -> list[Told]:
        told = [] if self._writing else self._open()
        self._texts.append(text)
        if text:
            told.append(self._part("response.output_text.delta", delta=text, logprobs=[]))
        return told

    def _open(self) -> list[Told]:
        self._writing, self._texts = True, []
        self._output.append({**items.reply("", "in_progress"), "content": []})
        return [
            self._item("response.output_item.added"),
            self._part("response.content_part.added", part=items.output_text("")),
        ]

    def _close(self, status: str) -> list[Told]:
        if not self._writing:
            return []
        self._writing = False
        text = "".join(self._texts)
        part = items.output_text(text)
        self._output[-1] = {**self._output[-1], "status": status, "content": [part]}
        return [
            self._part("response.output_text.done", text=text, logprobs=[]),
            self._part("response.content_part.done", part=part),
            self._item("response.output_item.done"),
        ]

    def _call(self, piece: CallPiece) -> list[Told]:
        told = self._close("completed")
        call = items.call(piece.name, piece.arguments)
        self._output.append({**call, "status": "in_progress", "arguments": ""})
        told.append(self._item("response.output_item.added"))
        arguments = "response.function_call_arguments"
        told.append(self._about(f"{arguments}.delta", delta=piece.arguments))
        told.append(self._about(f"{arguments}.done", arguments=piece.arguments))
        self._output[-1] = call
        told.append(self._item("response.output_item.done"))
        return told

    def _item(self, name: str) -> Told:
        return _told(name, output_index=len(self._output) - 1, item=self._output[-1])

    def _about(self, name: str, **fields: Any) -> Told:
        place = len(self._output) - 1
        return _told(name, item_id=self._output[-1]["id"], output_index=place, **fields)

    def _part(self, name: str, **fields: Any) -> Told:
        return self._about(name, content_index=0, **fields)


def response_told(response: Object, name: str | None = None) -> Told:
    """Tell of a response; a cancelled one is told as failed.

    Args:
        response: The response.
        name: What to tell, in place of its status.
    """
    status = "failed" if response["status"] == "cancelled" else response["status"]
    return _told(f"response.{name or status}", response=shown(response))


def _told(name: str, **fields: Any) -> Told:
    return Told(name, {"type": name, **fields})
