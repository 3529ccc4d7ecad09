"""LangChain: chat models over Responses and chat completions, and its runnable of Assistants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.server.clients.demo import ANSWER, ASK, KEY, DemoServer, echo

langchain_openai: Any = pytest.importorskip("langchain_openai")
messages: Any = pytest.importorskip("langchain_core.messages")
tools: Any = pytest.importorskip("langchain_core.tools")

Tool = Callable[[str], str]

RESPONSES = {"use_responses_api": True}

WIRES = [
    pytest.param(RESPONSES, id="responses"),
    pytest.param({**RESPONSES, "output_version": "responses/v1"}, id="responses items"),
    pytest.param({**RESPONSES, "use_previous_response_id": True}, id="previous response"),
    pytest.param({**RESPONSES, "store": False}, id="not stored"),
    pytest.param({}, id="chat completions"),
]

of_assistants = pytest.mark.filterwarnings(
    "ignore:The Assistants API is deprecated:DeprecationWarning",
    "ignore:deprecated:DeprecationWarning",
)


class City(BaseModel):
    """What an answer is to be."""

    city: str


def chat_model(demo: DemoServer, **options: Any) -> Any:
    """Return a chat model."""
    return langchain_openai.ChatOpenAI(
        model="demo", base_url=demo.base_url, api_key=KEY, max_retries=0, **options
    )


def talk(model: Any, tool: Any, *texts: str) -> list[str]:
    """Say texts one after the other, run the tools that are called, and return the answers."""
    said: list[Any] = []
    answers = []
    for text in texts:
        said.append(messages.HumanMessage(text))
        answer = model.invoke(said)
        said.append(answer)
        while answer.tool_calls:
            said.extend(tool.invoke(call) for call in answer.tool_calls)
            answer = model.invoke(said)
            said.append(answer)
        answers.append(answer.text)
    return answers


@pytest.mark.parametrize("wire", WIRES)
def test_tool_is_called_once(
    demo: DemoServer, get_weather: Tool, cities: list[str], wire: dict[str, Any]
) -> None:
    """A chat model with a tool calls it once, and tells its output."""
    tool = tools.tool(get_weather)
    model = chat_model(demo, **wire).bind_tools([tool])
    assert (talk(model, tool, ASK), cities) == ([ANSWER], ["Paris"])


@pytest.mark.parametrize("wire", WIRES)
def test_second_turn_remembers(demo: DemoServer, get_weather: Tool, wire: dict[str, Any]) -> None:
    """The model is told the first turn in the second one."""
    tool = tools.tool(get_weather)
    talk(chat_model(demo, **wire).bind_tools([tool]), tool, ASK, "hello")
    told = [(role, text) for role, text in demo.was_told if text and role != "tool"]
    assert told == [("user", ASK), ("assistant", ANSWER), ("user", "hello")]


@pytest.mark.parametrize("wire", [RESPONSES, {}], ids=["responses", "chat completions"])
def test_answer_is_streamed(demo: DemoServer, wire: dict[str, Any]) -> None:
    """The chunks of a streamed answer are the answer, and come one by one."""
    chunks = [chunk.text for chunk in chat_model(demo, **wire).stream("hello")]
    assert [text for text in chunks if text] == [
        "This ",
        "is ",
        "the ",
        "offline ",
        "demo ",
        "model. ",
        "You ",
        "said: ",
        "hello",
    ]


@pytest.mark.parametrize("wire", [RESPONSES, {}], ids=["responses", "chat completions"])
def test_call_is_streamed(demo: DemoServer, get_weather: Tool, wire: dict[str, Any]) -> None:
    """The chunks of a streamed call add up to the call."""
    whole: Any = None
    for chunk in chat_model(demo, **wire).bind_tools([tools.tool(get_weather)]).stream(ASK):
        whole = chunk if whole is None else whole + chunk
    calls = [(call["name"], call["args"]) for call in whole.tool_calls]
    assert calls == [("get_weather", {"city": "Paris"})]


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
@pytest.mark.parametrize("wire", [RESPONSES, {}], ids=["responses", "chat completions"])
def test_structured_output(demo: DemoServer, method: str, wire: dict[str, Any]) -> None:
    """A chat model with structured output gives an object."""
    model = chat_model(demo, **wire).with_structured_output(City, method=method)
    assert model.invoke("Paris") == City(city="Paris")


def test_tool_that_must_be_called(demo: DemoServer, get_weather: Tool) -> None:
    """A chat model that must call a tool does so when no text asks for it."""
    model = chat_model(demo, **RESPONSES).bind_tools(
        [tools.tool(get_weather)], tool_choice="any", strict=True
    )
    assert [call["name"] for call in model.invoke("hello").tool_calls] == ["get_weather"]


def test_tokens_are_counted(demo: DemoServer) -> None:
    """An answer says how many tokens it took."""
    usage = chat_model(demo, **RESPONSES).invoke("hello").usage_metadata
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (1, 9, 10)


def test_asynchronous_chat_model(demo: DemoServer, get_weather: Tool, cities: list[str]) -> None:
    """A chat model that is awaited calls the tool."""

    async def run() -> list[dict[str, Any]]:
        async with openai.AsyncOpenAI(base_url=demo.base_url, api_key=KEY) as client:
            model = chat_model(demo, root_async_client=client, **RESPONSES)
            answer = await model.bind_tools([tools.tool(get_weather)]).ainvoke(ASK)
            found: list[dict[str, Any]] = answer.tool_calls
            return found

    assert [call["args"] for call in asyncio.run(run())] == [{"city": "Paris"}]


@pytest.fixture
def client(demo: DemoServer) -> Iterator[openai.OpenAI]:
    """Yield OpenAI's client, which the runnable of Assistants uses."""
    with openai.OpenAI(base_url=demo.base_url, api_key=KEY, max_retries=0) as opened:
        yield opened


