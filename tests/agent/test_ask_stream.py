"""Asking for text as it arrives, over every service."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.testing import CallTools, EventRecorder, Fail, Hold, Reply, ScriptedService
from tests.plugins.services import WIRES, MakeService
from tests.support.assistants_stub import RUN_START, message
from tests.support.event_streams import ResponseEvents, delta, finished, run
from tests.support.scripted_model import ScriptedServer
from tests.support.stub import Answerer, Response, StubServer, listing, stream, table
from tests.support.talk import PATIENCE, Talk


def test_texts_are_what_ask_returns(make_service: MakeService) -> None:
    """Put together, the pieces are the reply."""
    talk = Talk(make_service([Reply("hi there, you"), Reply("hi there, you")]))
    pieces = list(talk.agent.ask_stream("hello", timeout=PATIENCE))
    assert "".join(pieces) == talk.agent.ask("hello", timeout=PATIENCE) == "hi there, you"


def test_texts_of_tool_rounds_are_one_text(make_service: MakeService) -> None:
    """Tool calls in between are none of the text's business."""

    @gpt.tool
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    talk = Talk(make_service([CallTools(("add", {"a": 1, "b": 2})), Reply("three")]))
    assert "".join(talk.agent.ask_stream("1 + 2?", timeout=PATIENCE)) == "three"


def test_events_are_delivered_all_the_same(make_service: MakeService) -> None:
    """Subscribers receive the events of the turn like those of any other."""
    talk = Talk(make_service([Reply("hi")]))
    list(talk.agent.ask_stream("hello", timeout=PATIENCE))
    assert talk.names == ["UserMessageAdded", "RunStarted", "RunCompleted", "AssistantMessageAdded"]


def test_run_that_fails_is_reported_at_the_end(make_service: MakeService) -> None:
    """A run that does not complete raises when its text has been given."""
    talk = Talk(make_service([Fail("server_error", "oh")]))
    with pytest.raises(gpt.RunFailedError, match="oh"):
        list(talk.agent.ask_stream("hello", timeout=PATIENCE))


def test_busy_agent_refuses_or_waits(make_service: MakeService) -> None:
    """While a run is active the question is refused, or waits for its end."""
    service = make_service([Reply("one"), Reply("two")])
    talk = Talk(service)
    first = talk.agent.ask_stream("hello", timeout=PATIENCE)
    second = talk.agent.ask_stream("again", timeout=PATIENCE, when_busy="wait")
    assert ["".join(first), "".join(second)] == ["one", "two"]


def test_time_is_bounded() -> None:
    """A run that takes longer than the caller's time is reported, and goes on."""
    talk = Talk(ScriptedService([Hold()]))
    pieces = talk.agent.ask_stream("hello", timeout=0.1)
    with pytest.raises(gpt.WaitTimeoutError):
        next(pieces)
    assert talk.agent.running


def test_stopped_agent_ends_the_text(make_server: Callable[..., ScriptedServer]) -> None:
    """A caller that waits for text of an agent that stops gets an error."""
    talk = Talk(gpt.AssistantsService(make_server([Hold()]).base_url, "key"))
    pieces = talk.agent.ask_stream("hello", timeout=PATIENCE)
    threading.Thread(target=talk.agent.shutdown, daemon=True).start()
    with pytest.raises(gpt.AgentNotAliveError):
        list(pieces)


def test_stream_that_is_left_holds_nothing(make_service: MakeService) -> None:
    """Leaving a stream, or forgetting it, ends its subscription; the agent goes on."""
    talk = Talk(make_service([Reply("one"), Reply("two"), Reply("three")]))
    with talk.agent.ask_stream("hello", timeout=PATIENCE) as pieces:
        next(pieces)
    assert list(pieces) == []
    talk.agent.wait(PATIENCE)
    for _ in talk.agent.ask_stream("again", timeout=PATIENCE):
        break
    gc.collect()
    assert talk.agent.ask("more", when_busy="wait", timeout=PATIENCE) == "three"
    assert talk.agent._subscribers._streams == {}
    assert talk.agent._mailbox.progress.awaited == frozenset()


