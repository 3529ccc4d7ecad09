"""Texts of others cost time in proportion to their length, whatever they say.

No time is judged by itself: what is judged is the growth from a length to four times that, which
is 4 for what reads a text once, and 16 for what reads the rest of it again at every character.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import statistics
import time
from collections.abc import Callable
from typing import Any

import pytest

import gpt_agent_sync
from gpt_agent_sync.agent.text_streams import TextAssembler
from gpt_agent_sync.decisions.rate_limits import named_delay
from gpt_agent_sync.event_parser import EventParser
from gpt_agent_sync.events import AssistantMessageDelta
from gpt_agent_sync.server.bodies import read_json
from gpt_agent_sync.server.models.base import ModelRequest
from gpt_agent_sync.server.models.demo import DemoModel
from tests.support.web_sites import django_app

LENGTH, TIMES = 2000, 4

MOST = TIMES * 2
"""Where linear growth with all that disturbs it ends, and what is worse begins."""

TOO_SHORT = 0.002
"""Seconds: what is quadratic takes far longer for the long text, and this is what clocks blur."""

# Each is what some pattern begins with, or repeats; then what it goes on with, and never comes to.
UNITS = [
    *(
        " ",
        "\n",
        "\t",
        "a",
        "aB",
        "1",
        "1.",
        "-",
        "(",
        "[",
        "{",
        '"',
        "'",
        "“",
        "`",
        "\\",
        ":",
        "*",
    ),
    *("- ", "a ", "1 ", "1+", "1 + ", "+-", "' ", ".", "_", "é", "\r", "\r\n", "a:", "a ("),
    *("in ", "in\n", "what ", "time ", "yes ", "call ", "run ", "active run ", "stream", "retry "),
    *("what is the time ", "try again in ", "retry in 1", "1m", "1ms ", "1m 1", "1111-11-11T1"),
    *(
        "No tool output found for ",
        "No tool output found for a call ",
        "No tool output found for x\n",
    ),
    *('"id": "', '"id": ', '"sequence_number": ', "data: ", "data: x\n", "event: ", "event: x\n"),
    *("a=", "a is ", "a: '", "aaaaaaaa-", "12345678-1234-", "<b>", "http://", "x@", "Args:\n"),
]
BEFORE = ["", "in ", "1", "retry in ", "No tool output found for ", '"id": "', "data: ", "a ("]
AFTER = ["", "x\ny"]

ONLY_MATCHED = ("event_parser._PLAIN", "event_parser._BEGIN", "assistants.stream._WRAPPED")
"""Patterns that are never searched for, only looked for at one place."""


def patterns() -> list[Any]:
    """Return all compiled patterns of the package's modules, by their names."""
    found: dict[str, re.Pattern[Any]] = {}
    django_app()  # whose modules want a project
    for module in pkgutil.walk_packages(gpt_agent_sync.__path__, "gpt_agent_sync."):
        # Docstrings are the program's own text, and the other two run something.
        if module.name.endswith(("__main__", "tools.docstrings", "migrations.env")):
            continue
        contents = vars(importlib.import_module(module.name))
        for name, value in contents.items():
            values = value.items() if isinstance(value, dict) else [("", value)]
            for key, each in values:
                if isinstance(each, re.Pattern):
                    found[f"{module.name}.{name}{key}"] = each
    return [
        pytest.param(pattern, name.endswith(ONLY_MATCHED), id=name)
        for name, pattern in sorted(found.items())
    ]


def seconds(work: Callable[[], object]) -> float:
    """Return the median of what some work costs this thread."""
    spent = []
    for _ in range(3):
        began = time.thread_time()
        work()
        spent.append(time.thread_time() - began)
    return statistics.median(spent)


def growth(work: Callable[[int], Callable[[], object]]) -> float:
    """Return how much more the long text costs than the short one; 0 for next to nothing.

    Args:
        work: Returns what is to be done with a text of some length.
    """
    long = seconds(work(LENGTH * TIMES))
    return 0.0 if long < TOO_SHORT else long / max(seconds(work(LENGTH)), 1e-9)


def is_linear(work: Callable[[int], Callable[[], object]]) -> bool:
    """Return whether growth is linear; a second look is for what else the machine did."""
    return any(growth(work) < MOST for _ in range(3))


