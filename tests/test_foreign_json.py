"""JSON of others: what is read, and what is refused in one way."""

from __future__ import annotations

import pytest

from gpt_agent_sync.foreign_json import MOST_LEVELS, read_foreign_json


def nested(levels: int) -> str:
    """Return lists within each other."""
    return "[" * levels + "]" * levels


@pytest.mark.parametrize("text", ['{"a": [1, {"b": null}]}', b'{"a": [1, {"b": null}]}'])
def test_json_is_read(text: str | bytes) -> None:
    """What is JSON is read, of text and of bytes."""
    assert read_foreign_json(text) == {"a": [1, {"b": None}]}


def test_many_levels_side_by_side_are_read() -> None:
    """Any number of lists may stand beside each other, and braces in a text."""
    text = "[" + ",".join(["[[]]"] * 1000) + ', "' + "{" * 1000 + '"]'
    assert len(read_foreign_json(text)) == 1001


def test_levels_up_to_the_bound_are_read() -> None:
    """The bound itself is no trouble."""
    assert read_foreign_json(nested(MOST_LEVELS)) is not None


@pytest.mark.parametrize(
    "text",
    [
        nested(MOST_LEVELS + 1),
        nested(MOST_LEVELS + 1).encode(),
        '{"a":' * 300 + "1" + "}" * 300,
        "[" * 1_000_000,
        nested(1_000_000),
        "9" * 100_000,
        b'"\xff"',
        "{",
        "",
    ],
    ids=["bound", "bytes", "objects", "open", "deep", "number", "utf", "half", "nothing"],
)
def test_all_else_is_a_value_error(text: str | bytes) -> None:
    """Whatever is wrong with a text, it is one error."""
    with pytest.raises(ValueError) as refused:  # noqa: PT011  (there are many words for it)
        read_foreign_json(text)
    assert not isinstance(refused.value, RecursionError)
