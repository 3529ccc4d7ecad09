"""Pydantic AI: agents over Responses and chat completions."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import openai
import pytest
from pydantic import BaseModel

from tests.server.clients.demo import ANSWER, ASK, KEY, DemoServer, echo

pydantic_ai: Any = pytest.importorskip("pydantic_ai")
models: Any = pytest.importorskip("pydantic_ai.models.openai")
providers: Any = pytest.importorskip("pydantic_ai.providers.openai")
parts: Any = pytest.importorskip("pydantic_ai.messages")
parameters: Any = pytest.importorskip("pydantic_ai.models")

T = TypeVar("T")
Tool = Callable[[str], str]

WIRES = ["OpenAIResponsesModel", "OpenAIChatModel"]


class City(BaseModel):
    """What an answer is to be."""

    city: str


def run(demo: DemoServer, wire: str, use: Callable[[Any], Awaitable[T]]) -> T:
    """Run a program with a model of the server."""

    async def opened() -> T:
        async with openai.AsyncOpenAI(base_url=demo.base_url, api_key=KEY, max_retries=0) as client:
            provider = providers.OpenAIProvider(openai_client=client)
            return await use(getattr(models, wire)("demo", provider=provider))

    return asyncio.run(opened())


def agent_with(model: Any, *tools: Tool, **options: Any) -> Any:
    """Return an agent."""
    return pydantic_ai.Agent(
        model, instructions="Be kind.", tools=list(tools), retries=0, **options
    )


@pytest.mark.parametrize("wire", WIRES)
def test_tool_is_called_once(
    demo: DemoServer, get_weather: Tool, cities: list[str], wire: str
) -> None:
    """A run of an agent comes to its end, and calls the tool once."""

    async def use(model: Any) -> str:
        return str((await agent_with(model, get_weather).run(ASK)).output)

    assert (run(demo, wire, use), cities) == (ANSWER, ["Paris"])


SETTINGS = [
    pytest.param({}, id="items"),
    pytest.param({"openai_previous_response_id": "auto"}, id="previous response"),
    pytest.param({"openai_conversation_id": "auto"}, id="conversation"),
    pytest.param({"openai_store": False}, id="not stored"),
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_second_run_remembers(
    demo: DemoServer, get_weather: Tool, settings: dict[str, Any]
) -> None:
    """The model is told the first run's turn in the second one."""

    async def use(model: Any) -> None:
        agent = agent_with(model, get_weather, model_settings=settings)
        first = await agent.run(ASK)
        await agent.run("hello", message_history=first.all_messages())

    run(demo, WIRES[0], use)
    told = [(role, text) for role, text in demo.was_told if role in ("user", "assistant") and text]
    assert told == [("user", ASK), ("assistant", ANSWER), ("user", "hello")]


@pytest.mark.parametrize("wire", WIRES)
def test_answer_is_streamed(demo: DemoServer, wire: str) -> None:
    """The deltas of a streamed run are the answer, and more than one."""

    async def use(model: Any) -> list[str]:
        async with agent_with(model).run_stream("hello") as result:
            return [delta async for delta in result.stream_text(delta=True, debounce_by=None)]

    deltas = run(demo, wire, use)
    assert ("".join(deltas), len(deltas)) == (echo("hello"), 9)


@pytest.mark.parametrize("wire", WIRES)
def test_streamed_run_calls_the_tool_once(
    demo: DemoServer, get_weather: Tool, cities: list[str], wire: str
) -> None:
    """A streamed run of an agent calls the tool once, and goes on to the answer."""

    async def use(model: Any) -> str:
        async with agent_with(model, get_weather).run_stream(ASK) as result:
            return str(await result.get_output())

    assert (run(demo, wire, use), cities) == (ANSWER, ["Paris"])


@pytest.mark.parametrize("wire", WIRES)
def test_native_output(demo: DemoServer, wire: str) -> None:
    """An agent with output of the model's own making gives an object of the type."""

    async def use(model: Any) -> Any:
        agent = agent_with(model, output_type=pydantic_ai.NativeOutput(City))
        return (await agent.run("Paris")).output

    assert run(demo, wire, use) == City(city="Paris")


@pytest.mark.parametrize("wire", WIRES)
def test_output_by_a_tool(demo: DemoServer, wire: str) -> None:
    """An agent whose output is a tool's arguments gives an object of the type."""

    async def use(model: Any) -> Any:
        return (await agent_with(model, output_type=City).run("Paris")).output

    assert run(demo, wire, use) == City(city="Paris")


def test_tokens_are_counted_beforehand(demo: DemoServer) -> None:
    """A model says how many tokens a longer text has: more."""

    async def use(model: Any) -> list[int]:
        counted = []
        for text in ("hello", "hello " * 100):
            asked = [parts.ModelRequest(parts=[parts.UserPromptPart(text)])]
            usage = await model.count_tokens(asked, None, parameters.ModelRequestParameters())
            counted.append(usage.input_tokens)
        return counted

    few, many = run(demo, WIRES[0], use)
    assert 0 < few < many - 50


def test_usage(demo: DemoServer, get_weather: Tool) -> None:
    """A run of an agent counts two requests, and the tokens of the answers."""

    async def use(model: Any) -> Any:
        usage: Any = (await agent_with(model, get_weather).run(ASK)).usage
        return usage

    usage = run(demo, WIRES[0], use)
    assert (usage.requests, usage.tool_calls, usage.output_tokens > 0) == (2, 1, True)


def test_compaction(demo: DemoServer) -> None:
    """The model is told a summary in the run after an agent's compaction."""

    async def use(model: Any) -> str:
        compaction = models.OpenAICompaction(message_count_threshold=1)
        agent = agent_with(model, capabilities=[compaction])
        first = await agent.run("hello")
        result = await agent.run("more", message_history=first.all_messages())
        return str(result.output)

    assert run(demo, WIRES[0], use) == echo("more")
    assert [text for _, text in demo.was_told if "summarized:" in text]
