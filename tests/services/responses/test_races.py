"""Conversations + Responses where things happen at once: cancels, limits, losses, other callers."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import attrs
import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.errors import RequestRejectedError
from gpt_agent_sync.records import RunRequest, RunSnapshot, ToolCall, ToolOutput
from gpt_agent_sync.services.http.paging import PAGE
from gpt_agent_sync.services.responses import ResponsesService, tracking
from gpt_agent_sync.services.responses.chain import ResponseChain
from gpt_agent_sync.services.responses.tracking import RunTracker
from gpt_agent_sync.services.responses.wire import RUN_KEY, ResponseSnapshot
from gpt_agent_sync.testing import CallTools, EventRecorder, Fail, Hold, Reply
from gpt_agent_sync.testing.script import Script
from tests.support.feeds import follow
from tests.support.polling import wait_for
from tests.support.proxy import Forward, Gate, Hook, forwarding
from tests.support.responses_client import ResponsesClient
from tests.support.responses_stub import (
    CALLS,
    CREATE,
    HELLO,
    ITEMS,
    OPEN,
    POLL,
    Serve,
    begin,
    newest,
    noted,
    said,
)
from tests.support.scripted_model import ScriptedServer
from tests.support.stub import Answerer, HangUp, Request, Response, StubServer, error
from tests.support.talk import PATIENCE

pytestmark = pytest.mark.usefixtures("short_pauses")

LIMIT = error(429, "Rate limit reached", code="rate_limit_exceeded")
LONG_LIMIT = attrs.evolve(LIMIT, headers={"Retry-After": "30"})
REFUSAL = error(400, "context too long", code="context_length_exceeded")

CALL = CallTools(("f", {}))


def makes(request: Request) -> bool:
    """Return whether a request is one for a response."""
    return request.line == CREATE


def notes(request: Request) -> bool:
    """Return whether a request writes a note."""
    return request.line.startswith("POST /conversations/") and "metadata" in request.body


def answers(request: Request) -> bool:
    """Return whether a request is for a response that continues a run."""
    return makes(request) and any("output" in item for item in request.body["input"])


def plainly(request: Request, forward: Forward) -> Response:
    """Forward a request."""
    return forward()


class Scene:
    """A server, a caller before whom a proxy stands, and any number of others.

    Args:
        server: The server.
        proxy: The proxy.
    """

    def __init__(self, server: ScriptedServer, proxy: StubServer) -> None:
        self.model = server.model
        self.proxy = proxy
        self.wire = ResponsesClient(server.base_url)
        self.mine = ResponsesService(proxy.base_url, "key-of-mine", http_retries=1)
        self.thread_id = gpt.create_thread(service=self.mine)
        self.recorder = EventRecorder()
        self.handled: list[str] = []
        self._base_url = server.base_url
        self._keys = itertools.count()

    def impatient(self) -> ResponsesService:
        """Return a service behind the proxy that repeats nothing."""
        return ResponsesService(self.proxy.base_url, "key-without-retries", http_retries=0)

    def other(self) -> ResponsesService:
        """Return the service of a further process."""
        return ResponsesService(self._base_url, f"key-of-other-{next(self._keys)}")

    def join(self, service: ResponsesService | None = None, **options: Any) -> gpt.Agent:
        """Connect as one of the callers, who answers calls by hand."""
        return gpt.connect(self.thread_id, "any", service=service or self.mine, **options)

    def join_with_tool(self, service: ResponsesService | None = None) -> gpt.Agent:
        """Connect as one of the callers, with a handler of the calls."""

        def f() -> str:
            """Return one."""
            self.handled.append("f")
            return "1"

        return self.join(service, tools=[f], on_event=self.recorder)

    @property
    def request(self) -> RunRequest:
        """What a service needs to know for a run."""
        return RunRequest(thread_id=self.thread_id, assistant_id="any", heartbeat_interval=0.02)

    @property
    def spoken(self) -> list[str]:
        """What stands in the conversation."""
        return self.wire.item_texts(self.thread_id)

    @property
    def note(self) -> Any:
        """What the conversation's note says."""
        metadata = self.wire.get(f"/conversations/{self.thread_id}")["metadata"]
        return json.loads(metadata[RUN_KEY])


