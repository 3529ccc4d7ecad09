"""The messages of a thread, read by the program."""

from __future__ import annotations

from typing import Any

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.testing import CallTools, Reply, ScriptedService
from tests.plugins.services import MakeService
from tests.support.talk import Talk


def test_messages_are_those_that_were_said(make_service: MakeService) -> None:
    """An agent lists what was said, with the run that wrote it."""
    talk = Talk(make_service([Reply("one"), Reply("two")]))
    talk.say("first")
    talk.say("second")
    listed = list(talk.agent.messages())
    assert [(message.role, message.content) for message in listed] == [
        ("user", "first"),
        ("assistant", "one"),
        ("user", "second"),
        ("assistant", "two"),
    ]
    told = talk.recorder.of(gpt.AssistantMessageAdded)
    assert listed[-1] == gpt.Message(
        id=told[-1].message_id,
        role="assistant",
        content="two",
        parts=listed[-1].parts,
        run_id=told[-1].run_id,
        assistant_id=listed[-1].assistant_id,
        metadata=listed[-1].metadata,
        created_at=listed[-1].created_at,
    )


def test_messages_after_what_events_told(make_service: MakeService) -> None:
    """The ids that events tell serve as the place to begin after."""
    talk = Talk(make_service([Reply("one"), Reply("two")]))
    talk.say("first")
    talk.say("second")
    asked, reply = (
        talk.recorder.of(gpt.UserMessageAdded)[1],
        talk.recorder.of(gpt.AssistantMessageAdded)[0],
    )
    after_reply = talk.agent.messages(after=reply.message_id)
    assert [message.content for message in after_reply] == ["second", "two"]
    after_asked = talk.agent.messages(after=asked.id)
    assert [message.content for message in after_asked] == ["two"]
    before_asked = talk.agent.messages(after=asked.id, order="desc", limit=1)
    assert [message.content for message in before_asked] == ["one"]


def test_callbacks_may_read_messages(make_service: MakeService) -> None:
    """A callback reads the messages on the worker's thread."""
    talk = Talk(make_service([Reply("hi")]))
    read: list[str] = []

    @talk.agent.on(gpt.AssistantMessageAdded)
    def read_all(event: gpt.AssistantMessageAdded) -> None:
        read.extend(message.content for message in talk.agent.messages())

    talk.say("hello")
    assert read == ["hello", "hi"]


def test_handlers_may_read_messages(make_service: MakeService) -> None:
    """A handler reads what the thread has by then."""
    talk = Talk(make_service([Reply("one"), CallTools(("look", {})), Reply("done")]))
    read: list[str] = []

    @talk.agent.tool
    def look() -> str:
        """Look."""
        read.extend(message.content for message in talk.agent.messages(limit=2))
        return "seen"

    talk.say("hello")
    talk.say("again")
    assert read == ["hello", "one"]


@pytest.mark.parametrize(
    "arguments, error, words",
    [
        ({"after": " "}, gpt.BlankValueError, "after"),
        ({"after": 7}, gpt.BlankValueError, "7"),
        ({"order": "down"}, ValueError, "'asc' .* or 'desc' .*, not 'down'"),
        ({"limit": 0}, ValueError, "1 or more, or None .*, not 0"),
        ({"limit": -1}, ValueError, "not -1"),
        ({"limit": True}, TypeError, "not True"),
        ({"limit": 2.0}, TypeError, "not 2.0"),
    ],
)
def test_unusable_arguments_are_refused_at_once(
    arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    """What cannot be asked for is refused before the iterator is read, and named."""
    agent = Talk(ScriptedService()).agent
    with pytest.raises(error, match=words):
        agent.messages(**arguments)


def test_stopped_agent_reads_no_messages() -> None:
    """An agent that has stopped says so at once."""
    agent = Talk(ScriptedService()).agent
    agent.shutdown()
    with pytest.raises(gpt.AgentNotAliveError):
        agent.messages()
