"""OpenAI's client for Azure: its paths, its keys, and its deployments."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
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

pytestmark = [
    pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning"),
    # That of an assistant is "deprecated", no more.
    pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning"),
]

VERSION = "2025-04-01-preview"

HELLO: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture
def client(demo: DemoServer) -> Iterator[openai.AzureOpenAI]:
    """Yield a client that names the deployment with each call."""
    with openai.AzureOpenAI(
        azure_endpoint=demo.root, api_key=KEY, api_version=VERSION, max_retries=0
    ) as opened:
        yield opened


@pytest.fixture
def deployment(demo: DemoServer) -> Iterator[openai.AzureOpenAI]:
    """Yield a client of one deployment."""
    with openai.AzureOpenAI(
        azure_endpoint=demo.root,
        azure_deployment="demo",
        api_key=KEY,
        api_version=VERSION,
        max_retries=0,
    ) as opened:
        yield opened


def asked_run(client: openai.AzureOpenAI, text: str) -> Any:
    """Run an assistant with the tool on a new thread, until it waits or ends."""
    assistant = client.beta.assistants.create(model="demo", tools=[CHAT_TOOL])
    thread = client.beta.threads.create(messages=[{"role": "user", "content": text}])
    return client.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=assistant.id, poll_interval_ms=10
    )


def submitted(client: openai.AzureOpenAI, run: Any) -> Any:
    """Answer the run's call, and let it go on to its end."""
    call = run.required_action.submit_tool_outputs.tool_calls[0]
    return client.beta.threads.runs.submit_tool_outputs_and_poll(
        run_id=run.id,
        thread_id=run.thread_id,
        tool_outputs=[{"tool_call_id": call.id, "output": "sunny in Paris"}],
        poll_interval_ms=10,
    )


def last_text(client: openai.AzureOpenAI, thread_id: str) -> str:
    """Return the newest text of a thread."""
    part = client.beta.threads.messages.list(thread_id).data[0].content[0]
    assert part.type == "text"
    return part.text.value


def test_run_calls_the_tool_once(client: openai.AzureOpenAI) -> None:
    """A run below Azure's path waits for one call, and ends with its output."""
    run = asked_run(client, ASK)
    calls = run.required_action.submit_tool_outputs.tool_calls
    assert [call.function.arguments for call in calls] == ['{"city": "Paris"}']
    assert (submitted(client, run).status, last_text(client, run.thread_id)) == (
        "completed",
        ANSWER,
    )


def test_second_run_remembers(client: openai.AzureOpenAI, demo: DemoServer) -> None:
    """The model is told the first turn when a thread is run again below Azure's path."""
    run = asked_run(client, "hello")
    client.beta.threads.messages.create(run.thread_id, role="user", content="more")
    client.beta.threads.runs.create_and_poll(
        thread_id=run.thread_id, assistant_id=run.assistant_id, poll_interval_ms=10
    )
    assert demo.was_told == [("user", "hello"), ("assistant", echo("hello")), ("user", "more")]


def test_run_is_streamed(client: openai.AzureOpenAI) -> None:
    """A run is streamed below Azure's path."""
    assistant = client.beta.assistants.create(model="demo")
    thread = client.beta.threads.create(messages=HELLO)
    with client.beta.threads.runs.stream(thread_id=thread.id, assistant_id=assistant.id) as handler:
        assert "".join(handler.text_deltas) == echo("hello")


def test_response_calls_the_tool_once(client: openai.AzureOpenAI) -> None:
    """A response below Azure's path calls the tool once, and the next one tells its output."""
    first = client.responses.create(model="demo", input=ASK, tools=[RESPONSES_TOOL])
    calls = [item for item in first.output if item.type == "function_call"]
    assert [call.arguments for call in calls] == ['{"city": "Paris"}']
    second = client.responses.create(
        model="demo",
        previous_response_id=first.id,
        input=[
            {
                "type": "function_call_output",
                "call_id": calls[0].call_id,
                "output": "sunny in Paris",
            }
        ],
        tools=[RESPONSES_TOOL],
    )
    assert second.output_text == ANSWER


def test_response_remembers(client: openai.AzureOpenAI, demo: DemoServer) -> None:
    """The model is told what came before a response below Azure's path."""
    first = client.responses.create(model="demo", input="hello")
    client.responses.create(model="demo", input="more", previous_response_id=first.id)
    assert demo.was_told == [("user", "hello"), ("assistant", echo("hello")), ("user", "more")]


