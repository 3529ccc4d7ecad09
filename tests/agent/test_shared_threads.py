"""Several callers on one thread, over each wire: nothing is lost, doubled or left stuck."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

import gpt_agent_sync as gpt
from gpt_agent_sync.testing import CallTools, EventRecorder, Fail, Hold, Reply, ScriptStep
from gpt_agent_sync.testing.script import Script
from tests.plugins.services import WIRES
from tests.support.polling import wait_for
from tests.support.scripted_model import ScriptedServer
from tests.support.talk import PATIENCE


class Party:
    """A server, and agents of different callers on one thread of it."""

    def __init__(self, server: ScriptedServer, service_class: Callable[..., gpt.Service]) -> None:
        self.server = server
        self.services = [service_class(server.base_url, f"key-of-caller-{n}") for n in (1, 2)]
        self.thread_id = gpt.create_thread(service=self.services[0])
        self.recorders = [EventRecorder(), EventRecorder()]

    def join(self, caller: int, **options: object) -> gpt.Agent:
        """Connect as one of the callers."""
        service = self.services[caller]
        return gpt.connect(
            self.thread_id,
            gpt.create_assistant(model="any", service=service),
            service=service,
            on_event=self.recorders[caller],
            **options,  # type: ignore[arg-type]
        )

    def agent(self, caller: int, **options: Any) -> gpt.Agent:
        """Return the agent of a caller that has joined."""
        return gpt.connect(self.thread_id, service=self.services[caller], **options)

    def wait_for(self, caller: int, kind: type[gpt.Event]) -> gpt.Event:
        """Wait until a caller has received an event."""
        return self.recorders[caller].wait_for(kind)


SetUp = Callable[[Script], Party]


@pytest.fixture(params=["assistants", "responses"])
def party(request: pytest.FixtureRequest, make_server: Callable[..., ScriptedServer]) -> SetUp:
    """Return a maker of parties over one wire."""
    return lambda script: Party(make_server(script), WIRES[request.param])


@pytest.fixture
def responses_party(make_server: Callable[..., ScriptedServer]) -> SetUp:
    """Return a maker of parties over the Responses wire."""
    return lambda script: Party(make_server(script), gpt.ResponsesService)


@pytest.fixture
def add() -> None:
    """Register a tool that adds."""

    @gpt.tool
    def add(a: int) -> int:
        """Add one."""
        return a + 1


@pytest.mark.usefixtures("add")
def test_run_cancelled_in_its_second_round_stays_cancelled(party: SetUp) -> None:
    """A run cancelled after it got outputs is not found again, and the thread takes messages."""
    made = party([CallTools(("add", {"a": 1})), Hold(), Reply("free")])
    agent = made.join(0)
    agent.add_user_message("go")
    wait_for(lambda: len(made.server.model.requests), lambda count: count == 2)
    agent.cancel_run()
    assert isinstance(agent.wait(PATIENCE), gpt.RunCancelled)
    agent.shutdown()
    again = made.join(1)
    assert not again.running
    made.server.model.released.set()
    assert again.ask("and?", timeout=PATIENCE) in ("free", "released")
    assert made.recorders[1].of(gpt.ToolCallRequested) == []


@pytest.mark.usefixtures("add")
def test_run_failed_in_its_second_round_stays_failed(party: SetUp) -> None:
    """A run that failed after it got outputs is not found again, and the thread takes messages."""
    made = party([CallTools(("add", {"a": 1})), Fail(), Reply("free")])
    agent = made.join(0)
    agent.add_user_message("go")
    assert isinstance(agent.wait(PATIENCE), gpt.RunFailed)
    assert agent.ask("and?", timeout=PATIENCE) == "free"
    agent.shutdown()
    assert not made.join(1).running


def test_run_cancelled_by_two_callers_frees_the_thread(party: SetUp) -> None:
    """Two callers may cancel one waiting run, and the thread takes messages of both."""
    made = party([CallTools(("ask_user", {})), Reply("one"), Reply("two")])
    first = made.join(0)
    first.add_user_message("go")
    made.wait_for(0, gpt.ToolCallRequested)
    second = made.join(1)
    made.wait_for(1, gpt.ToolCallRequested)
    for agent in (first, second):
        agent.cancel_run()
    for agent in (first, second):
        assert isinstance(agent.wait(PATIENCE), gpt.RunCancelled)
    assert first.ask("a", timeout=PATIENCE) == "one"
    assert second.ask("b", when_busy="wait", timeout=PATIENCE) == "two"


def test_run_that_another_caller_ended_is_reported(party: SetUp) -> None:
    """A caller whose calls another one answered learns how the run ended, a turn later too."""
    made = party([CallTools(("ask_user", {})), Reply("thanks"), CallTools(("other", {}))])
    first = made.join(0)
    first.add_user_message("go")
    made.wait_for(0, gpt.ToolCallRequested)
    second = made.join(1)
    requested = made.recorders[1].wait_for(gpt.ToolCallRequested)
    second.submit_tool_output(requested.id, "yes")
    assert isinstance(second.wait(PATIENCE), gpt.RunCompleted)
    second.add_user_message("next")
    completed = made.wait_for(0, gpt.RunCompleted)
    assert isinstance(completed, gpt.RunCompleted)
    assert completed.id == requested.run_id
    assert made.recorders[0].wait_for(gpt.AssistantMessageAdded).content == "thanks"


def told(recorder: EventRecorder) -> list[tuple[str, object]]:
    """Return what a caller has heard of a run from its calls on, each with what it is about."""
    about = {
        "ToolCallRequested": "arguments",
        "ToolCallOutputRecorded": "output",
        "RunCompleted": "id",
        "AssistantMessageAdded": "content",
    }
    named = [(type(event).__name__, event) for event in recorder.events]
    return [(name, getattr(event, about[name])) for name, event in named if name in about]


@pytest.mark.parametrize("streaming", [True, False])
def test_tool_runs_once_where_the_other_caller_listens(party: SetUp, *, streaming: bool) -> None:
    """Of two callers the one that listens is told of calls and their run's end, and calls nobody.

    What the other one records is its own to tell.
    """
    gpt.configure(streaming=streaming, heartbeat_interval=0.1)
    runs, heard = [], threading.Semaphore(0)

    @gpt.tool
    def book(what: str) -> str:
        """Book something."""
        runs.append(what)
        assert heard.acquire(timeout=PATIENCE)
        return "booked"

    made = party(
        [CallTools(("book", {"what": "a"})), CallTools(("book", {"what": "b"})), Reply("x")]
    )
    made.join(0).add_user_message("go")
    made.wait_for(0, gpt.ToolCallRequested)
    made.join(1, handle_tools=False)
    for count in (1, 2):
        made.recorders[1].wait_for(gpt.ToolCallRequested, count=count)
        heard.release()
    for caller in (0, 1):
        made.agent(caller, handle_tools=False).wait(PATIENCE)
    assert runs == ["a", "b"]
    run = made.recorders[0].of(gpt.RunCompleted)[0].id
    mine, theirs = map(told, made.recorders)
    assert [fact for fact in mine if fact[0] != "ToolCallOutputRecorded"] == theirs
    assert theirs == [
        ("ToolCallRequested", {"what": "a"}),
        ("ToolCallRequested", {"what": "b"}),
        ("RunCompleted", run),
        ("AssistantMessageAdded", "x"),
    ]


@pytest.mark.usefixtures("add")
def test_listening_caller_offers_its_tools(party: SetUp) -> None:
    """The runs that it starts know of the handlers all the same: another caller has them."""
    made = party([Reply("one")])
    made.join(0, handle_tools=False).ask("a", timeout=PATIENCE)
    (request,) = made.server.model.requests
    assert [tool["function"]["name"] for tool in request.tools] == ["add"]


def test_missed_reply_is_announced_while_the_next_run_is_live(party: SetUp) -> None:
    """What was said before a run that is under way is missed, and told; its own words are not."""
    made = party([Reply("one"), Reply("two"), Hold(Reply("three"))])
    agent = made.join(0)
    agent.ask("a", timeout=PATIENCE)
    seen = agent.last_message_id
    agent.ask("b", timeout=PATIENCE)
    agent.add_user_message("c")
    made.recorders[0].wait_for(gpt.RunStarted, count=3)
    agent.shutdown()
    again = made.join(1, last_message_id=seen)
    made.server.model.released.set()
    again.wait(PATIENCE)
    told = [event.content for event in made.recorders[1].of(gpt.AssistantMessageAdded)]
    assert told == ["two", "three"]


@pytest.mark.parametrize("mine", [True, False])
def test_calls_of_other_software_are_left_alone(responses_party: SetUp, *, mine: bool) -> None:
    """A call that waits in somebody else's response is not answered by our next message."""
    made = responses_party([Reply("one"), CallTools(("booking", {}))])
    agent = made.join(0)
    if mine:
        agent.ask("a", timeout=PATIENCE)
    body = {"model": "any", "input": "book", "conversation": made.thread_id}
    url = f"{made.server.base_url}/responses"
    for _ in range(1 if mine else 2):
        requests.post(url, json=body, timeout=PATIENCE).raise_for_status()
    with pytest.raises(gpt.ServiceBusyError, match="another caller"):
        agent.add_user_message("b")
    made.join(1)
    assert made.recorders[1].wait_for(gpt.ToolCallRequested).name == "booking"


