"""Tests of how the server checks the tools that a request offers."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest

from gpt_agent_sync.server.errors import WireError
from gpt_agent_sync.server.tool_schemas import check_function


@pytest.fixture
def traced() -> Iterator[None]:
    """Have memory traced."""
    tracemalloc.start()
    yield
    tracemalloc.stop()


def test_long_names_above_many_schemas_cost_their_length(traced: None) -> None:
    """A schema that is checked takes memory in proportion to what was sent."""
    inner = {f"p{number}": {"type": "string"} for number in range(5000)}
    outer = {"n" * 100_000: {"type": "object", "properties": inner}}
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    check_function(
        {"name": "add", "parameters": {"type": "object", "properties": outer}}, "tools[0]"
    )
    assert tracemalloc.get_traced_memory()[1] - before < 10_000_000


def test_place_of_a_problem_is_named() -> None:
    """The error names where in the schema it is, with long names cut."""
    schema = {"type": "object", "properties": {"n" * 1000: {"items": {"type": "word"}}}}
    with pytest.raises(WireError) as refused:
        check_function({"name": "add", "parameters": schema}, "tools[0]")
    assert f"in context=/properties/{'n' * 64}/items, 'word'" in refused.value.message
    assert len(refused.value.message) < 300
