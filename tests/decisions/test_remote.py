"""Decisions on the turns of other processes, and on turns that change hands."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from gpt_agent_sync.decisions import remote, verbs
from gpt_agent_sync.decisions.state import Outcome, Progress, RemoteTurn, SettleTurn, Transition
from gpt_agent_sync.errors import RunInProgressError
from gpt_agent_sync.event_log import START, Entry, Mark, Page, place_of_cursor
from gpt_agent_sync.events import (
    AssistantMessageAdded,
    AssistantMessageDelta,
    Event,
    EventsMissed,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunStarted,
    ToolCallOutputRecorded,
    ToolCallRequested,
    UserMessageAdded,
)
from gpt_agent_sync.records import Posted, RunSnapshot, ToolCall
from tests.support.progress import (
    HELLO,
    OPTIONS,
    context,
    following,
    fresh,
    message,
    names,
    posting,
    seen,
    starting,
)

ME, OTHER = "me", "other"

T = "thread_1"
ASKED = UserMessageAdded(thread_id=T, id="msg_9", content="hi")
STARTED = RunStarted(thread_id=T, id="run_9", assistant_id="asst_9")
CALL = ToolCallRequested(thread_id=T, id="call_9", run_id="run_9", name="add", arguments={})
CALL_2 = attrs.evolve(CALL, id="call_10")
OUTPUT = ToolCallOutputRecorded(thread_id=T, id="call_9", run_id="run_9", name="add", output="1")
COMPLETED = RunCompleted(thread_id=T, id="run_9", assistant_id="asst_9")
SAID = AssistantMessageAdded(
    thread_id=T, message_id="msg_10", run_id="run_9", assistant_id="asst_9", content="hello"
)
WORDLESS = attrs.evolve(SAID, message_id="msg_11", content="")


class Log:
    """A thread's log, which others append to."""

    def __init__(self, fence: int = 1) -> None:
        self._fence, self._number, self._before = fence, 0, START

    def begin(self, owner: str = OTHER, fence: int | None = None) -> Entry:
        """Return the mark of a lease that begins."""
        self._fence = self._fence + 1 if fence is None else fence
        self._number = 0
        return self._add(f"{self._fence}-0", mark="begun", owner=owner)

    def tell(self, *events: Event, key: str | None = None) -> Entry:
        """Return an entry with events."""
        placed = []
        for event in events:
            self._number += 1
            placed.append(attrs.evolve(event, cursor=f"{self._fence}-{self._number}"))
        return self._add(f"{self._fence}-{self._number}", events=tuple(placed), key=key)

    def settle(self) -> Entry:
        """Return the mark of a turn's end."""
        return self._add(f"{self._fence}-{self._number + 1}", mark="settled")

    def _add(self, cursor: str, mark: Mark | None = None, **facts: Any) -> Entry:
        entry = Entry(cursor=cursor, before=self._before, mark=mark, **facts)
        self._before = cursor
        return entry


def hear(progress: Progress, *entries: Entry, missed: bool = False, **how: Any) -> Transition:
    """Return the transition after entries were read."""
    return remote.heard(progress, Page(entries, missed), ME, **how)


def listening(*events: Event) -> tuple[Progress, Log]:
    """Return an agent that has heard some events of another process's turn, and the log."""
    log = Log()
    entries = [log.begin()]
    if events:
        entries.append(log.tell(*events))
    return hear(fresh(), *entries).progress, log


def lost(progress: Progress, *told: Event) -> Progress:
    """Return the progress of an agent whose turn another process has."""
    return remote.lose_turn(progress, 1, told).progress


def test_turn_of_another_process_is_in_progress() -> None:
    """From its mark on nothing else begins here."""
    progress, _ = listening()
    assert progress.public().running
    with pytest.raises(RunInProgressError):
        verbs.reserve_run(progress, None, OPTIONS, context())


def test_events_are_told() -> None:
    """Once, in order, whatever is read again."""
    log = Log()
    entries = log.begin(), log.tell(ASKED, STARTED), log.tell(COMPLETED), log.tell(SAID)
    first = hear(fresh(), *entries[:3])
    second = hear(first.progress, *entries)
    assert first.steps == (ASKED, STARTED, COMPLETED)
    assert second.steps == (SAID,)


