"""OpenAI's client, both kinds of it: responses, compaction, tokens, models and chat completions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.server.clients.demo import ANSWER, ASK, KEY, RESPONSES_TOOL, DemoServer, echo

HELLO: Any = [{"role": "user", "content": "hello"}]


class City(BaseModel):
    """What an answer is to be."""

    city: str


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


def output_for(response: Any) -> list[Any]:
    """Return the input that answers the calls of a response."""
    return [
        {"type": "function_call_output", "call_id": item.call_id, "output": "sunny in Paris"}
        for item in response.output
        if item.type == "function_call"
    ]


def test_response_calls_the_tool_once(client: openai.OpenAI) -> None:
    """A response calls the tool once, and the next one tells its output."""
    first = client.responses.create(model="demo", input=ASK, tools=[RESPONSES_TOOL])
    outputs = output_for(first)
    second = client.responses.create(
        model="demo", input=outputs, previous_response_id=first.id, tools=[RESPONSES_TOOL]
    )
    assert (len(outputs), second.output_text) == (1, ANSWER)


def test_responses_are_valid(client: openai.OpenAI) -> None:
    """Responses of text and of calls have the fields that OpenAI's types demand."""
    found = [
        client.responses.create(model="demo", input=text, tools=[RESPONSES_TOOL])
        for text in ("hello", ASK)
    ]
    assert [type(each).model_validate(each.to_dict()) for each in found] == found


@pytest.mark.parametrize("text", ["hello", ASK])
def test_events_are_valid(client: openai.OpenAI, text: str) -> None:
    """Events of text and of calls have the fields that OpenAI's types demand."""
    events = list(
        client.responses.create(model="demo", input=text, tools=[RESPONSES_TOOL], stream=True)
    )
    assert [type(event).model_validate(event.to_dict()) for event in events] == events
    assert events[-1].type == "response.completed"


def test_second_response_remembers(client: openai.OpenAI, demo: DemoServer) -> None:
    """The model is told what came before a response."""
    first = client.responses.create(model="demo", input="hello")
    client.responses.create(model="demo", input="more", previous_response_id=first.id)
    assert demo.was_told == [("user", "hello"), ("assistant", echo("hello")), ("user", "more")]


def test_response_is_parsed(client: openai.OpenAI) -> None:
    """A response is parsed into a pydantic model."""
    response = client.responses.parse(model="demo", input="Paris", text_format=City)
    assert response.output_parsed == City(city="Paris")


def test_arguments_are_parsed(client: openai.OpenAI) -> None:
    """The arguments of a response's call are parsed into a pydantic model."""
    tool: Any = openai.pydantic_function_tool(City, name="get_weather")
    given: Any = {"type": "function", **tool["function"]}
    response = client.responses.parse(model="demo", input=ASK, tools=[given])
    item: Any = response.output[0]
    assert (item.name, item.arguments) == ("get_weather", '{"city": "Paris"}')


def test_streamed_response_is_parsed(client: openai.OpenAI) -> None:
    """A response that the stream helper reads is parsed into a pydantic model."""
    with client.responses.stream(model="demo", input="Paris", text_format=City) as stream:
        assert stream.get_final_response().output_parsed == City(city="Paris")


def test_compaction_keeps_what_the_user_said(client: openai.OpenAI) -> None:
    """Compaction gives the user's messages, and an item with the summary."""
    first = client.responses.create(model="demo", input="hello")
    found = client.responses.compact(model="demo", previous_response_id=first.id)
    assert (found.object, [item.type for item in found.output]) == (
        "response.compaction",
        ["message", "compaction"],
    )


def test_compaction_item_is_valid(client: openai.OpenAI) -> None:
    """The item with the summary, and the usage, have the fields that OpenAI's types demand."""
    found = client.responses.compact(model="demo", input=HELLO)
    parts: list[Any] = [found.output[-1], found.usage]
    assert [type(part).model_validate(part.to_dict()) for part in parts] == parts


# The client reads a user's message as one of the model's, and complains when it sends it back.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
def test_response_after_compaction(client: openai.OpenAI, demo: DemoServer) -> None:
    """A response goes on from what compaction gave: the model is told the summary."""
    found = client.responses.compact(model="demo", input=HELLO)
    items: list[Any] = [*found.output, {"role": "user", "content": "more"}]
    client.responses.create(model="demo", input=items)
    assert (demo.was_told[0], demo.was_told[-1]) == (("user", "hello"), ("user", "more"))
    assert "summarized:" in demo.was_told[1][1]


def test_tokens_are_counted(client: openai.OpenAI) -> None:
    """Tokens are counted: those of a longer text, of instructions and of tools are more."""
    count = client.responses.input_tokens.count
    plain = count(model="demo", input="hello")
    more = [
        count(model="demo", input="hello " * 50),
        count(model="demo", input="hello", instructions="Be kind."),
        count(model="demo", input="hello", tools=[RESPONSES_TOOL]),
    ]
    assert type(plain).model_validate(plain.to_dict()) == plain
    assert 0 < plain.input_tokens < min(each.input_tokens for each in more)


