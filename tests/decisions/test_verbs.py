"""Decisions on what the program asks for."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import pytest

from gpt_agent_sync.decisions import runs, verbs
from gpt_agent_sync.decisions.state import (
    FollowRun,
    Outcome,
    Phase,
    Progress,
    StartRun,
    Transition,
)
from gpt_agent_sync.errors import (
    AgentNotAliveError,
    AssistantNotSetError,
    RunInProgressError,
    RunNotInProgressError,
)
from gpt_agent_sync.events import RunCompleted
from gpt_agent_sync.records import Message, Posted, RunSnapshot
from tests.support.progress import (
    HELLO,
    OPTIONS,
    awaiting,
    context,
    following,
    fresh,
    message,
    names,
    posting,
    seen,
    starting,
)


def begin(live_run: RunSnapshot | None = None, missed: tuple[Message, ...] = ()) -> Progress:
    """Begin an agent's life and give its progress."""
    return verbs.begin(
        "thread_1",
        "asst_1",
        live_run=live_run,
        missed=missed,
        last_message_id="msg_0",
        context=context(),
    ).progress


def test_new_agent_is_idle() -> None:
    """An agent on a quiet thread has nothing to do."""
    assert begin().public().running is False


def test_live_run_is_followed() -> None:
    """A run found going is followed from there on, without a second RunStarted."""
    transition = verbs.begin(
        "thread_1",
        None,
        live_run=RunSnapshot(id="run_9", status="queued", assistant_id="asst_9"),
        missed=(),
        last_message_id=None,
        context=context(),
    )
    assert transition.steps == (FollowRun(turn=1),)
    assert transition.progress.public().run_id == "run_9"


def test_missed_messages_are_announced_first() -> None:
    """The assistant's messages after the last one seen are announced, the user's own are not."""
    transition = verbs.begin(
        "thread_1",
        None,
        live_run=None,
        missed=(message("msg_1", role="user"), message("msg_2"), message("msg_3")),
        last_message_id="msg_0",
        context=context(),
    )
    assert [getattr(step, "message_id", None) for step in transition.steps] == ["msg_2", "msg_3"]
    assert transition.progress.last_message_id == "msg_3"


def test_messages_of_a_live_run_are_not_missed_yet() -> None:
    """What a live run still writes is announced when it has ended."""
    live = RunSnapshot(id="run_1", status="in_progress")
    progress = begin(live, (message("msg_1"),))
    assert progress.last_message_id == "msg_0"


def test_reserving_marks_the_agent_running() -> None:
    """From the posting of the message on the agent is running."""
    assert posting().public().running is True


def test_second_message_is_refused() -> None:
    """A message during a turn is refused, and names the run."""
    with pytest.raises(RunInProgressError, match="run_1"):
        verbs.reserve_turn(following(), HELLO, OPTIONS, context())


def test_message_without_assistant_is_refused() -> None:
    """Without an assistant there is nothing to run."""
    with pytest.raises(AssistantNotSetError):
        verbs.reserve_turn(fresh(None), HELLO, OPTIONS, context())


def test_run_without_a_message_is_started_at_once() -> None:
    """A run that answers what is there has nothing to post."""
    transition = verbs.reserve_run(fresh(), None, OPTIONS, context())
    turn = transition.progress.turn
    assert transition.steps == (StartRun(turn=1),)
    assert turn is not None
    assert (turn.phase, turn.message, turn.assistant_id) == (Phase.STARTING, None, "asst_1")


def test_run_may_have_an_assistant_of_its_own() -> None:
    """The assistant of one run does not become the agent's, and the agent needs none."""
    begun = verbs.reserve_run(fresh(None), "asst_2", OPTIONS, context()).progress
    assert begun.turn is not None
    assert (begun.turn.assistant_id, begun.default_assistant) == ("asst_2", None)


def test_run_without_assistant_is_refused() -> None:
    """Without a message, too, somebody has to answer."""
    with pytest.raises(AssistantNotSetError):
        verbs.reserve_run(fresh(None), None, OPTIONS, context())


def test_second_run_is_refused() -> None:
    """A run during a turn is refused, and names the one in progress."""
    with pytest.raises(RunInProgressError, match="run_1"):
        verbs.reserve_run(following(), None, OPTIONS, context())