Stage = Callable[..., Scene]


@pytest.fixture
def stage(
    make_server: Callable[..., ScriptedServer], make_stub: Callable[[Answerer], StubServer]
) -> Iterator[Stage]:
    """Return a maker of scenes; their agents are shut down."""

    def make(script: Script, hook: Hook = plainly) -> Scene:
        server = make_server(script)
        return Scene(server, make_stub(forwarding(server.base_url, hook)))

    yield make
    gpt.shutdown_all(10)


def calls_of(agent: gpt.Agent) -> tuple[gpt.ToolCallRequested, ...]:
    """Wait for the calls that an agent's run waits for."""
    return tuple(wait_for(lambda: agent.state.tool_calls, bool))


def outputs_for(snapshot: RunSnapshot) -> list[ToolOutput]:
    """Return outputs for the calls that a run waits for."""
    return [ToolOutput(tool_call_id=call.id, output="1") for call in snapshot.tool_calls]


# a cancel while outputs are on their way


def cancelled_in_flight(scene: Scene, gate: Gate) -> gpt.Agent:
    """Begin a run, and cancel it while its outputs are held up."""
    agent = scene.join_with_tool()
    agent.add_user_message("x")
    assert gate.met.wait(PATIENCE)
    agent.cancel_run()
    gate.open()
    return agent


def test_cancelled_run_whose_outputs_meet_a_limit_is_not_begun_again(stage: Stage) -> None:
    """A run cancelled while its outputs met a limit is cancelled, and the model asked no more."""
    gpt.configure(rate_limit_delay=0.01)
    gate = Gate(answers, answer=LIMIT)
    scene = stage([CALL], gate)
    scene.mine = scene.impatient()
    assert isinstance(cancelled_in_flight(scene, gate).wait(PATIENCE), gpt.RunCancelled)
    assert len(scene.model.requests) == 1


@pytest.mark.parametrize("refusal", [LIMIT, REFUSAL])
def test_cancelled_run_whose_outputs_are_refused_is_not_found_again(
    stage: Stage, refusal: Response
) -> None:
    """The next process does not get the calls of a run that was cancelled on its way on."""
    gpt.configure(rate_limit_delay=0.01)
    gate = Gate(answers, answer=refusal)
    scene = stage([CALL], gate)
    scene.mine = scene.impatient()
    agent = cancelled_in_flight(scene, gate)
    agent.wait(PATIENCE)
    agent.shutdown()
    assert not scene.join_with_tool(scene.other()).running
    assert scene.spoken == ["x", "function_call", "function_call_output"]


def test_run_cancelled_between_the_tries_of_its_outputs_is_not_found_again(stage: Stage) -> None:
    """A cancel ends the pause before outputs are sent again, and the calls wait for nobody."""
    gate = Gate(answers, answer=LONG_LIMIT, is_open=True)
    scene = stage([CALL], gate)
    agent = scene.join_with_tool()
    agent.add_user_message("x")
    assert gate.met.wait(PATIENCE)
    agent.cancel_run()
    assert isinstance(agent.wait(PATIENCE), gpt.RunCancelled)
    agent.shutdown()
    assert not scene.join(scene.other()).running
    assert scene.spoken == ["x", "function_call", "function_call_output"]


@pytest.mark.usefixtures("polled")
def test_cancel_that_meets_the_end_of_a_response_cancels_the_next_one(stage: Stage) -> None:
    """A run that goes on with its outputs while it is cancelled has its next response cancelled."""
    ready, made = threading.Event(), list[str]()

    def hook(request: Request, forward: Forward) -> Response:
        if answers(request):
            assert ready.wait(PATIENCE)
        elif request.path.endswith("/cancel") and not ready.is_set():
            scene.model.released.set()
            scene.wire.final(made[0])
            scene.model.released.clear()
            answer = forward()
            ready.set()
            wait_for(lambda: scene.model.requests, lambda requests: len(requests) == 2)
            return answer
        answer = forward()
        if makes(request):
            made.append(json.loads(answer.body)["id"])
        return answer

    scene = stage([Hold(CALL), Hold()], hook)
    agent = scene.join_with_tool()
    agent.add_user_message("x")
    scene.recorder.wait_for(gpt.RunStarted)
    agent.cancel_run()
    assert isinstance(agent.wait(PATIENCE), gpt.RunCancelled)
    wait_for(lambda: made, lambda ids: len(ids) == 2)
    assert scene.wire.final(made[1])["status"] == "cancelled"


