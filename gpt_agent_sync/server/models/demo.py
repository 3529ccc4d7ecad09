"""The offline model: a few rules, no network, the same answer every time.

It says that it is a demo. It calls an offered tool when the message names it or is plainly a
job for it, repeats what the tools answered, and echoes everything else.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gpt_agent_sync.server.models.base import (
    ChatObject,
    Finish,
    Model,
    ModelChunk,
    ModelRequest,
    TextDelta,
    ToolCall,
)
from gpt_agent_sync.server.models.demo_arguments import fill, read_json

NAME = "demo"

READ_LENGTH = 4000
"""Characters of a message that are searched for tools and their arguments: tools and their
properties are each looked for in the whole of it, and both are of others' making."""

MOST_PIECES = 2000
"""Words that an answer is yielded by, one at a time."""

_PART = 65536

_WORD = re.compile(r"[a-z]+|\d+")
# Begun only where a number begins, and with a bounded number of signs: from every character of a
# long number, or of many brackets, the rest would be read again.
_EXPRESSION = re.compile(
    r"[-+(]{0,20}(?<![\d.])\d[\d.]*(?:\s*(?:\*\*|[-+*/^%])\s*[-+(]*\d[\d.]*\)*)+"
)
_SIGN = re.compile(r"(?<=[\d)])\s*(\*\*|[-+*/^%])")
_OPERATIONS: Mapping[str, frozenset[str]] = {
    "+": frozenset({"add", "adds", "sum", "plus", "addition"}),
    "-": frozenset({"subtract", "subtracts", "minus", "difference", "subtraction"}),
    "*": frozenset({"multiply", "multiplies", "times", "product", "multiplication"}),
    "/": frozenset({"divide", "divides", "quotient", "division"}),
}
_CALCULATORS = frozenset({"calculate", "calculator", "calc", "evaluate", "compute", "math"})
_CLOCKS = frozenset({"time", "clock", "date", "now", "today"})
_ASKS = re.compile(r"\b(?:what|current|tell)\b", re.IGNORECASE)
_TIME = re.compile(r"\b(?:time|date|day)\b", re.IGNORECASE)
# Words of so many tool names that they say nothing about what a tool is for.
_COMMON_WORDS = re.compile(
    r"get|set|fetch|find|list|look|lookup|search|show|tell|give|make|create|read|write|send|call|"
    r"tool|function|from|with|data|info"
)


class DemoModel(Model):
    """A model that answers by rules."""

    def serves(self, name: str) -> bool:
        """Return whether the name is ``"demo"``."""
        return name == NAME

    def reply(self, request: ModelRequest) -> Iterator[ModelChunk]:
        """Call tools, repeat their outputs, or echo."""
        read = sum(_count(message.get("content")) for message in request.messages)
        calls = plan_calls(request)
        for name, arguments in calls:
            yield ToolCall(name, json.dumps(arguments, ensure_ascii=False))
        text = "" if calls else _shaped(request, _answer_text(request.messages))
        yield from map(TextDelta, _pieces(text))
        written = _count(text) + sum(1 + len(arguments) for _, arguments in calls)
        yield Finish(prompt_tokens=read, completion_tokens=written)


def _pieces(text: str) -> Iterator[str]:
    """Yield a text word by word, so that programs that stream can be tried; of a long one the rest.

    Nothing is lost to blanks in front: no answer begins with one.
    """
    end = 0
    for word in itertools.islice(re.finditer(r"\S+\s*", text), MOST_PIECES):
        end = word.end()
        yield word.group()
    if text[end:]:
        yield text[end:]


def _count(content: object) -> int:
    """Return how many words there are; of a long text, about how many."""
    text = _text(content)
    # Part by part, as a list of all would take many times the text's memory.
    parts = (text[begin : begin + _PART] for begin in range(0, len(text), _PART))
    return sum(len(part.split()) for part in parts)


def _text(content: object) -> str:
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _since_user(messages: Sequence[ChatObject]) -> Sequence[ChatObject]:
    """Return the newest user message and what came after it."""
    for position in range(len(messages) - 1, -1, -1):
        if messages[position]["role"] == "user":
            return messages[position:]
    return ()


def _answer_text(messages: Sequence[ChatObject]) -> str:
    turn = _since_user(messages)
    names = {
        call["id"]: call["function"]["name"]
        for message in turn
        for call in message.get("tool_calls") or ()
    }
    descriptions = [
        _describe_output(
            names.get(message["tool_call_id"], "a tool"), _text(message.get("content"))
        )
        for message in turn
        if message["role"] == "tool"
    ]
    if descriptions:
        return " ".join(["The demo model asked for help:", *descriptions])
    question = _text(turn[0].get("content")).strip() if turn else ""
    return f"This is the offline demo model. You said: {question}"


def _shaped(request: ModelRequest, text: str) -> str:
    """Return an answer in the format that is asked for, filled from what the user said."""
    form = request.options.get("response_format") or {}
    if form.get("type") == "json_object":
        return json.dumps({"answer": text}, ensure_ascii=False)
    if form.get("type") != "json_schema":
        return text
    turn = _since_user(request.messages)
    said = _text(turn[0].get("content"))[:READ_LENGTH] if turn else ""
    schema = (form.get("json_schema") or {}).get("schema")
    return json.dumps(fill(schema, said, said)[0], ensure_ascii=False)


def _describe_output(name: str, output: str) -> str:
    try:
        value = read_json(output)
    except ValueError:
        value = None
    if isinstance(value, dict) and set(value) == {"error"}:
        return f"{name} failed ({value['error']})."
    return f"{name} gave {output}."