def test_text_is_not_waited_for_in_a_callback(make_service: MakeService) -> None:
    """In a callback of the same agent the question is refused at once."""
    talk = Talk(make_service([Reply("hi")]))
    refused = threading.Event()

    @talk.agent.on(gpt.RunCompleted)
    def ask(event: gpt.RunCompleted) -> None:
        with pytest.raises(RuntimeError):
            talk.agent.ask_stream("more")
        refused.set()

    talk.agent.ask("hello", timeout=PATIENCE)
    assert refused.wait(PATIENCE)


def test_wrong_arguments_are_refused(make_service: MakeService) -> None:
    """What cannot be asked is refused before any request."""
    talk = Talk(make_service([]))
    with pytest.raises(ValueError, match="when_busy"):
        talk.agent.ask_stream("hello", when_busy="queue")  # type: ignore[arg-type]
    with pytest.raises(gpt.BlankValueError):
        talk.agent.ask_stream(" ")
    with pytest.raises(TypeError, match="timeout"):
        talk.agent.ask_stream("hello", timeout="1")  # type: ignore[arg-type]
    assert talk.names == []


@pytest.mark.parametrize("wire", WIRES)
def test_texts_come_before_the_run_has_ended(
    make_stub: Callable[[Answerer], StubServer], wire: str
) -> None:
    """Text is given while the run goes on."""
    events, read = ResponseEvents(), threading.Event()
    answers = {
        "GET /threads/t": [Response({"id": "t"})],
        "GET /threads/t/runs": [listing()],
        "GET /threads/t/messages": [listing(message("m", "hello", "user"))],
        RUN_START: [
            stream(
                run("queued"),
                delta("hel"),
                lambda: read.wait(PATIENCE),
                delta("lo"),
                finished("hello"),
                run("completed"),
            )
        ],
        "GET /conversations/t": [Response({"id": "t", "metadata": {}})],
        "POST /conversations/t": [Response({"id": "t", "metadata": {}})],
        "GET /conversations/t/items": [listing()],
        "POST /responses": [
            stream(
                events.response("queued"),
                events.delta("hel"),
                lambda: read.wait(PATIENCE),
                events.delta("lo"),
                events.completed("hello"),
            )
        ],
    }
    service = WIRES[wire](make_stub(table(answers)).base_url, "key")
    agent = gpt.connect("t", "model", service=service, on_event=EventRecorder())
    pieces = agent.ask_stream("hello", timeout=PATIENCE)
    assert next(pieces) == "hel"
    assert agent.running
    read.set()
    assert "".join(pieces) == "lo"
    agent.shutdown()
    service.close()


@pytest.mark.parametrize("wire", WIRES)
def test_shutdown_wakes_a_silent_stream(
    make_server: Callable[..., ScriptedServer], wire: str
) -> None:
    """An agent that waits for its stream stops at once."""
    talk = Talk(WIRES[wire](make_server([Hold()]).base_url, "key", timeout=60))
    talk.agent.add_user_message("hello")
    talk.recorder.wait_for(gpt.RunStarted)
    talk.agent.shutdown(PATIENCE)
    assert talk.recorder.names[-1] == "AgentStopped"
    assert talk.agent._worker.join(0)


@pytest.mark.parametrize("wire", WIRES)
def test_cancel_wakes_a_silent_stream(
    make_server: Callable[..., ScriptedServer], wire: str
) -> None:
    """A run whose stream is silent is reported as cancelled at once."""
    talk = Talk(WIRES[wire](make_server([Hold()]).base_url, "key", timeout=60))
    talk.agent.add_user_message("hello")
    talk.recorder.wait_for(gpt.RunStarted)
    talk.agent.cancel_run()
    assert isinstance(talk.agent.wait(PATIENCE), gpt.RunCancelled)