# outputs that another process was quicker with


def test_run_that_another_process_took_on_is_cancelled_at_its_next_calls(stage: Stage) -> None:
    """A cancel during lost outputs ends the run where the other process's outputs have led it."""
    gate = Gate(answers)
    scene = stage([CALL, CallTools(("g", {}))], gate)
    mine = scene.join()
    mine.add_user_message("x")
    (call,) = calls_of(mine)
    service = scene.other()
    theirs = scene.join(service)
    calls_of(theirs)
    mine.submit_tool_output(call.id, "mine")
    assert gate.met.wait(PATIENCE)
    theirs.submit_tool_output(call.id, "theirs")
    wait_for(lambda: [call.name for call in theirs.state.tool_calls], lambda names: names == ["g"])
    mine.cancel_run()
    gate.open()
    assert isinstance(mine.wait(PATIENCE), gpt.RunCancelled)
    assert scene.spoken == ["x", *["function_call", "function_call_output"] * 2]
    assert not scene.join(scene.other()).running


def a_tracker() -> RunTracker:
    """Return a reader that only remembers."""
    return RunTracker(cast(Any, None), cast(Any, None))


WAITING = ResponseChain(
    run_id="r1",
    response_id="r1",
    latest=ResponseSnapshot(
        id="r1", status="completed", calls=(ToolCall(id="c1", name="f", arguments="{}"),)
    ),
)


def test_run_that_nothing_was_known_of_is_kept_as_submitting() -> None:
    """That outputs are on their way is remembered of a run seen for the first time, too."""
    assert a_tracker().keep("t", WAITING, submitting=True).submitting


def test_overtaken_submission_leaves_no_trace() -> None:
    """That outputs were on their way is not said of the response that another process made."""
    tracker = a_tracker()
    tracker.keep("t", WAITING)
    submitting = tracker.keep("t", WAITING, submitting=True)
    tracker.keep("t", WAITING.continued(ResponseSnapshot(id="r2", status="in_progress"), (), 0.0))
    kept = tracker.keep("t", submitting, submitting=False)
    assert (kept.response_id, kept.submitting) == ("r2", False)


# limits


def test_run_whose_outputs_met_a_limit_is_found_by_the_next_process(stage: Stage) -> None:
    """A process that is gone before it tries again leaves a run that the next one goes on with."""
    gpt.configure(rate_limit_delay=30)
    scene = stage([CALL, Reply("done")], Gate(answers, answer=LIMIT, is_open=True))
    scene.mine = scene.impatient()
    agent = scene.join_with_tool()
    agent.add_user_message("x")
    scene.recorder.wait_for(gpt.RateLimited)
    agent.shutdown()
    assert isinstance(scene.join_with_tool(scene.other()).wait(PATIENCE), gpt.RunCompleted)
    assert scene.spoken == ["x", "function_call", "function_call_output", "done"]


def begun_again(scene: Scene, run_id: str) -> set[str]:
    """Have two processes try a run again that both have seen fail, and return the runs of it."""
    theirs = scene.other()
    theirs.open_thread(scene.thread_id)
    services = (scene.mine, theirs)
    feeds = [service.resume_run(scene.request, run_id) for service in services]
    scene.model.released.set()
    assert [follow(feed)[1].status for feed in feeds] == ["failed", "failed"]
    again = attrs.evolve(scene.request, run_id=run_id)
    return {follow(service.start_run(again))[1].id for service in services}


