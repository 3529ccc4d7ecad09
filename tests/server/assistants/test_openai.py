"""OpenAI's own client against the embedded server."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai.types.beta import Assistant, Thread
from openai.types.beta.threads import Message, Run

from gpt_agent_sync.server.app import make_engine
from gpt_agent_sync.server.hosting import EmbeddedServer
from gpt_agent_sync.testing import Fail, Hold, Incomplete, Reply
from tests.support.polling import wait_for
from tests.support.server_setup import TWO_CALLS, Connect, outputs_for, thread_and_assistant

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def texts(client: openai.OpenAI, thread_id: str, **query: Any) -> list[str]:
    """Return the texts of all messages of a thread, oldest first, through all pages."""
    pages = client.beta.threads.messages.list(thread_id, order="asc", **query)
    return [part.text.value for message in pages for part in message.content if part.type == "text"]


# Shapes, by OpenAI's own types.


def test_assistant_is_valid(connect: Connect) -> None:
    """An assistant has the fields that OpenAI's type demands."""
    assistant = connect().beta.assistants.create(
        model="any",
        name="tutor",
        instructions="Be kind.",
        tools=[{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}],
        metadata={"a": "b"},
        temperature=0.5,
    )
    assert Assistant.model_validate(assistant.to_dict()) == assistant


def test_thread_is_valid(connect: Connect) -> None:
    """A thread has the fields that OpenAI's type demands."""
    thread = connect().beta.threads.create(metadata={"a": "b"})
    assert Thread.model_validate(thread.to_dict()) == thread


def test_messages_are_valid(connect: Connect) -> None:
    """Messages of both roles, whole or cut short, have the fields that OpenAI's type demands."""
    client = connect(Reply("one"), Incomplete("max_completion_tokens", "tw"))
    thread_id, assistant_id = thread_and_assistant(client)
    for _ in range(2):
        client.beta.threads.runs.create_and_poll(thread_id=thread_id, assistant_id=assistant_id)
    messages = client.beta.threads.messages.list(thread_id).data
    assert [Message.model_validate(message.to_dict()) for message in messages] == messages
    assert len(messages) == 3


@pytest.mark.parametrize(
    "step, status",
    [
        (Reply("ok"), "completed"),
        (Fail(), "failed"),
        (Incomplete(), "incomplete"),
        (TWO_CALLS, "requires_action"),
    ],
)
def test_runs_are_valid(connect: Connect, step: Any, status: str) -> None:
    """Runs of every kind have the fields that OpenAI's type demands."""
    client = connect(step)
    thread_id, assistant_id = thread_and_assistant(client)
    run = client.beta.threads.runs.create_and_poll(thread_id=thread_id, assistant_id=assistant_id)
    assert run.status == status
    assert Run.model_validate(run.to_dict()) == run


# Assistants.


def test_assistant_comes_back(connect: Connect) -> None:
    """An assistant is retrieved as it was made."""
    client = connect()
    made = client.beta.assistants.create(model="any", name="tutor")
    assert client.beta.assistants.retrieve(made.id) == made


def test_assistant_is_updated(connect: Connect) -> None:
    """An assistant is changed where the update says so."""
    client = connect()
    made = client.beta.assistants.create(model="any", name="a", description="d")
    changed = client.beta.assistants.update(made.id, name="b")
    assert changed == made.model_copy(update={"name": "b"})


def test_assistants_are_listed_by_pages(connect: Connect) -> None:
    """The client walks through all pages of assistants."""
    client = connect()
    made = [client.beta.assistants.create(model="any").id for _ in range(5)]
    found = [assistant.id for assistant in client.beta.assistants.list(limit=2)]
    assert found == made[::-1]


def test_assistant_is_deleted(connect: Connect) -> None:
    """A deleted assistant is not found any more."""
    client = connect()
    made = client.beta.assistants.create(model="any")
    assert client.beta.assistants.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError, match=f"No assistant found with id '{made.id}'"):
        client.beta.assistants.retrieve(made.id)


# Threads and messages.