def test_part_of_an_entry_that_was_heard_is_not_told_again() -> None:
    """An entry may have been read in the middle."""
    log = Log()
    log.begin()
    progress = attrs.evolve(fresh(), cursor="2-1")
    assert hear(progress, log.tell(ASKED, STARTED)).steps == (STARTED,)


@pytest.mark.parametrize(
    "events, expected",
    [
        ((), (None, None, (), ())),
        ((ASKED,), (None, None, (), ())),
        ((ASKED, STARTED), ("run_9", "in_progress", (), ())),
        ((STARTED, CALL, CALL_2), ("run_9", "requires_action", (CALL, CALL_2), ())),
        ((STARTED, CALL, CALL_2, OUTPUT), ("run_9", "requires_action", (CALL_2,), (OUTPUT,))),
        ((STARTED, CALL, OUTPUT), ("run_9", "requires_action", (), (OUTPUT,))),
        ((STARTED, CALL, OUTPUT, CALL_2), ("run_9", "requires_action", (CALL_2,), ())),
        ((STARTED, CALL, COMPLETED), ("run_9", "completed", (), ())),
    ],
)
def test_state_is_what_the_events_say(events: tuple[Event, ...], expected: Any) -> None:
    """Its run, the run's status, calls and outputs."""
    state = listening(*events)[0].public()
    assert (state.run_id, state.run_status, state.tool_calls, state.tool_outputs) == expected


@pytest.mark.parametrize(
    "closing, status",
    [
        (COMPLETED, "completed"),
        (RunCancelled(thread_id=T, id="run_9", assistant_id=None), "cancelled"),
        (RunFailed(thread_id=T, id="run_9", assistant_id=None, status="expired"), "expired"),
    ],
)
def test_turn_ends_with_its_mark(closing: Any, status: str) -> None:
    """It is the last one then, with its run and the newest message."""
    progress, log = listening(ASKED, STARTED, closing, SAID)
    progress = hear(progress, log.settle()).progress
    state = progress.public()
    assert (state.running, state.run_id, state.run_status) == (False, "run_9", status)
    assert (state.last_message_id, progress.last_closing) == ("msg_10", closing)
    assert verbs.reserve_run(progress, None, OPTIONS, context()).progress.turn is not None


def test_text_is_told_and_changes_nothing() -> None:
    """A delta is passed on."""
    progress, log = listening(STARTED)
    delta = AssistantMessageDelta(thread_id=T, message_id="m", run_id="run_9", text="h")
    after = hear(progress, log.tell(delta))
    assert after.steps == (delta,)
    assert after.progress.remote == progress.remote


def test_own_events_are_not_told_again() -> None:
    """They were told when they happened."""
    log = Log()
    after = hear(
        fresh(), log.begin(ME), log.tell(ASKED), log.settle(), log.begin(), log.tell(ASKED)
    )
    assert after.steps == (ASKED,)
    assert after.progress.remote is not None


def test_missing_events_are_told_as_missing() -> None:
    """In their place, before those that are there."""
    log = Log()
    log.begin()
    log.tell(ASKED)
    progress = attrs.evolve(fresh(), cursor="1-7")
    after = hear(progress, log.tell(STARTED), missed=True)
    assert after.steps == (EventsMissed(thread_id=T, after="1-7"), STARTED)


def test_stopped_agent_hears_nothing() -> None:
    """Its last event was told."""
    log = Log()
    stopped = verbs.stop(fresh(), "shutdown").progress
    assert hear(stopped, log.begin(), log.tell(ASKED)) == Transition(progress=stopped)


def test_state_of_a_log() -> None:
    """The turn that is in progress, and the newest place."""
    log = Log()
    entries = [log.begin(), log.tell(STARTED), log.settle(), log.begin(), log.tell(CALL)]
    found, cursor = remote.state_of(T, entries)
    assert found is not None
    assert (found.fence, found.tool_calls, cursor) == (3, (CALL,), "3-1")
    assert remote.state_of(T, entries[:3])[0] is None


# messages that wait at the backplane


def test_message_elsewhere_keeps_the_agent_busy() -> None:
    """Until the events of its turn come."""
    progress, log = listening()
    progress = remote.queue_elsewhere(progress, "k").progress
    progress = hear(progress, log.settle()).progress
    assert verbs.is_busy(progress)
    after = hear(progress, log.begin(), log.tell(ASKED, key="k"), log.settle())
    assert not verbs.is_busy(after.progress)


