"""Embedded servers as tests of the two wires set them up: a clock, a model, and clients."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import openai
import requests
from openai.types.beta.threads import Run
from openai.types.beta.threads.run_submit_tool_outputs_params import ToolOutput

from gpt_agent_sync.server.app import make_engine
from gpt_agent_sync.server.hosting import EmbeddedServer
from gpt_agent_sync.server.models.base import Model
from gpt_agent_sync.server.storage.database import Storage
from gpt_agent_sync.testing import CallTools, Fail, Incomplete, Reply
from tests.support.event_lines import EventReader, ReceivedEvent
from tests.support.polling import wait_for
from tests.support.responses_client import ResponsesClient
from tests.support.scripted_model import ScriptedModel, ScriptedServer
from tests.support.wire_client import Json, WireClient

START = 1_000_000.0
"""The Unix time at which every clock begins."""

CALL = CallTools(("add", {"a": 1}))
TWO_CALLS = CallTools(("add", {"a": 1}), ("add", {"a": 2}))

STEPS = {
    "reply": Reply("Hel", "lo"),
    "nothing": Reply(),
    "calls": TWO_CALLS,
    "failure": Fail(),
    "cut short": Incomplete("max_completion_tokens", "Hel"),
    "cut short at once": Incomplete(),
}
"""A step of each kind in which a model's answer may end."""

MakeServer = Callable[..., ScriptedServer]


class Clock:
    """A clock that shows the time that a test has set."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        """Return that time."""
        return self.now


class Setup:
    """A scripted server and its clock; subclasses have a client.

    Args:
        server: The server.
        clock: Its clock.
    """

    def __init__(self, server: ScriptedServer, clock: Clock) -> None:
        self.server = server
        self.model = server.model
        self.clock = clock

    def release(self) -> None:
        """Let the model answer that is held."""
        self.model.released.set()

    def close(self) -> None:
        """Release the model, and close the client's connections."""
        self.release()

    def last_chat(self) -> list[tuple[str, Any]]:
        """Return role and content of the messages that the model was asked last."""
        request = self.model.requests[-1]
        return [(message["role"], message["content"]) for message in request.messages]


class RunSetup(Setup):
    """A scripted server, its clock, and a client of the Assistants wire."""

    def __init__(self, server: ScriptedServer, clock: Clock) -> None:
        super().__init__(server, clock)
        self.wire = WireClient(server.base_url)

    def close(self) -> None:
        """Release the model, and close the client's connections."""
        super().close()
        self.wire.close()

    def start(self, **fields: Any) -> tuple[str, str]:
        """Start a run on a new thread, and return the ids of both."""
        thread_id = self.wire.thread("hi")
        return thread_id, self.wire.start(thread_id, **fields)

    def in_progress(self) -> tuple[str, str]:
        """Start a run, wait until its model is asked, and return the ids of thread and run."""
        thread_id, run_id = self.start()
        self.wire.with_status(thread_id, run_id, "in_progress")
        # The status comes first: the model is asked a moment later.
        wait_for(lambda: self.model.requests, bool)
        return thread_id, run_id

    def requiring_action(self) -> tuple[str, Json]:
        """Start a run, wait until it waits for outputs, and return the thread's id and it."""
        thread_id, run_id = self.start()
        return thread_id, self.wire.with_status(thread_id, run_id, "requires_action")

    def settled(self) -> Json:
        """Start a run, and return it when it is final or waits for outputs."""
        return self.wire.settled(*self.start())

    def cancel(self, thread_id: str, run_id: str) -> Json:
        """Cancel a run, and return the answer."""
        return self.wire.post(f"/threads/{thread_id}/runs/{run_id}/cancel")


