"""Waiting for an agent, and messages while it is busy."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.errors import ServiceBusyError, ServiceUnavailableError
from gpt_agent_sync.records import Posted, RunRequest, UserMessage
from gpt_agent_sync.testing import CallTools, Fail, Hold, Reply, ScriptedService
from tests.support.talk import PATIENCE, Talk


def held() -> tuple[ScriptedService, Talk]:
    """Return a talk whose run is held."""
    service = ScriptedService([Hold(Reply("late"))])
    talk = Talk(service)
    talk.agent.add_user_message("hello")
    return service, talk


def test_waiting_for_nothing_gives_nothing() -> None:
    """An agent that made no run has no closing event."""
    assert Talk(ScriptedService()).agent.wait(PATIENCE) is None


def test_waiting_gives_the_closing_event() -> None:
    """Waiting gives the last run's closing event, however often it is asked for."""
    talk = Talk(ScriptedService([Fail()]))
    talk.agent.add_user_message("hello")
    closing = talk.agent.wait(PATIENCE)
    assert isinstance(closing, gpt.RunFailed)
    assert talk.agent.wait(0) is closing


def test_waiting_is_over_after_the_last_callback() -> None:
    """When the wait is over every event has been delivered."""
    talk = Talk(ScriptedService([Reply("one", "two")]))
    delivered: list[str] = []
    blocked = threading.Event()

    @talk.agent.on(gpt.AssistantMessageAdded)
    def slow(event: gpt.AssistantMessageAdded) -> None:
        blocked.wait(0.05)
        delivered.append(event.content)

    talk.say()
    assert delivered == ["one", "two"]


def test_timeout_names_the_run() -> None:
    """A wait that runs out names run, status and age, and the run goes on."""
    service, talk = held()
    talk.recorder.wait_for(gpt.RunStarted)
    with pytest.raises(gpt.WaitTimeoutError) as late:
        talk.agent.wait(0)
    error = late.value
    assert (error.thread_id, error.run_id) == (talk.thread_id, talk.agent.state.run_id)
    assert error.status in ("queued", "in_progress")
    assert error.age is not None
    service.release()
    assert isinstance(talk.agent.wait(PATIENCE), gpt.RunCompleted)


def test_timeout_is_a_timeout_error() -> None:
    """The builtin TimeoutError catches it too."""
    service, talk = held()
    with pytest.raises(TimeoutError):
        talk.agent.wait(0.01)
    service.release()


def test_timeout_before_there_is_a_run_says_so() -> None:
    """A wait that runs out while a callback is at work has no run to name."""
    service = ScriptedService([Reply("x")])
    talk = Talk(service)
    entered, release = threading.Event(), threading.Event()

    @talk.agent.on(gpt.AssistantMessageAdded)
    def block(event: gpt.Event) -> None:
        entered.set()
        release.wait(PATIENCE)

    talk.agent.add_user_message("hello")
    assert entered.wait(PATIENCE)
    with pytest.raises(gpt.WaitTimeoutError, match="completed"):
        talk.agent.wait(0)
    release.set()


def test_asking_gives_the_texts() -> None:
    """Asking gives the run's texts joined by a blank line."""
    talk = Talk(ScriptedService([Reply("one", "", "two")]))
    assert talk.agent.ask("hello", timeout=PATIENCE) == "one\n\ntwo"


def test_asking_gives_the_text_of_its_own_run() -> None:
    """A message queued behind the question does not change the answer."""
    service = ScriptedService([Hold(Reply("mine")), Reply("other")])
    talk = Talk(service)
    answer: list[str] = []
    asking = threading.Thread(target=lambda: answer.append(talk.agent.ask("q", timeout=PATIENCE)))
    asking.start()
    talk.recorder.wait_for(gpt.RunStarted)
    talk.agent.add_user_message("next", when_busy="queue")
    service.release()
    asking.join()
    talk.agent.wait(PATIENCE)
    assert answer == ["mine"]