def plan_calls(request: ModelRequest) -> list[tuple[str, dict[str, Any]]]:
    """Choose the tools to call and their arguments; none once they have answered."""
    turn = _since_user(request.messages)
    functions = [tool["function"] for tool in request.tools if tool.get("type") == "function"]
    # Each name once, the first one of it.
    tools = list({function["name"]: function for function in reversed(functions)}.values())[::-1]
    if request.tool_choice == "none" or not tools:
        return []
    # Tools are called once for each user message: the demo would else call them for ever.
    if not turn or any(message["role"] == "tool" for message in turn):
        return []
    text = _text(turn[0].get("content"))[:READ_LENGTH]
    chosen = _named_choice(request.tool_choice)
    if chosen is not None:
        return [
            (tool["name"], fill(tool.get("parameters"), text, text)[0])
            for tool in tools
            if tool["name"] == chosen
        ]
    calls = _calls_by_name(tools, text) or _calls_by_topic(tools, text)
    if not calls and request.tool_choice == "required":
        first = tools[0]
        return [(first["name"], fill(first.get("parameters"), text, text)[0])]
    return calls if request.options.get("parallel_tool_calls", True) else calls[:1]


def _named_choice(choice: str | Mapping[str, Any]) -> str | None:
    if isinstance(choice, str):
        return None
    name = (choice.get("function") or choice).get("name")
    return name if isinstance(name, str) else None


def _calls_by_name(tools: Sequence[ChatObject], text: str) -> list[tuple[str, dict[str, Any]]]:
    """Call the tools that the text names; one named twice is called twice if that fills both."""
    mentions = sorted(
        (found.start(), found.end(), position)
        for position, tool in enumerate(tools)
        for found in _mentions(tool["name"], text)
    )
    # A tool's arguments are looked for between its name and the next tool's.
    calls: list[tuple[str, dict[str, Any], bool]] = []
    for number, (_, end, position) in enumerate(mentions):
        until = mentions[number + 1][0] if number + 1 < len(mentions) else len(text)
        tool = tools[position]
        arguments, complete = fill(tool.get("parameters"), text[end:until], None)
        calls.append((tool["name"], arguments, complete))
    complete_calls: dict[str, list[dict[str, Any]]] = {name: [] for name, _, _ in calls}
    for name, arguments, complete in calls:
        if complete:
            complete_calls[name].append(arguments)
    planned: list[tuple[str, dict[str, Any]]] = []
    for name, whole in complete_calls.items():
        # Named, but with its arguments elsewhere in the text: "what is 2 and 3 if you add them".
        if not whole:
            parameters = next(tool.get("parameters") for tool in tools if tool["name"] == name)
            whole = [fill(parameters, text, text)[0]]
        planned.extend((name, arguments) for arguments in _distinct(whole))
    return planned


# "get_time" is mentioned by "get time" as well.
def _mentions(name: str, text: str) -> Iterator[re.Match[str]]:
    pattern = re.escape(name).replace("_", "[_ ]")
    return re.finditer(rf"(?<![\w-]){pattern}(?![\w-])", text, re.IGNORECASE)


def _distinct(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({json.dumps(item): item for item in reversed(items)}.values())[::-1]


def _calls_by_topic(tools: Sequence[ChatObject], text: str) -> list[tuple[str, dict[str, Any]]]:
    """Call the one tool that the text is plainly a job for."""
    expression = _EXPRESSION.search(text)
    if expression is not None:
        call = _arithmetic(tools, expression.group().strip())
        if call is not None:
            return [call]
    words = set(_words(text))
    for tool in tools:
        about = set(_words(tool["name"]))
        on_time = bool(about & _CLOCKS) and _is_about_time(text)
        if on_time or _topics(about) & _topics(words):
            arguments, complete = fill(tool.get("parameters"), text, None)
            if complete:
                return [(tool["name"], arguments)]
    return []


def _is_about_time(text: str) -> bool:
    """Return whether a line asks for something, and names a time after that."""
    for line in text.split("\n"):
        asks = _ASKS.search(line)
        if asks is not None and _TIME.search(line, asks.end()):
            return True
    return False


def _topics(words: set[str]) -> set[str]:
    return {
        word.removesuffix("s")
        for word in words
        if len(word) > 3 and not _COMMON_WORDS.fullmatch(word)
    }


def _words(text: str) -> list[str]:
    return _WORD.findall(re.sub(r"([a-z])([A-Z])", r"\1 \2", text).lower())


def _arithmetic(tools: Sequence[ChatObject], expression: str) -> tuple[str, dict[str, Any]] | None:
    # A tool for the one operation is better than a calculator.
    signs = list(_SIGN.finditer(expression))
    if len(signs) == 1:
        begin, end = signs[0].span(1)
        operands = f"{expression[:begin]} {expression[end:]}"
        for tool in tools:
            described = set(_words(f"{tool['name']} {tool.get('description') or ''}"))
            if described & _OPERATIONS.get(signs[0].group(1), frozenset()):
                arguments, complete = fill(tool.get("parameters"), operands, None)
                if complete and len(arguments) > 1:
                    return tool["name"], arguments
    for tool in tools:
        properties = (tool.get("parameters") or {}).get("properties") or {}
        texts = [
            name
            for name, schema in properties.items()
            if isinstance(schema, dict) and schema.get("type") == "string"
        ]
        if texts and set(_words(tool["name"])) & _CALCULATORS:
            return tool["name"], {texts[0]: expression}
    return None