def test_posted_message_is_reported_and_its_run_started() -> None:
    """Once the service has the message, it is announced and its run is started."""
    progress = posting()
    transition = verbs.message_posted(progress, 1, Posted(message_id="msg_1"))
    assert names(transition.steps) == ["UserMessageAdded", "StartRun"]
    assert transition.progress.last_message_id == "msg_1"


def test_refused_message_gives_the_turn_back() -> None:
    """After a failed post nothing has happened."""
    transition = verbs.message_refused(posting(is_awaited=True), 1, context())
    assert transition.steps == ()
    assert attrs.evolve(transition.progress, turns_begun=0) == fresh()


def test_refused_message_lets_the_queue_go_on() -> None:
    """A message queued behind a failed post gets its turn."""
    queued = verbs.queue_message(posting(), HELLO, OPTIONS, context()).progress
    transition = verbs.message_refused(queued, 1, context())
    assert names(transition.steps) == ["PostMessage"]
    assert transition.progress.queue == ()


def test_outcome_of_a_turn_that_is_over_is_not_kept_for_nobody() -> None:
    """Ctrl-C may strike when it has ended already."""
    ended = attrs.evolve(posting(is_awaited=True), turn=None)
    transition = verbs.message_refused(ended, 1, context())
    assert transition.progress.awaited == frozenset()


def test_turn_that_is_posted_is_not_given_back() -> None:
    """Ctrl-C after that leaves it to go on, and nobody waits for it any more."""
    posted = verbs.message_posted(posting(is_awaited=True), 1, Posted(message_id="m")).progress
    transition = verbs.message_refused(posted, 1, context())
    assert transition.result is False
    assert transition.progress.turn == posted.turn
    assert transition.progress.awaited == frozenset()


def test_queueing_on_a_free_agent_reserves_the_turn() -> None:
    """There is no need to queue when nothing goes on."""
    transition = verbs.queue_message(fresh(), HELLO, OPTIONS, context())
    assert transition.result is transition.progress.turn


def test_queued_messages_wait_in_order() -> None:
    """Queued messages keep their order, and no step is taken yet."""
    once = verbs.queue_message(following(), HELLO, OPTIONS, context())
    twice = verbs.queue_message(
        once.progress, attrs.evolve(HELLO, content="again"), OPTIONS, context()
    )
    assert twice.steps == ()
    assert [queued.message.content for queued in twice.progress.queue] == ["hello", "again"]


@pytest.mark.parametrize(
    "progress, run_id", [(following(), "run_1"), (awaiting("a"), "run_1"), (starting(), None)]
)
def test_cancelling_names_the_run_to_cancel(progress: Progress, run_id: str | None) -> None:
    """The caller gets the id of the run to cancel, if it is known."""
    assert verbs.request_cancel(progress, context()).result == run_id


def test_run_without_an_id_is_cancelled_when_it_has_one() -> None:
    """Cancelling during the start takes effect with the first snapshot."""
    marked = verbs.request_cancel(starting(), context()).progress
    assert names(seen(marked, "queued").steps) == ["RunStarted", "CancelRun", "FollowRun"]


def test_cancelling_nothing_is_refused() -> None:
    """Without a run there is nothing to cancel."""
    with pytest.raises(RunNotInProgressError):
        verbs.request_cancel(fresh(), context())


def test_waiting_run_is_polled() -> None:
    """A run that waits for outputs is polled when asked for, another is not."""
    assert verbs.poll_now(awaiting("a")).steps == (FollowRun(turn=1),)
    assert verbs.poll_now(following()).steps == ()


def test_action_of_a_turn_that_is_over_is_not_taken_up() -> None:
    """A turn is claimed only while it goes on."""
    assert verbs.claim_turn(starting(), 1).result is not None
    assert verbs.claim_turn(starting(), 2).result is None
    assert verbs.claim_turn(fresh(), 1).result is None


@pytest.mark.parametrize("progress", [fresh(), following()])
def test_answer_to_another_turn_changes_nothing(progress: Progress) -> None:
    """A late answer to a turn that is over is passed over."""
    assert verbs.message_posted(progress, 7, Posted(message_id="x")).progress is progress
    assert verbs.message_refused(progress, 7, context()).progress is progress


def test_found_run_has_no_message_to_post() -> None:
    """A run found going was not begun by a message of ours."""
    progress = begin(RunSnapshot(id="run_9", status="queued"))
    assert verbs.message_posted(progress, 1, Posted(message_id="x")).progress is progress


