"""What ``/chat/completions`` answers, read to the chunks of a reply; pure.

Compatible servers differ in much: which, and how, is told at each place. A reply is whole only if
its answer says so: one that is cut off in its middle may look well to the eye.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gpt_agent_sync.event_parser import ServerSentEvent
from gpt_agent_sync.foreign_json import read_foreign_json
from gpt_agent_sync.server.models.base import Finish, ModelChunk, TextDelta, ToolCall

DONE = "[DONE]"

_CUT_SHORT = {
    "length": "max_completion_tokens",
    "max_tokens": "max_completion_tokens",
    "model_length": "max_completion_tokens",
    "content_filter": "content_filter",
    "content-filter": "content_filter",
    "safety": "content_filter",
}
"""Why a reply ends early, in upstreams' words and in the wire's."""

_FAILURES = frozenset({"error", "abort", "aborted", "cancelled", "network_error"})
"""Finish reasons of replies that are none: OpenRouter, vLLM and SGLang."""


MOST_LOOKS = 100
"""How often a call's arguments are read to see whether they are whole, which costs their length."""


class CompletionError(Exception):
    """An answer that is no reply.

    Attributes:
        kind: Of what kind, for the log.
        words: What the upstream says of it.
    """

    def __init__(self, kind: str, words: object = "") -> None:
        super().__init__(kind)
        self.kind = kind
        self.words = words


class SaidError(CompletionError):
    """An upstream says that it failed."""


class UnreadableError(CompletionError):
    """An answer cannot be understood."""


class CutOffError(CompletionError):
    """An answer ends before its reply does."""


class Completion:
    """A reply, put together from the parts in which it comes."""

    def __init__(self) -> None:
        self._calls = _ToolCalls()
        self._reason = ""
        self._usage: Mapping[str, Any] = {}
        self._has_choices = self._has_deltas = False

    @property
    def has_ended(self) -> bool:
        """Whether the upstream has said why the reply ends."""
        return bool(self._reason)

    def add(self, part: Mapping[str, Any]) -> Iterator[TextDelta]:
        """Add the next part of the answer, or all of it, and yield the text in it.

        Raises:
            CompletionError: If it is an error, or cannot be understood.
        """
        _check(part)
        # It comes in a last part of its own, without choices, or with any part before.
        usage = part.get("usage")
        self._usage = usage if isinstance(usage, Mapping) and usage else self._usage
        # Azure begins with a part without choices, and others with one that is null.
        for choice in _dicts(part.get("choices"), "choices")[:1]:
            self._has_choices = True
            # Together AI and others: the error is in the choice.
            _check(choice)
            reason = str(choice.get("finish_reason") or "")
            if reason.lower() in _FAILURES:
                raise SaidError("an error for a finish", choice)
            self._reason = reason or self._reason
            delta, message = choice.get("delta"), choice.get("message")
            self._has_deltas = self._has_deltas or bool(delta)
            # Perplexity sends the whole message so far beside each delta.
            yield from self._add_message(delta or (not self._has_deltas and message) or {})

    def _add_message(self, message: object) -> Iterator[TextDelta]:
        if not isinstance(message, Mapping):
            raise UnreadableError("a message that is no object", message)
        # Reasoning ("reasoning", "reasoning_content") is not what the assistant says.
        for text in (_text(message.get("content")), _text(message.get("refusal"))):
            if text:
                yield TextDelta(text)
        self._calls.add(_dicts(message.get("tool_calls"), "tool calls"))

    def end(self, *, whole: bool) -> Iterator[ModelChunk]:
        """Yield the tool calls, and how the reply ended.

        Args:
            whole: Whether the answer itself has said that it is: by ``[DONE]``, or as it is one
                JSON object.

        Raises:
            CompletionError: If there is no reply, or it is not whole.
        """
        if not self._has_choices:
            raise (UnreadableError if whole else CutOffError)("no choices")
        if not whole and not self._reason:
            raise CutOffError("no finish reason, and no [DONE]")
        cut_short = _CUT_SHORT.get(self._reason.lower())
        # The last call is cut as well, and may look whole.
        if cut_short is None:
            yield from self._calls.chunks()
        yield Finish(
            # Whatever else there is ("tool_calls", "eos", "end_turn", ...) is a good end.
            reason=cut_short or "stop",
            prompt_tokens=_count(self._usage.get("prompt_tokens")),
            completion_tokens=_count(self._usage.get("completion_tokens")),
        )


def read_event(event: ServerSentEvent) -> list[Mapping[str, Any]]:
    """Return the parts of an answer that an event holds; none where it only keeps awake.

    Raises:
        CompletionError: If it is an error, or cannot be understood.
    """
    if event.name == "error":
        raise SaidError("an event of an error", event.data)
    text = event.data.strip()
    if not text:
        return []
    try:
        return [_read_object(text)]
    except UnreadableError:
        # Some servers leave out the blank lines between events.
        lines = [line for line in text.splitlines() if line.strip() not in ("", DONE)]
        if lines == [text]:
            raise
    return [_read_object(line) for line in lines]


