"""A conversation, the same over every service."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.testing import CallTools, Fail, Hold, Incomplete, Reply, ScriptStep
from tests.plugins.services import MakeService
from tests.support.talk import PATIENCE, Talk


@pytest.fixture
def add() -> None:
    """Register a tool that adds."""

    @gpt.tool
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b


def test_events_of_a_turn_come_in_order(make_service: MakeService) -> None:
    """A plain turn is message, start, completion, reply."""
    talk = Talk(make_service([Reply("hi there")]))
    talk.say()
    assert talk.names == ["UserMessageAdded", "RunStarted", "RunCompleted", "AssistantMessageAdded"]


def test_events_carry_the_same_run(make_service: MakeService) -> None:
    """Start, completion and reply name the same run and assistant."""
    talk = Talk(make_service([Reply("hi there")]))
    talk.say("hello")
    message, started, completed, reply = talk.events
    assert isinstance(message, gpt.UserMessageAdded)
    assert isinstance(started, gpt.RunStarted)
    assert isinstance(completed, gpt.RunCompleted)
    assert isinstance(reply, gpt.AssistantMessageAdded)
    assert message.content == "hello"
    assert started.id == completed.id == reply.run_id
    assert started.assistant_id == completed.assistant_id == talk.assistant_id
    assert completed.usage == gpt.Usage(input_tokens=1, output_tokens=2, total_tokens=3)
    assert reply.content == "hi there"
    assert {event.thread_id for event in talk.recorder.events} == {talk.thread_id}


def test_state_follows_the_turn(make_service: MakeService) -> None:
    """The state tells of the run while it goes, and of the last one after it."""
    talk = Talk(make_service([CallTools(("ask_user", {"q": 1})), Reply("thanks")]))
    assert talk.agent.state == gpt.AgentState(
        thread_id=talk.thread_id, default_assistant=talk.assistant_id
    )
    message_id = talk.agent.add_user_message("hello")
    requested = talk.recorder.wait_for(gpt.ToolCallRequested)
    state = talk.agent.state
    assert state.running
    assert (state.run_id, state.run_status) == (requested.run_id, "requires_action")
    assert state.tool_calls == (requested,)
    assert state.last_message_id == message_id
    talk.agent.submit_tool_output(requested.id, "yes")
    talk.agent.wait(PATIENCE)
    state = talk.agent.state
    assert not state.running
    assert (state.run_id, state.run_status) == (requested.run_id, "completed")
    assert state.last_message_id == talk.recorder.of(gpt.AssistantMessageAdded)[0].message_id


@pytest.mark.usefixtures("add")
def test_handler_answers_a_call(make_service: MakeService) -> None:
    """A registered handler answers a call, and the run goes on to its reply."""
    talk = Talk(make_service([CallTools(("add", {"a": 2, "b": 3})), Reply("It is 5.")]))
    assert talk.agent.ask("What is 2 + 3?", timeout=PATIENCE) == "It is 5."
    assert talk.names == [
        "UserMessageAdded",
        "RunStarted",
        "ToolCallRequested",
        "ToolCallOutputRecorded",
        "RunCompleted",
        "AssistantMessageAdded",
    ]
    assert talk.recorder.of(gpt.ToolCallOutputRecorded)[0].output == "5"


@pytest.mark.usefixtures("add")
def test_model_sees_the_outputs(make_service: MakeService) -> None:
    """What the handler gave is what the model goes on with."""

    def script(text: str, outputs: Mapping[str, str]) -> ScriptStep:
        return Reply(f"got {outputs['add']}") if outputs else CallTools(("add", {"a": 1, "b": 1}))

    talk = Talk(make_service(script))
    assert talk.agent.ask("go", timeout=PATIENCE) == "got 2"


def test_parallel_calls_run_at_once(make_service: MakeService) -> None:
    """Two calls of one run are handled side by side."""
    both = threading.Barrier(2)

    @gpt.tool
    def meet(name: str) -> str:
        """Wait for the other call."""
        both.wait(PATIENCE)
        return name

    talk = Talk(
        make_service([CallTools(("meet", {"name": "a"}), ("meet", {"name": "b"})), Reply("x")])
    )
    talk.say()
    outputs = {event.output for event in talk.recorder.of(gpt.ToolCallOutputRecorded)}
    assert outputs == {"a", "b"}


@pytest.mark.usefixtures("add")
def test_run_may_ask_for_tools_again_and_again(make_service: MakeService) -> None:
    """Several rounds of tools belong to one run."""
    rounds = [CallTools(("add", {"a": number, "b": 1})) for number in range(3)]
    talk = Talk(make_service([*rounds, Reply("done")]))
    talk.say()
    assert [event.output for event in talk.recorder.of(gpt.ToolCallOutputRecorded)] == [
        "1",
        "2",
        "3",
    ]
    assert len({event.run_id for event in talk.recorder.of(gpt.ToolCallRequested)}) == 1


def test_call_without_handler_waits(make_service: MakeService) -> None:
    """A call that nobody handles waits for the program, and so does the other's output."""
    talk = Talk(make_service([CallTools(("one", {}), ("two", {})), Reply("ok")]))
    talk.agent.add_user_message("hello")
    talk.recorder.wait_for(gpt.ToolCallRequested, count=2)
    first, second = talk.recorder.of(gpt.ToolCallRequested)
    talk.agent.submit_tool_output(second.id, {"answer": 2})
    recorded = talk.recorder.wait_for(gpt.ToolCallOutputRecorded)
    assert recorded.output == '{"answer": 2}'
    assert talk.agent.state.tool_outputs == (recorded,)
    assert talk.agent.running
    talk.agent.submit_tool_output(first.id, "plain")
    assert isinstance(talk.agent.wait(PATIENCE), gpt.RunCompleted)


