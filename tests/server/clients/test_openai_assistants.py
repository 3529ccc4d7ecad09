"""OpenAI's client, both kinds of it: runs, their steps, and every hook of its event handlers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from openai.lib.streaming import AssistantEventHandler, AsyncAssistantEventHandler

from tests.server.clients.demo import ANSWER, ASK, CHAT_TOOL, KEY, DemoServer, echo

pytestmark = [
    pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning"),
    # That of an assistant is "deprecated", no more.
    pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning"),
]

HOOKS = {name for name in dir(AssistantEventHandler) if name.startswith("on_")}

OF_ALL = {"on_event", "on_end", "on_run_step_created"}

OF_TEXT = OF_ALL | {
    "on_message_created",
    "on_message_delta",
    "on_message_done",
    "on_run_step_done",
    "on_text_created",
    "on_text_delta",
    "on_text_done",
}

OF_CALLS = OF_ALL | {
    "on_run_step_delta",
    "on_tool_call_created",
    "on_tool_call_delta",
    "on_tool_call_done",
}

OF_NOTHING_HERE = {"on_exception", "on_timeout", "on_image_file_done"}
"""What the demo gives no occasion for."""


@pytest.fixture
def client(demo: DemoServer) -> Iterator[openai.OpenAI]:
    """Yield a client."""
    with openai.OpenAI(base_url=demo.base_url, api_key=KEY, max_retries=0) as opened:
        yield opened


def run_async(demo: DemoServer, use: Callable[[openai.AsyncOpenAI], Any]) -> Any:
    """Run a program with an asynchronous client."""

    async def opened() -> Any:
        async with openai.AsyncOpenAI(base_url=demo.base_url, api_key=KEY, max_retries=0) as client:
            return await use(client)

    return asyncio.run(opened())


def begin(client: openai.OpenAI, text: str) -> dict[str, Any]:
    """Return a new thread with one message, and an assistant with the tool, as arguments."""
    assistant = client.beta.assistants.create(model="demo", tools=[CHAT_TOOL])
    thread = client.beta.threads.create(messages=[{"role": "user", "content": text}])
    return {"thread_id": thread.id, "assistant_id": assistant.id}


async def begin_async(client: openai.AsyncOpenAI, text: str) -> dict[str, Any]:
    """Return a new thread with one message, and an assistant with the tool, as arguments."""
    assistant = await client.beta.assistants.create(model="demo", tools=[CHAT_TOOL])
    thread = await client.beta.threads.create(messages=[{"role": "user", "content": text}])
    return {"thread_id": thread.id, "assistant_id": assistant.id}


def answers_for(run: Any) -> dict[str, Any]:
    """Return the arguments that submit the outputs which a run waits for."""
    return {
        "thread_id": run.thread_id,
        "run_id": run.id,
        "tool_outputs": [
            {"tool_call_id": call.id, "output": "sunny in Paris"}
            for call in run.required_action.submit_tool_outputs.tool_calls
        ],
    }


def ended_run(client: openai.OpenAI) -> Any:
    """Return a run that called the tool and has ended."""
    run = client.beta.threads.runs.create_and_poll(**begin(client, ASK), poll_interval_ms=10)
    return client.beta.threads.runs.submit_tool_outputs_and_poll(
        **answers_for(run), poll_interval_ms=10
    )


async def ended_run_async(client: openai.AsyncOpenAI) -> Any:
    """Return a run that called the tool and has ended."""
    runs = client.beta.threads.runs
    run = await runs.create_and_poll(**await begin_async(client, ASK), poll_interval_ms=10)
    return await runs.submit_tool_outputs_and_poll(**answers_for(run), poll_interval_ms=10)


def recorder(seen: list[tuple[str, Any]]) -> AssistantEventHandler:
    """Return a handler that keeps the hooks by which it is called, and their last argument."""

    def hook(name: str) -> Callable[..., None]:
        return lambda _self, *given: seen.append((name, given[-1] if given else None))

    kind: Any = type("Recorder", (AssistantEventHandler,), {name: hook(name) for name in HOOKS})
    made: AssistantEventHandler = kind()
    return made


def recorder_async(seen: list[tuple[str, Any]]) -> AsyncAssistantEventHandler:
    """Return an asynchronous handler that does the same."""

    def hook(name: str) -> Callable[..., Any]:
        async def note(_self: Any, *given: Any) -> None:
            seen.append((name, given[-1] if given else None))

        return note

    hooks = {name: hook(name) for name in HOOKS}
    kind: Any = type("Recorder", (AsyncAssistantEventHandler,), hooks)
    made: AsyncAssistantEventHandler = kind()
    return made


Hooks = list[tuple[str, Any]]


def streamed(client: openai.OpenAI, text: str) -> tuple[Hooks, Any]:
    """Run in a stream, and return the hooks that were called, and the run."""
    seen: Hooks = []
    with client.beta.threads.runs.stream(
        **begin(client, text), event_handler=recorder(seen)
    ) as handler:
        handler.until_done()
        return seen, handler.get_final_run()


def submitted(client: openai.OpenAI, run: Any) -> tuple[Hooks, Any]:
    """Submit outputs in a stream, and return the hooks that were called, and the run."""
    seen: Hooks = []
    with client.beta.threads.runs.submit_tool_outputs_stream(
        **answers_for(run), event_handler=recorder(seen)
    ) as handler:
        handler.until_done()
        return seen, handler.get_final_run()


async def streamed_async(client: openai.AsyncOpenAI, text: str) -> tuple[Hooks, Any]:
    """Run in a stream, and return the hooks that were called, and the run."""
    seen: Hooks = []
    async with client.beta.threads.runs.stream(
        **await begin_async(client, text), event_handler=recorder_async(seen)
    ) as handler:
        await handler.until_done()
        return seen, await handler.get_final_run()


async def submitted_async(client: openai.AsyncOpenAI, run: Any) -> tuple[Hooks, Any]:
    """Submit outputs in a stream, and return the hooks that were called, and the run."""
    seen: Hooks = []
    async with client.beta.threads.runs.submit_tool_outputs_stream(
        **answers_for(run), event_handler=recorder_async(seen)
    ) as handler:
        await handler.until_done()
        return seen, await handler.get_final_run()


def names_of(seen: Hooks) -> list[str]:
    """Return the hooks that are called once for each thing, in order."""
    many = ("on_event", "on_message_delta", "on_text_delta", "on_run_step_delta")
    return [name for name, _ in seen if name not in many]


def test_hooks_are_known() -> None:
    """The handler has no hook that these tests do not know of."""
    assert HOOKS == OF_TEXT | OF_CALLS | OF_NOTHING_HERE


def test_run_calls_the_tool_once(client: openai.OpenAI) -> None:
    """A run waits for one call, and ends with an answer that has its output."""
    run = client.beta.threads.runs.create_and_poll(**begin(client, ASK), poll_interval_ms=10)
    given = answers_for(run)
    ended = client.beta.threads.runs.submit_tool_outputs_and_poll(**given, poll_interval_ms=10)
    texts = [
        part.text.value
        for message in client.beta.threads.messages.list(run.thread_id, order="asc")
        for part in message.content
        if part.type == "text"
    ]
    assert (len(given["tool_outputs"]), ended.status, texts) == (1, "completed", [ASK, ANSWER])


def test_steps_are_listed(client: openai.OpenAI) -> None:
    """The steps of a run are listed: the calls with their outputs, and the message."""
    run = ended_run(client)
    steps = client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id, order="asc").data
    assert [(step.type, step.status) for step in steps] == [
        ("tool_calls", "completed"),
        ("message_creation", "completed"),
    ]
    details: Any = steps[0].step_details
    call = details.tool_calls[0].function
    assert (call.name, call.arguments, call.output) == (
        "get_weather",
        '{"city": "Paris"}',
        "sunny in Paris",
    )


def test_steps_are_listed_by_pages(client: openai.OpenAI) -> None:
    """The steps of a run are listed one a page, newest first."""
    run = ended_run(client)
    steps = client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id, limit=1)
    assert [step.type for step in steps] == ["message_creation", "tool_calls"]


def test_steps_are_valid(client: openai.OpenAI) -> None:
    """Steps have the fields that OpenAI's types demand."""
    run = ended_run(client)
    steps = client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id).data
    assert [type(step).model_validate(step.to_dict()) for step in steps] == steps
    assert len(steps) == 2