def repeated(unit: str, length: int, before: str = "", after: str = "") -> str:
    """Return a text of about some length."""
    return before + unit * (length // len(unit)) + after


def look_for(pattern: re.Pattern[Any], text: str, *, only_match: bool) -> object:
    """Find a pattern at the beginning of a text, and everywhere in it."""
    subject = text.encode() if isinstance(pattern.pattern, bytes) else text
    return pattern.match(subject), 0 if only_match else sum(1 for _ in pattern.finditer(subject))


@pytest.mark.parametrize("pattern, only_match", patterns())
def test_patterns(pattern: re.Pattern[Any], only_match: bool) -> None:
    """No pattern of the package reads the rest of a text again at every character."""
    worse = []
    for unit in UNITS:
        for before in BEFORE:
            for after in AFTER:

                def work(length: int, parts: Any = (unit, before, after)) -> Callable[[], object]:
                    text = repeated(parts[0], length, *parts[1:])
                    return lambda: look_for(pattern, text, only_match=only_match)

                # Once, and not thrice, for the many that cost nothing.
                began = time.thread_time()
                work(LENGTH * TIMES)()
                if time.thread_time() - began > TOO_SHORT and not is_linear(work):
                    worse.append((before, unit, after))
    assert worse == []


def offer(name: str, **properties: Any) -> dict[str, Any]:
    """Return a function tool with required properties."""
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TEXTS = {"type": "array", "items": {"type": "string"}}
NUMBERS = {"type": "array", "items": {"type": "number"}}
TOOLS = (
    offer("a", a=TEXTS, b=NUMBERS, c={"type": "string"}),
    offer("get_time", date={"type": "string", "format": "date-time"}),
    offer("calculate", expression={"type": "string"}),
)


def ask_demo(text: str, *tools: Any) -> object:
    """Have the demo model answer a text."""
    messages = ({"role": "user", "content": text},)
    return list(DemoModel().reply(ModelRequest(model="demo", messages=messages, tools=tools)))


@pytest.mark.parametrize("unit", [*UNITS, "a 1 ", "a 'x' ", "get_time ", '"x" ', "{[", "[1, "])
def test_demo_model(unit: str) -> None:
    """The demo model reads what people say once, with tools and without."""

    def work(length: int) -> Callable[[], object]:
        text = repeated(unit, length * 4)
        return lambda: ask_demo(text, *TOOLS)

    assert is_linear(work)


@pytest.mark.parametrize("unit", ["a", "1 ", "'x' "])
def test_demo_model_with_many_tools(unit: str) -> None:
    """The demo model's time grows with the tools that are offered, and not faster."""

    def work(length: int) -> Callable[[], object]:
        tools = [offer(f"a{number % 7}", a=TEXTS) for number in range(length // 10)]
        text = repeated(unit, 400)
        return lambda: ask_demo(text, *tools)

    assert is_linear(work)


def test_demo_model_with_many_properties() -> None:
    """The demo model's time grows with what a tool requires, and not faster."""

    def work(length: int) -> Callable[[], object]:
        tool = offer("a", **{f"p{number}": {"type": "string"} for number in range(length)})
        return lambda: ask_demo("a: b", tool)

    assert is_linear(work)


def test_demo_model_with_nested_schemas() -> None:
    """A short schema that stands for very many values ends all the same."""
    definitions: dict[str, Any] = {"n0": {"type": "boolean"}}
    for number in range(1, 40):
        below = {"$ref": f"#/$defs/n{number - 1}"}
        definitions[f"n{number}"] = {
            "type": "object",
            "properties": {"l": below, "r": below},
            "required": ["l", "r"],
        }
    tool = {
        "type": "function",
        "function": {"name": "tree", "parameters": {**definitions["n39"], "$defs": definitions}},
    }
    assert ask_demo("tree: yes", tool)


@pytest.mark.parametrize("reference", ["#/$defs/a", "#/$defs/b"])
def test_demo_model_with_endless_references(reference: str) -> None:
    """A schema that refers to itself ends all the same."""
    tool = offer("tree", a={"$ref": "#/$defs/a"})
    tool["function"]["parameters"]["$defs"] = {
        "a": {"$ref": reference},
        "b": {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "required": ["a"]},
    }
    assert ask_demo("tree: yes", tool)


def test_streamed_text() -> None:
    """A text that comes in very many pieces is put together once."""

    def assemble(count: int) -> object:
        assembler = TextAssembler()
        delta = AssistantMessageDelta(thread_id="t", message_id="m", run_id="r", text="some text ")
        for _ in range(count):
            assembler.add(delta)
        return delta, assembler.add(delta)

    assert is_linear(lambda length: lambda: assemble(length * 5))


@pytest.mark.parametrize("piece", [b"x", b"data: x\n", b"data: x\r", b"\r", b"event: x\n", b":\n"])
def test_streamed_events(piece: bytes) -> None:
    """An event that comes in very many pieces, or lines, is put together once."""

    def parse(count: int) -> object:
        parser = EventParser()
        parser.feed(b"data: ")
        for _ in range(count):
            parser.feed(piece)
        return parser.feed(b"\n\n")

    assert is_linear(lambda length: lambda: parse(length))


@pytest.mark.parametrize("unit", ["1", "1m", "1 ", "try again in ", "try again in 1m"])
def test_delays(unit: str) -> None:
    """How long a service asks to wait is read once."""

    def work(length: int) -> Callable[[], object]:
        text = repeated(unit, length, "try again in 1")
        return lambda: named_delay(text)

    assert is_linear(work)


@pytest.mark.parametrize("value", ["x", "\\u0061", [[1]], {"a": {"b": 1}}, 1.5], ids=str)
def test_bodies(value: object) -> None:
    """The body of a request is read once."""

    def work(length: int) -> Callable[[], object]:
        body = json.dumps({"a": [value] * length}).encode()
        return lambda: read_json(body)

    assert is_linear(work)
