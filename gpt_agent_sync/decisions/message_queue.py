"""Messages that wait in the journal: taken up, and posted unless an earlier process has."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import attrs

from gpt_agent_sync.decisions.closing import announce_messages, forget, next_turn, with_found_run
from gpt_agent_sync.decisions.state import (
    DecisionContext,
    FollowRun,
    Phase,
    Progress,
    QueuedMessage,
    StartRun,
    Transition,
)
from gpt_agent_sync.decisions.verbs import current_turn, is_busy, require_alive
from gpt_agent_sync.events import UserMessageAdded
from gpt_agent_sync.records import TOKEN_KEY, Message, RunSnapshot, UserMessage


def take_up(
    progress: Progress, messages: Iterable[QueuedMessage], context: DecisionContext
) -> Transition:
    """Queue messages that another process has left.

    Raises:
        AgentNotAliveError: If the agent has stopped.
    """
    require_alive(progress)
    busy = is_busy(progress)
    progress = attrs.evolve(progress, queue=(*progress.queue, *messages))
    return Transition(progress=progress) if busy else next_turn(progress, context)


@attrs.frozen
class Standing:
    """A user's message that is in its thread.

    Attributes:
        message_id: Its id.
        answered: Whether the assistant has said something since.
        replies: What it has said before the next question, oldest first.
    """

    message_id: str
    answered: bool
    replies: tuple[Message, ...]


def find_standing(
    newest: Sequence[Message], message: UserMessage, token: str, after: str | None
) -> Standing | None:
    """Find a message that an earlier process may have posted.

    It is known by its token, and by its words where the service keeps no metadata. Words that were
    said again by somebody else cannot be told from it.

    Args:
        newest: The thread's newest messages, newest first.
        message: The message.
        token: The token that it was sent with.
        after: The newest message that was there before, if known.
    """
    since = list(itertools.takewhile(lambda listed: listed.id != after, newest))
    questions = [place for place, listed in enumerate(since) if listed.role == "user"]
    # Where it is not known what was there before, only the last question can be it by its words.
    by_words = questions if len(since) < len(newest) else questions[:1]
    for place in questions:
        listed = since[place]
        known = listed.metadata.get(TOKEN_KEY)
        same_words = place in by_words and _words(listed.content) == _words(_text(message))
        if same_words if known is None else known == token:
            later = [other for other in reversed(since[:place]) if other.role in _SPEAKERS]
            answers = itertools.takewhile(lambda other: other.role == "assistant", later)
            answered = any(other.role == "assistant" for other in later)
            return Standing(listed.id, answered, tuple(answers))
    return None


_SPEAKERS = ("user", "assistant")


def _text(message: UserMessage) -> str:
    if isinstance(message.content, str):
        return message.content
    return "".join(str(part.get("text") or "") for part in message.content)


def _words(text: str) -> str:
    # Servers trim texts, and join parts in their own ways.
    return "".join(text.split())


def follow_first(
    progress: Progress, number: int, live_run: RunSnapshot, context: DecisionContext
) -> Transition:
    """Follow a run that was found in progress, and come back to the turn's message after it."""
    turn = current_turn(progress, number)
    if turn is None:
        return Transition(progress=progress)
    assert turn.message is not None
    again = QueuedMessage(
        message=turn.message, options=turn.options, assistant_id=turn.assistant_id, key=turn.key
    )
    progress = attrs.evolve(progress, queue=(again, *progress.queue))
    progress = with_found_run(progress, live_run, context)
    return Transition(progress=progress, steps=(FollowRun(turn=progress.turns_begun),))


def answer_standing(progress: Progress, number: int, message_id: str) -> Transition:
    """Start a run for a message that an earlier process posted, as it has none."""
    turn = current_turn(progress, number)
    if turn is None:
        return Transition(progress=progress)
    assert turn.message is not None
    added = UserMessageAdded(
        thread_id=progress.thread_id, id=message_id, content=turn.message.content
    )
    # As one without a message: the service has no receipt for it.
    starting = attrs.evolve(turn, phase=Phase.STARTING, message=None)
    return Transition(
        progress=attrs.evolve(progress, turn=starting, last_message_id=message_id),
        steps=(added, StartRun(turn=number)),
    )


def drop_message(
    progress: Progress, number: int, context: DecisionContext, replies: Iterable[Message] = ()
) -> Transition:
    """Leave out a message that has had its run, or that another process is at work on.

    Args:
        progress: The agent's progress.
        number: The number of the message's turn.
        context: The circumstances.
        replies: What its run has written, perhaps while nobody listened.
    """
    turn = current_turn(progress, number)
    if turn is None:
        return Transition(progress=progress)
    announcement = announce_messages(progress, replies)
    following = next_turn(attrs.evolve(announcement.progress, turn=None), context)
    return attrs.evolve(following, steps=(*forget(turn), *announcement.events, *following.steps))