@pytest.mark.parametrize("arguments", ['{"a": 1', "[1, 2]"])
@pytest.mark.usefixtures("add")
def test_bad_arguments_are_answered_with_an_error(
    make_service: MakeService, arguments: str
) -> None:
    """Arguments that are no JSON object become an error output, and the run goes on."""
    talk = Talk(make_service([CallTools(("add", arguments)), Reply("sorry")]))
    assert talk.agent.ask("go", timeout=PATIENCE) == "sorry"
    assert talk.names[2:5] == ["ToolCallRequested", "ToolCallFailed", "ToolCallOutputRecorded"]
    assert "error" in talk.recorder.of(gpt.ToolCallOutputRecorded)[0].output


def test_failed_run_is_reported(make_service: MakeService) -> None:
    """A failed run says why, and the agent goes on."""
    talk = Talk(make_service([Fail("server_error", "oops"), Reply("back")]))
    talk.say()
    failed = talk.recorder.wait_for(gpt.RunFailed)
    assert (failed.status, failed.code, failed.message) == ("failed", "server_error", "oops")
    assert talk.agent.ask("again", timeout=PATIENCE) == "back"


def test_messages_of_an_incomplete_run_are_announced(make_service: MakeService) -> None:
    """What a run wrote before it was cut short is reported after its failure."""
    talk = Talk(make_service([Incomplete("max_completion_tokens", "half a")]))
    talk.say()
    assert talk.names[-2:] == ["RunFailed", "AssistantMessageAdded"]
    assert talk.recorder.of(gpt.RunFailed)[0].status == "incomplete"


def test_rate_limited_run_is_started_again(make_service: MakeService) -> None:
    """After a rate limit a new run answers the same message, which stands once."""
    limit = Fail("rate_limit_exceeded", "Please try again in 10ms.")
    talk = Talk(make_service([limit, limit, Reply("there")]))
    assert talk.agent.ask("hello", timeout=PATIENCE) == "there"
    assert talk.names == [
        "UserMessageAdded",
        "RunStarted",
        "RateLimited",
        "RunStarted",
        "RateLimited",
        "RunStarted",
        "RunCompleted",
        "AssistantMessageAdded",
    ]
    limited = talk.recorder.of(gpt.RateLimited)
    assert [event.retries_remaining for event in limited] == [9, 8]
    assert limited[0].retry_in == pytest.approx(0.01)


def test_rate_limit_without_end_is_reported(make_service: MakeService) -> None:
    """When the retries are used up, that is reported, and the run has failed."""
    gpt.configure(rate_limit_retries=1, rate_limit_delay=0.0)
    talk = Talk(
        make_service([Fail("rate_limit_exceeded", "no"), Fail("rate_limit_exceeded", "no")])
    )
    talk.say()
    assert talk.names[-2:] == ["RateLimitRetriesExhausted", "RunFailed"]


def test_quota_is_reported(make_service: MakeService) -> None:
    """A used-up quota is reported, and not tried again."""
    talk = Talk(make_service([Fail("rate_limit_exceeded", "You exceeded your current quota.")]))
    talk.say()
    assert talk.names == ["UserMessageAdded", "RunStarted", "QuotaExceeded", "RunFailed"]


def test_cancelled_run_is_reported(make_service: MakeService) -> None:
    """A run at work is cancelled at once."""
    talk = Talk(make_service([Hold()]))
    talk.agent.add_user_message("hello")
    talk.recorder.wait_for(gpt.RunStarted)
    talk.agent.cancel_run()
    assert isinstance(talk.agent.wait(PATIENCE), gpt.RunCancelled)


def test_waiting_run_is_cancelled(make_service: MakeService) -> None:
    """A run that waits for an output is cancelled, and its call with it."""
    talk = Talk(make_service([CallTools(("ask_user", {}))]))
    talk.agent.add_user_message("hello")
    requested = talk.recorder.wait_for(gpt.ToolCallRequested)
    talk.agent.cancel_run()
    talk.agent.wait(PATIENCE)
    assert talk.names[-1] == "RunCancelled"
    with pytest.raises(gpt.RunNotInProgressError):
        talk.agent.submit_tool_output(requested.id, "late")


