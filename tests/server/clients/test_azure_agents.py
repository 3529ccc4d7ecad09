"""Azure's client of agents, by a project's path and with a key in its header."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.server.clients.demo import ANSWER, ASK, KEY, DemoServer, echo

agents: Any = pytest.importorskip("azure.ai.agents")
aio: Any = pytest.importorskip("azure.ai.agents.aio")
models: Any = pytest.importorskip("azure.ai.agents.models")
credentials: Any = pytest.importorskip("azure.core.credentials")
exceptions: Any = pytest.importorskip("azure.core.exceptions")
policies: Any = pytest.importorskip("azure.core.pipeline.policies")

Tool = Callable[[str], str]


class NoCredential:
    """The credential that the client wants beside a key; it is not asked."""

    def get_token(self, *_scopes: str, **_options: Any) -> Any:
        """Refuse."""
        raise AssertionError("asked for a token")

    async def close(self) -> None:
        """Do nothing."""


def options_for(demo: DemoServer, key: str = KEY) -> dict[str, Any]:
    """Return the arguments of a client: bearer tokens are for TLS alone, so it has a key."""
    policy = policies.AzureKeyCredentialPolicy(credentials.AzureKeyCredential(key), "api-key")
    return {
        "endpoint": f"{demo.root}/api/projects/p",
        "credential": NoCredential(),
        "authentication_policy": policy,
        "retry_total": 0,
    }


@pytest.fixture
def client(demo: DemoServer) -> Iterator[Any]:
    """Yield a client."""
    with agents.AgentsClient(**options_for(demo)) as opened:
        yield opened


@pytest.fixture
def agent_id(client: Any, get_weather: Tool) -> str:
    """Return an agent whose tool the client runs by itself."""
    tools = models.ToolSet()
    tools.add(models.FunctionTool({get_weather}))
    client.enable_auto_function_calls(tools)
    created: str = client.create_agent(model="demo", instructions="Be kind.", toolset=tools).id
    return created


def thread_with(client: Any, text: str) -> str:
    """Return a new thread with one message."""
    created: str = client.threads.create(messages=[{"role": "user", "content": text}]).id
    return created


def process(client: Any, thread_id: str, agent_id: str) -> Any:
    """Run the agent to its end."""
    return client.runs.create_and_process(
        thread_id=thread_id, agent_id=agent_id, polling_interval=0.01
    )


def texts_of(client: Any, thread_id: str) -> list[str]:
    """Return the texts of a thread, oldest first."""
    found = client.messages.list(thread_id=thread_id, order="asc")
    return [message.text_messages[-1].text.value for message in found]


class Seen(models.AgentEventHandler):  # type: ignore[misc]
    """A handler that keeps what it is called with."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.steps: list[tuple[str, str]] = []
        self.runs: list[str] = []
        self.messages: list[str] = []
        self.arguments = ""
        self.ends = 0
        self.strange: list[object] = []

    def on_message_delta(self, delta: Any) -> None:
        """Keep its text."""
        self.text += delta.text

    def on_thread_message(self, message: Any) -> None:
        """Keep its status."""
        self.messages.append(message.status)

    def on_thread_run(self, run: Any) -> None:
        """Keep its status."""
        self.runs.append(run.status.value)

    def on_run_step(self, step: Any) -> None:
        """Keep its type and status."""
        self.steps.append((step.type.value, step.status.value))

    def on_run_step_delta(self, delta: Any) -> None:
        """Keep the arguments of its calls."""
        for call in delta.delta.step_details.tool_calls:
            self.arguments += call.function.arguments

    def on_error(self, data: str) -> None:
        """Keep it."""
        self.strange.append(data)

    def on_done(self) -> None:
        """Count it."""
        self.ends += 1

    def on_unhandled_event(self, event_type: str, event_data: str) -> None:
        """Keep it."""
        self.strange.append((event_type, event_data))


def stream(client: Any, thread_id: str, agent_id: str) -> Seen:
    """Run the agent in a stream, to its end."""
    seen = Seen()
    with client.runs.stream(thread_id=thread_id, agent_id=agent_id, event_handler=seen) as events:
        events.until_done()
    return seen


