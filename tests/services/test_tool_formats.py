"""The same thing in the words of either wire, and JSON that servers fill in oddly."""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from gpt_agent_sync.errors import ConfigurationError, ProtocolError
from gpt_agent_sync.records import AssistantDefinition, RunOptions, ToolSchema
from gpt_agent_sync.services.assistants import wire as assistants_wire
from gpt_agent_sync.services.http.shapes import (
    as_count,
    as_json_text,
    as_object,
    as_objects,
    as_word,
    join_texts,
    read_list,
    read_usage,
)
from gpt_agent_sync.services.tool_formats import flat_tool, flatten, nest, nested_tool, tool_name

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
EMPTY = {"type": "object", "properties": {}}
ADD = ToolSchema(name="add", description="Add.", parameters=SCHEMA)

NESTED_ADD = {
    "type": "function",
    "function": {"name": "add", "description": "Add.", "parameters": SCHEMA},
}
FLAT_ADD = {"type": "function", "name": "add", "description": "Add.", "parameters": SCHEMA}

PAIRS = [
    (NESTED_ADD, FLAT_ADD),
    (
        {"type": "function", "function": {"name": "add"}},
        {"type": "function", "name": "add"},
    ),
    (
        {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA, "strict": True}},
        {"type": "json_schema", "name": "s", "schema": SCHEMA, "strict": True},
    ),
    ({"type": "function", "function": {}}, {"type": "function"}),
]

THE_SAME: list[Any] = [
    "auto",
    "required",
    None,
    0.5,
    {},
    {"type": "file_search"},
    {"type": "file_search", "file_search": {"max_num_results": 3}},
    {"type": "json_object"},
    {"type": "last_messages", "last_messages": 3},
    {"name": "add"},
]


@pytest.mark.parametrize("nested, flat", PAIRS)
def test_nesting(nested: Any, flat: Any) -> None:
    """What Responses spells flat is spelled nested for Assistants."""
    assert nest(flat) == nested


@pytest.mark.parametrize("nested, flat", PAIRS)
def test_flattening(nested: Any, flat: Any) -> None:
    """What Assistants spells nested is spelled flat for Responses."""
    assert flatten(nested) == flat


@pytest.mark.parametrize("nested", [pair[0] for pair in PAIRS])
def test_nested_stays_nested(nested: Any) -> None:
    """What is spelled as Assistants does stays so there."""
    assert nest(nested) == nested


@pytest.mark.parametrize("flat", [pair[1] for pair in PAIRS])
def test_flat_stays_flat(flat: Any) -> None:
    """What is spelled as Responses does stays so there."""
    assert flatten(flat) == flat


@pytest.mark.parametrize("value", THE_SAME)
@pytest.mark.parametrize("spell", [nest, flatten])
def test_what_both_wires_spell_alike(spell: Any, value: Any) -> None:
    """Words, numbers and objects of other kinds are the same on both wires."""
    assert spell(value) == value


kinds = st.sampled_from(["function", "json_schema"])
fields = st.dictionaries(
    st.text(max_size=12).filter(lambda name: name not in ("type", "function", "json_schema")),
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    max_size=4,
)


@given(kind=kinds, inner=fields)
def test_flattening_undoes_nesting(kind: str, inner: dict[str, Any]) -> None:
    """Whatever fields a flat object has, they are there again after both ways."""
    flat = {"type": kind, **inner}
    assert flatten(nest(flat)) == flat


@given(kind=kinds, inner=fields)
def test_nesting_undoes_flattening(kind: str, inner: dict[str, Any]) -> None:
    """Whatever fields a nested object has, they are there again after both ways."""
    nested = {"type": kind, kind: inner}
    assert nest(flatten(nested)) == nested


@pytest.mark.parametrize("spell", [nest, flatten])
def test_spelled_object_is_a_copy(spell: Any) -> None:
    """What is given back may be changed, and the program's object stays as it is."""
    given_object = {"type": "file_search"}
    spell(given_object)["type"] = "changed"
    assert given_object == {"type": "file_search"}


@pytest.mark.parametrize("tool", [ADD, NESTED_ADD, FLAT_ADD])
def test_nested_tool(tool: Any) -> None:
    """A tool in any spelling is nested for Assistants."""
    assert nested_tool(tool) == NESTED_ADD