@pytest.mark.parametrize("step", [Fail("server_error", "oops"), "cancel"])
def test_asking_for_a_run_that_does_not_complete_is_an_error(step: Any) -> None:
    """A run that fails or is cancelled is an error with its closing event."""
    script = [CallTools(("go", {}))] if step == "cancel" else [step]
    talk = Talk(ScriptedService(script))

    @talk.agent.on(gpt.ToolCallRequested)
    def cancel(event: gpt.ToolCallRequested) -> None:
        talk.agent.cancel_run()

    with pytest.raises(gpt.RunFailedError) as failed:
        talk.agent.ask("hello", timeout=PATIENCE)
    assert failed.value.event is talk.recorder.of(gpt.RunEvent)[-1]


def test_asking_too_long_is_a_timeout() -> None:
    """A question without an answer in time is a timeout, and nothing is left of it."""
    service = ScriptedService([Hold(Reply("late")), Reply("next")])
    talk = Talk(service)
    with pytest.raises(gpt.WaitTimeoutError):
        talk.agent.ask("hello", timeout=0.05)
    service.release()
    talk.agent.wait(PATIENCE)
    assert talk.agent.ask("again", timeout=PATIENCE) == "next"


@pytest.mark.parametrize("verb", ["wait", "ask", "stream", "message"])
def test_waiting_in_a_callback_is_refused(verb: str) -> None:
    """A callback that waits for its own agent would wait for ever: it is refused at once."""
    service = ScriptedService([CallTools(("go", {}))])
    talk = Talk(service)
    refused: list[Exception] = []

    @talk.agent.on(gpt.ToolCallRequested)
    def wait(event: gpt.ToolCallRequested) -> None:
        blocking: dict[str, Callable[[], object]] = {
            "wait": talk.agent.wait,
            "ask": lambda: talk.agent.ask("x"),
            "stream": lambda: talk.agent.events().get(),
            "message": lambda: talk.agent.add_user_message("x", when_busy="wait"),
        }
        try:
            blocking[verb]()
        except RuntimeError as exc:
            refused.append(exc)
        talk.agent.submit_tool_output(event.id, "x")

    talk.say()
    assert "would wait for itself" in str(refused[0])


def test_message_during_a_run_is_refused() -> None:
    """By default a message during a run is refused, and nothing is posted."""
    service, talk = held()
    with pytest.raises(gpt.RunInProgressError):
        talk.agent.add_user_message("more")
    assert service.requests["post_message"] == 1
    service.release()


def test_message_may_wait_for_the_run() -> None:
    """A message that waits is posted when the run has ended."""
    service, talk = held()
    posted: list[str | None] = []
    waiting = threading.Thread(
        target=lambda: posted.append(talk.agent.add_user_message("more", when_busy="wait"))
    )
    waiting.start()
    service.release()
    waiting.join()
    talk.agent.wait(PATIENCE)
    assert [event.id for event in talk.recorder.of(gpt.UserMessageAdded)][1:] == posted


def test_message_waits_no_longer_than_it_may() -> None:
    """A message that waits in vain is refused in time, and not posted."""
    service, talk = held()
    with pytest.raises(gpt.WaitTimeoutError):
        talk.agent.add_user_message("more", when_busy="wait", timeout=0.05)
    assert service.requests["post_message"] == 1
    service.release()


