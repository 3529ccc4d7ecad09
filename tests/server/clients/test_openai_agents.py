"""OpenAI's agents: sessions in conversations, compaction, and streams."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import openai
import pytest
from pydantic import BaseModel

from tests.server.clients.demo import ANSWER, ASK, KEY, DemoServer, echo

agents: Any = pytest.importorskip("agents")
memory: Any = pytest.importorskip("agents.memory")

T = TypeVar("T")
Tool = Callable[[str], str]


class City(BaseModel):
    """What an answer is to be."""

    city: str


def run(demo: DemoServer, use: Callable[[openai.AsyncOpenAI], Awaitable[T]]) -> T:
    """Run a program with a client of the server."""

    async def opened() -> T:
        async with openai.AsyncOpenAI(base_url=demo.base_url, api_key=KEY, max_retries=0) as client:
            return await use(client)

    return asyncio.run(opened())


def agent_with(client: openai.AsyncOpenAI, *tools: Tool, **options: Any) -> Any:
    """Return an agent."""
    return agents.Agent(
        name="tutor",
        instructions="Be kind.",
        model=agents.OpenAIResponsesModel("demo", client),
        tools=[agents.function_tool(tool) for tool in tools],
        **options,
    )


def told(demo: DemoServer) -> list[tuple[str, str]]:
    """Return what users and the model said, by what the model was told last."""
    return [(role, text) for role, text in demo.was_told if role in ("user", "assistant") and text]


def test_run_calls_the_tool_once(demo: DemoServer, get_weather: Tool, cities: list[str]) -> None:
    """A run of an agent comes to its end, and calls the tool once."""

    async def use(client: openai.AsyncOpenAI) -> str:
        result = await agents.Runner.run(agent_with(client, get_weather), ASK)
        return str(result.final_output)

    assert (run(demo, use), cities) == (ANSWER, ["Paris"])


def test_run_is_streamed(demo: DemoServer, get_weather: Tool, cities: list[str]) -> None:
    """A streamed run of an agent calls the tool once, and its deltas are the answer."""

    async def use(client: openai.AsyncOpenAI) -> str:
        result = agents.Runner.run_streamed(agent_with(client, get_weather), ASK)
        return "".join(
            [
                event.data.delta
                async for event in result.stream_events()
                if event.type == "raw_response_event"
                and event.data.type == "response.output_text.delta"
            ]
        )

    assert (run(demo, use), cities) == (ANSWER, ["Paris"])


def test_streamed_items(demo: DemoServer, get_weather: Tool) -> None:
    """A streamed run of an agent tells of the call, its output and the message."""

    async def use(client: openai.AsyncOpenAI) -> list[str]:
        result = agents.Runner.run_streamed(agent_with(client, get_weather), ASK)
        events = [event async for event in result.stream_events()]
        return [event.name for event in events if event.type == "run_item_stream_event"]

    assert run(demo, use) == ["tool_called", "tool_output", "message_output_created"]


def test_session_remembers(demo: DemoServer, get_weather: Tool, cities: list[str]) -> None:
    """The model is told the first turn in the second one of a session in a conversation."""

    async def use(client: openai.AsyncOpenAI) -> str:
        session = agents.OpenAIConversationsSession(openai_client=client)
        agent = agent_with(client, get_weather)
        await agents.Runner.run(agent, ASK, session=session)
        return str((await agents.Runner.run(agent, "hello", session=session)).final_output)

    assert (run(demo, use), cities) == (echo("hello"), ["Paris"])
    assert told(demo) == [("user", ASK), ("assistant", ANSWER), ("user", "hello")]


def test_session_lists_its_items(demo: DemoServer, get_weather: Tool) -> None:
    """A session in a conversation gives what was said, and the call with its output."""

    async def use(client: openai.AsyncOpenAI) -> list[str]:
        session = agents.OpenAIConversationsSession(openai_client=client)
        await agents.Runner.run(agent_with(client, get_weather), ASK, session=session)
        return [item["type"] for item in await session.get_items()]

    assert run(demo, use) == ["message", "function_call", "function_call_output", "message"]


def test_session_gives_the_newest_items(demo: DemoServer) -> None:
    """A session in a conversation gives the newest items, and takes the last one away."""

    async def use(client: openai.AsyncOpenAI) -> list[list[str]]:
        session = agents.OpenAIConversationsSession(openai_client=client)
        await session.add_items([{"role": "user", "content": text} for text in "abc"])
        newest = await session.get_items(limit=2)
        await session.pop_item()
        left = await session.get_items()
        return [[item["content"][0]["text"] for item in items] for items in (newest, left)]

    assert run(demo, use) == [["b", "c"], ["a", "b"]]


def test_cleared_session_is_empty(demo: DemoServer) -> None:
    """A session in a conversation has nothing in it when it was cleared."""

    async def use(client: openai.AsyncOpenAI) -> list[Any]:
        session = agents.OpenAIConversationsSession(openai_client=client)
        await session.add_items([{"role": "user", "content": "hello"}])
        await session.clear_session()
        found: list[Any] = await session.get_items()
        return found

    assert run(demo, use) == []


def test_conversation_by_its_id(demo: DemoServer, get_weather: Tool, cities: list[str]) -> None:
    """Runs of an agent in a conversation go on from one another."""

    async def use(client: openai.AsyncOpenAI) -> None:
        conversation = await client.conversations.create()
        for text in (ASK, "hello"):
            await agents.Runner.run(
                agent_with(client, get_weather), text, conversation_id=conversation.id
            )

    run(demo, use)
    assert (told(demo), cities) == (
        [("user", ASK), ("assistant", ANSWER), ("user", "hello")],
        ["Paris"],
    )


def test_previous_response(demo: DemoServer, get_weather: Tool, cities: list[str]) -> None:
    """A run of an agent goes on from the last response of another."""

    async def use(client: openai.AsyncOpenAI) -> None:
        agent = agent_with(client, get_weather)
        first = await agents.Runner.run(agent, ASK, auto_previous_response_id=True)
        await agents.Runner.run(agent, "hello", previous_response_id=first.last_response_id)

    run(demo, use)
    assert (told(demo), cities) == (
        [("user", ASK), ("assistant", ANSWER), ("user", "hello")],
        ["Paris"],
    )


async def compacted(client: openai.AsyncOpenAI, mode: str, *tools: Tool) -> tuple[Any, Any]:
    """Return a session after one turn, made short, and its agent."""
    underlying = agents.SQLiteSession("s")
    session = memory.OpenAIResponsesCompactionSession(
        "s", underlying, client=client, model="gpt-4.1", compaction_mode=mode
    )
    agent = agent_with(client, *tools)
    await agents.Runner.run(agent, ASK, session=session)
    await session.run_compaction({"force": True})
    return session, agent


@pytest.mark.parametrize("mode", ["auto", "input", "previous_response_id"])
def test_session_is_compacted(demo: DemoServer, get_weather: Tool, mode: str) -> None:
    """A compacted session has what the user said, and the item with the summary."""

    async def use(client: openai.AsyncOpenAI) -> list[tuple[str, str | None]]:
        session, _ = await compacted(client, mode, get_weather)
        found = [(item["type"], item.get("role")) for item in await session.get_items()]
        session.underlying_session.close()
        return found

    assert run(demo, use) == [("message", "user"), ("compaction", None)]


@pytest.mark.parametrize("mode", ["auto", "input", "previous_response_id"])
def test_compacted_session_goes_on(demo: DemoServer, get_weather: Tool, mode: str) -> None:
    """The model is told the summary in the turn after compaction."""

    async def use(client: openai.AsyncOpenAI) -> str:
        session, agent = await compacted(client, mode, get_weather)
        result = await agents.Runner.run(agent, "hello", session=session)
        session.underlying_session.close()
        return str(result.final_output)

    assert run(demo, use) == echo("hello")
    summaries = [text for role, text in demo.was_told if "summarized:" in text]
    assert (len(summaries), told(demo)) == (1, [("user", ASK), ("user", "hello")])


def test_output_type(demo: DemoServer) -> None:
    """An agent with an output type gives an object of it."""

    async def use(client: openai.AsyncOpenAI) -> Any:
        agent = agent_with(client, output_type=City)
        return (await agents.Runner.run(agent, "Paris")).final_output

    assert run(demo, use) == City(city="Paris")


def test_chat_completions_model(demo: DemoServer, get_weather: Tool, cities: list[str]) -> None:
    """An agent over chat completions calls the tool once, and tells its output."""

    async def use(client: openai.AsyncOpenAI) -> str:
        agent = agent_with(client, get_weather)
        agent.model = agents.OpenAIChatCompletionsModel("demo", client)
        return str((await agents.Runner.run(agent, ASK)).final_output)

    assert (run(demo, use), cities) == (ANSWER, ["Paris"])


def test_usage(demo: DemoServer, get_weather: Tool) -> None:
    """A run of an agent counts two requests, and the tokens of both."""

    async def use(client: openai.AsyncOpenAI) -> Any:
        result = await agents.Runner.run(agent_with(client, get_weather), ASK)
        return result.context_wrapper.usage

    usage = run(demo, use)
    assert (usage.requests, usage.total_tokens > 0) == (2, True)
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