@pytest.mark.parametrize("tool", [ADD, NESTED_ADD, FLAT_ADD])
def test_flat_tool(tool: Any) -> None:
    """A tool in any spelling is flat for Responses, and not strict unless it says so."""
    assert flat_tool(tool) == {**FLAT_ADD, "strict": False}


@pytest.mark.parametrize("strict", [True, False, None])
def test_tool_that_says_whether_it_is_strict(strict: bool | None) -> None:
    """What a tool says of strictness is kept."""
    assert flat_tool({**FLAT_ADD, "strict": strict})["strict"] is strict


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "name": "now"},
        {"type": "function", "name": "now", "parameters": None},
        {"type": "function", "name": "now", "parameters": {}},
        {"type": "function", "function": {"name": "now"}},
    ],
)
def test_function_without_parameters(tool: dict[str, Any]) -> None:
    """A function of no parameters says so to Responses, which wants to hear it."""
    assert flat_tool(tool)["parameters"] == EMPTY


@pytest.mark.parametrize("tool", [{"type": "web_search"}, {"type": "file_search", "x": 1}])
@pytest.mark.parametrize("spell", [nested_tool, flat_tool])
def test_hosted_tool(spell: Any, tool: dict[str, Any]) -> None:
    """A tool that is no function goes as it is."""
    assert spell(tool) == tool


@pytest.mark.parametrize(
    "tool, name",
    [
        (NESTED_ADD, "add"),
        (FLAT_ADD, "add"),
        ({"type": "function"}, None),
        ({"type": "function", "name": 3}, None),
        ({"type": "function", "function": None}, None),
        ({"type": "file_search", "name": "add"}, None),
        ({"name": "add"}, None),
        ({}, None),
    ],
)
def test_tool_name(tool: dict[str, Any], name: str | None) -> None:
    """A function tool has a name in either spelling, and other tools have none."""
    assert tool_name(tool) == name


# the Assistants wire, spoken to in the words of Responses


@pytest.mark.parametrize(
    "options, field, sent",
    [
        (
            {"tool_choice": {"type": "function", "name": "add"}},
            "tool_choice",
            {"type": "function", "function": {"name": "add"}},
        ),
        ({"tool_choice": "required"}, "tool_choice", "required"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice", {"type": "file_search"}),
        (
            {"response_format": {"type": "json_schema", "name": "s", "schema": SCHEMA}},
            "response_format",
            {"type": "json_schema", "json_schema": {"name": "s", "schema": SCHEMA}},
        ),
        ({"response_format": "auto"}, "response_format", "auto"),
        ({"response_format": "json_object"}, "response_format", {"type": "json_object"}),
        ({"response_format": {"type": "text"}}, "response_format", {"type": "text"}),
        ({"max_output_tokens": 5}, "max_completion_tokens", 5),
        ({"truncation": "auto"}, "truncation_strategy", {"type": "auto"}),
        ({"truncation": {"type": "auto"}}, "truncation_strategy", {"type": "auto"}),
        ({"reasoning_effort": "low"}, "reasoning_effort", "low"),
    ],
)
def test_options_of_responses_on_the_assistants_wire(
    options: dict[str, Any], field: str, sent: Any
) -> None:
    """An option in the words of Responses goes out in those of Assistants."""
    body = assistants_wire.run_body("a", RunOptions(**options), None, "token")
    assert body[field] == sent


@pytest.mark.parametrize("truncation", ["disabled", {"type": "disabled"}])
def test_truncation_that_assistants_do_not_have(truncation: Any) -> None:
    """What Responses has and Assistants do not is refused by its name."""
    with pytest.raises(ConfigurationError, match="truncation 'disabled'"):
        assistants_wire.check_options(RunOptions(truncation=truncation))


def test_tools_of_responses_in_an_assistant() -> None:
    """An assistant's tools in the words of Responses go out in those of Assistants."""
    definition = AssistantDefinition(model="m", tools=(FLAT_ADD, ADD, {"type": "file_search"}))
    tools = assistants_wire.assistant_body(definition)["tools"]
    assert tools == [NESTED_ADD, NESTED_ADD, {"type": "file_search"}]


@pytest.mark.parametrize("own", [NESTED_ADD, FLAT_ADD])
def test_handler_that_an_assistant_has_in_either_spelling(own: dict[str, Any]) -> None:
    """A handler is not added to the run of an assistant that has its tool already."""
    assert assistants_wire.tools_of_run([own], [ADD]) is None


# shapes

NO_OBJECTS: list[Any] = [None, "", "text", 0, 3, True, [], [{}]]


@pytest.mark.parametrize("value", NO_OBJECTS)
def test_what_is_no_object_is_empty(value: Any) -> None:
    """Anything but an object is taken for an empty one."""
    assert as_object(value) == {}


def test_object_is_given() -> None:
    """An object is given as it is."""
    assert as_object({"a": 1}) == {"a": 1}


@pytest.mark.parametrize(
    "value, objects",
    [
        ([{"a": 1}, {}], [{"a": 1}, {}]),
        ([None, {"a": 1}, "x", [{}], 3], [{"a": 1}]),
        ({"a": 1}, []),
        ("text", []),
        (None, []),
    ],
)
def test_objects_of_a_list(value: Any, objects: list[Any]) -> None:
    """The objects of a list are given, and there are none where there is no list."""
    assert as_objects(value) == objects


@pytest.mark.parametrize(
    "value, text",
    [
        ('{"a": 1}', '{"a": 1}'),
        ("no JSON", "no JSON"),
        ("", ""),
        ({"a": 1}, '{"a": 1}'),
        (None, "{}"),
        ([1], "[1]"),
    ],
)
def test_json_text(value: Any, text: str) -> None:
    """A text stays as it is, and an object becomes one."""
    assert as_json_text(value) == text


@pytest.mark.parametrize(
    "value, count",
    [
        (3, 3),
        (2.0, 2),
        (2.9, 2),
        (0, 0),
        (True, 0),
        (None, 0),
        ("3", 0),
        ([], 0),
        (float("inf"), 0),
        (float("-inf"), 0),
        (float("nan"), 0),
    ],
)
def test_count(value: Any, count: int) -> None:
    """A number is a whole one, and what is none is 0."""
    assert as_count(value) == count


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)