def test_failed_response_is_made_again_by_one_process(stage: Stage) -> None:
    """A message whose response failed stands once, though two processes try again in turn."""
    scene = stage([Hold(Fail("rate_limit_exceeded")), Reply("one"), Reply("two")])
    posted = scene.mine.post_message(scene.request, HELLO)
    next(scene.mine.start_run(attrs.evolve(scene.request, posted=posted)))
    assert len(begun_again(scene, posted.message_id)) == 1
    assert scene.spoken == ["hello", "one"]


def test_failed_answer_to_outputs_is_made_again_by_one_process(stage: Stage) -> None:
    """Outputs whose response failed are sent once, though two processes try again in turn."""
    scene = stage([CALL, Hold(Fail("rate_limit_exceeded")), Reply("one"), Reply("two")])
    _, waiting = follow(begin(scene.mine, scene.request))
    next(scene.mine.submit_tool_outputs(scene.request, waiting.id, outputs_for(waiting)))
    assert len(begun_again(scene, waiting.id)) == 1
    assert scene.spoken == ["hello", "function_call", "function_call_output", "one"]


def test_limited_run_gives_way_to_anothers_message(stage: Stage) -> None:
    """A run that failed is not begun again after another caller's message."""
    script = [CALL, Fail("rate_limit_exceeded"), Reply("to the other"), Reply("to mine")]
    scene = stage(script)
    _, waiting = follow(begin(scene.mine, scene.request))
    follow(scene.mine.submit_tool_outputs(scene.request, waiting.id, outputs_for(waiting)))
    scene.join(scene.other()).ask("and?", timeout=PATIENCE)
    with pytest.raises(RequestRejectedError, match="has gone on with run"):
        follow(scene.mine.start_run(attrs.evolve(scene.request, run_id=waiting.id)))
    assert scene.spoken[-2:] == ["and?", "to the other"]


# notes that meet trouble


def test_caller_whose_time_is_up_in_the_pause_of_a_note_has_a_run(stage: Stage) -> None:
    """A wait that ends before a note is written again does not make the agent forget the run."""
    scene = stage([Hold(Reply("booked"))], Gate(notes, answer=LONG_LIMIT, is_open=True))
    agent = scene.join(on_event=scene.recorder)
    with pytest.raises(gpt.WaitTimeoutError):
        agent.ask("book", timeout=2.0)
    scene.model.released.set()
    assert isinstance(agent.wait(PATIENCE), gpt.RunCompleted)


def test_run_cancelled_in_the_pause_of_its_note_is_cancelled(stage: Stage) -> None:
    """A queued message that is cancelled before its note is written has its response cancelled."""
    gate = Gate(notes, nth=2, answer=LONG_LIMIT, is_open=True)
    scene = stage([Reply("first"), Hold(Reply("second"))], gate)
    agent = scene.join()
    agent.add_user_message("one")
    agent.add_user_message("two", when_busy="queue")
    assert gate.met.wait(PATIENCE)
    agent.cancel_run()
    assert isinstance(agent.wait(PATIENCE), gpt.RunCancelled)
    written = [request.body for request in scene.proxy.requests if notes(request)]
    response_id = json.loads(written[1]["metadata"][RUN_KEY])["response"]
    assert scene.wire.final(response_id)["status"] == "cancelled"


def test_run_whose_note_could_not_be_moved_on_keeps_its_id(stage: Stage) -> None:
    """A run found by an older note goes on elsewhere under its own id, with its assistant."""
    refused = threading.Event()

    def hook(request: Request, forward: Forward) -> Response:
        return error(400, "no") if refused.is_set() and notes(request) else forward()

    scene = stage([CALL, CallTools(("g", {})), Reply("end")], hook)
    agent = scene.join()
    run_id = agent.add_user_message("x")
    (call,) = calls_of(agent)
    refused.set()
    agent.submit_tool_output(call.id, "1")
    wait_for(lambda: [call.name for call in agent.state.tool_calls], lambda names: names == ["g"])
    agent.shutdown()
    again = gpt.connect(scene.thread_id, service=scene.other())
    (call,) = calls_of(again)
    again.submit_tool_output(call.id, "1")
    ended = again.wait(PATIENCE)
    assert isinstance(ended, gpt.RunCompleted)
    assert (ended.id, ended.assistant_id) == (run_id, "any")


