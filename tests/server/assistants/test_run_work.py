"""Runs in progress: what their models are asked and answer, tools, and failures."""

from __future__ import annotations

import pytest

from gpt_agent_sync.records import Usage
from gpt_agent_sync.server.assistants.run_work import RunWork
from gpt_agent_sync.server.engine import Engine
from gpt_agent_sync.testing import CallTools, Fail, Hold, Incomplete, Reply
from tests.support.server_setup import (
    CALL,
    START,
    MakeRunSetup,
    wait_until_idle,
)
from tests.support.wire_client import Json, calls_of


def test_reply_joins_its_deltas(run_setup: MakeRunSetup) -> None:
    """A reply in several deltas is one message."""
    setup = run_setup(Reply("Hel", "lo"))
    thread_id, run_id = setup.start()
    setup.wire.settled(thread_id, run_id)
    assert setup.wire.texts(thread_id) == ["hi", "Hello"]


def test_run_has_its_times(run_setup: MakeRunSetup) -> None:
    """A run's times are those of the server's clock."""
    setup = run_setup(Hold())
    thread_id, run_id = setup.in_progress()
    setup.clock.now += 5.5
    setup.release()
    run = setup.wire.settled(thread_id, run_id)
    assert (run["created_at"], run["started_at"], run["completed_at"]) == (
        START,
        START,
        START + 5,
    )


def test_model_reads_the_thread(run_setup: MakeRunSetup) -> None:
    """The model is asked with the instructions and the whole thread, oldest first."""
    setup = run_setup(Reply("one"), Reply("two"))
    thread_id = setup.wire.thread("hi")
    for _ in range(2):
        setup.wire.settled(thread_id, setup.wire.start(thread_id, instructions="Be kind."))
    assert setup.last_chat() == [("system", "Be kind."), ("user", "hi"), ("assistant", "one")]


def test_model_reads_parts(run_setup: MakeRunSetup) -> None:
    """Texts and image addresses go to the model."""
    setup = run_setup()
    image = {"type": "image_url", "image_url": {"url": "http://x/y.png"}}
    content = [{"type": "text", "text": "Look:"}, image]
    message = {"role": "user", "content": content}
    thread_id = setup.wire.post("/threads", {"messages": [message]})["id"]
    setup.wire.settled(thread_id, setup.wire.start(thread_id))
    assert setup.last_chat() == [("user", [{"type": "text", "text": "Look:"}, image])]


def test_model_reads_texts_joined(run_setup: MakeRunSetup) -> None:
    """Several text parts go to the model as one text."""
    setup = run_setup()
    content = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    message = {"role": "user", "content": content}
    thread_id = setup.wire.post("/threads", {"messages": [message]})["id"]
    setup.wire.settled(thread_id, setup.wire.start(thread_id))
    assert setup.last_chat() == [("user", "one\ntwo")]


def test_model_is_offered_function_tools(run_setup: MakeRunSetup) -> None:
    """A run's function tools are offered to the model."""
    setup = run_setup()
    tool = {"type": "function", "function": {"name": "add"}}
    setup.wire.settled(*setup.start(tools=[tool]))
    assert setup.model.requests[0].tools == (tool,)


@pytest.mark.parametrize(
    "fields, options",
    [
        ({}, {"parallel_tool_calls": True}),
        ({"temperature": 0.0}, {"parallel_tool_calls": True, "temperature": 0.0}),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
        ({"max_completion_tokens": 300}, {"parallel_tool_calls": True, "max_tokens": 300}),
        (
            {"response_format": {"type": "json_object"}},
            {"parallel_tool_calls": True, "response_format": {"type": "json_object"}},
        ),
        ({"response_format": "auto"}, {"parallel_tool_calls": True}),
    ],
)
def test_model_gets_options(run_setup: MakeRunSetup, fields: Json, options: Json) -> None:
    """A run's parameters go to the model by its names, what chats do not know is left out."""
    setup = run_setup()
    setup.wire.settled(*setup.start(**fields))
    assert setup.model.requests[0].options == options


@pytest.mark.parametrize("choice", ["none", {"type": "function", "function": {"name": "add"}}])
def test_model_gets_the_tool_choice(run_setup: MakeRunSetup, choice: str | Json) -> None:
    """The choice of tools goes to the model."""
    setup = run_setup()
    setup.wire.settled(*setup.start(tool_choice=choice))
    assert setup.model.requests[0].tool_choice == choice


def test_two_rounds_of_tools(run_setup: MakeRunSetup) -> None:
    """A run may ask for tools twice before it completes."""
    setup = run_setup(CALL, CALL, Reply("done"))
    thread_id, first = setup.requiring_action()
    setup.wire.submit(thread_id, first, "1")
    second = setup.wire.with_status(thread_id, first["id"], "requires_action")
    setup.wire.submit(thread_id, second, "2")
    assert setup.wire.settled(thread_id, first["id"])["status"] == "completed"
    assert calls_of(first) != calls_of(second)