def test_thread_with_messages(connect: Connect) -> None:
    """A thread may be made with its history."""
    client = connect()
    thread = client.beta.threads.create(
        messages=[{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    )
    assert texts(client, thread.id) == ["one", "two"]


def test_thread_without_anything(connect: Connect) -> None:
    """A thread may be made with nothing said."""
    client = connect()
    thread = client.beta.threads.create()
    assert client.beta.threads.retrieve(thread.id) == thread


def test_thread_is_updated(connect: Connect) -> None:
    """A thread's metadata is changed."""
    client = connect()
    thread = client.beta.threads.create()
    client.beta.threads.update(thread.id, metadata={"a": "b"})
    assert client.beta.threads.retrieve(thread.id).metadata == {"a": "b"}


def test_thread_is_deleted(connect: Connect) -> None:
    """A deleted thread is not found any more."""
    client = connect()
    thread = client.beta.threads.create()
    assert client.beta.threads.delete(thread.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.beta.threads.retrieve(thread.id)


def test_message_is_created(connect: Connect) -> None:
    """A message is added and retrieved as it was made."""
    client = connect()
    thread = client.beta.threads.create()
    made = client.beta.threads.messages.create(thread.id, role="user", content="hi")
    assert client.beta.threads.messages.retrieve(made.id, thread_id=thread.id) == made


def test_message_with_an_image(connect: Connect) -> None:
    """A message may hold an image's address beside its text."""
    client = connect()
    thread = client.beta.threads.create()
    made = client.beta.threads.messages.create(
        thread.id,
        role="user",
        content=[
            {"type": "text", "text": "Look:"},
            {"type": "image_url", "image_url": {"url": "http://x/y.png"}},
        ],
    )
    assert [part.type for part in made.content] == ["text", "image_url"]


def test_message_is_updated_and_deleted(connect: Connect) -> None:
    """A message's metadata is changed, and the message is deleted."""
    client = connect()
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "hi"}])
    message = client.beta.threads.messages.list(thread.id).data[0]
    changed = client.beta.threads.messages.update(
        message.id, thread_id=thread.id, metadata={"a": "b"}
    )
    assert changed.metadata == {"a": "b"}
    assert client.beta.threads.messages.delete(message.id, thread_id=thread.id).deleted
    assert texts(client, thread.id) == []


@pytest.mark.parametrize("limit", [1, 7, 20, 100])
def test_messages_are_listed_by_pages(connect: Connect, limit: int) -> None:
    """The client walks through all pages of messages, in order, each message once."""
    client = connect()
    thread = client.beta.threads.create()
    said = [str(number) for number in range(25)]
    for text in said:
        client.beta.threads.messages.create(thread.id, role="user", content=text)
    assert texts(client, thread.id, limit=limit) == said


def test_messages_of_a_run(connect: Connect) -> None:
    """Messages are listed by the run that wrote them."""
    client = connect(Reply("one"), Reply("two"))
    thread_id, assistant_id = thread_and_assistant(client)
    first, _ = (
        client.beta.threads.runs.create_and_poll(thread_id=thread_id, assistant_id=assistant_id)
        for _ in range(2)
    )
    assert texts(client, thread_id, run_id=first.id) == ["one"]


# Runs.


def test_run_completes(connect: Connect) -> None:
    """A run is polled until its reply is there."""
    client = connect(Reply("hello"))
    thread_id, assistant_id = thread_and_assistant(client)
    client.beta.threads.runs.create_and_poll(thread_id=thread_id, assistant_id=assistant_id)
    assert texts(client, thread_id) == ["hi", "hello"]


def test_thread_and_run(connect: Connect) -> None:
    """Thread and run are made in one request."""
    client = connect(Reply("hello"))
    assistant = client.beta.assistants.create(model="any")
    run = client.beta.threads.create_and_run_poll(
        assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "hi"}]}
    )
    assert texts(client, run.thread_id) == ["hi", "hello"]


def test_run_with_tools(connect: Connect) -> None:
    """Outputs are submitted, and the run is polled until it is over."""
    client = connect(TWO_CALLS, Reply("done"))
    thread_id, assistant_id = thread_and_assistant(client)
    runs = client.beta.threads.runs
    run = runs.create_and_poll(thread_id=thread_id, assistant_id=assistant_id)
    run = runs.submit_tool_outputs_and_poll(
        run_id=run.id, thread_id=thread_id, tool_outputs=outputs_for(run)
    )
    assert run.status == "completed"
    assert texts(client, thread_id) == ["hi", "done"]


def test_run_with_the_demo_model() -> None:
    """Without a key or a network the demo model adds two numbers through a tool."""
    server = EmbeddedServer(make_engine(":memory:"))
    with openai.OpenAI(base_url=server.base_url, api_key="none") as client:
        number = {"type": "number"}
        parameters: dict[str, object] = {
            "type": "object",
            "properties": {"a": number, "b": number},
            "required": ["a", "b"],
        }
        assistant = client.beta.assistants.create(
            model="demo",
            tools=[{"type": "function", "function": {"name": "add", "parameters": parameters}}],
        )
        run = client.beta.threads.create_and_run_poll(
            assistant_id=assistant.id,
            thread={"messages": [{"role": "user", "content": "What is 2 + 3?"}]},
        )
        run = client.beta.threads.runs.submit_tool_outputs_and_poll(
            run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs_for(run, "5")
        )
        found = texts(client, run.thread_id)
    server.stop()
    assert found == ["What is 2 + 3?", "The demo model asked for help: add gave 5."]


def test_run_fails(connect: Connect) -> None:
    """A failed run says why."""
    client = connect(Fail("rate_limit_exceeded", "Rate limit reached."))
    thread_id, assistant_id = thread_and_assistant(client)
    run = client.beta.threads.runs.create_and_poll(thread_id=thread_id, assistant_id=assistant_id)
    assert run.last_error is not None
    assert (run.last_error.code, run.last_error.message) == (
        "rate_limit_exceeded",
        "Rate limit reached.",
    )


