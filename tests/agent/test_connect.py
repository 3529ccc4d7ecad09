"""One live agent a thread, whoever asks for it."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.records import RunSnapshot
from gpt_agent_sync.testing import EventRecorder, Hold, Reply, ScriptedService
from tests.support.talk import PATIENCE, Talk


def test_same_thread_is_the_same_agent() -> None:
    """A second connect gives the agent there is."""
    talk = Talk(ScriptedService())
    assert talk.connect() is talk.agent
    assert talk.service.requests["open_thread"] == 1  # type: ignore[attr-defined]


def test_threads_at_once_get_one_agent() -> None:
    """Fifty threads that connect at once share one agent, and one lookup."""
    service = ScriptedService()
    thread_id = gpt.create_thread(service=service)
    ready = threading.Barrier(50)

    def connect(number: int) -> gpt.Agent:
        ready.wait(PATIENCE)
        return gpt.connect(thread_id, f"asst_{number}", service=service)

    with ThreadPoolExecutor(50) as pool:
        agents = set(pool.map(connect, range(50)))
    assert len(agents) == 1
    assert service.requests["open_thread"] == 1


class SlowService(ScriptedService):
    """Hold the lookup of one thread until told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.slow = ""
        self.asked = threading.Event()
        self.go_on = threading.Event()

    def open_thread(self, thread_id: str) -> RunSnapshot | None:
        """Look the thread up, in its own time."""
        if thread_id == self.slow:
            self.asked.set()
            assert self.go_on.wait(PATIENCE)
        return super().open_thread(thread_id)


def test_slow_lookup_holds_up_its_own_thread_only() -> None:
    """While one thread is looked up, another connects."""
    service = SlowService()
    service.slow = gpt.create_thread(service=service)
    other = gpt.create_thread(service=service)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(gpt.connect, service.slow, service=service)
        assert service.asked.wait(PATIENCE)
        assert gpt.connect(other, service=service).is_alive
        assert not waiting.done()
        service.go_on.set()
        assert waiting.result(PATIENCE).is_alive


def test_failed_pollup_is_everyones_and_leaves_nothing() -> None:
    """Callers that wait for a lookup share its error, and the next one looks again."""
    service = SlowService()
    service.slow = "thread_unknown"
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(gpt.connect, service.slow, service=service)
        assert service.asked.wait(PATIENCE)
        second = pool.submit(gpt.connect, service.slow, service=service)
        service.go_on.set()
        for waiting in (first, second):
            with pytest.raises(gpt.InvalidThreadIdError, match="thread_unknown"):
                waiting.result(PATIENCE)
    with pytest.raises(gpt.InvalidThreadIdError):
        gpt.connect(service.slow, service=service)


def test_other_service_is_another_agent() -> None:
    """The same thread id elsewhere is another conversation."""
    one, other = ScriptedService(), ScriptedService()
    assert gpt.create_thread(service=one) == gpt.create_thread(service=other)
    assert gpt.connect("thread_1", service=one) is not gpt.connect("thread_1", service=other)


def test_connect_changes_the_assistant_of_a_live_agent() -> None:
    """The assistant named last is that of the next run; none named changes nothing."""
    talk = Talk(ScriptedService())
    gpt.connect(talk.thread_id, "asst_new", service=talk.service)
    assert talk.agent.default_assistant == "asst_new"
    gpt.connect(talk.thread_id, service=talk.service)
    assert talk.agent.default_assistant == "asst_new"


def test_assistant_can_be_set() -> None:
    """The assistant set on the agent makes the next run."""
    talk = Talk(ScriptedService())
    talk.agent.set_default_assistant("asst_other")
    talk.say()
    assert talk.recorder.of(gpt.RunStarted)[0].assistant_id == "asst_other"


def test_connect_adds_a_subscription_to_a_live_agent() -> None:
    """Each connect may bring a listener of its own."""
    talk = Talk(ScriptedService())
    second = EventRecorder()
    gpt.connect(talk.thread_id, service=talk.service, on_event=second)
    talk.say()
    assert second.names == talk.names


def test_connect_brings_tools_and_options_to_a_live_agent() -> None:
    """Tools and options given later take the place of the former."""
    talk = Talk(ScriptedService(), tools=gpt.Toolbox())

    def shout(text: str) -> str:
        """Shout."""
        return text.upper()

    gpt.connect(
        talk.thread_id,
        service=talk.service,
        tools=[shout],
        run_options=gpt.RunOptions(model="big"),
    )
    assert talk.agent._setup.find_tool("shout") is not None


def test_first_event_is_not_missed() -> None:
    """A callback given to connect receives the agent from its very first event."""
    talk = Talk(ScriptedService([Reply("one")]))
    talk.say()
    talk.agent.shutdown()
    late = EventRecorder()
    gpt.connect(
        talk.thread_id,
        service=talk.service,
        on_event=late,
        last_message_id=talk.recorder.of(gpt.UserMessageAdded)[0].id,
    )
    assert late.wait_for(gpt.Event).to_dict()["type"] == "AssistantMessageAdded"