def test_free_thread_has_messages_taken_up() -> None:
    """Whoever left one tries, as the owner may have looked for the last time before."""
    progress, log = listening()
    progress = remote.queue_elsewhere(progress, "k").progress
    assert names(hear(progress, log.settle()).steps) == ["TakeUpMessages"]


def test_message_that_is_gone_is_waited_for_no_longer() -> None:
    """It was dropped, or its events were missed."""
    progress = remote.queue_elsewhere(fresh(), "k").progress
    assert remote.left_waiting(progress, frozenset({"k"})).progress.pending == {"k"}
    assert not verbs.is_busy(remote.left_waiting(progress, frozenset()).progress)


# owners that fall silent


def test_silent_owner_is_taken_over() -> None:
    """By an agent that handles tools."""
    progress, _ = listening(STARTED)
    assert names(remote.ownerless(progress).steps) == ["TakeOver"]
    assert names(remote.ownerless(attrs.evolve(progress, handles_tools=False)).steps) == []
    assert names(remote.ownerless(fresh()).steps) == []
    listener = attrs.evolve(progress, handles_tools=False)
    assert names(remote.ownerless(listener, by_anybody=True).steps) == ["TakeOver"]
    assert names(remote.left_behind(fresh()).steps) == ["TakeOver"]
    assert names(remote.left_behind(progress).steps) == ["TakeOver"]


def test_live_run_is_followed() -> None:
    """With nothing told again that was told."""
    progress, _ = listening(ASKED, STARTED)
    after = remote.take_over(progress, RunSnapshot(id="run_9", status="in_progress"), [], context())
    assert names(after.steps) == ["FollowRun"]
    assert after.progress.remote is None


def test_calls_that_were_told_are_made() -> None:
    """The journal says whether they were made before."""
    progress, _ = listening(STARTED, CALL)
    run = RunSnapshot(id="run_9", status="requires_action")
    assert names(remote.take_over(progress, run, [], context()).steps) == ["FollowRun", "CallTools"]
    only_listens = attrs.evolve(progress, handles_tools=False)
    after = remote.take_over(only_listens, run, [], context())
    assert names(after.steps) == ["FollowRun"]
    assert after.progress.public().tool_calls == (CALL,)


def test_outputs_that_were_told_are_submitted() -> None:
    """By the process that goes on, when it sees that the run still waits for them."""
    progress, _ = listening(STARTED, CALL, OUTPUT)
    run = RunSnapshot(id="run_9", status="requires_action")
    after = remote.take_over(progress, run, [], context())
    assert names(after.steps) == ["FollowRun"]
    wanted = (ToolCall(id="call_9", name="add", arguments="{}"),)
    assert names(seen(after.progress, "requires_action", id="run_9", tool_calls=wanted).steps) == [
        "SubmitOutputs"
    ]


def test_message_of_a_lost_lease_is_given_back() -> None:
    """With those behind it: they wait for whoever runs turns."""
    progress = verbs.queue_message(fresh(), HELLO, OPTIONS, context(), "a").progress
    progress = verbs.queue_message(progress, HELLO, OPTIONS, context(), "b").progress
    after = remote.give_back(progress, progress.turns_begun)
    assert (after.progress.turn, after.progress.queue) == (None, ())
    assert after.progress.pending == {"a", "b"}
    assert names(after.steps) == ["TakeUpMessages"]
    assert remote.give_back(fresh(), 1) == Transition(progress=fresh())


def test_note_on_the_message_of_a_lost_turn_is_dropped() -> None:
    """The service has it."""
    progress = verbs.queue_message(fresh(), HELLO, OPTIONS, context(), "a").progress
    posted = verbs.message_posted(progress, 1, Posted(message_id="msg_1")).progress
    assert names(remote.lose_turn(posted, 1).steps) == ["ForgetMessage", "DropTurn"]


def test_missed_messages_are_told_beside_another_processs_turn() -> None:
    """But for those that its run is writing."""
    begun = verbs.begin(
        T,
        None,
        live_run=None,
        missed=[message("msg_2"), attrs.evolve(message("msg_3"), run_id="run_9")],
        last_message_id="msg_1",
        context=context(),
        remote=RemoteTurn(fence=1, run_id="run_9"),
        cursor="1-3",
    )
    (told,) = begun.steps
    assert isinstance(told, AssistantMessageAdded)
    assert (told.message_id, told.cursor) == ("msg_2", "1-3")


