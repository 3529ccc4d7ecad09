"""The offline model: what it calls, with which arguments, and what it says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gpt_agent_sync.server.models.base import ChatObject, Finish, ModelRequest, TextDelta, ToolCall
from gpt_agent_sync.server.models.demo import MOST_PIECES, DemoModel, plan_calls
from gpt_agent_sync.server.models.demo_arguments import fill

Schema = dict[str, Any]

NUMBER, INTEGER, TEXT = {"type": "number"}, {"type": "integer"}, {"type": "string"}


def schema(*required: str, **properties: Any) -> Schema:
    """Return the schema of an object; all properties are required unless some are named."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(required or properties),
    }


def offer(name: str, parameters: Schema | None = None, description: str = "") -> ChatObject:
    """Return a function tool."""
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


ADD = offer("add", schema(a=NUMBER, b=NUMBER), "Add two numbers.")
WEATHER = offer("get_weather", schema(city=TEXT), "Look the weather up.")
CLOCK = offer("current_time")
CALCULATOR = offer("calculator", schema(expression=TEXT))


def asked(text: Any, *tools: ChatObject, choice: Any = "auto", **options: Any) -> ModelRequest:
    """Return a request of one user's message."""
    messages = ({"role": "user", "content": text},)
    return ModelRequest(
        model="demo", messages=messages, tools=tools, tool_choice=choice, options=options
    )


def said(*messages: ChatObject) -> str:
    """Return the model's text after some messages."""
    request = ModelRequest(model="demo", messages=messages)
    pieces = DemoModel().reply(request)
    return "".join(piece.text for piece in pieces if isinstance(piece, TextDelta))


def tool_round(name: str, *outputs: str) -> list[ChatObject]:
    """Return the messages of one round of tools."""
    calls = [
        {"id": f"call_{place}", "type": "function", "function": {"name": name, "arguments": "{}"}}
        for place in range(len(outputs))
    ]
    answers = [
        {"role": "tool", "tool_call_id": call["id"], "content": output}
        for call, output in zip(calls, outputs, strict=True)
    ]
    return [{"role": "assistant", "content": None, "tool_calls": calls}, *answers]


@pytest.mark.parametrize("name, serves", [("demo", True), ("gpt-4o", False), ("", False)])
def test_serves_its_name(name: str, serves: bool) -> None:
    """The demo model answers to its own name only."""
    assert DemoModel().serves(name) is serves


def test_says_that_it_is_a_demo() -> None:
    """Without a tool to call, the text is echoed by a model that names itself."""
    assert said({"role": "user", "content": "Hello  there "}) == (
        "This is the offline demo model. You said: Hello  there"
    )


def test_echoes_the_newest_message() -> None:
    """What was said in earlier turns is not echoed."""
    chat = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
    ]
    assert said(*chat).endswith("You said: three")


def test_echoes_the_texts_of_parts() -> None:
    """Of a message with images the texts are echoed."""
    image = {"type": "image_url", "image_url": {"url": "http://x/y.png"}}
    content = [{"type": "text", "text": "Look:"}, image, "odd", {"type": "text", "text": "see?"}]
    assert said({"role": "user", "content": content}).endswith("You said: Look:  see?")


@pytest.mark.parametrize(
    "messages",
    [[], [{"role": "system", "content": "Be kind."}], [{"role": "user", "content": None}]],
    ids=["empty", "instructions", "null"],
)
def test_echoes_nothing(messages: list[ChatObject]) -> None:
    """Where the user has said nothing, instructions are not taken for it."""
    assert said(*messages) == "This is the offline demo model. You said: "


def test_instructions_call_no_tool() -> None:
    """A tool that only the instructions name is not called."""
    system = {"role": "system", "content": "To add 2 and 3 use add."}
    request = ModelRequest(model="demo", messages=(system,), tools=(ADD,))
    assert plan_calls(request) == []


