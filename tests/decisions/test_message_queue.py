"""Decisions on messages that other processes have left."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from gpt_agent_sync.decisions import message_queue, verbs
from gpt_agent_sync.decisions.message_queue import Standing, find_standing
from gpt_agent_sync.decisions.state import ForgetMessage, Phase, Progress, QueuedMessage
from gpt_agent_sync.errors import AgentNotAliveError
from gpt_agent_sync.events import AssistantMessageAdded
from gpt_agent_sync.records import TOKEN_KEY, Message, RunSnapshot, UserMessage
from tests.support.progress import (
    HELLO,
    OPTIONS,
    context,
    following,
    fresh,
    message,
    names,
    seen,
)


def left(text: str) -> QueuedMessage:
    """Return a message that another process has left."""
    return QueuedMessage(
        message=UserMessage(content=text), options=OPTIONS, assistant_id="asst_2", key=text
    )


def taken_up(progress: Progress, *texts: str) -> Progress:
    """Return the progress of an agent that has taken messages up."""
    return message_queue.take_up(progress, map(left, texts), context()).progress


def test_first_message_has_its_turn_at_once() -> None:
    """An idle agent posts the first message that it takes up, and the others wait."""
    transition = message_queue.take_up(fresh(), [left("a"), left("b")], context())
    turn = transition.progress.turn
    assert turn is not None
    assert (turn.message, turn.phase, turn.key) == (UserMessage(content="a"), Phase.POSTING, "a")
    assert [queued.key for queued in transition.progress.queue] == ["b"]
    assert names(transition.steps) == ["PostMessage"]


def test_messages_wait_behind_a_turn() -> None:
    """What is taken up during a turn waits behind what is queued."""
    progress = verbs.queue_message(following(), HELLO, OPTIONS, context(), "own").progress
    assert [queued.key for queued in taken_up(progress, "a").queue] == ["own", "a"]


@pytest.mark.parametrize("own, expected", [("asst_1", "asst_1"), (None, "asst_2")])
def test_assistant_is_the_agents_where_it_has_one(own: str | None, expected: str) -> None:
    """A message's own assistant counts where the agent has none."""
    turn = taken_up(fresh(own), "a").turn
    assert turn is not None
    assert turn.assistant_id == expected


def test_stopped_agent_takes_nothing_up() -> None:
    """A stopped agent refuses."""
    stopped = verbs.stop(fresh(), "shutdown").progress
    with pytest.raises(AgentNotAliveError):
        taken_up(stopped, "a")


def test_live_run_is_followed_before_the_message() -> None:
    """The message is the first one again when the run that was found is over."""
    live = RunSnapshot(id="run_1", status="in_progress", assistant_id="asst_1")
    found = message_queue.follow_first(taken_up(fresh(), "a", "b"), 1, live, context())
    assert names(found.steps) == ["FollowRun"]
    assert found.progress.turn is not None
    assert (found.progress.turn.run_id, found.progress.turn.number) == ("run_1", 2)
    ended = seen(found.progress, "completed").progress
    assert ended.turn is not None
    assert (ended.turn.key, [queued.key for queued in ended.queue]) == ("a", ["b"])


def test_note_is_dropped_when_the_run_is_there() -> None:
    """The first snapshot of the run ends the note, and no later one does again."""
    progress = message_queue.answer_standing(taken_up(fresh(), "a"), 1, "msg_1").progress
    started = seen(progress, "in_progress")
    assert started.steps[0] == ForgetMessage(turn=1, key="a")
    assert "ForgetMessage" not in names(seen(started.progress, "completed").steps)


def test_message_that_stands_gets_a_run() -> None:
    """A message that was posted and has no run gets one, and is never posted again."""
    answered = message_queue.answer_standing(taken_up(fresh(), "a"), 1, "msg_7")
    assert names(answered.steps) == ["UserMessageAdded", "StartRun"]
    turn = answered.progress.turn
    assert turn is not None
    assert (turn.phase, turn.message) == (Phase.STARTING, None)
    assert answered.progress.last_message_id == "msg_7"