def test_run_goes_on_with_its_options_elsewhere(responses_party: SetUp) -> None:
    """A caller who goes on with another one's run does so with that run's options."""
    made = responses_party([CallTools(("ask_user", {})), Reply("done")])
    options = gpt.RunOptions(
        model="other", instructions="Be brief.", temperature=0.5, response_format="json_object"
    )
    first = made.join(0, run_options=options)
    first.add_user_message("go")
    made.wait_for(0, gpt.ToolCallRequested)
    first.shutdown()
    second = made.join(1)
    requested = made.recorders[1].wait_for(gpt.ToolCallRequested)
    second.submit_tool_output(requested.id, "yes")
    second.wait(PATIENCE)
    before, after = made.server.model.requests
    assert after.messages[0] == {"role": "system", "content": "Be brief."}
    assert (after.model, after.options) == (before.model, before.options)


def texts_added(recorder: EventRecorder) -> list[object]:
    """Return what the service has of a caller's messages, in order."""
    return [event.content for event in recorder.of(gpt.UserMessageAdded)]


@pytest.fixture
def crowded(party: SetUp) -> Party:
    """Return a party whose second caller is connected when the first one's run is under way."""
    made = party([Hold(Reply("first")), Reply("second"), Reply("third")])
    made.join(1)
    made.join(0).add_user_message("a")
    made.wait_for(0, gpt.RunStarted)
    return made