@pytest.mark.parametrize(
    "output, description",
    [
        ("5", "add gave 5."),
        ("sunny", "add gave sunny."),
        ('{"error": "no such city"}', "add failed (no such city)."),
        ('{"error": "x", "code": 1}', 'add gave {"error": "x", "code": 1}.'),
    ],
)
def test_repeats_what_tools_answered(output: str, description: str) -> None:
    """Outputs are repeated with the tool's name, failures as such."""
    user = {"role": "user", "content": "add 2 and 3"}
    assert said(user, *tool_round("add", output)) == f"The demo model asked for help: {description}"


def test_tells_all_outputs() -> None:
    """Every output of the turn is repeated."""
    user = {"role": "user", "content": "add"}
    assert said(user, *tool_round("add", "1", "2")).endswith("add gave 1. add gave 2.")


def test_output_of_an_unknown_call() -> None:
    """An output whose call is not there is repeated without a name."""
    answer = {"role": "tool", "tool_call_id": "call_9", "content": "7"}
    assert said({"role": "user", "content": "add"}, answer).endswith("a tool gave 7.")


def test_reply_comes_in_pieces() -> None:
    """A text is given word by word."""
    pieces = list(DemoModel().reply(asked("hi you")))
    assert pieces[-3:-1] == [TextDelta("hi "), TextDelta("you")]


@pytest.mark.parametrize("blank", [" ", "\n"])
def test_long_reply_comes_whole(blank: str) -> None:
    """Of a very long text nothing is lost, though not each of its words is an event."""
    text = blank.join(["word"] * 3 * MOST_PIECES)
    pieces = list(DemoModel().reply(asked(text)))
    assert len(pieces) == MOST_PIECES + 2
    assert said({"role": "user", "content": text}).endswith(text)


def test_usage_counts_words() -> None:
    """Words stand for tokens, and the end comes last."""
    assert list(DemoModel().reply(asked("hi you")))[-1] == Finish(
        prompt_tokens=2, completion_tokens=10
    )


def test_call_is_given_whole() -> None:
    """A tool call carries its arguments as JSON, and no text comes with it."""
    pieces = list(DemoModel().reply(asked("Add 2 and 3.", ADD)))
    assert pieces[:-1] == [ToolCall("add", '{"a": 2, "b": 3}')]


def test_answered_tools_are_not_called_again() -> None:
    """Once tools have answered, the turn calls none."""
    messages = ({"role": "user", "content": "add 2 and 3"}, *tool_round("add", "5"))
    assert plan_calls(ModelRequest(model="demo", messages=messages, tools=(ADD,))) == []


@pytest.mark.parametrize(
    "choice, names",
    [
        ("auto", []),
        ("none", []),
        ("required", ["get_weather"]),
        ({"type": "function", "function": {"name": "add"}}, ["add"]),
        ({"type": "function", "name": "add"}, ["add"]),
        ({"type": "function", "function": {"name": "other"}}, []),
        ({"type": "code_interpreter"}, []),
    ],
)
def test_tool_choice(choice: Any, names: list[str]) -> None:
    """A message that names no tool calls one only if the choice says so."""
    calls = plan_calls(asked("Hello.", WEATHER, ADD, choice=choice))
    assert [name for name, _ in calls] == names


def test_choice_none_holds_a_named_tool_back() -> None:
    """With the choice ``none`` no tool is called, though the message names it."""
    assert plan_calls(asked("add 2 and 3", ADD, choice="none")) == []


def test_other_kinds_of_tools_are_left_alone() -> None:
    """Only function tools are called."""
    assert plan_calls(asked("file_search this", {"type": "file_search"})) == []


@pytest.mark.parametrize(
    "text, tools, calls",
    [
        ("Please add 2 and 3.", [ADD], [("add", {"a": 2, "b": 3})]),
        ("add 1 2, then add 3 4", [ADD], [("add", {"a": 1, "b": 2}), ("add", {"a": 3, "b": 4})]),
        ("add 1 2 and again add 1 2", [ADD], [("add", {"a": 1, "b": 2})]),
        ("With 4 and 5 on the table, add!", [ADD], [("add", {"a": 4, "b": 5})]),
        ("get weather in Oslo", [WEATHER], [("get_weather", {"city": "Oslo"})]),
        ("get_weather for Rome!", [WEATHER], [("get_weather", {"city": "Rome"})]),
        (
            "get_weather in Oslo, add 1 2",
            [ADD, WEATHER],
            [("get_weather", {"city": "Oslo"}), ("add", {"a": 1, "b": 2})],
        ),
        ("addition of 2 and x", [ADD], []),
        ("current_time please", [CLOCK], [("current_time", {})]),
    ],
)
def test_named_tools(text: str, tools: list[ChatObject], calls: list[tuple[str, Schema]]) -> None:
    """Tools that a message names are called with what follows their names."""
    assert plan_calls(asked(text, *tools)) == calls