class ResponseSetup(Setup):
    """A scripted server, its clock, and a client of the Responses wire."""

    def __init__(self, server: ScriptedServer, clock: Clock) -> None:
        super().__init__(server, clock)
        self.wire = ResponsesClient(server.base_url)

    def close(self) -> None:
        """Release the model, and close the client's connections."""
        super().close()
        self.wire.close()

    def in_progress(self, **fields: Any) -> tuple[str, str]:
        """Start a response in a new conversation, wait for its model, and return both ids."""
        conversation_id = self.wire.conversation()
        response_id = self.wire.start_background(conversation_id, **fields)
        wait_for(lambda: self.model.requests, bool)
        return conversation_id, response_id

    def answered(self, **fields: Any) -> tuple[str, Json]:
        """Create a response in a new conversation, and return the conversation's id and it."""
        conversation_id = self.wire.conversation()
        return conversation_id, self.wire.respond(conversation=conversation_id, **fields)

    def chat_of(self, **fields: Any) -> list[tuple[str, Any]]:
        """Create a response, and return role and content of the messages its model was asked."""
        self.wire.respond(**fields)
        return self.last_chat()


class OpenAISetup(Setup):
    """A scripted server, its clock, and OpenAI's client."""

    def __init__(self, server: ScriptedServer, clock: Clock) -> None:
        super().__init__(server, clock)
        self.client = openai.OpenAI(base_url=server.base_url, api_key="key", max_retries=0)

    def close(self) -> None:
        """Release the model, and close the client's connections."""
        super().close()
        self.client.close()


Connect = Callable[..., openai.OpenAI]
MakeClient = Callable[..., WireClient]
MakeForeground = Callable[..., tuple[ResponseSetup, str, "Future[Json]"]]
MakeRunSetup = Callable[..., RunSetup]
MakeResponseSetup = Callable[..., ResponseSetup]
MakeOpenAISetup = Callable[..., OpenAISetup]

AnySetup = TypeVar("AnySetup", bound=Setup)


def make_setups(
    setup_class: Callable[[ScriptedServer, Clock], AnySetup], make_server: MakeServer
) -> Iterator[Callable[..., AnySetup]]:
    """Yield a maker of setups whose models follow the given steps, and close them all."""
    setups: list[AnySetup] = []

    def make(*steps: Any, **options: Any) -> AnySetup:
        clock = Clock()
        setups.append(setup_class(make_server(steps, clock=clock, **options), clock))
        return setups[-1]

    yield make
    for setup in setups:
        setup.close()


class StreamSetup:
    """An embedded server, its engine and clock, and a client that reads streams on both wires.

    Args:
        model: Who answers.
        location: Where everything is kept.
        options: Of the engine.
    """

    def __init__(self, model: Model, location: str = ":memory:", **options: Any) -> None:
        self.clock = Clock()
        self.engine = make_engine(location, models=[model], clock=self.clock, **options)
        self._server = EmbeddedServer(self.engine)
        self.base_url = self._server.base_url
        self.wire = ResponsesClient(self._server.base_url)
        self._readers: list[EventReader] = []

    def stream(self, path: str, **body: Any) -> EventReader:
        """Ask for a stream, and return a reader of its events."""
        fields = {"stream": True, **body}
        return self._read(self.wire.send("POST", path, json=fields, stream=True))

    def resume(self, response_id: str, **query: Any) -> EventReader:
        """Ask for the stream of an existing response, and return a reader of its events."""
        params = {"stream": "true", **query}
        path = f"/responses/{response_id}"
        return self._read(self.wire.send("GET", path, params=params, stream=True))

    def stream_run(self, thread_id: str | None = None, **fields: Any) -> EventReader:
        """Start a run of a new assistant, and return a reader of its events."""
        thread_id = thread_id or self.wire.thread("hi")
        assistant_id = self.wire.assistant()
        return self.stream(f"/threads/{thread_id}/runs", assistant_id=assistant_id, **fields)

    def stream_response(self, **fields: Any) -> EventReader:
        """Create a response, and return a reader of its events."""
        return self.stream("/responses", **{"model": "any", "input": "hi", **fields})

    def stream_either(self, wire: str) -> EventReader:
        """Start a run (``"runs"``) or a response, and return a reader of its events."""
        return self.stream_run() if wire == "runs" else self.stream_response()

    @property
    def is_busy(self) -> bool:
        """Whether the server answers requests, streams among them."""
        return self._server.is_busy

    def stop(self) -> None:
        """Stop the server; streams end."""
        self._server.stop()

    def hang_up(self) -> None:
        """Close all connections of the client."""
        for reader in self._readers:
            reader.close()
        self.wire.close()

    def _read(self, answer: requests.Response) -> EventReader:
        reader = EventReader(answer)
        self._readers.append(reader)
        return reader