def runnable(client: openai.OpenAI, tool: Any, *, as_agent: bool) -> Any:
    """Return a runnable of a new assistant."""
    found = pytest.importorskip("langchain_community.agents.openai_assistant")
    return found.OpenAIAssistantV2Runnable.create_assistant(
        name="tutor",
        instructions="Be kind.",
        tools=[tool],
        model="demo",
        client=client,
        as_agent=as_agent,
        check_every_ms=10,
    )


@of_assistants
def test_assistant_answers(client: openai.OpenAI, get_weather: Tool) -> None:
    """The runnable of an assistant gives the messages of its run."""
    assistant = runnable(client, tools.tool(get_weather), as_agent=False)
    found = assistant.invoke({"content": "hello"})
    assert [message.content[0].text.value for message in found] == [echo("hello")]


@of_assistants
def test_assistant_remembers(client: openai.OpenAI, get_weather: Tool, demo: DemoServer) -> None:
    """The model is told the first turn when the runnable of an assistant is asked again."""
    assistant = runnable(client, tools.tool(get_weather), as_agent=False)
    first = assistant.invoke({"content": "hello"})
    assistant.invoke({"content": "more", "thread_id": first[0].thread_id})
    assert demo.was_told[1:] == [
        ("user", "hello"),
        ("assistant", echo("hello")),
        ("user", "more"),
    ]


@of_assistants
def test_assistant_calls_the_tool(
    client: openai.OpenAI, get_weather: Tool, cities: list[str]
) -> None:
    """The runnable of an assistant gives the call, takes its output, and ends."""
    tool = tools.tool(get_weather)
    assistant = runnable(client, tool, as_agent=True)
    actions = assistant.invoke({"content": ASK})
    outputs = [
        {"output": tool.invoke(action.tool_input), "tool_call_id": action.tool_call_id}
        for action in actions
    ]
    end = assistant.invoke(
        {
            "tool_outputs": outputs,
            "run_id": actions[0].run_id,
            "thread_id": actions[0].thread_id,
        }
    )
    assert (end.return_values["output"], cities) == (ANSWER, ["Paris"])


@of_assistants
def test_executor_calls_the_tool_once(
    client: openai.OpenAI, get_weather: Tool, cities: list[str]
) -> None:
    """An executor of agents runs the assistant to its end, and calls the tool once."""
    found = pytest.importorskip("langchain_classic.agents")
    tool = tools.tool(get_weather)
    executor = found.AgentExecutor(agent=runnable(client, tool, as_agent=True), tools=[tool])
    assert (executor.invoke({"content": ASK})["output"], cities) == (ANSWER, ["Paris"])