def test_run_is_cancelled(connect: Connect) -> None:
    """A run in progress is cancelled, and polled until it is so."""
    client = connect(Hold())
    thread_id, assistant_id = thread_and_assistant(client)
    runs = client.beta.threads.runs
    made = runs.create(thread_id=thread_id, assistant_id=assistant_id)
    wait_for(
        lambda: runs.retrieve(made.id, thread_id=thread_id).status,
        lambda status: status == "in_progress",
    )
    assert runs.cancel(made.id, thread_id=thread_id).status == "cancelling"
    assert runs.poll(made.id, thread_id=thread_id).status == "cancelled"


def test_runs_are_listed_by_pages(connect: Connect) -> None:
    """The client walks through all pages of runs."""
    client = connect()
    thread_id, assistant_id = thread_and_assistant(client)
    runs = client.beta.threads.runs
    made = [
        runs.create_and_poll(thread_id=thread_id, assistant_id=assistant_id).id for _ in range(3)
    ]
    assert [run.id for run in runs.list(thread_id, limit=1)] == made[::-1]


def test_run_is_updated(connect: Connect) -> None:
    """A run's metadata is changed."""
    client = connect()
    thread_id, assistant_id = thread_and_assistant(client)
    runs = client.beta.threads.runs
    made = runs.create_and_poll(thread_id=thread_id, assistant_id=assistant_id)
    changed = runs.update(made.id, thread_id=thread_id, metadata={"a": "b"})
    assert changed == made.model_copy(update={"metadata": {"a": "b"}})


# Errors, as the client's exceptions.


def test_unknown_thread(connect: Connect) -> None:
    """A thread that is not there is a ``NotFoundError`` with the wire's text."""
    with pytest.raises(openai.NotFoundError) as caught:
        connect().beta.threads.retrieve("thread_x")
    assert caught.value.body == {
        "message": "No thread found with id 'thread_x'.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


def test_refusals_name_their_request(connect: Connect) -> None:
    """The client's exceptions carry the request's id."""
    with pytest.raises(openai.NotFoundError) as caught:
        connect().beta.threads.retrieve("thread_x")
    assert caught.value.request_id is not None
    assert caught.value.request_id.startswith("req_")


def test_unknown_model(connect: Connect) -> None:
    """A model that nobody serves is a ``BadRequestError`` with a code and a parameter."""
    with pytest.raises(openai.BadRequestError) as caught:
        connect().beta.assistants.create(model="no-such-model")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_message_while_a_run_is_live(connect: Connect) -> None:
    """A message to a thread with a live run is a ``BadRequestError``."""
    client = connect(TWO_CALLS)
    thread_id, assistant_id = thread_and_assistant(client)
    client.beta.threads.runs.create_and_poll(thread_id=thread_id, assistant_id=assistant_id)
    with pytest.raises(openai.BadRequestError, match=r"Can't add messages to .* while a run"):
        client.beta.threads.messages.create(thread_id, role="user", content="x")


def test_second_run(connect: Connect) -> None:
    """A second run on a thread is a ``BadRequestError``."""
    client = connect(TWO_CALLS)
    thread_id, assistant_id = thread_and_assistant(client)
    runs = client.beta.threads.runs
    runs.create_and_poll(thread_id=thread_id, assistant_id=assistant_id)
    with pytest.raises(openai.BadRequestError, match="already has an active run"):
        runs.create(thread_id=thread_id, assistant_id=assistant_id)


def test_wrong_outputs(connect: Connect) -> None:
    """Too few outputs are a ``BadRequestError``."""
    client = connect(TWO_CALLS)
    thread_id, assistant_id = thread_and_assistant(client)
    runs = client.beta.threads.runs
    run = runs.create_and_poll(thread_id=thread_id, assistant_id=assistant_id)
    with pytest.raises(openai.BadRequestError, match="Expected tool outputs for call_ids"):
        runs.submit_tool_outputs(run.id, thread_id=thread_id, tool_outputs=outputs_for(run)[:1])


def test_cancel_of_a_run_that_is_final(connect: Connect) -> None:
    """Cancelling a run that is over is a ``BadRequestError``."""
    client = connect()
    thread_id, assistant_id = thread_and_assistant(client)
    runs = client.beta.threads.runs
    run = runs.create_and_poll(thread_id=thread_id, assistant_id=assistant_id)
    with pytest.raises(openai.BadRequestError, match="Cannot cancel run with status 'completed'"):
        runs.cancel(run.id, thread_id=thread_id)


def test_wrong_key() -> None:
    """A wrong key is an ``AuthenticationError``."""
    server = EmbeddedServer(make_engine(":memory:"), api_key="secret")
    with (
        openai.OpenAI(base_url=server.base_url, api_key="wrong") as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.beta.threads.create()
    server.stop()
    assert caught.value.code == "invalid_api_key"


def test_right_key() -> None:
    """With the right key the client is answered."""
    server = EmbeddedServer(make_engine(":memory:"), api_key="secret")
    with openai.OpenAI(base_url=server.base_url, api_key="secret") as client:
        thread = client.beta.threads.create()
    server.stop()
    assert thread.object == "thread"