def test_queued_messages_have_a_run_each(make_service: MakeService) -> None:
    """Messages queued during a run are posted one after the other, in order."""
    talk = Talk(make_service([CallTools(("go", {})), Reply("one"), Reply("two"), Reply("three")]))
    talk.agent.add_user_message("first")
    requested = talk.recorder.wait_for(gpt.ToolCallRequested)
    assert talk.agent.add_user_message("second", when_busy="queue") is None
    assert talk.agent.add_user_message("third", when_busy="queue") is None
    with pytest.raises(gpt.RunInProgressError):
        talk.agent.add_user_message("fourth")
    talk.agent.submit_tool_output(requested.id, "")
    talk.agent.wait(PATIENCE)
    assert [event.content for event in talk.recorder.of(gpt.UserMessageAdded)] == [
        "first",
        "second",
        "third",
    ]
    assert [event.content for event in talk.recorder.of(gpt.AssistantMessageAdded)] == [
        "one",
        "two",
        "three",
    ]


def test_queueing_on_a_free_agent_posts_at_once(make_service: MakeService) -> None:
    """Without a run there is nothing to wait for, and the message has its id."""
    talk = Talk(make_service([Reply("hi")]))
    assert talk.agent.add_user_message("hello", when_busy="queue")


def test_live_run_is_followed_by_the_next_agent(make_service: MakeService) -> None:
    """A new agent on the thread announces the unanswered calls, and brings the run to its end."""
    talk = Talk(make_service([CallTools(("go", {})), Reply("done")]))
    talk.agent.add_user_message("hello")
    first = talk.recorder.wait_for(gpt.ToolCallRequested)
    talk.agent.shutdown()
    talk.recorder.wait_for(gpt.AgentStopped)
    again = talk.connect()
    assert again.running
    second = talk.recorder.wait_for(gpt.ToolCallRequested, count=2)
    assert second == first
    again.submit_tool_output(second.id, "x")
    again.wait(PATIENCE)
    assert talk.names[talk.names.index("AgentStopped") + 1 :] == [
        "ToolCallRequested",
        "ToolCallOutputRecorded",
        "RunCompleted",
        "AssistantMessageAdded",
    ]


def test_missed_messages_are_announced_first(make_service: MakeService) -> None:
    """A program that names the last message it saw receives the later ones."""
    talk = Talk(make_service([Reply("one"), Reply("two")]))
    talk.say("a")
    seen = talk.agent.last_message_id
    talk.say("b")
    talk.agent.shutdown()
    late = talk.connect(last_message_id=seen)
    late.wait(PATIENCE)
    assert talk.names[-2:] == ["AgentStopped", "AssistantMessageAdded"]
    assert talk.recorder.of(gpt.AssistantMessageAdded)[-1].content == "two"


def test_history_is_not_replayed(make_service: MakeService) -> None:
    """Without the last message seen, only what is new is reported."""
    talk = Talk(make_service([Reply("one"), Reply("two")]))
    talk.say("a")
    talk.agent.shutdown()
    again = talk.connect()
    assert again.ask("b", timeout=PATIENCE) == "two"
    assert [event.content for event in talk.recorder.of(gpt.AssistantMessageAdded)] == [
        "one",
        "two",
    ]


def test_history_given_is_kept(make_service: MakeService) -> None:
    """A thread begun with history goes on from there."""
    service = make_service([Reply("hi")])
    thread_id = gpt.create_thread(
        messages=[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
        service=service,
    )
    assistant_id = gpt.create_assistant(model="any", service=service)
    with gpt.connect(thread_id, assistant_id, service=service) as agent:
        assert agent.ask("c", timeout=PATIENCE) == "hi"


def test_content_may_have_parts(make_service: MakeService) -> None:
    """A message of several parts is posted and told as it was given."""
    talk = Talk(make_service([Reply("hi")]))
    talk.agent.add_user_message(
        ["look", {"type": "image_url", "image_url": {"url": "http://x/y.png"}}]
    )
    talk.agent.wait(PATIENCE)
    added = talk.recorder.of(gpt.UserMessageAdded)[0]
    assert added.content == (
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "http://x/y.png"}},
    )


def test_callback_may_add_the_next_message(make_service: MakeService) -> None:
    """A message added in a callback follows after the events of the run before."""
    talk = Talk(make_service([Reply("one"), Reply("two")]))
    added: list[str | None] = []

    @talk.agent.on(gpt.RunCompleted)
    def go_on(event: gpt.RunCompleted) -> None:
        if not added:
            added.append(talk.agent.add_user_message("next"))

    talk.agent.add_user_message("first")
    talk.recorder.wait_for(gpt.AssistantMessageAdded, count=2)
    assert (
        talk.names
        == [
            "UserMessageAdded",
            "RunStarted",
            "RunCompleted",
            "AssistantMessageAdded",
        ]
        * 2
    )


def test_worker_delivers_everything(make_service: MakeService) -> None:
    """All events come on the agent's own thread, which is named after the conversation."""
    talk = Talk(make_service([CallTools(("go", {})), Reply("hi")]))
    talk.agent.add_user_message("hello")
    talk.agent.submit_tool_output(talk.recorder.wait_for(gpt.ToolCallRequested).id, "x")
    talk.agent.wait(PATIENCE)
    assert set(talk.recorder.threads) == {f"gpt-agent-{talk.thread_id}"}
