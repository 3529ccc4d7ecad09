"""Deltas and whole messages assembled."""

from __future__ import annotations

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.agent.text_streams import TextAssembler


def delta(text: str, message_id: str | None = "a") -> gpt.AssistantMessageDelta:
    """Return a delta of a message."""
    return gpt.AssistantMessageDelta(thread_id="t", run_id="r", message_id=message_id, text=text)


def whole(text: str, message_id: str = "a") -> gpt.AssistantMessageAdded:
    """Return a whole message."""
    return gpt.AssistantMessageAdded(
        thread_id="t",
        run_id="r",
        assistant_id="x",
        message_id=message_id,
        content=text,
        parts=(),
    )


Received = list[gpt.AssistantMessageDelta | gpt.AssistantMessageAdded]


@pytest.mark.parametrize(
    "received, expected",
    [
        ([whole("hello")], [(True, "hello")]),
        ([delta("hel"), delta("lo"), whole("hello")], [(True, "hel"), (False, "lo"), (False, "")]),
        ([delta("hel"), whole("hello")], [(True, "hel"), (False, "lo")]),
        ([delta("hel", None), whole("hello")], [(True, "hel"), (False, "lo")]),
        ([delta("help"), whole("hello")], [(True, "help"), (True, "hello")]),
        ([whole("")], [(False, "")]),
        (
            [delta("one", "a"), delta("tw", "b"), whole("one", "a"), whole("two", "b")],
            [(True, "one"), (True, "tw"), (False, ""), (False, "o")],
        ),
        ([whole("one", "a"), whole("two", "b")], [(True, "one"), (True, "two")]),
    ],
    ids=["whole", "deltas", "rest", "nameless", "other", "empty", "two in turn", "two whole"],
)
def test_no_text_is_repeated(received: Received, expected: list[tuple[bool, str]]) -> None:
    """Deltas are given as they come, and of a whole message what they have not had."""
    assembler = TextAssembler()
    assert [assembler.add(event) for event in received] == expected