def test_stopped_agent_is_replaced() -> None:
    """After a shutdown, connect gives a new agent."""
    talk = Talk(ScriptedService())
    talk.agent.shutdown()
    again = talk.connect()
    assert again is not talk.agent
    assert again.is_alive


@pytest.mark.parametrize("value", ["", "  ", None, 7, b"x"])
def test_blank_thread_id_is_refused(value: Any) -> None:
    """A thread id that is no text with something in it is refused before any request."""
    service = ScriptedService()
    with pytest.raises(gpt.InvalidThreadIdError, match="thread id") as refused:
        gpt.connect(value, service=service)
    assert isinstance(refused.value, gpt.BlankValueError)
    assert refused.value.value == value
    assert service.requests["open_thread"] == 0


@pytest.mark.parametrize(
    "arguments, error",
    [
        ({"assistant_id": " "}, gpt.BlankValueError),
        ({"assistant_id": 3}, gpt.BlankValueError),
        ({"last_message_id": ""}, gpt.BlankValueError),
        ({"on_event": "print"}, TypeError),
        ({"run_options": {"model": "m"}}, TypeError),
        ({"run_options": gpt.RunOptions(truncation="auto")}, gpt.ConfigurationError),
        ({"idle_timeout": 0}, ValueError),
        ({"idle_timeout": -1}, ValueError),
        ({"idle_timeout": float("inf")}, ValueError),
        ({"idle_timeout": "1"}, ValueError),
        ({"tools": [lambda: 1]}, gpt.ToolRegistrationError),
        ({"service": 7}, gpt.ConfigurationError),
    ],
)
def test_unusable_arguments_are_refused(arguments: dict[str, Any], error: type[Exception]) -> None:
    """Each unusable argument is refused before any request."""
    service = ScriptedService()
    thread_id = gpt.create_thread(service=service)
    with pytest.raises(error):
        gpt.connect(thread_id, **{"service": service, **arguments})
    assert service.requests["open_thread"] == 0


@pytest.mark.parametrize(
    "message",
    [
        "text",
        {"role": "system", "content": "x"},
        {"role": "user", "content": " "},
        {"role": "user"},
    ],
)
def test_unusable_history_is_refused(message: Any) -> None:
    """History that no service would take is refused before any request."""
    service = ScriptedService()
    with pytest.raises(ValueError, match=r"message|content"):
        gpt.create_thread(messages=[message], service=service)
    assert service.requests["create_thread"] == 0


@pytest.mark.parametrize("arguments", [{"model": " "}, {"model": "m", "instructions": None}])
def test_unusable_assistant_is_refused(arguments: dict[str, Any]) -> None:
    """A blank model, or instructions that are no text, are refused before any request."""
    service = ScriptedService()
    with pytest.raises(gpt.BlankValueError):
        gpt.create_assistant(**arguments, service=service)
    assert service.requests["create_assistant"] == 0


def test_idle_agent_stops_by_itself() -> None:
    """An agent without a run stops after its idle time, and says why."""
    talk = Talk(ScriptedService(), idle_timeout=0.05)
    assert talk.recorder.wait_for(gpt.AgentStopped).reason == "idle"
    assert not talk.agent.is_alive


def test_running_agent_is_not_idle() -> None:
    """A run keeps the agent alive however long it takes."""
    service = ScriptedService([Hold(Reply("late"))])
    talk = Talk(service, idle_timeout=0.05)
    talk.agent.add_user_message("hello")
    other = Talk(service, idle_timeout=0.1)
    other.recorder.wait_for(gpt.AgentStopped)
    assert talk.agent.is_alive
    service.release()
    talk.recorder.wait_for(gpt.AgentStopped)
    assert talk.names[-2:] == ["AssistantMessageAdded", "AgentStopped"]


def test_agent_may_live_for_ever() -> None:
    """Without an idle time the agent does not stop by itself."""
    service = ScriptedService()
    gpt.configure(idle_timeout=0.05)
    talk = Talk(service, idle_timeout=None)
    Talk(service).recorder.wait_for(gpt.AgentStopped)
    assert talk.agent.is_alive


def test_life_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The beginning and the end of an agent are logged, and its events in detail."""
    caplog.set_level(logging.DEBUG, "gpt_agent_sync")
    talk = Talk(ScriptedService())
    talk.say()
    talk.agent.shutdown()
    assert f"agent of thread {talk.thread_id} starts" in caplog.text
    assert f"agent of thread {talk.thread_id} has stopped" in caplog.text
    assert "RunStarted" in caplog.text


def test_repr_shows_the_state() -> None:
    """The repr names thread and service, and whether it runs."""
    service = ScriptedService([Hold()])
    talk = Talk(service)
    assert repr(talk.agent) == f"<Agent {talk.thread_id} over ScriptedService() (idle)>"
    talk.agent.add_user_message("hello")
    assert "(idle)" not in repr(talk.agent)
    talk.agent.shutdown()
    assert "(stopped)" in repr(talk.agent)
