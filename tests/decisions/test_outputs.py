"""Tool calls, and their outputs recorded and submitted."""

from __future__ import annotations

import itertools

import attrs
import pytest

from gpt_agent_sync.decisions import outputs, runs, verbs
from gpt_agent_sync.decisions.outputs import read_arguments
from gpt_agent_sync.decisions.state import (
    CallTools,
    Phase,
    Progress,
    SubmitOutputs,
    Transition,
)
from gpt_agent_sync.errors import (
    AgentNotAliveError,
    InvalidToolCallIdError,
    RunNotInProgressError,
)
from gpt_agent_sync.events import ToolCallFailed, ToolCallOutputRecorded, ToolCallRequested
from gpt_agent_sync.records import RunSnapshot
from tests.support.progress import (
    awaiting,
    calls,
    context,
    following,
    fresh,
    names,
    seen,
    submitting,
)


def phase(progress: Progress) -> Phase | None:
    """Return the phase of the turn, if there is one."""
    return progress.turn.phase if progress.turn else None


def sent(transition: Transition) -> list[str]:
    """Return the ids of the outputs that a transition has sent, in order."""
    submission = transition.steps[-1]
    assert isinstance(submission, SubmitOutputs)
    return [output.id for output in submission.outputs]


def test_calls_are_announced_and_then_made() -> None:
    """Every call is announced before the first handler is called."""
    transition = seen(following(), "requires_action", tool_calls=calls("a", "b"))
    assert names(transition.steps) == ["ToolCallRequested", "ToolCallRequested", "CallTools"]
    assert [call.id for call in transition.progress.public().tool_calls] == ["a", "b"]


def listening(*ids: str, arguments: str = "{}") -> Transition:
    """Return the transition of an agent that only listens, when its run asks for these calls."""
    quiet = attrs.evolve(following(), handles_tools=False)
    return seen(quiet, "requires_action", tool_calls=calls(*ids, arguments=arguments))


@pytest.mark.parametrize("arguments", ["{}", "{not json"])
def test_calls_are_only_announced_where_nobody_handles_them(arguments: str) -> None:
    """An agent that listens makes no calls, and answers none, whatever their arguments are."""
    transition = listening("a", "b", arguments=arguments)
    assert names(transition.steps) == ["ToolCallRequested", "ToolCallRequested"]
    assert [call.id for call in transition.progress.public().tool_calls] == ["a", "b"]


def test_output_of_the_program_is_taken_where_nobody_handles_calls() -> None:
    """An agent that listens submits what the program answers."""
    transition = outputs.record_output(listening("a").progress, "a", "1")
    assert sent(transition) == ["a"]


def test_calls_that_wait_are_made_when_handling_begins() -> None:
    """An agent that has only listened makes the calls that still wait, and those to come."""
    half = outputs.record_output(listening("a", "b").progress, "a", "1").progress
    begun = outputs.handle_tools(half)
    (step,) = begun.steps
    assert isinstance(step, CallTools)
    assert [call.id for call in step.calls] == ["b"]
    following_round = seen(begun.progress, "requires_action", tool_calls=calls("z"))
    assert names(following_round.steps) == ["ToolCallRequested", "CallTools"]


def test_bad_arguments_are_answered_when_handling_begins() -> None:
    """Calls with arguments that are no JSON object get their error then."""
    begun = outputs.handle_tools(listening("a", arguments="[1]").progress)
    assert names(begun.steps) == ["ToolCallFailed", "ToolCallOutputRecorded", "SubmitOutputs"]
    assert phase(begun.progress) is Phase.SUBMITTING


@pytest.mark.parametrize("progress", [fresh(), awaiting("a")])
def test_handling_begins_once(progress: Progress) -> None:
    """An agent that handles its tools is left as it is."""
    assert outputs.handle_tools(progress).progress is progress


def test_stopped_agent_does_not_begin_to_handle() -> None:
    """A stopped agent refuses."""
    with pytest.raises(AgentNotAliveError):
        outputs.handle_tools(verbs.stop(fresh(), "shutdown").progress)


def test_calls_are_announced_once() -> None:
    """A poll that shows the same calls again announces nothing."""
    assert seen(awaiting("a", "b"), "requires_action", tool_calls=calls("a", "b")).steps == ()


def test_recorded_output_survives_a_poll() -> None:
    """A poll while some outputs are missing loses none of those recorded."""
    half = outputs.record_output(awaiting("a", "b"), "a", "1").progress
    after = seen(half, "requires_action", tool_calls=calls("a", "b")).progress
    assert [output.id for output in after.public().tool_outputs] == ["a"]
    assert [call.id for call in after.public().tool_calls] == ["b"]