def test_note_names_the_last_response_of_a_run_in_the_foreground(stage: Stage) -> None:
    """A run whose responses are over in their answers leaves no note of a call that waits."""

    def hook(request: Request, forward: Forward) -> Response:
        background = makes(request) and request.body.get("background")
        return error(400, "background is not supported") if background else forward()

    scene = stage([CALL, Reply("done")], hook)
    assert scene.join_with_tool().ask("x", timeout=PATIENCE) == "done"
    assert scene.note["response"] != scene.note["run"]


def test_old_note_on_a_long_conversation_is_not_waited_for(
    serve_responses: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls that a full page of newer items hides are not taken for ones still to come."""
    monkeypatch.setattr(tracking, "ITEMS_DELAY", PATIENCE)
    items = [said(str(number), f"u{number}", "user") for number in range(PAGE)]
    note = noted(run="resp_1", response="resp_1", assistant="m")
    talker, stub = serve_responses({OPEN: [note], POLL: [CALLS], ITEMS: [newest(*items)]})
    talker.open_thread("c")
    assert stub.lines.count(ITEMS) == 2


# answers that get lost


def test_caller_whose_time_is_up_is_told_that_the_message_may_be_there(stage: Stage) -> None:
    """A wait given up while a lost message may be at work is told as doubt, not as a timeout."""

    def hook(request: Request, forward: Forward) -> Response:
        answer = forward()
        if makes(request) and answer.status == 200:
            raise HangUp
        return answer

    scene = stage([Hold(Reply("paid"))], hook)
    agent = scene.join()
    with pytest.raises(gpt.ServiceUnavailableError) as caught:
        agent.ask("pay", timeout=0.1)
    assert caught.value.in_doubt


def test_image_that_is_not_listed_is_found(stage: Stage) -> None:
    """A lost message is known again though the service lists its image without the address."""
    lost = threading.Event()

    def hook(request: Request, forward: Forward) -> Response:
        answer = forward()
        if makes(request) and not lost.is_set():
            lost.set()
            scene.wire.final(json.loads(answer.body)["id"])
            raise HangUp
        if request.method == "GET" and request.path.endswith("/items"):
            return attrs.evolve(answer, body=_without_images(json.loads(answer.body)))
        return answer

    scene = stage([Reply("one"), Reply("two")], hook)
    image = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
    text = {"type": "text", "text": "look"}
    assert scene.join().ask([text, image], timeout=PATIENCE) == "one"
    assert scene.spoken == ["look", "one"]


def _without_images(listed: Any) -> Any:
    for item in listed["data"]:
        for part in item.get("content") or ():
            if part["type"] == "input_image":
                part["image_url"] = None
    return listed


def test_failed_response_has_nothing_after_it_that_could_be_told(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """What came after a message whose response failed is said to be unknown, not told wrongly."""
    scene = stage([Fail(), Reply("later")])
    posted = scene.mine.post_message(scene.request, HELLO)
    follow(scene.mine.start_run(attrs.evolve(scene.request, posted=posted)))
    scene.join(scene.other()).ask("and?", timeout=PATIENCE)
    assert list(scene.mine.messages(scene.thread_id, after=posted.message_id)) == []
    assert "that response left nothing there" in caplog.text


# queues


def test_queued_message_that_waits_for_a_lock_is_cancelled_at_once(stage: Stage) -> None:
    """A cancel ends the wait of a queued message for another caller's response."""
    locked = threading.Event()

    def hook(request: Request, forward: Forward) -> Response:
        answer = forward()
        if makes(request) and answer.status != 200:
            locked.set()
        return answer

    scene = stage([Reply("one"), Hold()], hook)
    agent = scene.join()
    agent.on(gpt.RunCompleted)(lambda event: scene.wire.start_background(scene.thread_id))
    agent.add_user_message("one")
    agent.add_user_message("two", when_busy="queue")
    assert locked.wait(PATIENCE)
    agent.cancel_run()
    assert isinstance(agent.wait(2), gpt.RunCancelled)
    assert "two" not in scene.spoken