def test_run_that_was_not_told_is_told() -> None:
    """Its owner fell silent before."""
    progress, _ = listening(ASKED)
    after = remote.take_over(progress, RunSnapshot(id="run_9", status="queued"), [], context())
    assert names(after.steps) == ["RunStarted", "FollowRun"]


def test_run_that_has_ended_is_looked_at() -> None:
    """A poll tells how it ended."""
    progress, _ = listening(ASKED, STARTED)
    after = remote.take_over(progress, None, [], context())
    assert names(after.steps) == ["FollowRun"]
    assert after.progress.public().run_id == "run_9"


def test_messages_that_were_not_told_are() -> None:
    """Of a turn whose closing event was."""
    progress, _ = listening(ASKED, STARTED, COMPLETED)
    after = remote.take_over(progress, None, [message("msg_10", "hello")], context())
    assert names(after.steps) == ["AssistantMessageAdded"]
    assert not verbs.is_busy(after.progress)


def test_turn_of_which_nothing_was_told_is_over() -> None:
    """There is nothing to go on with."""
    progress, _ = listening()
    after = remote.take_over(progress, None, [], context())
    assert (after.steps, verbs.is_busy(after.progress)) == ((), False)


def test_message_without_a_run_gets_one() -> None:
    """Its owner fell silent between the two."""
    progress, _ = listening(ASKED)
    after = remote.take_over(progress, None, [], context())
    assert names(after.steps) == ["StartRun"]


def test_reply_that_nobody_told_is_told() -> None:
    """The run has been and gone."""
    progress, _ = listening(ASKED)
    after = remote.take_over(progress, None, [message("msg_10", "hello")], context())
    assert names(after.steps)[:2] == ["RunCompleted", "AssistantMessageAdded"]


def awaited_elsewhere() -> tuple[Progress, RemoteTurn]:
    """Return an agent whose turn another process has, and somebody here waits for, and the turn."""
    progress = lost(seen(starting(is_awaited=True), "in_progress").progress)
    assert progress.remote is not None
    return progress, progress.remote


def outcome_of(transition: Transition) -> Outcome:
    """Return what whoever waits is told."""
    (settle,) = [step for step in transition.steps if isinstance(step, SettleTurn)]
    assert settle.outcome is not None
    return settle.outcome


def test_replies_to_later_questions_are_not_the_turns() -> None:
    """They are told after it, and whoever asked does not get them."""
    progress, turn = awaited_elsewhere()
    asked = attrs.evolve(progress, remote=attrs.evolve(turn, run_id=None))
    written = [
        message("msg_10", "mine"),
        message("msg_11", "and?", "user"),
        message("msg_12", "another's"),
    ]
    after = remote.take_over(asked, None, written, context())
    told = [name for name in names(after.steps) if name != "ForgetMessage"]
    assert told == ["RunCompleted", "AssistantMessageAdded", "SettleTurn", "AssistantMessageAdded"]
    assert outcome_of(after).texts == ("mine",)


def test_turn_that_the_thread_has_passed_over_has_failed() -> None:
    """A run now would answer a later question."""
    progress, turn = awaited_elsewhere()
    asked = attrs.evolve(progress, remote=attrs.evolve(turn, run_id=None))
    written = [message("msg_11", "and?", "user"), message("msg_12", "another's")]
    after = remote.take_over(asked, None, written, context())
    assert names(after.steps) == ["AssistantMessageAdded", "SettleTurn"]
    closing = outcome_of(after).closing
    assert isinstance(closing, RunFailed)
    assert closing.in_doubt


def test_reply_is_what_the_turns_run_has_written() -> None:
    """Whoever has lost the log tells messages of earlier turns with it."""
    progress, turn = awaited_elsewhere()
    log = Log(fence=5)
    told = [
        attrs.evolve(COMPLETED, id=str(turn.run_id)),
        attrs.evolve(SAID, message_id="msg_8", run_id="run_old", content="of old"),
        attrs.evolve(SAID, message_id="msg_9", run_id=turn.run_id, content="mine"),
    ]
    heard = hear(progress, log.begin(), log.tell(*told), log.settle())
    assert outcome_of(heard).texts == ("mine",)