def test_response_is_streamed(client: openai.AzureOpenAI) -> None:
    """A response is streamed below Azure's path."""
    events = client.responses.create(model="demo", input="hello", stream=True)
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == echo("hello")


def test_conversation(client: openai.AzureOpenAI) -> None:
    """Conversations are kept below Azure's path."""
    created = client.conversations.create(items=HELLO)
    client.responses.create(model="demo", input="more", conversation=created.id)
    found = [item.type for item in client.conversations.items.list(created.id)]
    assert found == ["message"] * 3


def test_chat_completion_by_deployment(client: openai.AzureOpenAI) -> None:
    """A chat completion is asked for at the path of its deployment."""
    answer = client.chat.completions.create(model="demo", messages=HELLO)
    assert answer.choices[0].message.content == echo("hello")


def test_chat_completion_calls_the_tool(client: openai.AzureOpenAI) -> None:
    """A chat completion at the path of its deployment calls the tool, and tells its output."""
    messages: list[Any] = [{"role": "user", "content": ASK}]
    first = client.chat.completions.create(model="demo", messages=messages, tools=[CHAT_TOOL])
    message = first.choices[0].message
    assert message.tool_calls is not None
    assert len(message.tool_calls) == 1
    messages.append(message.to_dict())
    messages.append(
        {
            "role": "tool",
            "tool_call_id": message.tool_calls[0].id,
            "content": "sunny in Paris",
        }
    )
    second = client.chat.completions.create(model="demo", messages=messages, tools=[CHAT_TOOL])
    assert second.choices[0].message.content == ANSWER


def test_streamed_chat_completion(client: openai.AzureOpenAI) -> None:
    """A chat completion is streamed at the path of its deployment."""
    chunks = client.chat.completions.create(model="demo", messages=HELLO, stream=True)
    deltas = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(deltas) == echo("hello")


def test_client_of_a_deployment(deployment: openai.AzureOpenAI) -> None:
    """A client of one deployment asks it for chat completions and responses."""
    chat = deployment.chat.completions.create(model="demo", messages=HELLO)
    response = deployment.responses.create(model="demo", input="hello")
    assert (chat.choices[0].message.content, response.output_text) == (echo("hello"),) * 2


def test_deployment_is_what_answers(deployment: openai.AzureOpenAI) -> None:
    """The deployment in the path answers, whatever the body calls the model."""
    answer = deployment.chat.completions.create(model="gpt-4o", messages=HELLO)
    assert answer.choices[0].message.content == echo("hello")


def test_bearer_token(demo: DemoServer) -> None:
    """A token of Entra's kind is taken for the key."""
    with openai.AzureOpenAI(
        azure_endpoint=demo.root, azure_ad_token=KEY, api_version=VERSION, max_retries=0
    ) as client:
        assert client.responses.create(model="demo", input="hello").output_text == echo("hello")


def test_wrong_key(demo: DemoServer) -> None:
    """A client for Azure is refused with another key."""
    with (
        openai.AzureOpenAI(
            azure_endpoint=demo.root, api_key="wrong", api_version=VERSION, max_retries=0
        ) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()


def test_path_of_the_next_version(demo: DemoServer) -> None:
    """OpenAI's plain client finds threads and responses below ``/openai/v1``."""
    with openai.OpenAI(base_url=f"{demo.root}/openai/v1/", api_key=KEY, max_retries=0) as client:
        thread = client.beta.threads.create(messages=HELLO)
        assert len(client.beta.threads.messages.list(thread.id).data) == 1
        assert client.responses.create(model="demo", input="hello").output_text == echo("hello")


def test_embeddings_are_refused(client: openai.AzureOpenAI) -> None:
    """Embeddings at the path of a deployment are refused by name."""
    with pytest.raises(openai.BadRequestError, match="does not support embeddings of 'demo'"):
        client.embeddings.create(model="demo", input="hello")


def test_asynchronous_client(demo: DemoServer) -> None:
    """The asynchronous client for Azure runs an assistant to its end."""

    async def run() -> str:
        async with openai.AsyncAzureOpenAI(
            azure_endpoint=demo.root, api_key=KEY, api_version=VERSION, max_retries=0
        ) as client:
            assistant = await client.beta.assistants.create(model="demo")
            ended = await client.beta.threads.create_and_run_poll(
                assistant_id=assistant.id, thread={"messages": HELLO}, poll_interval_ms=10
            )
            return ended.status

    assert asyncio.run(run()) == "completed"
