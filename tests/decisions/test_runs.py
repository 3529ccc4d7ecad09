"""Decisions on snapshots, deltas and messages of a run."""

from __future__ import annotations

import pytest

from gpt_agent_sync.decisions import runs, verbs
from gpt_agent_sync.decisions.runs import UNKNOWN_STATUS_PATIENCE
from gpt_agent_sync.decisions.state import (
    FollowRun,
    Phase,
    PostMessage,
    Progress,
    SettleTurn,
    SubmitOutputs,
)
from gpt_agent_sync.events import (
    AssistantMessageAdded,
    AssistantMessageDelta,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunStarted,
)
from gpt_agent_sync.records import TextDelta, Usage
from tests.support.progress import (
    HELLO,
    OPTIONS,
    awaiting,
    calls,
    context,
    following,
    fresh,
    message,
    names,
    seen,
    starting,
    submitting,
)


def phase(progress: Progress) -> Phase | None:
    """Return the phase of the turn, if there is one."""
    return progress.turn.phase if progress.turn else None


def test_first_snapshot_announces_the_start() -> None:
    """The run is reported as started when the service shows it."""
    transition = seen(starting(), "queued")
    assert isinstance(transition.steps[0], RunStarted)
    assert phase(transition.progress) is Phase.FOLLOWING


def test_run_that_is_over_at_once_is_announced_as_started_first() -> None:
    """However fast a run is, its start comes before its end."""
    transition = seen(starting(), "completed")
    assert names(transition.steps) == ["RunStarted", "RunCompleted", "SettleTurn"]


def test_calls_of_a_run_cancelled_before_it_had_an_id_are_nobodys() -> None:
    """A run that waits when it is first seen, and is to be cancelled, asks nobody for outputs."""
    cancelled = verbs.request_cancel(starting(), context()).progress
    transition = seen(cancelled, "requires_action", tool_calls=calls("c"))
    assert names(transition.steps) == ["RunStarted", "CancelRun", "FollowRun"]
    assert transition.progress.public().tool_calls == ()


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelling", "brand_new"])
def test_status_that_is_not_final_announces_nothing(status: str) -> None:
    """A run on its way is followed in silence."""
    transition = seen(following(), status)
    assert transition.steps == ()
    assert transition.progress.public().run_status == status


@pytest.mark.parametrize(
    "status, event_type",
    [
        ("completed", RunCompleted),
        ("cancelled", RunCancelled),
        ("failed", RunFailed),
        ("expired", RunFailed),
        ("incomplete", RunFailed),
    ],
)
def test_final_status_ends_the_turn(status: str, event_type: type) -> None:
    """Every final status is one closing event, and then nothing runs."""
    transition = seen(following(), status)
    closing, settle = transition.steps
    assert isinstance(closing, event_type)
    assert isinstance(settle, SettleTurn)
    assert transition.progress.turn is None
    assert transition.progress.last_closing is closing
    assert transition.progress.public().run_status == status


def test_failure_says_why() -> None:
    """A failed run carries status, code and message."""
    transition = seen(
        following(), "incomplete", error_code="max_completion_tokens", error_message="cut"
    )
    closing = transition.steps[0]
    assert isinstance(closing, RunFailed)
    assert (closing.status, closing.code, closing.message) == (
        "incomplete",
        "max_completion_tokens",
        "cut",
    )


def test_completion_carries_usage() -> None:
    """The tokens come with the completion."""
    usage = Usage(input_tokens=1, output_tokens=2, total_tokens=3)
    closing = seen(following(), "completed", usage=usage).steps[0]
    assert isinstance(closing, RunCompleted)
    assert closing.usage == usage


def hold(progress: Progress, *ids: str) -> Progress:
    """Let the feed yield finished messages."""
    for message_id in ids:
        transition = runs.feed_update(progress, 1, Phase.FOLLOWING, message(message_id), context())
        assert transition.steps == ()
        progress = transition.progress
    return progress


def test_messages_come_after_the_closing_event() -> None:
    """Messages are held back until the run is reported to have ended."""
    transition = seen(hold(following(), "msg_2", "msg_3"), "completed")
    assert names(transition.steps) == [
        "RunCompleted",
        "AssistantMessageAdded",
        "AssistantMessageAdded",
        "SettleTurn",
    ]
    assert transition.progress.last_message_id == "msg_3"


def test_message_is_announced_once() -> None:
    """A message that the feed yields twice is announced once."""
    transition = seen(hold(following(), "msg_2", "msg_2"), "failed")
    assert names(transition.steps).count("AssistantMessageAdded") == 1