def test_step_comes_back(client: openai.OpenAI) -> None:
    """A step that is asked for by its id is the one that was listed."""
    run = ended_run(client)
    steps = client.beta.threads.runs.steps
    listed = steps.list(run.id, thread_id=run.thread_id).data
    found = [steps.retrieve(step.id, thread_id=run.thread_id, run_id=run.id) for step in listed]
    assert found == listed


def test_step_of_a_waiting_run(client: openai.OpenAI) -> None:
    """The step of calls that a run waits for is in progress, and has no output."""
    run = client.beta.threads.runs.create_and_poll(**begin(client, ASK), poll_interval_ms=10)
    step = client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id).data[0]
    details: Any = step.step_details
    assert (step.status, details.tool_calls[0].function.output) == ("in_progress", None)


def test_unknown_step(client: openai.OpenAI) -> None:
    """A step that there is not is not found."""
    run = ended_run(client)
    with pytest.raises(openai.NotFoundError):
        client.beta.threads.runs.steps.retrieve("step_0", thread_id=run.thread_id, run_id=run.id)


def test_usage_is_that_of_the_steps(client: openai.OpenAI) -> None:
    """The tokens of a run are those of its steps."""
    run = ended_run(client)
    steps = client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id).data
    counted = [step.usage.total_tokens for step in steps if step.usage is not None]
    assert (len(counted), sum(counted)) == (2, run.usage.total_tokens)


