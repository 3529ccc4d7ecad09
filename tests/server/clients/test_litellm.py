"""LiteLLM: responses, its bridge to them from completions, and assistants."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.server.clients.demo import (
    ANSWER,
    ASK,
    CHAT_TOOL,
    KEY,
    RESPONSES_TOOL,
    DemoServer,
    echo,
)

with pytest.MonkeyPatch.context() as patch:
    # It is read at import: the list of prices is fetched else.
    patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm: Any = pytest.importorskip("litellm")
litellm.telemetry = False

# Of its own types, which it imports when it is first used.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Items? .* using the `ReadOnly` qualifier:UserWarning",
    "ignore:The `dict` method is deprecated:DeprecationWarning",
    "ignore:The Assistants API is deprecated:DeprecationWarning",
    "ignore:deprecated:DeprecationWarning",
)


@pytest.fixture(autouse=True)
def close_connections() -> Iterator[None]:
    """Close the clients that are kept for later: each test has a server of its own."""
    yield
    kept = litellm.in_memory_llm_clients_cache
    for name, client in list(kept.cache_dict.items()):
        if not inspect.iscoroutinefunction(client.close):
            client.close()
            kept.delete_cache(name)


@pytest.fixture
def place(demo: DemoServer) -> dict[str, Any]:
    """Return the arguments that say where the server is."""
    return {"api_base": demo.base_url, "api_key": KEY}


@pytest.fixture
def assistants(place: dict[str, Any]) -> dict[str, Any]:
    """Return those of the functions of assistants."""
    return {"custom_llm_provider": "openai", **place}


def respond(place: dict[str, Any], given: object, **options: Any) -> Any:
    """Ask for a response."""
    return litellm.responses(
        model="openai/demo", input=given, num_retries=0, max_retries=0, **place, **options
    )


def calls_of(response: Any) -> list[Any]:
    """Return the calls in a response."""
    return [item for item in response.output if item.type == "function_call"]


def test_response_calls_the_tool_once(place: dict[str, Any]) -> None:
    """A response calls the tool once, and the next one tells its output."""
    first = respond(place, ASK, tools=[RESPONSES_TOOL])
    calls = calls_of(first)
    assert [call.arguments for call in calls] == ['{"city": "Paris"}']
    output = {
        "type": "function_call_output",
        "call_id": calls[0].call_id,
        "output": "sunny in Paris",
    }
    second = respond(place, [output], previous_response_id=first.id, tools=[RESPONSES_TOOL])
    assert (second.output_text, calls_of(second)) == (ANSWER, [])


def test_second_response_remembers(place: dict[str, Any], demo: DemoServer) -> None:
    """The model is told what came before a response."""
    first = respond(place, "hello")
    respond(place, "more", previous_response_id=first.id)
    assert demo.was_told == [("user", "hello"), ("assistant", echo("hello")), ("user", "more")]


# The client puts the usage of chat completions into the event of a response.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
def test_response_is_streamed(place: dict[str, Any]) -> None:
    """The deltas of a streamed response are the answer."""
    events = list(respond(place, "hello", stream=True))
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert ("".join(deltas), events[-1].type) == (echo("hello"), "response.completed")


def test_response_comes_back(place: dict[str, Any], assistants: dict[str, Any]) -> None:
    """A response is read again by its id."""
    made = respond(place, "hello")
    found = litellm.get_responses(response_id=made.id, **assistants)
    assert (found.status, found.output_text) == ("completed", echo("hello"))


def test_input_items_are_listed(place: dict[str, Any], assistants: dict[str, Any]) -> None:
    """The items of a response's input are listed."""
    made = respond(place, "hello")
    found = litellm.list_input_items(response_id=made.id, **assistants)
    assert [item["content"][0]["text"] for item in found["data"]] == ["hello"]


def test_deleted_response_is_gone(place: dict[str, Any], assistants: dict[str, Any]) -> None:
    """A response that was deleted is not found."""
    made = respond(place, "hello")
    assert litellm.delete_responses(response_id=made.id, **assistants).deleted
    with pytest.raises(litellm.NotFoundError):
        litellm.get_responses(response_id=made.id, **assistants)


def test_compaction(place: dict[str, Any], demo: DemoServer) -> None:
    """A response goes on from what compaction gave."""
    compacted = litellm.compact_responses(model="openai/demo", input="hello", **place)
    respond(place, [*compacted.output, {"role": "user", "content": "more"}])
    assert (demo.was_told[0], demo.was_told[-1]) == (("user", "hello"), ("user", "more"))
    assert "summarized:" in demo.was_told[1][1]