def test_message_of_the_last_run_is_not_announced_again() -> None:
    """A message announced with one run is not announced with the next."""
    over = seen(hold(following(), "msg_2"), "completed").progress
    again = following(over)
    held = runs.feed_update(again, 2, Phase.FOLLOWING, message("msg_2"), context()).progress
    assert "AssistantMessageAdded" not in names(seen(held, "completed").steps)


def test_text_is_delivered_as_it_arrives() -> None:
    """A delta is delivered at once."""
    delta = TextDelta(message_id="msg_2", text="he")
    transition = runs.feed_update(following(), 1, Phase.FOLLOWING, delta, context())
    told = transition.steps[0]
    assert isinstance(told, AssistantMessageDelta)
    assert (told.run_id, told.text) == ("run_1", "he")


def test_submission_is_over_with_the_first_snapshot() -> None:
    """The first snapshot after a submission says that the service has the outputs."""
    after = seen(submitting("a"), "queued").progress
    assert after.public().tool_outputs == ()
    assert phase(after) is Phase.FOLLOWING


def test_stale_snapshot_after_a_submission_asks_for_nothing() -> None:
    """A service that still shows the answered calls is polled again, not answered again."""
    after = seen(submitting("a"), "requires_action", tool_calls=calls("a"))
    assert after.steps == ()
    assert phase(after.progress) is Phase.FOLLOWING


def test_reused_call_ids_are_a_new_round() -> None:
    """Once the run went on, the same call ids are new calls."""
    going = seen(submitting("a"), "in_progress").progress
    again = seen(going, "requires_action", tool_calls=calls("a"))
    assert names(again.steps) == ["ToolCallRequested", "CallTools"]


@pytest.mark.parametrize("status", ["requires_action", "in_progress"])
def test_poll_begun_before_a_submission_says_nothing(status: str) -> None:
    """A poll that was overtaken by the last output loses no output."""
    progress = submitting("a")
    after = seen(progress, status, origin=Phase.AWAITING_OUTPUTS, tool_calls=calls("a"))
    assert after.progress is progress


def test_poll_begun_before_a_submission_may_show_the_end() -> None:
    """A run that expired before the outputs went out is over all the same."""
    after = seen(submitting("a"), "expired", origin=Phase.AWAITING_OUTPUTS)
    assert names(after.steps) == ["RunFailed", "SettleTurn"]


def test_action_we_cannot_take_ends_the_run() -> None:
    """A required action that is no function call is cancelled and told as failed."""
    transition = seen(following(), "requires_action", unsupported_action="submit_tool_approval")
    assert names(transition.steps) == ["CancelRun", "RunFailed", "SettleTurn"]
    closing = transition.steps[1]
    assert isinstance(closing, RunFailed)
    assert closing.code == "unsupported_required_action"


def test_call_we_cannot_answer_ends_the_run() -> None:
    """A run that failed for such a call is cancelled too, which closes the call."""
    transition = seen(
        following(),
        "failed",
        unsupported_call="custom_tool_call",
        error_code="unsupported_call",
        error_message="a custom_tool_call",
    )
    assert names(transition.steps) == ["CancelRun", "RunFailed", "SettleTurn"]
    closing = transition.steps[1]
    assert isinstance(closing, RunFailed)
    assert (closing.code, closing.message) == ("unsupported_call", "a custom_tool_call")


@pytest.mark.parametrize("status", ["requires_action", "brand_new"])
def test_status_that_leads_nowhere_is_bounded(status: str) -> None:
    """A run that stays where nobody knows the way out is given up after a time."""
    waiting = seen(following(), status, now=0.0).progress
    still = seen(waiting, status, now=UNKNOWN_STATUS_PATIENCE - 1)
    assert still.steps == ()
    transition = seen(still.progress, status, now=UNKNOWN_STATUS_PATIENCE)
    assert names(transition.steps) == ["CancelRun", "RunFailed", "SettleTurn"]


def test_known_status_resets_the_patience() -> None:
    """A run that is seen going again has all the patience back."""
    waiting = seen(following(), "brand_new", now=0.0).progress
    going = seen(waiting, "in_progress", now=10.0).progress
    again = seen(going, "brand_new", now=UNKNOWN_STATUS_PATIENCE)
    assert again.steps == ()