def outcome_of(progress: Progress) -> Outcome:
    """Complete the turn, and give the outcome that its settling carries."""
    settled = seen(progress, "completed").steps[-1]
    outcome = getattr(settled, "outcome", None)
    assert isinstance(outcome, Outcome)
    return outcome


def test_outcome_is_kept_for_the_caller_who_asked() -> None:
    """The caller who asked takes the outcome, once."""
    progress = starting(is_awaited=True)
    outcome = outcome_of(progress)
    assert isinstance(outcome.closing, RunCompleted)
    kept = verbs.settle_turn(seen(progress, "completed").progress, outcome).progress
    taken = verbs.take_outcome(kept, 1)
    assert taken.result == outcome
    assert verbs.take_outcome(taken.progress, 1).result is None


def test_outcome_holds_the_texts_of_the_run() -> None:
    """The outcome's texts are those of the run's messages that have any."""
    progress = seen(starting(is_awaited=True), "in_progress").progress
    for held in (message("msg_2", "one"), message("msg_3", ""), message("msg_4", "two")):
        progress = runs.feed_update(progress, 1, Phase.FOLLOWING, held, context()).progress
    assert outcome_of(progress).texts == ("one", "two")


def test_outcome_that_nobody_waits_for_is_dropped() -> None:
    """A caller who gave up leaves nothing behind."""
    progress = starting(is_awaited=True)
    outcome = outcome_of(progress)
    given_up = verbs.take_outcome(progress, 1).progress
    assert verbs.settle_turn(given_up, outcome).progress.outcomes == ()
    assert verbs.settle_turn(given_up, None).progress is given_up


def test_stopping_ends_the_turn_and_drops_the_queue() -> None:
    """A stopped agent runs nothing, and says that it was cut short."""
    queued = verbs.queue_message(following(), HELLO, OPTIONS, context()).progress
    transition = verbs.stop(queued, "shutdown")
    assert names(transition.steps) == ["AgentStopped"]
    assert transition.progress.interrupted
    state = transition.progress.public()
    assert (state.running, state.run_id) == (False, "run_1")


def test_stopping_twice_announces_it_once() -> None:
    """The second stop does nothing."""
    stopped = verbs.stop(fresh(), "shutdown").progress
    assert verbs.stop(stopped, "idle").steps == ()


def test_busy_agent_is_not_stopped_for_idleness() -> None:
    """Idleness stops only what is idle."""
    assert verbs.stop(following(), "idle", only_if_idle=True).steps == ()
    assert names(verbs.stop(fresh(), "idle", only_if_idle=True).steps) == ["AgentStopped"]


@pytest.mark.parametrize(
    "decide, arguments",
    [
        (verbs.touch, ()),
        (verbs.set_assistant, ("asst_2",)),
        (verbs.reserve_turn, (HELLO, OPTIONS, context())),
        (verbs.queue_message, (HELLO, OPTIONS, context())),
        (verbs.reserve_run, ("asst_1", OPTIONS, context())),
        (verbs.request_cancel, (context(),)),
    ],
)
def test_stopped_agent_refuses_what_is_asked(
    decide: Callable[..., Transition], arguments: tuple[object, ...]
) -> None:
    """Every verb of a stopped agent is refused."""
    stopped = verbs.stop(fresh(), "shutdown").progress
    with pytest.raises(AgentNotAliveError):
        decide(stopped, *arguments)


def test_new_assistant_takes_the_next_run() -> None:
    """A change of the default assistant leaves the run under way alone."""
    changed = verbs.set_assistant(following(), "asst_2").progress
    assert changed.default_assistant == "asst_2"
    assert changed.turn is not None
    assert changed.turn.assistant_id == "asst_1"


def test_touching_changes_nothing() -> None:
    """A sign of life is only that."""
    progress = fresh()
    assert verbs.touch(progress).progress is progress


def test_first_run_of_a_turn_is_started_at_once() -> None:
    """A posted message's run has no reason to wait."""
    transition = verbs.message_posted(posting(), 1, Posted(message_id="msg_1"))
    assert transition.steps[1] == StartRun(turn=1)
    assert transition.progress.turn is not None
    assert transition.progress.turn.phase is Phase.STARTING
