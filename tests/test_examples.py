"""The examples do what they say: scripts as programs, the Flask application over real HTTP."""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest
import requests
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wsgi import ClosingIterator

import gpt_agent_sync as gpt
from gpt_agent_sync.records import Message
from gpt_agent_sync.services.base import Service
from gpt_agent_sync.settings import SETTING_VARIABLES
from gpt_agent_sync.testing import Hold, Reply, ScriptedService
from tests.plugins.processes import ENVIRONMENT

EXAMPLES = Path(__file__).parent.parent / "examples"
PATIENCE = 20.0


def _run_script(name: str, data: Path) -> str:
    """Run a script by itself, warnings being errors, and give what it prints."""
    left_out = {*ENVIRONMENT, *SETTING_VARIABLES}
    environ = {name: value for name, value in os.environ.items() if name.upper() not in left_out}
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", str(EXAMPLES / name)],
        env={**environ, "XDG_DATA_HOME": str(data)},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# the plain script


@pytest.fixture(scope="module")
def plain_output(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what ``plain_script.py`` prints."""
    return _run_script("plain_script.py", tmp_path_factory.mktemp("data"))


def test_plain_script_prints_a_reply_to_each_question(plain_output: str) -> None:
    """Each question is followed by the reply to it."""
    lines = [line.partition(" > ") for line in plain_output.splitlines()[:-1]]
    asked = [text for who, _, text in lines if who.strip() == "you"]
    replied = [text for who, _, text in lines if who.strip() == "assistant"]
    assert replied == [f"This is the offline demo model. You said: {text}" for text in asked]


def test_plain_script_prints_the_tokens(plain_output: str) -> None:
    """The last line counts the runs and their tokens."""
    assert plain_output.splitlines()[-1] == "3 runs, 79 tokens read, 41 tokens written"


# the tool handlers


@pytest.fixture(scope="module")
def tools_output(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what ``tool_handlers.py`` prints."""
    return _run_script("tool_handlers.py", tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("  price gives 10.50 EUR", id="enum"),
        pytest.param('  deliver gives {"courier": "Ada", "label": "Elm Street 5', id="dataclass"),
        pytest.param("  take_bags gives 10", id="method"),
        pytest.param("  where_am_i gives call call_", id="context"),
        pytest.param("  open_till fails: PermissionError: the till is locked", id="failing"),
        pytest.param('  ask_boss gives {"granted": true, "by": "the boss"}', id="no handler"),
    ],
)
def test_tool_handlers_answer(tools_output: str, line: str) -> None:
    """Each kind of tool gives its result."""
    assert f"\n{line}" in tools_output


def test_tool_failure_reaches_the_model(tools_output: str) -> None:
    """The run of a tool that fails goes on to a reply that tells of it."""
    assert "open_till failed (PermissionError: the till is locked)." in tools_output


# the Flask application


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:
        """Log nothing."""


@attrs.frozen
class Site:
    """Hold the running application.

    Attributes:
        url: Where it is.
        module: The example's module.
        stream_closed: Set when the server is done with an event stream.
    """

    url: str
    module: ModuleType
    stream_closed: threading.Event

    def create_thread(self) -> str:
        """Create a thread as the page does."""
        thread_id: str = self.post("/threads").json()["id"]
        return thread_id

    def post(self, path: str, **data: str) -> requests.Response:
        """Post a form."""
        return requests.post(self.url + path, data=data, timeout=PATIENCE)

    def say(self, thread_id: str, content: str) -> requests.Response:
        """Post a message."""
        return self.post(f"/threads/{thread_id}/messages", content=content)

    def listen(self, thread_id: str, last_id: str | None = None) -> requests.Response:
        """Open the thread's event stream; reading it is bounded by the timeout."""
        headers = {} if last_id is None else {"Last-Event-ID": last_id}
        url = f"{self.url}/threads/{thread_id}/events"
        return requests.get(url, headers=headers, stream=True, timeout=PATIENCE)


MakeSite = Callable[..., Site]