def test_named_tool_without_arguments_gets_some() -> None:
    """A named tool whose arguments are not to be found gets invented ones."""
    assert plan_calls(asked("add!", ADD)) == [("add", {"a": 0, "b": 0})]


def test_parallel_calls_may_be_switched_off() -> None:
    """Without parallel tool calls only the first is made."""
    request = asked("add 1 2, then add 3 4", ADD, parallel_tool_calls=False)
    assert plan_calls(request) == [("add", {"a": 1, "b": 2})]


@pytest.mark.parametrize(
    "name, text, values",
    [
        ("add", "What is 2 + 3?", [2, 3]),
        ("sum", "2+3", [2, 3]),
        ("plus", "2 + 3", [2, 3]),
        ("subtract", "5 - 3", [5, 3]),
        ("subtract", "-5 - 3", [-5, 3]),
        ("minus", "5 - 3", [5, 3]),
        ("multiply", "4 * 6", [4, 6]),
        ("times", "4 * 6", [4, 6]),
        ("divide", "8 / 2", [8, 2]),
        ("divide_numbers", "1.5 / 0.5", [1.5, 0.5]),
    ],
)
def test_arithmetic(name: str, text: str, values: list[float]) -> None:
    """An expression is a job for the tool that is named after its operation."""
    tool = offer(name, schema(a=NUMBER, b=NUMBER))
    assert plan_calls(asked(text, tool)) == [(name, dict(zip("ab", values, strict=True)))]


@pytest.mark.parametrize(
    "description, text",
    [
        ("Adds two numbers.", "2 + 3"),
        ("The first minus the second.", "2 - 3"),
        ("Multiplies two numbers.", "2 * 3"),
        ("Divides two numbers.", "2 / 3"),
    ],
)
def test_arithmetic_by_description(description: str, text: str) -> None:
    """An expression is a job for the tool that describes itself by the operation."""
    tool = offer("f", schema(a=NUMBER, b=NUMBER), description)
    assert plan_calls(asked(text, tool)) == [("f", {"a": 2, "b": 3})]


@pytest.mark.parametrize(
    "text, expression",
    [("What is 2 + 3 * 4?", "2 + 3 * 4"), ("2**8", "2**8"), ("(1 + 2) * 3 =", "(1 + 2) * 3")],
)
def test_calculator(text: str, expression: str) -> None:
    """A longer expression is a job for a calculator, as it stands."""
    assert plan_calls(asked(text, ADD, CALCULATOR)) == [("calculator", {"expression": expression})]


@pytest.mark.parametrize(
    "tool",
    [
        offer("multiply", schema(a=NUMBER, b=NUMBER)),
        offer("add", schema(a=NUMBER)),
        offer("add", schema(a=NUMBER, b=NUMBER, c=NUMBER)),
        offer("calculator", schema(depth=NUMBER, of=schema(x=TEXT))),
        offer("calculator"),
        offer("say", schema(words=TEXT)),
    ],
    ids=["other-operation", "one-number", "more-needed", "no-text", "no-parameters", "no-sums"],
)
def test_arithmetic_without_a_fitting_tool(tool: ChatObject) -> None:
    """An expression that no tool fits is echoed."""
    assert plan_calls(asked("2 + 3 and 4 + 5?", tool)) == []