def test_messages_are_queued_behind_another_callers_run(crowded: Party) -> None:
    """What is queued while another caller's run goes on is posted after it, in order."""
    agent = crowded.agent(1)
    assert agent.add_user_message("b", when_busy="queue") is None
    assert agent.add_user_message("c", when_busy="queue") is None
    assert texts_added(crowded.recorders[1]) == []
    crowded.server.model.released.set()
    agent.wait(PATIENCE)
    assert texts_added(crowded.recorders[1]) == ["b", "c"]
    replies = [event.content for event in crowded.recorders[1].of(gpt.AssistantMessageAdded)]
    assert replies == ["second", "third"]


def test_message_queued_behind_another_callers_run_may_be_cancelled(crowded: Party) -> None:
    """A message that waits for another caller's run is given up by a cancel, and told so."""
    agent = crowded.agent(1)
    agent.add_user_message("b", when_busy="queue")
    agent.cancel_run()
    assert isinstance(agent.wait(PATIENCE), gpt.RunCancelled)
    assert texts_added(crowded.recorders[1]) == []


def test_message_queued_behind_another_callers_run_ends_with_the_agent(crowded: Party) -> None:
    """An agent that is shut down posts nothing more."""
    agent = crowded.agent(1)
    agent.add_user_message("b", when_busy="queue")
    agent.shutdown()
    crowded.server.model.released.set()
    crowded.agent(0).wait(PATIENCE)
    said = [message.content for message in crowded.agent(0).messages()]
    assert said == ["a", "first"]


def test_run_waits_for_another_callers_run(crowded: Party) -> None:
    """A run without a message is started when another caller's run is over."""
    agent = crowded.agent(1)
    agent.run()
    crowded.server.model.released.set()
    assert isinstance(agent.wait(PATIENCE), gpt.RunCompleted)
    said = [message.content for message in agent.messages()]
    assert said == ["a", "first", "second"]


@pytest.fixture
def locked(responses_party: SetUp) -> Party:
    """Return a party whose first caller is connected when other software locks the conversation."""
    made = responses_party([Hold()])
    made.join(0)
    body = {"model": "any", "conversation": made.thread_id, "input": "x", "background": True}
    requests.post(f"{made.server.base_url}/responses", json=body, timeout=PATIENCE)
    return made


def test_wait_for_a_lock_ends_with_the_callers_time(locked: Party) -> None:
    """A message that waits for somebody else's response is given up when the time is up."""
    with pytest.raises(gpt.WaitTimeoutError):
        locked.join(0).ask("b", when_busy="wait", timeout=1.0)


def test_wait_for_a_lock_ends_with_the_agent(locked: Party) -> None:
    """A message that waits for somebody else's response is not posted by a stopped agent."""
    agent = locked.join(0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(agent.add_user_message, "b")
        wait_for(lambda: agent.running, bool)
        agent.shutdown()
        with pytest.raises(gpt.AgentNotAliveError):
            waiting.result(PATIENCE)


def test_message_is_posted_when_the_lock_is_gone(locked: Party) -> None:
    """A message that waits for somebody else's response is posted once that is over."""
    agent = locked.join(0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(agent.ask, "b", timeout=PATIENCE)
        wait_for(lambda: agent.running, bool)
        locked.server.model.released.set()
        assert waiting.result(PATIENCE) == "ok"


def test_callers_who_ask_at_once_get_their_own_replies(party: SetUp) -> None:
    """Two callers who ask on one thread again and again: no reply is the other's, no tool twice."""
    ran: list[int] = []
    lock = threading.Lock()

    @gpt.tool
    def note(number: int) -> int:
        """Note a number."""
        with lock:
            ran.append(number)
        return number

    def script(text: str, outputs: Mapping[str, str]) -> ScriptStep:
        if "note" in outputs:
            return Reply(f"noted {outputs['note']}")
        return CallTools(("note", {"number": int(text)}))

    made = party(script)
    agents = [made.join(0), made.join(1)]

    def ask(caller: int) -> list[str]:
        numbers = range(caller * 100, caller * 100 + 8)
        ask = agents[caller].ask
        return [ask(str(number), when_busy="wait", timeout=120) for number in numbers]

    with ThreadPoolExecutor(2) as threads:
        replies = list(threads.map(ask, (0, 1)))
    assert replies == [[f"noted {n}" for n in range(8)], [f"noted {n}" for n in range(100, 108)]]
    assert sorted(ran) == [*range(8), *range(100, 108)]