@pytest.fixture
def make_site(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeSite]:
    """Return a maker of sites over a service; they are stopped."""
    stops: list[Callable[[], None]] = []

    def make(service: Service, **options: float) -> Site:
        gpt.configure(service=service)
        module, closed = _load_app(monkeypatch), threading.Event()
        app = module.create_app(**options)
        answer = app.wsgi_app

        def watch(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            body = answer(environ, start_response)
            is_stream = environ["PATH_INFO"].endswith("/events")
            return ClosingIterator(body, closed.set) if is_stream else body

        app.wsgi_app = watch
        server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Handler)
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()

        def stop() -> None:
            gpt.shutdown_all(PATIENCE)
            server.shutdown()
            server.server_close()
            serving.join()

        stops.append(stop)
        return Site(f"http://127.0.0.1:{server.server_port}", module, closed)

    yield make
    for stop in stops:
        stop()


@pytest.fixture
def site(make_site: MakeSite, local: gpt.LocalService) -> Site:
    """Return the site over the embedded service."""
    return make_site(local)


def _load_app(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = EXAMPLES / "flask_chat" / "app.py"
    spec = importlib.util.spec_from_file_location("flask_chat_app", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def _read_events(response: requests.Response) -> Iterator[tuple[str, gpt.Event]]:
    """Read ids and events off a stream."""
    event_id = ""
    for line in response.iter_lines(decode_unicode=True):
        field, _, value = line.partition(": ")
        if field == "id":
            event_id = value
        elif field == "data":
            yield event_id, gpt.Event.from_dict(json.loads(value))


def _read_until(response: requests.Response, last: type[gpt.Event]) -> list[tuple[str, gpt.Event]]:
    """Read up to the first event of a class."""
    events = []
    for event_id, event in _read_events(response):
        events.append((event_id, event))
        if isinstance(event, last):
            break
    return events


def test_flask_page_listens_to_events(site: Site) -> None:
    """The page is served, and opens an event stream."""
    assert "new EventSource(" in requests.get(site.url, timeout=PATIENCE).text


def test_flask_page_needs_nothing_from_elsewhere(site: Site) -> None:
    """The page names no other file, so that it works without a build and offline."""
    page = requests.get(site.url, timeout=PATIENCE).text
    assert re.findall(r'(?:src|href)="([^"]*)"', page) == ["data:,"]


def test_flask_streams_a_conversation_with_a_tool_call(site: Site) -> None:
    """The events of a run with a tool call come over the stream in order."""
    thread_id = site.create_thread()
    with site.listen(thread_id) as response:
        site.say(thread_id, "What is 2 + 3?")
        events = _read_until(response, gpt.AssistantMessageAdded)
    assert [name for name, _ in itertools.groupby(type(event).__name__ for _, event in events)] == [
        "UserMessageAdded",
        "RunStarted",
        "ToolCallRequested",
        "ToolCallOutputRecorded",
        "AssistantMessageDelta",
        "RunCompleted",
        "AssistantMessageAdded",
    ]


def test_flask_handler_answers(site: Site) -> None:
    """The application's own handler answers the call."""
    thread_id = site.create_thread()
    with site.listen(thread_id) as response:
        site.say(thread_id, "What is 2 + 3?")
        _, event = _read_until(response, gpt.AssistantMessageAdded)[-1]
    assert isinstance(event, gpt.AssistantMessageAdded)
    assert event.content.endswith("add gave 5.0.")


def test_flask_event_has_the_id_of_the_newest_message(site: Site) -> None:
    """Each event's id is that of the newest message told so far."""
    thread_id = site.create_thread()
    with site.listen(thread_id) as response:
        asked = site.say(thread_id, "hello").json()["id"]
        events = _read_until(response, gpt.AssistantMessageAdded)
    *before, (last_id, event) = events
    assert isinstance(event, gpt.AssistantMessageAdded)
    assert {event_id for event_id, _ in before} == {asked}
    assert last_id == event.message_id


def test_flask_stream_is_an_event_stream(site: Site) -> None:
    """The stream has the type that browsers ask for."""
    with site.listen(site.create_thread()) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")


def test_flask_stream_shows_a_returning_page_what_it_missed(site: Site) -> None:
    """With the last id it saw, a page gets the messages after it."""
    thread_id = site.create_thread()
    with site.listen(thread_id) as response:
        site.say(thread_id, "one")
        last_id, _ = _read_until(response, gpt.AssistantMessageAdded)[-1]
    agent = gpt.connect(thread_id)
    agent.ask("two", timeout=PATIENCE)
    with site.listen(thread_id, last_id) as response:
        [(event_id, event)] = _read_until(response, gpt.AssistantMessageAdded)
    assert isinstance(event, gpt.AssistantMessageAdded)
    assert (event.message_id, event.content) == (
        event_id,
        "This is the offline demo model. You said: two",
    )


def test_flask_message_is_shown_once(site: Site) -> None:
    """A message that is both missed and in the stream is reported once."""
    thread_id = site.create_thread()
    asked = site.say(thread_id, "one").json()["id"]
    agent = gpt.connect(thread_id)
    agent.wait(PATIENCE)
    stream = agent.events()
    agent.ask("two", timeout=PATIENCE)
    missed = site.module.find_missed(agent, asked)
    agent.shutdown()
    written = "".join(site.module.write_events(stream, missed, asked, 1.0))
    assert written.count('"type": "AssistantMessageAdded"') == len(missed) == 2


def test_flask_silent_stream_says_that_it_is_alive(
    make_site: MakeSite, local: gpt.LocalService
) -> None:
    """A stream without events carries a comment each heartbeat."""
    site = make_site(local, heartbeat=0.05)
    with site.listen(site.create_thread()) as response:
        lines = (line for line in response.iter_lines(decode_unicode=True) if line)
        told = list(itertools.islice(lines, 3))
    assert told == ["retry: 1000", ": heartbeat", ": heartbeat"]


def test_flask_stream_of_a_client_that_went_away_is_closed(
    make_site: MakeSite, local: gpt.LocalService
) -> None:
    """The agent has no listener left once the client's connection is gone."""
    site = make_site(local, heartbeat=0.05)
    thread_id = site.create_thread()
    with site.listen(thread_id) as response:
        next(response.iter_lines())
        agent = gpt.connect(thread_id)
        assert len(agent._subscribers._subscriptions) == 1
    assert site.stream_closed.wait(PATIENCE)
    assert len(agent._subscribers._subscriptions) == 0


def test_flask_stream_ends_with_the_agent(site: Site) -> None:
    """When the agent stops, that is reported and the answer ends."""
    thread_id = site.create_thread()
    with site.listen(thread_id) as response:
        gpt.connect(thread_id).shutdown()
        events = [event for _, event in _read_events(response)]
    assert events == [gpt.AgentStopped(thread_id=thread_id, reason="shutdown")]


def test_flask_creates_threads(site: Site) -> None:
    """A thread is created with status 201."""
    assert site.post("/threads").status_code == 201


def test_flask_refuses_a_blank_message(site: Site) -> None:
    """A blank message is answered with status 400."""
    assert site.say(site.create_thread(), " ").status_code == 400


def test_flask_refuses_a_message_during_a_run(make_site: MakeSite) -> None:
    """A message while a run is active is answered with status 409."""
    service = ScriptedService([Hold(Reply("done"))])
    site = make_site(service)
    thread_id = site.create_thread()
    site.say(thread_id, "first")
    refused = site.say(thread_id, "second")
    service.release()
    assert refused.status_code == 409


@pytest.mark.parametrize("method, path", [("GET", "events"), ("POST", "messages")])
def test_flask_does_not_know_a_thread(site: Site, method: str, path: str) -> None:
    """An unknown thread is answered with status 404."""
    url = f"{site.url}/threads/thread_unknown/{path}"
    answer = requests.request(method, url, data={"content": "hello"}, timeout=PATIENCE)
    assert answer.status_code == 404


def test_flask_shows_the_reason_of_a_refusal(site: Site) -> None:
    """A refusal says why, as JSON."""
    answer = site.say("thread_unknown", "hello")
    assert "thread_unknown" in answer.json()["error"]


class AwayService(ScriptedService):
    """Know all threads, and fail to read them."""

    def messages(self, thread_id: str, **how: Any) -> Iterator[Message]:
        """Fail."""
        raise gpt.ServiceUnavailableError("away")


def test_flask_passes_on_a_failure_of_the_service(make_site: MakeSite) -> None:
    """A failing service is answered with status 502."""
    site = make_site(AwayService())
    assert site.listen(site.create_thread(), "msg_1").status_code == 502


def test_flask_goes_on_for_a_page_that_knows_a_message_that_is_gone(make_site: MakeSite) -> None:
    """A page whose last message is not there any more is reported what is new."""
    site = make_site(ScriptedService())
    with site.listen(site.create_thread(), "msg_unknown") as response:
        assert response.status_code == 200