def test_model_reads_all_rounds(run_setup: MakeRunSetup) -> None:
    """The model is asked again with all calls and outputs of the run so far."""
    setup = run_setup(CALL, CALL, Reply("done"))
    thread_id, run = setup.requiring_action()
    setup.wire.submit(thread_id, run, "1")
    run = setup.wire.with_status(thread_id, run["id"], "requires_action")
    setup.wire.submit(thread_id, run, "2")
    setup.wire.settled(thread_id, run["id"])
    assert setup.last_chat() == [
        ("user", "hi"),
        ("assistant", None),
        ("tool", "1"),
        ("assistant", None),
        ("tool", "2"),
    ]


def test_parallel_calls_get_their_own_outputs(run_setup: MakeRunSetup) -> None:
    """Outputs submitted in any order reach their own calls."""
    setup = run_setup(CallTools(("add", {"a": 1}), ("add", {"a": 2})), Reply("done"))
    thread_id, run = setup.requiring_action()
    ids = [call["id"] for call in calls_of(run)]
    outputs = [{"tool_call_id": call_id, "output": call_id} for call_id in reversed(ids)]
    setup.wire.post(
        f"/threads/{thread_id}/runs/{run['id']}/submit_tool_outputs", {"tool_outputs": outputs}
    )
    setup.wire.settled(thread_id, run["id"])
    assert [content for role, content in setup.last_chat() if role == "tool"] == ids


def test_answer_to_outputs_is_queued(run_setup: MakeRunSetup) -> None:
    """A run whose outputs were taken is queued and asks for nothing."""
    setup = run_setup(CALL, Hold())
    thread_id, run = setup.requiring_action()
    run = setup.wire.submit(thread_id, run, "1")
    assert (run["status"], run["required_action"]) == ("queued", None)


def test_usage_counts_all_rounds(run_setup: MakeRunSetup) -> None:
    """The usage of a run is the sum of its model's."""
    usage = Usage(input_tokens=10, output_tokens=5, total_tokens=15)
    setup = run_setup(CALL, Reply("done", usage=usage))
    thread_id, run = setup.requiring_action()
    setup.wire.submit(thread_id, run, "1")
    assert setup.wire.settled(thread_id, run["id"])["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
    }


def test_waiting_run_wrote_no_message(run_setup: MakeRunSetup) -> None:
    """While a run waits for outputs the thread has no reply."""
    setup = run_setup(CALL)
    thread_id, _ = setup.requiring_action()
    assert setup.wire.texts(thread_id) == ["hi"]


@pytest.mark.parametrize(
    "step",
    [
        Fail("server_error", "Sorry."),
        Fail("rate_limit_exceeded", "Rate limit reached. Please try again in 1s."),
        Fail("rate_limit_exceeded", "You exceeded your current quota."),
        Fail("invalid_prompt", "No."),
    ],
)
def test_model_fails(run_setup: MakeRunSetup, step: Fail) -> None:
    """A model's failure ends the run with its code and its message."""
    run = run_setup(step).settled()
    assert (run["status"], run["last_error"], run["failed_at"]) == (
        "failed",
        {"code": step.code, "message": step.message},
        START,
    )


def test_failed_run_frees_the_thread(run_setup: MakeRunSetup) -> None:
    """After a failure the thread takes the next run."""
    setup = run_setup(Fail(), Reply("ok"))
    thread_id, run_id = setup.start()
    setup.wire.settled(thread_id, run_id)
    again = setup.wire.settled(thread_id, setup.wire.start(thread_id))
    assert again["status"] == "completed"


@pytest.mark.parametrize(
    "reason, said",
    [("max_completion_tokens", "max_tokens"), ("content_filter", "content_filter")],
)
def test_reply_cut_short(run_setup: MakeRunSetup, reason: str, said: str) -> None:
    """A reply cut short ends its run as incomplete; run and message say why, each in its words."""
    setup = run_setup(Incomplete(reason, "so far"))
    thread_id, run_id = setup.start()
    run = setup.wire.settled(thread_id, run_id)
    message = setup.wire.get(f"/threads/{thread_id}/messages")["data"][0]
    assert (run["status"], run["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert (message["status"], message["incomplete_details"]) == ("incomplete", {"reason": said})


def test_message_cut_short_has_its_time(run_setup: MakeRunSetup) -> None:
    """A message cut short says since when, and was never completed."""
    setup = run_setup(Incomplete("max_completion_tokens", "so far"))
    thread_id, run_id = setup.start()
    setup.wire.settled(thread_id, run_id)
    message = setup.wire.get(f"/threads/{thread_id}/messages")["data"][0]
    assert (message["completed_at"], message["incomplete_at"]) == (None, START)


@pytest.mark.parametrize("status", ["in_progress", "completed", "cancelled"])
def test_only_queued_runs_are_started(engine: Engine, status: str) -> None:
    """A run that is in progress or final is left as it is."""
    with engine.storage.write() as connection:
        engine.storage.runs.insert(connection, {"id": "run_1", "status": status})
    engine.start(RunWork(engine, {"id": "run_1"}))
    wait_until_idle()
    with engine.storage.read() as connection:
        run = engine.storage.runs.get(connection, "run_1")
    assert run is not None
    assert run["status"] == status