def test_call_answered_elsewhere_is_dropped() -> None:
    """When another process has answered, its next round takes the place of ours."""
    after = seen(awaiting("a"), "requires_action", tool_calls=calls("z"))
    assert names(after.steps) == ["ToolCallRequested", "CallTools"]
    assert [call.id for call in after.progress.public().tool_calls] == ["z"]


def test_run_that_goes_on_elsewhere_waits_for_nothing() -> None:
    """When the run goes on without us, our calls are no longer waited for."""
    after = seen(awaiting("a"), "in_progress").progress
    assert after.public().tool_calls == ()
    assert phase(after) is Phase.FOLLOWING


@pytest.mark.parametrize("arguments", ["{not json", "[1]", '"text"', "3"])
def test_call_with_bad_arguments_is_answered_with_an_error(arguments: str) -> None:
    """A call whose arguments are no JSON object is announced, failed and answered."""
    transition = seen(following(), "requires_action", tool_calls=calls("a", arguments=arguments))
    assert names(transition.steps) == [
        "ToolCallRequested",
        "ToolCallFailed",
        "ToolCallOutputRecorded",
        "SubmitOutputs",
    ]
    requested = transition.steps[0]
    assert isinstance(requested, ToolCallRequested)
    assert requested.arguments == arguments


def test_good_call_beside_a_bad_one_is_made() -> None:
    """One bad call does not keep the others from their handlers."""
    both = (*calls("a", arguments="{"), *calls("b"))
    transition = seen(following(), "requires_action", tool_calls=both)
    assert names(transition.steps) == [
        "ToolCallRequested",
        "ToolCallRequested",
        "ToolCallFailed",
        "ToolCallOutputRecorded",
        "CallTools",
    ]