def test_ended_feed_of_a_live_run_is_opened_again() -> None:
    """A feed that ends before its run is replaced, after a heartbeat."""
    transition = runs.feed_ended(following(), 1, Phase.FOLLOWING, context())
    assert transition.steps == (FollowRun(turn=1, delay=1.0),)


def test_interrupted_feed_is_opened_at_once() -> None:
    """A feed that we closed to look at once is replaced at once."""
    transition = runs.feed_ended(following(), 1, Phase.FOLLOWING, context(), interrupted=True)
    assert transition.steps == (FollowRun(turn=1),)


@pytest.mark.parametrize("progress", [fresh(), awaiting("a"), submitting("a")])
def test_ended_feed_of_a_waiting_run_is_let_go(progress: Progress) -> None:
    """A feed ends where its run waits for outputs."""
    assert runs.feed_ended(progress, 1, Phase.FOLLOWING, context()).steps == ()


def test_interrupted_submission_is_made_again() -> None:
    """Outputs whose sending was cut short are sent again: a run that has them says so."""
    progress = submitting("a")
    again = runs.feed_ended(progress, 1, Phase.SUBMITTING, context(), interrupted=True).steps
    assert again == (SubmitOutputs(turn=1, outputs=progress.public().tool_outputs),)


def test_interrupted_start_is_reported() -> None:
    """A start that was cut short ends its turn, rather than leave it hanging."""
    transition = runs.feed_ended(starting(), 1, Phase.STARTING, context())
    assert names(transition.steps) == ["RunFailed", "SettleTurn"]


def test_call_that_is_shown_for_ever_after_its_answer_is_bounded() -> None:
    """A service that never lets go of answered calls is given up after a time."""
    after = seen(submitting("a"), "requires_action", tool_calls=calls("a"), now=0.0).progress
    late = seen(after, "requires_action", tool_calls=calls("a"), now=UNKNOWN_STATUS_PATIENCE)
    assert names(late.steps) == ["CancelRun", "RunFailed", "SettleTurn"]


def test_update_for_a_turn_that_is_over_is_passed_over() -> None:
    """What a feed still yields after its turn changes nothing."""
    progress = following()
    assert runs.feed_update(progress, 9, Phase.FOLLOWING, message("x"), context()).progress is (
        progress
    )


def test_next_queued_message_follows_the_end() -> None:
    """The end of a turn begins the next one, after all its events."""
    queued = verbs.queue_message(following(), HELLO, OPTIONS, context()).progress
    transition = seen(hold(queued, "msg_2"), "completed")
    assert names(transition.steps) == [
        "RunCompleted",
        "AssistantMessageAdded",
        "SettleTurn",
        "PostMessage",
    ]
    assert transition.steps[-1] == PostMessage(turn=2)
    assert transition.progress.public().running


def test_run_keeps_its_id_over_its_rounds() -> None:
    """The run's id stays the first one, whatever continues it is called."""
    after = seen(following(), "in_progress", id="resp_2").progress
    assert after.public().run_id == "run_1"


def test_message_without_names_gets_those_of_the_run() -> None:
    """A message that does not say which run wrote it belongs to the run at hand."""
    progress = following()
    bare = message("msg_2").__class__(id="msg_2", role="assistant", content="hi")
    held = runs.feed_update(progress, 1, Phase.FOLLOWING, bare, context()).progress
    told = seen(held, "completed").steps[1]
    assert isinstance(told, AssistantMessageAdded)
    assert (told.run_id, told.assistant_id) == ("run_1", "asst_1")


@pytest.mark.parametrize("known", [True, False])
def test_turn_knows_whether_all_messages_were_given(known: bool) -> None:
    """A run that asks for outputs says whether its messages so far were told."""
    wanting = seen(following(), "requires_action", tool_calls=calls("a"), messages_known=known)
    turn = wanting.progress.turn
    assert turn is not None
    assert turn.messages_known is known


def test_poll_of_a_waiting_run_makes_nothing_unknown() -> None:
    """Seeing the same calls again means that nothing was written since."""
    given = seen(following(), "requires_action", tool_calls=calls("a"), messages_known=True)
    again = seen(given.progress, "requires_action", tool_calls=calls("a")).progress.turn
    assert again is not None
    assert again.messages_known


def test_calls_that_came_without_us_make_messages_unknown() -> None:
    """A run that another process has led on may have written what no feed of ours gave."""
    given = seen(following(), "requires_action", tool_calls=calls("a"), messages_known=True)
    moved = seen(given.progress, "requires_action", tool_calls=calls("b")).progress.turn
    assert moved is not None
    assert not moved.messages_known