def ends_stream(event: ServerSentEvent) -> bool:
    """Return whether an event is the last one: ``[DONE]``."""
    return event.data.rstrip().rpartition("\n")[2].strip() == DONE


def read_whole(body: bytes) -> Mapping[str, Any]:
    """Return an answer that is no stream.

    Raises:
        UnreadableError: If it is no JSON object.
    """
    return _read_object(body)


def _read_object(text: str | bytes) -> Mapping[str, Any]:
    try:
        value = read_foreign_json(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        # As text: the key is looked for in what is logged.
        said = text if isinstance(text, str) else text.decode("utf-8", "replace")
        raise UnreadableError("no JSON object", said)
    return value


def _check(part: Mapping[str, Any]) -> None:
    """Refuse an error: a stream that has begun with status 200 can fail in no other way.

    Raises:
        SaidError: If it is one.
    """
    # FastChat, and vLLM before 0.9, have no "error" but the object's kind; FastAPI has "detail".
    said = part.get("error") or part.get("object") == "error"
    if said or ("choices" not in part and part.get("detail")):
        raise SaidError("an error in its answer", part)


def _dicts(value: object, what: str) -> list[Mapping[str, Any]]:
    found = [] if value is None else value
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise UnreadableError(f"{what} that are no list of objects", value)
    return found


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    # Mistral sends a list of parts, among them "thinking", which is not said.
    parts = _dicts(content, "parts of a message")
    return "".join(
        part["text"]
        for part in parts
        if part.get("type", "text") in ("text", "output_text") and isinstance(part.get("text"), str)
    )


class _Call:
    """A tool call, as far as it has come."""

    def __init__(self) -> None:
        self.name = ""
        self._arguments: list[str] = []
        self._looks = 0

    @property
    def arguments(self) -> str:
        """The arguments so far."""
        return "".join(self._arguments)

    def add(self, function: Mapping[str, Any]) -> None:
        """Add what comes of its function."""
        name, arguments = function.get("name"), function.get("arguments")
        self.name = name if isinstance(name, str) and name else self.name
        # Ollama and others send an object in place of JSON text, and null for no arguments.
        text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
        if arguments is None or not text:
            return
        # LiteLLM begins some with an object that is empty, and then sends the true one.
        if self._arguments == ["{}"] and text.lstrip().startswith("{"):
            self._arguments = []
        self._arguments.append(text)

    def is_followed_by(self, arguments: object) -> bool:
        """Return whether arguments under the same name are another call's, as this is whole."""
        begins = arguments if isinstance(arguments, str) else json.dumps(arguments)
        if not begins.startswith("{") or not self._arguments or self._looks > MOST_LOOKS:
            return False
        self._looks += 1
        try:
            return isinstance(read_foreign_json(self.arguments), dict)
        except ValueError:
            return False


class _ToolCalls:
    """The tool calls of a reply, put together from their parts."""

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._by_index: dict[Any, _Call] = {}

    def add(self, parts: Sequence[Mapping[str, Any]]) -> None:
        """Add the beginnings of calls, or more of them, that come together."""
        named: set[Any] = set()
        for position, part in enumerate(parts):
            function = part.get("function") or {}
            if not isinstance(function, Mapping):
                raise UnreadableError("a function that is no object", part)
            index = part.get("index")
            index = position if index is None else str(index)
            call = self._by_index.get(index)
            # Two that come together with a name each are two calls, whatever their index.
            together = index in named and function.get("name")
            if call is None or together or self._is_other(call, function):
                call = self._begin(index)
            if function.get("name"):
                named.add(index)
            call.add(function)

    def _begin(self, index: object) -> _Call:
        call = _Call()
        self._by_index[index] = call
        self._calls.append(call)
        return call

    def _is_other(self, call: _Call, function: Mapping[str, Any]) -> bool:
        # Ollama and LiteLLM gave all calls the index 0; others give each piece of a call a new id,
        # or repeat its name in each: so only a name begins a call, and only one that is another's,
        # or whose arguments come after whole ones.
        name = function.get("name")
        if not name:
            return False
        return bool(call.name and name != call.name) or call.is_followed_by(
            function.get("arguments")
        )

    def chunks(self) -> Iterable[ToolCall]:
        """Yield the calls, in the order in which they began.

        Raises:
            UnreadableError: If one has no name.
        """
        for call in self._calls:
            if not call.name:
                raise UnreadableError("a call without a name", call.arguments)
            arguments = call.arguments.strip()
            yield ToolCall(call.name, "{}" if arguments in ("", "null") else arguments)


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**53 else 0