@pytest.mark.parametrize(
    "text, tool, calls",
    [
        ("Which weather is it in Oslo?", WEATHER, [("get_weather", {"city": "Oslo"})]),
        ("Will the weathers hold in Oslo", WEATHER, [("get_weather", {"city": "Oslo"})]),
        ("What time is it?", CLOCK, [("current_time", {})]),
        ("Tell me the date", offer("today"), [("today", {})]),
        ("It is time to go.", offer("now"), []),
        ("Get me a tool to look at data", offer("get_data"), []),
        ("The orders, please", offer("listOrders"), [("listOrders", {})]),
        ("The order is wrong", offer("refund_order", schema(id=INTEGER)), []),
    ],
)
def test_topics(text: str, tool: ChatObject, calls: list[tuple[str, Schema]]) -> None:
    """A message about a tool's topic calls it if its arguments are there."""
    assert plan_calls(asked(text, tool)) == calls


ENUM = {"type": "string", "enum": ["red", "green"]}


@pytest.mark.parametrize(
    "properties, text, arguments",
    [
        ({"n": INTEGER}, "take 3 of 4", {"n": 3}),
        ({"n": INTEGER}, "take 2.5 or 4", {"n": 4}),
        ({"n": NUMBER}, "take -2.5", {"n": -2.5}),
        ({"n": INTEGER}, "n = 7, not 3", {"n": 7}),
        ({"n": INTEGER}, "n: seven, or 3", {"n": 3}),
        ({"b": INTEGER, "a": INTEGER}, "1 and a=2", {"b": 1, "a": 2}),
        ({"max_items": INTEGER}, "max items is 4?", {"max_items": 4}),
        ({"on": {"type": "boolean"}}, "yes, please", {"on": True}),
        ({"on": {"type": "boolean"}}, "do not", {"on": False}),
        ({"flag": {"type": "boolean"}}, "flag=true", {"flag": True}),
        ({"color": ENUM}, "a GREEN one", {"color": "green"}),
        ({"color": ENUM}, "color=red", {"color": "red"}),
        ({"color": ENUM}, "color=GREEN", {"color": "green"}),
        ({"size": {"enum": [1, 2]}}, "make it 2", {"size": 2}),
        ({"size": {"enum": [1, 2]}}, "size=2", {"size": 2}),
        ({"day": {"type": "string", "format": "date"}}, "on 2026-01-02!", {"day": "2026-01-02"}),
        (
            {"at": {"type": "string", "format": "date-time"}},
            "2026-01-02T10:00:00Z it is",
            {"at": "2026-01-02T10:00:00Z"},
        ),
        ({"q": TEXT}, 'find "blue shoes" now', {"q": "blue shoes"}),
        ({"q": TEXT}, "find 'blue shoes' now", {"q": "blue shoes"}),
        ({"q": TEXT}, "search for shoes?", {"q": "shoes"}),
        ({"q": TEXT}, "shoes.", {"q": "shoes"}),
        ({"q": TEXT}, "q: 'x y'.", {"q": "x y"}),
        ({"q": TEXT, "n": INTEGER}, 'q="a b" n=2', {"q": "a b", "n": 2}),
        ({"ns": {"type": "array", "items": INTEGER}}, "1, 2 and 3", {"ns": [1, 2, 3]}),
        ({"ns": {"type": "array"}}, "ns=[1, 2]", {"ns": [1, 2]}),
        ({"ns": {"type": "array", "items": TEXT}}, "'a' and 'b'", {"ns": ["a", "b"]}),
        ({"cs": {"type": "array", "items": ENUM}}, "red and green", {"cs": ["red"]}),
        ({"p": schema(x=INTEGER, y=INTEGER)}, "at 1 2", {"p": {"x": 1, "y": 2}}),
        ({"n": {"anyOf": [{"type": "null"}, INTEGER]}}, "5", {"n": 5}),
        ({"a": {}}, "a=5", {"a": 5}),
        ({"a": {}}, "a=five", {"a": "five"}),
        ({"a": {"type": "object"}}, "a={}", {"a": {}}),
        ({"a": INTEGER, "q": TEXT}, 'use {"a": 1, "q": "x"} now', {"a": 1, "q": "x"}),
    ],
)
def test_arguments_are_found(properties: Schema, text: str, arguments: Schema) -> None:
    """Arguments are read out of a text by their schema."""
    assert fill(schema(**properties), text, None) == (arguments, True)