def test_many_waiting_messages_have_a_run_each() -> None:
    """Messages that wait at once are posted one by one, none lost and none doubled."""
    talk = Talk(ScriptedService())
    threads = [
        threading.Thread(
            target=talk.agent.add_user_message,
            args=(f"text {number}",),
            kwargs={"when_busy": "wait"},
        )
        for number in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    talk.agent.wait(PATIENCE)
    texts = sorted(str(event.content) for event in talk.recorder.of(gpt.UserMessageAdded))
    assert texts == [f"text {number}" for number in range(10)]
    assert len(talk.recorder.of(gpt.RunCompleted)) == 10


def test_one_of_many_messages_at_once_is_taken() -> None:
    """Of messages added at once exactly one is posted, and the others are refused."""
    service = ScriptedService([Hold()])
    talk = Talk(service)
    ready = threading.Barrier(20)
    results: list[str] = []

    def add() -> None:
        ready.wait(PATIENCE)
        try:
            talk.agent.add_user_message("hello")
            results.append("posted")
        except gpt.RunInProgressError:
            results.append("refused")

    threads = [threading.Thread(target=add) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["posted"] + ["refused"] * 19
    assert service.requests["post_message"] == 1
    service.release()


@pytest.mark.parametrize(
    "content, error",
    [
        ("", gpt.BlankValueError),
        (" \n", gpt.BlankValueError),
        (None, gpt.BlankValueError),
        (7, gpt.BlankValueError),
        (b"bytes", gpt.BlankValueError),
        ([], gpt.BlankValueError),
        ({"type": "text", "text": "x"}, gpt.BlankValueError),
        ([" "], gpt.BlankValueError),
        ([{"type": "text", "text": " "}], gpt.BlankValueError),
        ([3], gpt.BlankValueError),
        ([{"type": "video"}], ValueError),
        ([{"type": "image_url"}], ValueError),
    ],
)
def test_blank_message_is_refused(content: Any, error: type[Exception]) -> None:
    """A message without content is refused before any request, and the agent goes on."""
    service = ScriptedService([Reply("hi")])
    talk = Talk(service)
    with pytest.raises(error):
        talk.agent.add_user_message(content)
    assert service.requests["post_message"] == 0
    assert talk.agent.ask("hello", timeout=PATIENCE) == "hi"


@pytest.mark.parametrize(
    "arguments, error",
    [
        ({"when_busy": "never"}, ValueError),
        ({"metadata": {"k": 1}}, ValueError),
        ({"run_options": "fast"}, TypeError),
        ({"run_options": gpt.RunOptions(truncation="auto")}, gpt.ConfigurationError),
    ],
)
def test_unusable_arguments_of_a_message_are_refused(
    arguments: dict[str, Any], error: type[Exception]
) -> None:
    """What cannot work is refused before any request."""
    service = ScriptedService()
    talk = Talk(service)
    with pytest.raises(error):
        talk.agent.add_user_message("hello", **arguments)
    assert service.requests["post_message"] == 0
    assert not talk.agent.running


def test_message_without_assistant_is_refused() -> None:
    """Without an assistant a message is refused before any request."""
    service = ScriptedService()
    agent = gpt.connect(gpt.create_thread(service=service), service=service)
    with pytest.raises(gpt.AssistantNotSetError):
        agent.add_user_message("hello")
    assert service.requests["post_message"] == 0


class ContraryService(ScriptedService):
    """Refuse the first messages."""

    def __init__(self, *refusals: Exception) -> None:
        super().__init__()
        self.refusals = list(refusals)

    def post_message(self, request: RunRequest, message: UserMessage) -> Posted:
        """Refuse, or take the message."""
        if self.refusals:
            raise self.refusals.pop(0)
        return super().post_message(request, message)


@pytest.mark.parametrize(
    "error", [ServiceUnavailableError("gone"), ServiceBusyError("busy"), KeyboardInterrupt()]
)
def test_failed_post_changes_nothing(error: Exception) -> None:
    """A post that fails, or is interrupted, is the caller's error, and the agent goes on."""
    talk = Talk(ContraryService(error))
    with pytest.raises(type(error)):
        talk.agent.add_user_message("hello")
    assert not talk.agent.running
    assert talk.agent.ask("again", timeout=PATIENCE) == "ok"
    assert talk.names[0] == "UserMessageAdded"


def test_waiting_message_outlasts_another_callers_run() -> None:
    """A message that waits is posted again when another process held the thread."""
    talk = Talk(ContraryService(ServiceBusyError("busy"), ServiceBusyError("busy")))
    assert talk.agent.add_user_message("hello", when_busy="wait", timeout=PATIENCE)
    talk.agent.wait(PATIENCE)


def test_waiting_for_another_callers_run_is_bounded() -> None:
    """A message that waits for another caller's run gives up in time."""
    talk = Talk(ContraryService(*[ServiceBusyError("busy")] * 1000))
    with pytest.raises(gpt.WaitTimeoutError):
        talk.agent.add_user_message("hello", when_busy="wait", timeout=0.1)


def test_queued_message_outlasts_another_callers_run() -> None:
    """A queued message is posted again by the worker when the thread was busy."""
    service = ContraryService()
    talk = Talk(service)
    holding = threading.Event()

    @talk.agent.on(gpt.RunCompleted)
    def hold(event: gpt.RunCompleted) -> None:
        holding.wait(PATIENCE)

    talk.agent.add_user_message("first")
    talk.recorder.wait_for(gpt.RunCompleted)
    service.refusals = [ServiceBusyError("busy")]
    talk.agent.add_user_message("second", when_busy="wait")
    talk.agent.add_user_message("third", when_busy="queue")
    service.refusals = [ServiceBusyError("busy"), ServiceBusyError("busy")]
    holding.set()
    talk.agent.wait(PATIENCE)
    assert len(talk.recorder.of(gpt.RunCompleted)) == 3


def test_message_in_doubt_is_not_queued() -> None:
    """A message that the service may have is the caller's error, although the thread is busy."""
    talk = Talk(ContraryService(ServiceBusyError("busy", in_doubt=True)))
    with pytest.raises(gpt.ServiceBusyError):
        talk.agent.add_user_message("hello", when_busy="queue")
    assert not talk.agent.running


def test_queued_message_that_fails_is_reported() -> None:
    """A queued message that the service refuses for good is reported as a failed run without id."""
    service = ContraryService()
    talk = Talk(service)
    holding = threading.Event()

    @talk.agent.on(gpt.RunStarted)
    def hold(event: gpt.RunStarted) -> None:
        holding.wait(PATIENCE)

    talk.agent.add_user_message("first")
    talk.recorder.wait_for(gpt.RunStarted)
    talk.agent.add_user_message("second", when_busy="queue")
    talk.agent.add_user_message("third", when_busy="queue")
    service.refusals = [ServiceUnavailableError("gone")]
    holding.set()
    talk.agent.wait(PATIENCE)
    failed = talk.recorder.of(gpt.RunFailed)[0]
    assert (failed.id, failed.code) == (None, "service_unavailable")
    assert [event.content for event in talk.recorder.of(gpt.UserMessageAdded)] == ["first", "third"]


def test_answer_is_given_though_a_callback_stops_the_agent() -> None:
    """A question whose reply was told is answered, also when that stopped the agent."""
    talk = Talk(ScriptedService([Reply("hi")]))

    @talk.agent.on(gpt.RunCompleted)
    def stop(event: gpt.RunCompleted) -> None:
        talk.agent.shutdown()

    assert talk.agent.ask("hello", timeout=PATIENCE) == "hi"


@pytest.mark.parametrize(
    "verb",
    [
        lambda agent: agent.ask("x", timeout="y"),
        lambda agent: agent.ask("x", timeout=-1),
        lambda agent: agent.ask("x", when_busy="queue"),
        lambda agent: agent.wait("x"),
        lambda agent: agent.wait(True),
        lambda agent: agent.add_user_message("x", when_busy="wait", timeout=-1),
        lambda agent: agent.shutdown("x"),
    ],
)
def test_unusable_timeouts_are_refused_before_anything_is_done(
    verb: Callable[[gpt.Agent], object],
) -> None:
    """A timeout that is none is refused at once, and nothing has happened."""
    service = ScriptedService()
    talk = Talk(service)
    with pytest.raises((TypeError, ValueError)):
        verb(talk.agent)
    assert talk.agent.is_alive
    assert service.requests["post_message"] == 0


def test_timeout_names_the_tools_that_are_waited_for() -> None:
    """A wait for a call that nobody handles says which."""
    talk = Talk(ScriptedService([CallTools(("nobody", {}))]))
    talk.agent.add_user_message("go")
    talk.recorder.wait_for(gpt.ToolCallRequested)
    with pytest.raises(gpt.WaitTimeoutError, match="output of 'nobody'"):
        talk.agent.wait(0.01)


def test_huge_times_do_no_harm() -> None:
    """Times beyond what clocks can count are as good as for ever."""
    talk = Talk(ScriptedService([Reply("hi")]), idle_timeout=1e12)
    assert talk.agent.ask("hello", timeout=1e12) == "hi"
    talk.agent.wait(1e12)