@pytest.mark.parametrize(
    "text, value",
    [
        ('{"a": 1}', {"a": 1}),
        ("", {}),
        ("  ", {}),
        ("null", {}),
        ("[]", "[]"),
        ("{", "{"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_arguments_are_read(text: str, value: object) -> None:
    """Nothing and null are no arguments; what is no object stays text."""
    assert read_arguments(text) == value


def test_last_output_has_all_sent() -> None:
    """When the last call has its output, all go out in one submission."""
    first = outputs.record_output(awaiting("a", "b"), "b", "2")
    assert names(first.steps) == ["ToolCallOutputRecorded"]
    last = outputs.record_output(first.progress, "a", "1")
    assert names(last.steps) == ["ToolCallOutputRecorded", "SubmitOutputs"]
    submission = last.steps[1]
    assert isinstance(submission, SubmitOutputs)
    assert [output.id for output in submission.outputs] == ["a", "b"]


@pytest.mark.parametrize("order", list(itertools.permutations("abc")))
def test_outputs_are_sent_in_the_order_of_the_calls(order: tuple[str, ...]) -> None:
    """Outputs that come in any order are sent in the order in which the model asked."""
    progress = awaiting("a", "b", "c")
    for call_id in order:
        last = outputs.record_output(progress, call_id, "1")
        progress = last.progress
    assert sent(last) == ["a", "b", "c"]


def test_outputs_wait_in_the_order_of_recording() -> None:
    """Until they are sent, the state shows outputs in the order in which they came."""
    progress = awaiting("a", "b", "c")
    for call_id in "ca":
        progress = outputs.record_output(progress, call_id, "1").progress
    assert [output.id for output in progress.public().tool_outputs] == ["c", "a"]


def test_outputs_are_sent_again_in_the_same_order() -> None:
    """A submission that was interrupted is repeated in the order of the calls."""
    progress = awaiting("a", "b")
    for call_id in "ba":
        progress = outputs.record_output(progress, call_id, "1").progress
    assert sent(runs.feed_ended(progress, 1, Phase.SUBMITTING, context())) == ["a", "b"]


def test_error_outputs_keep_the_places_of_their_calls() -> None:
    """A call with bad arguments is answered at once, and sent where the model asked for it."""
    wanted = (*calls("a"), *calls("b", arguments="{"), *calls("c"))
    progress = seen(following(), "requires_action", tool_calls=wanted).progress
    assert [output.id for output in progress.public().tool_outputs] == ["b"]
    progress = outputs.record_output(progress, "c", "1").progress
    assert sent(outputs.record_output(progress, "a", "1")) == ["a", "b", "c"]


def test_outputs_after_a_reconnect_are_sent_in_the_order_of_the_calls() -> None:
    """An agent that finds a run with some calls unanswered knows the order of those."""
    live_run = RunSnapshot(id="run_1", status="requires_action", tool_calls=calls("b", "c"))
    progress = verbs.begin(
        "thread_1", "asst_1", live_run=live_run, missed=(), last_message_id=None, context=context()
    ).progress
    progress = seen(progress, "requires_action", tool_calls=calls("b", "c")).progress
    progress = outputs.record_output(progress, "c", "1").progress
    assert sent(outputs.record_output(progress, "b", "1")) == ["b", "c"]


def test_poll_that_shows_fewer_calls_keeps_the_order_of_the_rest() -> None:
    """Of calls that another process has partly answered, the rest are sent in their order."""
    progress = outputs.record_output(awaiting("a", "b", "c"), "c", "1").progress
    progress = seen(progress, "requires_action", tool_calls=calls("b", "c")).progress
    assert sent(outputs.record_output(progress, "b", "1")) == ["b", "c"]


def test_poll_that_shows_answered_calls_alone_has_their_outputs_sent() -> None:
    """When the run waits for no call but those that have outputs, they are sent at once."""
    progress = outputs.record_output(awaiting("a", "b", "c"), "c", "1").progress
    progress = outputs.record_output(progress, "a", "1").progress
    transition = seen(progress, "requires_action", tool_calls=calls("a", "c"))
    assert sent(transition) == ["a", "c"]
    assert transition.progress.turn is not None
    assert transition.progress.turn.phase is Phase.SUBMITTING


def test_failed_handler_is_reported_before_its_error_output() -> None:
    """A failure is reported, and the error goes to the model in the output's place."""
    transition = outputs.record_output(awaiting("a"), "a", outputs.error_output("no"), failure="no")
    failed, recorded = transition.steps[:2]
    assert isinstance(failed, ToolCallFailed)
    assert isinstance(recorded, ToolCallOutputRecorded)
    assert recorded.output == '{"error": "no"}'


@pytest.mark.parametrize(
    "progress, error",
    [
        (fresh(), RunNotInProgressError),
        (following(), InvalidToolCallIdError),
        (submitting("a"), InvalidToolCallIdError),
        (awaiting("b"), InvalidToolCallIdError),
        (verbs.stop(awaiting("a"), "shutdown").progress, AgentNotAliveError),
    ],
)
def test_output_nobody_waits_for_is_refused(progress: Progress, error: type[Exception]) -> None:
    """An output that no call of the active run waits for is refused."""
    with pytest.raises(error):
        outputs.record_output(progress, "a", "1")


@pytest.mark.parametrize(
    "text, told",
    [
        ("caf\u00e9 \U0001f600", "caf\u00e9 \U0001f600"),
        ("caf\udce9", "caf\ufffd"),
        ("\ud83d\ude00", "\U0001f600"),
    ],
)
def test_output_can_be_encoded(text: str, told: str) -> None:
    """What UTF-8 cannot hold is replaced, in outputs and in the messages of failures."""
    failed, recorded, _ = outputs.record_output(awaiting("a"), "a", text, failure=text).steps
    assert isinstance(failed, ToolCallFailed)
    assert isinstance(recorded, ToolCallOutputRecorded)
    assert (failed.message, recorded.output) == (told, told)


def test_handler_of_an_earlier_call_with_the_same_id_is_refused() -> None:
    """A handler that was given up on does not answer the call that has its id now."""
    progress = awaiting("a")
    assert progress.turn is not None
    (call,) = progress.turn.tool_calls
    with pytest.raises(InvalidToolCallIdError):
        outputs.record_output(progress, "a", "1", request=attrs.evolve(call))


def test_interrupted_call_that_nobody_waits_for_is_not_told() -> None:
    """A call whose run is over needs no decision any more."""
    progress = awaiting("a")
    assert progress.turn is not None
    (call,) = progress.turn.tool_calls
    answered = outputs.record_output(progress, "a", "1").progress
    assert outputs.call_interrupted(answered, call, 2).steps == ()
    assert outputs.call_interrupted(fresh(), call, 2).steps == ()


def test_call_cannot_be_made_again_without_a_run() -> None:
    """There is no call to make where no run is active."""
    with pytest.raises(RunNotInProgressError):
        outputs.rerun_call(fresh(), "a")