@pytest.mark.parametrize(
    "properties, text",
    [
        ({"n": INTEGER}, "none at all"),
        ({"n": INTEGER}, "2.5"),
        ({"on": {"type": "boolean"}}, "perhaps"),
        ({"color": ENUM}, "blue"),
        ({"color": ENUM}, "color=blue"),
        ({"shape": {"enum": [None]}}, "None"),
        ({"day": {"type": "string", "format": "date"}}, "tomorrow"),
        ({"q": TEXT}, "?!"),
        ({"ns": {"type": "array", "items": INTEGER}}, "none"),
        ({"ns": {"type": "array"}}, "1 2"),
        ({"p": schema(x=INTEGER)}, "nowhere"),
        ({"p": {"type": "object"}}, "anything"),
        ({"a": {}}, "anything"),
        ({"n": {"type": "null"}}, "5"),
        ({"n": INTEGER}, "n=true"),
        ({"n": INTEGER}, '{"m": "x"}'),
        ({"n": INTEGER}, "{n"),
    ],
)
def test_arguments_are_not_found(properties: Schema, text: str) -> None:
    """What a text does not hold is left out, and said to be lacking."""
    assert fill(schema(**properties), text, None) == ({}, False)


def test_object_may_lack_arguments() -> None:
    """An object in the text is taken as it is, complete or not."""
    assert fill(schema(a=INTEGER, b=INTEGER), '{"a": 1}', None) == ({"a": 1}, False)


@pytest.mark.parametrize(
    "properties, text, arguments",
    [
        ({"a": INTEGER, "note": TEXT}, "1 it is", {"a": 1}),
        ({"a": INTEGER, "note": TEXT}, "1 'so'", {"a": 1, "note": "so"}),
        ({"a": INTEGER, "ns": {"type": "array", "items": INTEGER}}, "1 2", {"a": 1}),
        ({"b": INTEGER, "a": INTEGER}, "1 2", {"b": 2, "a": 1}),
    ],
)
def test_optional_arguments(properties: Schema, text: str, arguments: Schema) -> None:
    """Required arguments are served first, optional ones only by what is plainly theirs."""
    assert fill(schema("a", **properties), text, None) == (arguments, True)


@pytest.mark.parametrize(
    "declared, value",
    [
        (INTEGER, 0),
        (NUMBER, 0),
        ({"type": "boolean"}, True),
        ({"type": "array"}, []),
        (ENUM, "red"),
        (schema(y=INTEGER), {"y": 0}),
        ({"type": "string", "format": "date"}, "so"),
    ],
)
def test_arguments_are_invented(declared: Schema, value: object) -> None:
    """With something to fall back on, lacking arguments are made up, and said to be."""
    assert fill(schema(x=declared), "?", "so") == ({"x": value}, False)


def test_required_argument_without_schema() -> None:
    """A required argument that has no schema is left out."""
    assert fill({"properties": {}, "required": ["x"]}, "?", "so") == ({}, False)


def test_references_are_followed() -> None:
    """A schema may name definitions, inside nested objects as well."""
    parameters = {
        **schema(p={"$ref": "#/$defs/Point"}),
        "$defs": {"Point": schema(x={"$ref": "#/$defs/Whole"}), "Whole": INTEGER},
    }
    assert fill(parameters, "at 4", None) == ({"p": {"x": 4}}, True)


def test_broken_reference_finds_nothing() -> None:
    """A definition that is not there reads nothing."""
    assert fill(schema(p={"$ref": "#/$defs/Gone"}), "at 4", None) == ({}, False)


@pytest.mark.parametrize("parameters", [None, {}, {"type": "object"}])
def test_no_parameters(parameters: Schema | None) -> None:
    """A tool without parameters gets no arguments."""
    assert fill(parameters, "at 4", "at 4") == ({}, True)


def test_arguments_are_json() -> None:
    """The arguments of a call are JSON text with its letters as they are."""
    pieces = list(DemoModel().reply(asked("get_weather in Zürich", WEATHER)))
    assert isinstance(pieces[0], ToolCall)
    assert pieces[0].arguments == json.dumps({"city": "Zürich"}, ensure_ascii=False)