@given(text=json_values.map(json.dumps))
def test_usage_is_read_from_any_json(text: str) -> None:
    """Whatever JSON a server counts in, tokens are whole numbers."""
    counted = json.loads(text)
    usage = read_usage(
        {"input_tokens": counted, "output_tokens": counted, "total_tokens": counted},
        "input_tokens",
        "output_tokens",
    )
    assert usage is not None
    assert type(usage.input_tokens) is type(usage.total_tokens) is int


@pytest.mark.parametrize(
    "value, word", [("a", "a"), (3, "3"), ("", None), (None, None), (0, None), ({}, None)]
)
def test_word(value: Any, word: str | None) -> None:
    """What has nothing in it is no word."""
    assert as_word(value) == word


@pytest.mark.parametrize(
    "parts, text",
    [
        ((), ""),
        (({"type": "text", "text": {"value": "a"}}, {"type": "text", "text": "b"}), "ab"),
        (({"type": "input_text", "text": "a"}, {"type": "output_text", "text": "b"}), "ab"),
        (({"type": "refusal", "refusal": "No."},), "No."),
        (({"type": "input_image", "text": "alt"},), ""),
        (({"type": "text"}, {"text": "a"}, {"type": None}, {"type": ["text"]}), ""),
        (({"type": "output_text", "text": None}, {"type": "output_text", "text": 3}), ""),
    ],
)
def test_texts_of_both_wires_are_joined(parts: Any, text: str) -> None:
    """The texts of parts are joined in the words of either wire, refusals among them."""
    assert join_texts(parts) == text


@pytest.mark.parametrize("data", [{}, {"data": None}, {"data": {"a": 1}}, {"data": "text"}])
def test_what_is_no_list_is_told_with_the_request(data: dict[str, Any]) -> None:
    """An answer without a list names the request that it came to."""
    with pytest.raises(ProtocolError, match="GET /x is no list"):
        read_list(data, "GET /x", lambda item: item)


def test_items_that_cannot_be_read_are_left_out() -> None:
    """What the reader gives nothing for is not in the list."""
    read = read_list({"data": [{"a": 1}, {"b": 2}, 3]}, "GET /x", lambda item: item.get("a"))
    assert read == [1]