def test_message_that_had_its_run_is_left_out() -> None:
    """What the run wrote is told once, and the next message has its turn."""
    reply = message("msg_8")
    progress = taken_up(fresh(), "a", "b")
    dropped = message_queue.drop_message(progress, 1, context(), [reply])
    assert names(dropped.steps) == ["ForgetMessage", "AssistantMessageAdded", "PostMessage"]
    again = message_queue.drop_message(dropped.progress, 2, context(), [reply])
    assert not any(isinstance(step, AssistantMessageAdded) for step in again.steps)


@pytest.mark.parametrize(
    "decide",
    [
        lambda progress: message_queue.drop_message(progress, 1, context()),
        lambda progress: message_queue.answer_standing(progress, 1, "msg_1"),
        lambda progress: message_queue.follow_first(
            progress, 1, RunSnapshot(id="r", status="queued"), context()
        ),
    ],
)
def test_decision_on_a_turn_that_is_over_changes_nothing(decide: Any) -> None:
    """The agent may have stopped while the message was looked for."""
    stopped = verbs.stop(taken_up(fresh(), "a"), "shutdown").progress
    assert decide(stopped).progress is stopped


def said(*lines: str, tokens: bool = False) -> list[Message]:
    """Return a thread's messages, newest first, from lines such as ``"u1 hello"``."""
    messages = []
    for line in lines:
        message_id, text = line.split(" ", 1)
        role = "user" if message_id.startswith("u") else "assistant"
        metadata = {TOKEN_KEY: message_id} if tokens and role == "user" else {}
        messages.append(Message(id=message_id, role=role, content=text, metadata=metadata))
    return messages[::-1]


def find(newest: list[Message], token: str, after: str | None) -> Standing | None:
    """Look for a message that says hello, and leave the replies out."""
    found = find_standing(newest, UserMessage(content="hello "), token, after)
    return None if found is None else attrs.evolve(found, replies=())


@pytest.mark.parametrize(
    "lines, after, found",
    [
        ([], None, None),
        (["u1 hello"], None, Standing("u1", False, ())),
        (["u1 hello", "a1 hi"], None, Standing("u1", True, ())),
        (["u1 hello", "a1 hi"], "a1", None),
        (["u1 hello", "a1 hi", "u2 hello"], "a1", Standing("u2", False, ())),
        (["u1 x", "a1 hi", "u2 hello", "a2 hi", "u3 x", "a3 y"], "a1", Standing("u2", True, ())),
        (["u1 hello", "a1 hi", "u2 x"], None, None),
        (["u1 hello", "a1 hi", "u2 x"], "u9", None),
    ],
)
def test_message_is_known_by_its_words(
    lines: list[str], after: str | None, found: Standing | None
) -> None:
    """It is one that came after what was there before; the last question, if nobody knows."""
    assert find(said(*lines), "token", after) == found


@pytest.mark.parametrize(
    "token, found",
    [("u1", Standing("u1", True, ())), ("u2", Standing("u2", False, ())), ("", None)],
)
def test_message_is_known_by_its_token(token: str, found: Standing | None) -> None:
    """Where messages have tokens, the words say nothing."""
    assert find(said("u1 hello", "a1 hi", "u2 hello", tokens=True), token, None) == found


def test_replies_are_those_before_the_next_question() -> None:
    """What later runs have written is not the message's."""
    found = find_standing(
        said("u1 hello", "a1 one", "a2 two", "u2 x", "a3 y"),
        UserMessage(content=({"type": "text", "text": "hello"},)),
        "token",
        "u0",
    )
    assert found is None
    listed = said("u0 x", "u1 hello", "a1 one", "a2 two", "u2 x", "a3 y")
    found = find_standing(listed, HELLO, "token", "u0")
    assert found is not None
    assert [reply.id for reply in found.replies] == ["a1", "a2"]