class ScriptedStreamSetup(StreamSetup):
    """A stream setup whose model follows steps."""

    def __init__(self, *steps: Any, **options: Any) -> None:
        self.model = ScriptedModel(steps)
        super().__init__(self.model, **options)

    def release(self) -> None:
        """Let the model answer that is held."""
        self.model.released.set()

    def in_progress(self, reader: EventReader) -> Json:
        """Read on until the model is asked, and return the run or response."""
        first = next(reader)
        wait_for(lambda: self.model.requests, bool)
        return object_of(first)

    def stream_until_waiting(self) -> tuple[Json, list[ReceivedEvent]]:
        """Start a run that asks for calls, and return it and its events."""
        received = self.stream_run().rest()
        return received[-2].data, received


MakeStreamSetup = Callable[..., ScriptedStreamSetup]


def object_of(event: ReceivedEvent) -> Json:
    """Return the run or the response that an event carries."""
    found: Json = event.data.get("response", event.data)
    return found


def run_path(run: Json) -> str:
    """Return the path of a run."""
    return f"/threads/{run['thread_id']}/runs/{run['id']}"


def thread_and_assistant(client: openai.OpenAI) -> tuple[str, str]:
    """Create a thread with a message, and an assistant, and return the ids of both."""
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "hi"}])
    return thread.id, client.beta.assistants.create(model="any").id


def outputs_for(run: Run, output: str = "1") -> list[ToolOutput]:
    """Return an output for every call that a run waits for."""
    assert run.required_action is not None
    calls = run.required_action.submit_tool_outputs.tool_calls
    return [{"tool_call_id": call.id, "output": output} for call in calls]


def wait_until_idle() -> None:
    """Wait until no server of this process works on a run or a response."""
    wait_for(
        lambda: [
            thread.name
            for thread in threading.enumerate()
            if thread.name.startswith(("gpt-agent-server-run", "gpt-agent-server-resp"))
        ],
        lambda names: not names,
    )


def change_stored(location: Path, kind: str, object_id: str, **fields: Any) -> None:
    """Change an object in a server's database, as another server would.

    Args:
        location: The database.
        kind: Its collection, ``"runs"`` or ``"responses"``.
        object_id: Its id.
        fields: What to change.
    """
    storage = Storage(str(location))
    collection = getattr(storage, kind)
    with storage.write() as connection:
        item = collection.get(connection, object_id, lock=True)
        assert item is not None
        collection.update(connection, {**item, **fields})
    storage.close()


def stored_ids(location: Path, table: str) -> list[str]:
    """Return the ids of the objects of one kind in a server's database."""
    connection = sqlite3.connect(location)
    found = [str(row[0]) for row in connection.execute(f"SELECT id FROM {table} ORDER BY seq")]
    connection.close()
    return found


def drop_table(location: Path, table: str) -> None:
    """Break a server's database by removing a table."""
    connection = sqlite3.connect(location)
    connection.execute(f"DROP TABLE {table}")
    connection.close()


def post_at_once(path: str, body: Json, *base_urls: str) -> list[int]:
    """Send the same body by several clients at once, and return the statuses, sorted.

    Args:
        path: Where to.
        body: The body.
        base_urls: The server of each client.
    """
    # All have their client before any of them posts, so that they meet at the server.
    start = threading.Barrier(len(base_urls))

    def post(base_url: str) -> int:
        client = WireClient(base_url)
        start.wait(10)
        status = client.send("POST", path, json=body).status_code
        client.close()
        return status

    with ThreadPoolExecutor(len(base_urls)) as executor:
        return sorted(executor.map(post, base_urls))