def test_tokens_of_what_came_before(client: openai.OpenAI) -> None:
    """Tokens are counted with those of the responses before."""
    first = client.responses.create(model="demo", input="hello")
    count = client.responses.input_tokens.count
    alone = count(model="demo", input="more").input_tokens
    after = count(model="demo", input="more", previous_response_id=first.id).input_tokens
    assert after > alone > 0


def test_models_are_listed(client: openai.OpenAI) -> None:
    """The models are listed, with the names that stand for others."""
    found = client.models.list().data
    assert {"demo", "gpt-4.1"} <= {model.id for model in found}
    assert [type(model).model_validate(model.to_dict()) for model in found] == found


def test_model_comes_back(client: openai.OpenAI) -> None:
    """A model is found by its name, and another one is not."""
    assert client.models.retrieve("demo").id == "demo"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


def test_embeddings_are_refused(client: openai.OpenAI) -> None:
    """Embeddings are refused by name: the demo has none."""
    with pytest.raises(openai.BadRequestError, match="does not support embeddings of 'demo'"):
        client.embeddings.create(model="demo", input="hello")


def test_chat_completion_is_valid(client: openai.OpenAI) -> None:
    """A chat completion has the fields that OpenAI's type demands."""
    found = client.chat.completions.create(model="demo", messages=HELLO)
    assert type(found).model_validate(found.to_dict()) == found
    assert found.choices[0].message.content == echo("hello")


def test_chat_completion_is_parsed(client: openai.OpenAI) -> None:
    """A chat completion is parsed into a pydantic model."""
    found = client.chat.completions.parse(
        model="demo", messages=[{"role": "user", "content": "Paris"}], response_format=City
    )
    assert found.choices[0].message.parsed == City(city="Paris")


def test_usage_of_a_stream(client: openai.OpenAI) -> None:
    """A streamed chat completion that is to tell its usage does so in its last chunk."""
    chunks = list(
        client.chat.completions.create(
            model="demo", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    assert (chunks[-1].choices, [chunk for chunk in chunks if not chunk.choices]) == (
        [],
        chunks[-1:],
    )
    assert chunks[-1].usage is not None


def test_stream_that_is_not_to_tell_its_usage(client: openai.OpenAI) -> None:
    """Every chunk of a streamed chat completion has a choice where nobody asks for usage."""
    chunks = list(client.chat.completions.create(model="demo", messages=HELLO, stream=True))
    assert [len(chunk.choices) for chunk in chunks] == [1] * len(chunks)


def test_asynchronous_response_calls_the_tool_once(demo: DemoServer) -> None:
    """A response that is awaited calls the tool once, and the next one tells its output."""

    async def use(client: openai.AsyncOpenAI) -> Any:
        first = await client.responses.create(model="demo", input=ASK, tools=[RESPONSES_TOOL])
        outputs = output_for(first)
        second = await client.responses.create(
            model="demo", input=outputs, previous_response_id=first.id, tools=[RESPONSES_TOOL]
        )
        return len(outputs), second.output_text

    assert run_async(demo, use) == (1, ANSWER)


def test_asynchronous_stream(demo: DemoServer) -> None:
    """The deltas of a stream that is awaited are the answer."""

    async def use(client: openai.AsyncOpenAI) -> list[str]:
        async with client.responses.stream(model="demo", input="hello") as stream:
            return [
                event.delta async for event in stream if event.type == "response.output_text.delta"
            ]

    assert "".join(run_async(demo, use)) == echo("hello")


def test_asynchronous_response_is_parsed(demo: DemoServer) -> None:
    """A response that is awaited is parsed into a pydantic model."""

    async def use(client: openai.AsyncOpenAI) -> Any:
        found = await client.responses.parse(model="demo", input="Paris", text_format=City)
        return found.output_parsed

    assert run_async(demo, use) == City(city="Paris")


def test_asynchronous_compaction(demo: DemoServer) -> None:
    """Compaction, tokens and models are there for the asynchronous client."""

    async def use(client: openai.AsyncOpenAI) -> Any:
        compacted = await client.responses.compact(model="demo", input=HELLO)
        counted = await client.responses.input_tokens.count(model="demo", input="hello")
        listed = [model.id async for model in client.models.list()]
        return compacted.output[-1].type, counted.object, "demo" in listed

    assert run_async(demo, use) == ("compaction", "response.input_tokens", True)


def test_asynchronous_embeddings_are_refused(demo: DemoServer) -> None:
    """Embeddings are refused to the asynchronous client."""

    async def use(client: openai.AsyncOpenAI) -> None:
        await client.embeddings.create(model="demo", input="hello")

    with pytest.raises(openai.BadRequestError, match="does not support embeddings"):
        run_async(demo, use)