def test_hooks_of_a_text(client: openai.OpenAI) -> None:
    """The handler's hooks are called for a text, each of them at its time."""
    seen, run = streamed(client, "hello")
    assert names_of(seen) == [
        "on_run_step_created",
        "on_message_created",
        "on_text_created",
        "on_text_done",
        "on_message_done",
        "on_run_step_done",
        "on_end",
    ]
    assert ({name for name, _ in seen}, run.status) == (OF_TEXT, "completed")


def test_hooks_give_the_text(client: openai.OpenAI) -> None:
    """The handler's hooks give the text as it grows, and whole."""
    seen, _ = streamed(client, "hello")
    grown = [given.value for name, given in seen if name == "on_text_delta"]
    done = [given.value for name, given in seen if name == "on_text_done"]
    assert (grown[0], grown[-1], done) == ("This ", echo("hello"), [echo("hello")])


def test_hooks_of_a_call(client: openai.OpenAI) -> None:
    """The handler's hooks are called for a call, each of them at its time."""
    seen, run = streamed(client, ASK)
    assert names_of(seen) == [
        "on_run_step_created",
        "on_tool_call_created",
        "on_tool_call_delta",
        "on_tool_call_done",
        "on_end",
    ]
    assert ({name for name, _ in seen}, run.status) == (OF_CALLS, "requires_action")


def test_hooks_give_the_call(client: openai.OpenAI) -> None:
    """The handler's hooks give the call, whole at its end."""
    seen, _ = streamed(client, ASK)
    done = [given.function for name, given in seen if name == "on_tool_call_done"]
    assert [(call.name, call.arguments) for call in done] == [("get_weather", '{"city": "Paris"}')]


def test_hooks_after_outputs(client: openai.OpenAI) -> None:
    """The handler's hooks are called for what comes of submitted outputs."""
    _, waiting = streamed(client, ASK)
    seen, run = submitted(client, waiting)
    assert names_of(seen) == [
        "on_run_step_done",
        "on_run_step_created",
        "on_message_created",
        "on_text_created",
        "on_text_done",
        "on_message_done",
        "on_run_step_done",
        "on_end",
    ]
    done = [given.value for name, given in seen if name == "on_text_done"]
    assert (run.status, done) == ("completed", [ANSWER])


def test_events_are_valid(client: openai.OpenAI) -> None:
    """Events have the fields that OpenAI's types demand, before outputs and after them."""
    before, waiting = streamed(client, ASK)
    after, _ = submitted(client, waiting)
    events = [given for name, given in before + after if name == "on_event"]
    assert [type(event).model_validate(event.to_dict()) for event in events] == events
    assert events[-1].event == "thread.run.completed"


def test_asynchronous_run_calls_the_tool_once(demo: DemoServer) -> None:
    """A run that is awaited calls the tool once, and its steps say so."""

    async def use(client: openai.AsyncOpenAI) -> Any:
        run = await ended_run_async(client)
        steps = client.beta.threads.runs.steps.list(
            run.id, thread_id=run.thread_id, order="asc", limit=1
        )
        return run.status, [step.type async for step in steps]

    assert run_async(demo, use) == ("completed", ["tool_calls", "message_creation"])


def test_asynchronous_step_comes_back(demo: DemoServer) -> None:
    """A step that is awaited is the one that was listed, and valid."""

    async def use(client: openai.AsyncOpenAI) -> Any:
        run = await ended_run_async(client)
        steps = client.beta.threads.runs.steps
        listed = (await steps.list(run.id, thread_id=run.thread_id)).data[0]
        found = await steps.retrieve(listed.id, thread_id=run.thread_id, run_id=run.id)
        return listed, found, type(found).model_validate(found.to_dict())

    listed, found, read = run_async(demo, use)
    assert listed == found == read


def test_asynchronous_hooks_of_a_text(demo: DemoServer) -> None:
    """The asynchronous handler's hooks are called for a text, as the other's are."""
    seen, run = run_async(demo, lambda client: streamed_async(client, "hello"))
    done = [given.value for name, given in seen if name == "on_text_done"]
    assert ({name for name, _ in seen}, run.status, done) == (
        OF_TEXT,
        "completed",
        [echo("hello")],
    )


def test_asynchronous_hooks_of_a_call(demo: DemoServer) -> None:
    """The asynchronous handler's hooks are called for a call, and for what comes of it."""

    async def use(client: openai.AsyncOpenAI) -> Any:
        before, waiting = await streamed_async(client, ASK)
        return before, *await submitted_async(client, waiting)

    before, after, run = run_async(demo, use)
    assert ({name for name, _ in before}, {name for name, _ in after}, run.status) == (
        OF_CALLS,
        OF_TEXT,
        "completed",
    )


def test_second_run_remembers(client: openai.OpenAI, demo: DemoServer) -> None:
    """The model is told the first turn when the thread is run again."""
    run = ended_run(client)
    client.beta.threads.messages.create(run.thread_id, role="user", content="hello")
    with client.beta.threads.runs.stream(
        thread_id=run.thread_id, assistant_id=run.assistant_id
    ) as handler:
        handler.until_done()
    assert demo.was_told == [("user", ASK), ("assistant", ANSWER), ("user", "hello")]
