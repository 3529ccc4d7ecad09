"""What a response is asked to do: checked, and shown."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gpt_agent_sync.server.errors import WireError
from gpt_agent_sync.server.responses import options
from tests.support.wire_client import Json

ADD = {"type": "function", "name": "add"}
MISSING, INVALID = "missing_required_parameter", "invalid_value"


def refused(check: Callable[[], object]) -> tuple[str | None, str | None]:
    """Return parameter and code of a refusal."""
    with pytest.raises(WireError) as caught:
        check()
    assert caught.value.status == 400
    return caught.value.param, caught.value.code


@pytest.mark.parametrize(
    "tool, shown",
    [
        (
            {"type": "function", "name": "add"},
            {"description": None, "parameters": None, "strict": None},
        ),
        (
            {
                "type": "function",
                "name": "add",
                "description": "Add.",
                "parameters": {"type": "object"},
                "strict": False,
            },
            {"description": "Add.", "parameters": {"type": "object"}, "strict": False},
        ),
    ],
    ids=["bare", "full"],
)
def test_tools_are_shown(tool: Json, shown: Json) -> None:
    """A tool is shown with all the fields that it may have."""
    assert options.check_tools([tool]) == [{"type": "function", "name": "add", **shown}]


@pytest.mark.parametrize(
    "tool, param, code",
    [
        ({"type": "web_search"}, "tools[1].type", INVALID),
        ({"name": "add"}, "tools[1].type", INVALID),
        ({"type": "function"}, "tools[1].name", MISSING),
        ({"type": "function", "name": 5}, "tools[1].name", INVALID),
        ({"type": "function", "function": {"name": "add"}}, "tools[1].name", MISSING),
        ({**ADD, "schema": {}}, "tools[1].schema", "unknown_parameter"),
        ({**ADD, "defer_loading": True}, "tools[1].defer_loading", "unsupported_parameter"),
        ({**ADD, "allowed_callers": ["x"]}, "tools[1].allowed_callers", "unsupported_parameter"),
    ],
)
def test_tools_that_are_not_of_the_wire(tool: Json, param: str, code: str) -> None:
    """A tool that is no function, or has no name, is refused by its place."""
    good = {"type": "function", "name": "add"}
    assert refused(lambda: options.check_tools([good, tool])) == (param, code)


@pytest.mark.parametrize(
    "given, choice",
    [
        (None, "auto"),
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "name": "add"}, {"type": "function", "name": "add"}),
    ],
)
def test_choices(given: str | Json | None, choice: str | Json) -> None:
    """A choice of tools is shown as it was given, and is left to the model otherwise."""
    assert options.check_choice(given, [ADD]) == choice


@pytest.mark.parametrize(
    "given, param, code",
    [
        ("sometimes", "tool_choice", INVALID),
        ("", "tool_choice", INVALID),
        ({}, "tool_choice.type", INVALID),
        ({"type": "mcp", "server_label": "x"}, "tool_choice.type", INVALID),
        ({"type": "function"}, "tool_choice.name", MISSING),
        ({"type": "function", "function": {"name": "add"}}, "tool_choice.name", MISSING),
        ({"type": "function", "name": "sub"}, "tool_choice", None),
        ({"type": "function", "name": 5}, "tool_choice.name", "invalid_type"),
    ],
)
def test_choices_that_are_not_of_the_wire(given: str | Json, param: str, code: str) -> None:
    """A choice that this server does not have is refused by what is wrong with it."""
    assert refused(lambda: options.check_choice(given, [ADD])) == (param, code)


SCHEMA = {"type": "json_schema", "name": "sum", "schema": {"type": "object"}}


@pytest.mark.parametrize(
    "given, form",
    [
        (None, {"type": "text"}),
        ({"type": "text"}, {"type": "text"}),
        ({"type": "json_object"}, {"type": "json_object"}),
        (SCHEMA, SCHEMA),
    ],
    ids=["none", "text", "object", "schema"],
)
def test_formats(given: Json | None, form: Json) -> None:
    """A text format is shown as it was given, and is plain text otherwise."""
    assert options.check_format(given) == form


@pytest.mark.parametrize(
    "given, param, code",
    [
        ({}, "text.format.type", INVALID),
        ({"type": "xml"}, "text.format.type", INVALID),
        ({"type": "json_schema", "schema": {"type": "object"}}, "text.format.name", MISSING),
        ({"type": "json_schema", "name": "sum"}, "text.format.schema", MISSING),
        (
            {"type": "json_schema", "json_schema": {"name": "sum"}},
            "text.format.name",
            MISSING,
        ),
        ({**SCHEMA, "name": 5}, "text.format.name", "invalid_type"),
        ({**SCHEMA, "strict": "very"}, "text.format.strict", "invalid_type"),
        ({"type": "text", "schema": {}}, "text.format.schema", "unknown_parameter"),
    ],
)
def test_formats_that_are_not_of_the_wire(given: Json, param: str, code: str) -> None:
    """A format that is unknown, or lacks what it needs, is refused by what is wrong with it."""
    assert refused(lambda: options.check_format(given)) == (param, code)