def test_reply_is_known_by_the_closing_event_too() -> None:
    """Where nobody has heard the run begin."""
    progress, log = listening()
    told = [COMPLETED, attrs.evolve(SAID, message_id="msg_8", run_id="run_old"), SAID]
    heard = hear(progress, log.tell(*told))
    assert heard.progress.remote is not None
    assert heard.progress.remote.run_texts == ("hello",)


def test_next_turn_of_another_is_not_the_one_that_was_lost() -> None:
    """Where the end of that is told nowhere, whoever waits gets no other reply for it."""
    progress, _ = awaited_elsewhere()
    log = Log(fence=5)
    heard = hear(progress, log.begin(), log.tell(ASKED, STARTED, COMPLETED, SAID), log.settle())
    outcome = outcome_of(heard)
    assert isinstance(outcome.closing, RunFailed)
    assert outcome.closing.in_doubt
    assert outcome.texts == ()


def test_lost_turn_may_be_told_from_its_beginning() -> None:
    """By whoever goes on with it."""
    progress, turn = awaited_elsewhere()
    log = Log(fence=5)
    asked = attrs.evolve(ASKED, id=str(turn.message_id))
    started = attrs.evolve(STARTED, id=str(turn.run_id))
    ended = attrs.evolve(COMPLETED, id=str(turn.run_id))
    said = attrs.evolve(SAID, run_id=turn.run_id)
    heard = hear(progress, log.begin(), log.tell(asked, started, ended, said), log.settle())
    assert outcome_of(heard).texts == ("hello",)


def test_reply_to_an_unknown_message_is_all_that_was_written() -> None:
    """Nothing tells it apart from others."""
    progress, _ = listening(STARTED)
    assert progress.remote is not None
    turn = attrs.evolve(progress.remote, run_id=None, message_id=None)
    written = [message("msg_10", "a"), message("msg_11", "?", "user"), message("msg_12", "b")]
    after = remote.take_over(attrs.evolve(progress, remote=turn), None, written, context())
    assert names(after.steps)[:3] == [
        "RunCompleted",
        "AssistantMessageAdded",
        "AssistantMessageAdded",
    ]


def test_next_turn_of_an_owner_has_no_run_yet() -> None:
    """That of the turn before is not followed again when the owner is gone."""
    progress, log = listening(ASKED, STARTED, COMPLETED, SAID)
    asked = attrs.evolve(ASKED, id="msg_20", content="and?")
    progress = hear(progress, log.tell(asked)).progress
    assert progress.remote is not None
    assert (progress.remote.run_id, progress.remote.message_id) == (None, "msg_20")
    after = remote.take_over(progress, None, [], context())
    assert names(after.steps) == ["StartRun"]


def test_nothing_is_taken_over_twice() -> None:
    """Nor by an agent that has a turn of its own, or has stopped."""
    for progress in (fresh(), following(), verbs.stop(fresh(), "shutdown").progress):
        assert remote.take_over(progress, None, [], context()).steps == ()


# turns that are lost


def test_lost_turn_goes_on_elsewhere() -> None:
    """It stays in progress, and all work for it ends here."""
    transition = remote.lose_turn(following(), 1)
    assert names(transition.steps) == ["DropTurn"]
    assert transition.drops
    state = transition.progress.public()
    assert (state.running, state.run_id) == (True, "run_1")


def test_message_that_is_being_posted_stays() -> None:
    """Nobody else knows of it."""
    progress = posting()
    assert remote.lose_turn(progress, 1) == Transition(progress=progress)


def test_turn_that_had_ended_is_told_by_the_next_owner() -> None:
    """What it did not tell is dropped."""
    ended = seen(following(), "completed").progress
    transition = remote.lose_turn(ended, 1)
    assert (transition.drops, transition.progress.remote is not None) == (True, True)


def test_loss_that_is_noticed_late_changes_nothing() -> None:
    """The next owner was heard, and has settled, before."""
    log = Log(fence=5)
    progress = hear(following(), log.begin(), log.settle(), fence=5).progress
    transition = remote.lose_turn(progress, 5)
    assert (transition.drops, transition.progress.remote) == (True, None)