def test_run_calls_the_tool_once(client: Any, agent_id: str, cities: list[str]) -> None:
    """A run of Azure's client comes to its end, and calls the tool once."""
    run = process(client, thread_with(client, ASK), agent_id)
    assert (run.status, run.last_error, cities) == ("completed", None, ["Paris"])


def test_answer_is_in_the_thread(client: Any, agent_id: str) -> None:
    """Azure's client lists the question and the answer with the tool's output."""
    thread_id = thread_with(client, ASK)
    process(client, thread_id, agent_id)
    assert texts_of(client, thread_id) == [ASK, ANSWER]


def test_last_text_of_a_role(client: Any, agent_id: str) -> None:
    """Azure's client finds the agent's last text."""
    thread_id = thread_with(client, ASK)
    process(client, thread_id, agent_id)
    found = client.messages.get_last_message_text_by_role(thread_id=thread_id, role="assistant")
    assert found.text.value == ANSWER


def test_message_comes_back_and_is_updated(client: Any) -> None:
    """Azure's client sets the metadata of a message, and reads it again."""
    thread_id = client.threads.create().id
    message = client.messages.create(thread_id=thread_id, role="user", content="hello")
    given = {"thread_id": thread_id, "message_id": message.id}
    client.messages.update(**given, metadata={"a": "b"})
    found = client.messages.get(**given)
    assert (found.metadata, found.text_messages[0].text.value) == ({"a": "b"}, "hello")


def test_second_turn_remembers(client: Any, agent_id: str, demo: DemoServer) -> None:
    """The model is told the first turn when Azure's client runs the thread again."""
    thread_id = thread_with(client, ASK)
    process(client, thread_id, agent_id)
    client.messages.create(thread_id=thread_id, role="user", content="hello")
    process(client, thread_id, agent_id)
    told = [(role, text) for role, text in demo.was_told if role in ("user", "assistant") and text]
    assert told == [("user", ASK), ("assistant", ANSWER), ("user", "hello")]


def test_run_steps_are_listed(client: Any, agent_id: str) -> None:
    """Azure's client lists the run's steps: the calls, and the message."""
    run = process(client, thread_with(client, ASK), agent_id)
    steps = list(client.run_steps.list(thread_id=run.thread_id, run_id=run.id, order="asc"))
    assert [(step.type.value, step.status.value) for step in steps] == [
        ("tool_calls", "completed"),
        ("message_creation", "completed"),
    ]


def test_run_step_has_the_output(client: Any, agent_id: str) -> None:
    """The step of the calls, asked for by itself, has what the tool said."""
    run = process(client, thread_with(client, ASK), agent_id)
    given = {"thread_id": run.thread_id, "run_id": run.id}
    first = next(iter(client.run_steps.list(**given, order="asc")))
    call = client.run_steps.get(**given, step_id=first.id).step_details.tool_calls[0]
    assert (call.function.arguments, call.function["output"]) == (
        '{"city": "Paris"}',
        "sunny in Paris",
    )


def test_threads_are_listed_by_pages(client: Any) -> None:
    """Azure's client lists all threads, a page of one after the other."""
    created = [client.threads.create().id for _ in range(3)]
    assert [thread.id for thread in client.threads.list(limit=1, order="asc")] == created


def test_thread_is_updated(client: Any) -> None:
    """Azure's client sets a thread's metadata, and reads it again."""
    thread_id = client.threads.create().id
    client.threads.update(thread_id, metadata={"a": "b"})
    assert client.threads.get(thread_id).metadata == {"a": "b"}


def test_deleted_thread_is_gone(client: Any) -> None:
    """Azure's client deletes a thread, which is not found then."""
    thread_id = client.threads.create().id
    client.threads.delete(thread_id)
    with pytest.raises(exceptions.ResourceNotFoundError):
        client.threads.get(thread_id)


def test_agents_are_listed_by_pages(client: Any) -> None:
    """Azure's client lists all agents, a page of one after the other."""
    created = [client.create_agent(model="demo").id for _ in range(3)]
    assert [agent.id for agent in client.list_agents(limit=1, order="asc")] == created


def test_agent_is_updated(client: Any, agent_id: str) -> None:
    """Azure's client renames an agent, and reads it again."""
    client.update_agent(agent_id, name="tutor")
    found = client.get_agent(agent_id)
    assert (found.name, found.instructions) == ("tutor", "Be kind.")


