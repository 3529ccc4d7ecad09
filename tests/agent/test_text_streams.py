"""Pieces of text and whole messages put together."""

from __future__ import annotations

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.agent.text_streams import Writing


def piece(text: str, message_id: str | None = "a") -> gpt.AssistantMessageDelta:
    """Give a piece of a message."""
    return gpt.AssistantMessageDelta(thread_id="t", run_id="r", message_id=message_id, text=text)


def whole(text: str, message_id: str = "a") -> gpt.AssistantMessageAdded:
    """Give a whole message."""
    return gpt.AssistantMessageAdded(
        thread_id="t",
        run_id="r",
        assistant_id="x",
        message_id=message_id,
        content=text,
        parts=(),
    )


Told = list[gpt.AssistantMessageDelta | gpt.AssistantMessageAdded]


@pytest.mark.parametrize(
    "told, expected",
    [
        ([whole("hello")], [(True, "hello")]),
        ([piece("hel"), piece("lo"), whole("hello")], [(True, "hel"), (False, "lo"), (False, "")]),
        ([piece("hel"), whole("hello")], [(True, "hel"), (False, "lo")]),
        ([piece("hel", None), whole("hello")], [(True, "hel"), (False, "lo")]),
        ([piece("help"), whole("hello")], [(True, "help"), (True, "hello")]),
        ([whole("")], [(False, "")]),
        (
            [piece("one", "a"), piece("tw", "b"), whole("one", "a"), whole("two", "b")],
            [(True, "one"), (True, "tw"), (False, ""), (False, "o")],
        ),
        ([whole("one", "a"), whole("two", "b")], [(True, "one"), (True, "two")]),
    ],
    ids=["whole", "pieces", "rest", "nameless", "other", "empty", "two in turn", "two whole"],
)
def test_each_word_is_written_once(told: Told, expected: list[tuple[bool, str]]) -> None:
    """Pieces are written as they come, and of a whole message what they have not said."""
    writing = Writing()
    assert [writing.add(event) for event in told] == expected