def test_asker_gets_the_outcome_from_elsewhere() -> None:
    """By the events of the process that goes on with the turn."""
    progress = lost(seen(starting(is_awaited=True), "in_progress").progress)
    log = Log()
    closing = attrs.evolve(COMPLETED, id="run_1")
    entries = log.begin(), log.tell(closing, SAID, WORDLESS), log.settle()
    steps = hear(progress, *entries).steps
    settled = [step for step in steps if isinstance(step, SettleTurn)]
    assert [step.outcome and step.outcome.closing for step in settled] == [closing]
    assert [step.outcome and step.outcome.texts for step in settled] == [("hello",)]


def test_asker_gets_the_outcome_before_the_owners_next_turn() -> None:
    """That begins without a mark."""
    progress = lost(seen(starting(is_awaited=True), "in_progress").progress)
    log = Log()
    closing = attrs.evolve(COMPLETED, id="run_1")
    after = hear(progress, log.begin(), log.tell(closing, SAID, ASKED))
    assert "SettleTurn" in names(after.steps)
    assert "SettleTurn" not in names(hear(after.progress, log.settle()).steps)


def test_asker_of_a_turn_that_left_no_trace_is_told() -> None:
    """In doubt."""
    progress = lost(starting(is_awaited=True))
    log = Log()
    (step,) = hear(progress, log.begin(), log.settle()).steps
    assert isinstance(step, SettleTurn)
    assert step.outcome is not None
    assert isinstance(step.outcome.closing, RunFailed)
    assert step.outcome.closing.in_doubt


def test_what_was_told_alone_is_not_told_again() -> None:
    """By a process that could not tell the others."""
    closing = attrs.evolve(COMPLETED, id="run_1")
    progress = lost(following(), closing)
    log = Log()
    after = hear(progress, log.begin(), log.tell(closing, SAID))
    assert after.steps == (SAID,)
    assert after.progress.remote is not None
    assert after.progress.remote.closing == closing


def test_newer_owner_shows_that_a_turn_is_lost() -> None:
    """To a process that was held up, and has not noticed."""
    log = Log(fence=5)
    after = hear(following(), log.begin(), fence=5)
    assert (names(after.steps), after.drops) == (["DropTurn"], True)


def test_older_owner_takes_nothing_away() -> None:
    """A process that was held up hears late of what was before its own lease."""
    log = Log(fence=5)
    after = hear(following(), log.begin(), fence=7)
    assert (after.progress.turn is not None, after.drops) == (True, False)


def test_message_whose_run_was_followed_to_its_end_elsewhere() -> None:
    """Its asker gets that outcome, and nothing is told twice."""
    progress = posting(is_awaited=True)
    heard = RemoteTurn(fence=1, closing=COMPLETED, texts=("hello",))
    progress = attrs.evolve(progress, heard=heard)
    posted = Posted(message_id="msg_1", run_id="run_9")
    after = verbs.message_posted(progress, progress.turns_begun, posted)
    assert names(after.steps) == ["UserMessageAdded", "SettleTurn"]
    assert not verbs.is_busy(after.progress)
    other = verbs.message_posted(progress, progress.turns_begun, Posted(message_id="msg_1"))
    assert names(other.steps) == ["UserMessageAdded", "StartRun"]


def test_action_is_done_again() -> None:
    """Unless the agent has stopped."""
    step = remote.ownerless(listening(STARTED)[0]).steps[0]
    assert not isinstance(step, Event)
    assert verbs.again(fresh(), step).steps == (step,)
    assert verbs.again(verbs.stop(fresh(), "idle").progress, step).steps == ()


def test_agent_begins_with_what_another_process_does() -> None:
    """Calls that wait are told to it."""
    turn = RemoteTurn(fence=1, run_id="run_9", tool_calls=(CALL,))
    begun = verbs.begin(
        T,
        None,
        live_run=None,
        missed=(),
        last_message_id=None,
        context=context(),
        remote=turn,
        cursor="1-3",
    )
    assert begun.steps == (CALL,)
    assert begun.progress.public().running


@pytest.mark.parametrize("cursor", ["1", "1-", "-1", "a-1", "1-b", "\uff11-1"])
def test_cursor_is_that_of_an_event(cursor: str) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match="cursor"):
        place_of_cursor(cursor)