def test_deleted_agent_is_gone(client: Any, agent_id: str) -> None:
    """Azure's client deletes an agent, which is not found then."""
    client.delete_agent(agent_id)
    with pytest.raises(exceptions.ResourceNotFoundError):
        client.get_agent(agent_id)


def test_runs_are_listed(client: Any, agent_id: str) -> None:
    """Azure's client lists the runs of a thread."""
    run = process(client, thread_with(client, "hello"), agent_id)
    found = client.runs.list(thread_id=run.thread_id)
    assert [(each.id, each.status.value) for each in found] == [(run.id, "completed")]


def test_thread_and_run_in_one(client: Any, agent_id: str, cities: list[str]) -> None:
    """Azure's client makes a thread and runs it in one call, with the tool."""
    run = client.create_thread_and_process_run(
        agent_id=agent_id,
        thread={"messages": [{"role": "user", "content": ASK}]},
        polling_interval=0.01,
    )
    assert (run.status, cities) == ("completed", ["Paris"])


def test_final_run_is_not_cancelled(client: Any, agent_id: str) -> None:
    """Azure's client is told that a final run cannot be cancelled."""
    run = process(client, thread_with(client, "hello"), agent_id)
    with pytest.raises(exceptions.HttpResponseError, match="Cannot cancel run") as raised:
        client.runs.cancel(thread_id=run.thread_id, run_id=run.id)
    assert raised.value.status_code == 400


def test_streamed_text(client: Any, agent_id: str) -> None:
    """The deltas that the handler of Azure's client is called with are the answer."""
    seen = stream(client, thread_with(client, "hello"), agent_id)
    assert (seen.text, seen.messages[-1]) == (echo("hello"), "completed")


def test_streamed_run(client: Any, agent_id: str) -> None:
    """The handler of Azure's client is called for each state of the run, and at the end."""
    seen = stream(client, thread_with(client, "hello"), agent_id)
    assert seen.runs == ["queued", "queued", "in_progress", "completed"]
    assert (seen.ends, seen.strange) == (1, [])


def test_streamed_run_calls_the_tool_once(client: Any, agent_id: str, cities: list[str]) -> None:
    """A streamed run of Azure's client calls the tool once, and goes on to the answer."""
    seen = stream(client, thread_with(client, ASK), agent_id)
    assert (cities, seen.text, seen.runs[-1]) == (["Paris"], ANSWER, "completed")


def test_streamed_steps(client: Any, agent_id: str) -> None:
    """The handler of Azure's client is called for the steps as they begin and end."""
    seen = stream(client, thread_with(client, ASK), agent_id)
    assert list(dict.fromkeys(seen.steps)) == [
        ("tool_calls", "in_progress"),
        ("tool_calls", "completed"),
        ("message_creation", "in_progress"),
        ("message_creation", "completed"),
    ]
    assert (seen.arguments, seen.strange) == ('{"city": "Paris"}', [])


def test_events_without_a_handler(client: Any, agent_id: str) -> None:
    """The stream of Azure's client, read without a handler, ends as the run does."""
    with client.runs.stream(thread_id=thread_with(client, "hello"), agent_id=agent_id) as events:
        names = [name for name, _, _ in events]
    assert (names[0], names[-2:]) == ("thread.run.created", ["thread.run.completed", "done"])


def test_asynchronous_client(demo: DemoServer) -> None:
    """Azure's asynchronous client runs an agent to its end."""

    async def run() -> Any:
        async with aio.AgentsClient(**options_for(demo)) as client:
            agent = await client.create_agent(model="demo")
            thread = await client.threads.create(messages=[{"role": "user", "content": "hello"}])
            run = await client.runs.create_and_process(
                thread_id=thread.id, agent_id=agent.id, polling_interval=0.01
            )
            last = await client.messages.get_last_message_text_by_role(
                thread_id=thread.id, role="assistant"
            )
            return run.status, last.text.value

    assert asyncio.run(run()) == ("completed", echo("hello"))


def test_wrong_key(demo: DemoServer) -> None:
    """Azure's client is refused with another key."""
    with (
        agents.AgentsClient(**options_for(demo, "wrong")) as client,
        pytest.raises(exceptions.ClientAuthenticationError),
    ):
        client.create_agent(model="demo")