@pytest.mark.parametrize("model", ["openai/demo", "openai/responses/demo"])
def test_completion_calls_the_tool_once(place: dict[str, Any], model: str) -> None:
    """A completion, of chat or by a response, calls the tool once, and tells its output."""
    messages: list[Any] = [{"role": "user", "content": ASK}]
    given = {"model": model, "messages": messages, "tools": [CHAT_TOOL], **place}
    first = litellm.completion(**given).choices[0].message
    assert [json.loads(call.function.arguments) for call in first.tool_calls] == [{"city": "Paris"}]
    messages.append(first.model_dump())
    messages.append(
        {
            "role": "tool",
            "tool_call_id": first.tool_calls[0].id,
            "content": "sunny in Paris",
        }
    )
    assert litellm.completion(**given).choices[0].message.content == ANSWER


@pytest.mark.parametrize("model", ["openai/demo", "openai/responses/demo"])
def test_completion_is_streamed(place: dict[str, Any], model: str) -> None:
    """The deltas of a streamed completion are the answer."""
    chunks = litellm.completion(
        model=model, messages=[{"role": "user", "content": "hello"}], stream=True, **place
    )
    deltas = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert "".join(deltas) == echo("hello")


def thread_with(assistants: dict[str, Any], text: str) -> str:
    """Return a new thread with one message."""
    made = litellm.create_thread(messages=[{"role": "user", "content": text}], **assistants)
    return str(made.id)


def assistant_id(assistants: dict[str, Any]) -> str:
    """Return a new assistant with the tool."""
    made = litellm.create_assistants(
        model="demo", name="tutor", instructions="Be kind.", tools=[CHAT_TOOL], **assistants
    )
    return str(made.id)


def texts_of(assistants: dict[str, Any], thread_id: str) -> list[str]:
    """Return the texts of a thread, newest first."""
    found = litellm.get_messages(thread_id=thread_id, **assistants).data
    return [message.content[0].text.value for message in found]


def run(assistants: dict[str, Any], thread_id: str, assistant: str) -> Any:
    """Run an assistant on a thread, until it waits or ends."""
    return litellm.run_thread(thread_id=thread_id, assistant_id=assistant, **assistants)


def test_assistants_are_listed(assistants: dict[str, Any]) -> None:
    """Assistants are listed, newest first."""
    made = [assistant_id(assistants) for _ in range(2)]
    assert [each.id for each in litellm.get_assistants(**assistants).data] == made[::-1]


def test_deleted_assistant_is_gone(assistants: dict[str, Any]) -> None:
    """An assistant that was deleted is not listed."""
    litellm.delete_assistant(assistant_id=assistant_id(assistants), **assistants)
    assert litellm.get_assistants(**assistants).data == []


def test_thread_comes_back(assistants: dict[str, Any]) -> None:
    """A thread is read again by its id."""
    made = litellm.create_thread(messages=[], metadata={"a": "b"}, **assistants)
    found = litellm.get_thread(thread_id=made.id, **assistants)
    assert (found.id, found.metadata) == (made.id, {"a": "b"})


def test_run_answers(assistants: dict[str, Any]) -> None:
    """A run comes to its end, and its answer is in the thread."""
    thread_id = thread_with(assistants, "hello")
    ended = run(assistants, thread_id, assistant_id(assistants))
    assert (ended.status, texts_of(assistants, thread_id)) == (
        "completed",
        [echo("hello"), "hello"],
    )


def test_second_run_remembers(assistants: dict[str, Any], demo: DemoServer) -> None:
    """The model is told the first turn when the thread is run again."""
    thread_id, assistant = thread_with(assistants, "hello"), assistant_id(assistants)
    run(assistants, thread_id, assistant)
    litellm.add_message(thread_id=thread_id, role="user", content="more", **assistants)
    run(assistants, thread_id, assistant)
    assert demo.was_told[1:] == [
        ("user", "hello"),
        ("assistant", echo("hello")),
        ("user", "more"),
    ]


def test_run_calls_the_tool(assistants: dict[str, Any]) -> None:
    """A run waits for the one call of the tool; this client has no function for its output."""
    waiting = run(assistants, thread_with(assistants, ASK), assistant_id(assistants))
    calls = waiting.required_action.submit_tool_outputs.tool_calls
    assert (waiting.status, [call.function.arguments for call in calls]) == (
        "requires_action",
        ['{"city": "Paris"}'],
    )


def test_run_is_streamed(assistants: dict[str, Any]) -> None:
    """The events of a streamed run begin and end as the run does."""
    with litellm.run_thread_stream(
        thread_id=thread_with(assistants, "hello"),
        assistant_id=assistant_id(assistants),
        **assistants,
    ) as stream:
        names = [event.event for event in stream]
    assert (names[0], names[-1]) == ("thread.run.created", "thread.run.completed")
