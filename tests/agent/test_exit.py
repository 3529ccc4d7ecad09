"""Programs that end, or are ended, in the middle of something: soon, and without a word."""

from __future__ import annotations

import itertools
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import attrs
import pytest

from gpt_agent_sync.testing import CallTools, Hold, Reply, ScriptStep
from tests.plugins.services import WIRES
from tests.support.scripted_model import ScriptedServer
from tests.support.stub import Answerer, Request, Response, StubServer
from tests.support.talk import PATIENCE

ROOT = Path(__file__).parents[2]

CHECKED = [sys.executable, "-X", "dev", "-W", "error", "-m", "tests.support.leaving"]
"""A program that tells whatever it leaves open."""


@attrs.frozen
class Ended:
    """How a program ended.

    Attributes:
        code: Its exit code; the negative number of the signal that ended it.
        said: What it wrote on its standard error.
    """

    code: int
    said: str


@attrs.frozen
class Stage:
    """A server, and how a program speaks to it.

    Attributes:
        service: The name of the program's service class.
        base_url: Where the server is.
        how: ``"streamed"`` or ``"polled"``.
    """

    service: str
    base_url: str
    how: str

    def play(
        self,
        scene: str,
        end_by: signal.Signals | None = None,
        when_ready: Callable[[], object] = lambda: None,
    ) -> Ended:
        """Return how a program ends that plays a scene.

        Args:
            scene: The scene, of ``tests.support.leaving``.
            end_by: The signal that ends it; ``None`` where it ends by itself.
            when_ready: Called when it is where it is to end.

        Raises:
            TimeoutExpired: If it does not end.
        """
        command = [*CHECKED, scene, self.service, self.base_url, self.how]
        with subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as program:
            try:
                assert program.stdout is not None
                assert program.stdout.readline() == "ready\n"
                when_ready()
                if end_by is not None:
                    program.send_signal(end_by)
                _, said = program.communicate(timeout=PATIENCE)
            finally:
                program.kill()
        return Ended(program.returncode, said)


def script(text: str, outputs: Mapping[str, str]) -> ScriptStep:
    """Call a tool where the user asks for it, and else reply when the test is over."""
    return CallTools(("add", {"a": 1, "b": 2})) if text == "call" else Hold(Reply("done"))


def completion(text: str, over: threading.Event) -> Response:
    """Return what the script says, as an upstream of the embedded server says it."""
    message: dict[str, object] = {"role": "assistant", "content": "done"}
    if text == "call":
        called = {"name": "add", "arguments": json.dumps({"a": 1, "b": 2})}
        message["tool_calls"] = [{"id": "x", "type": "function", "function": called}]
    else:
        over.wait(PATIENCE)
    return Response({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


MakeStub = Callable[[Answerer], StubServer]
MakeStage = Callable[[str], Stage]


@pytest.fixture
def make_stage(
    make_server: Callable[..., ScriptedServer], make_stub: MakeStub
) -> Iterator[MakeStage]:
    """Return a maker of stages: ``"local"``, or a wire's name; with ``"-polled"`` after it."""
    over = threading.Event()

    def make(name: str) -> Stage:
        wire, _, polled = name.partition("-")
        how = polled or "streamed"
        if wire == "local":
            stub = make_stub(lambda asked: completion(asked.body["messages"][-1]["content"], over))
            return Stage("LocalService", stub.base_url, how)
        return Stage(WIRES[wire].__name__, make_server(script).base_url, how)

    yield make
    over.set()


@pytest.fixture(params=["assistants-polled", "responses", "local", "local-polled"])
def stage(request: pytest.FixtureRequest, make_stage: MakeStage) -> Stage:
    """Return a stage: the embedded server in the program, or a server here over each wire."""
    return make_stage(request.param)


@pytest.mark.parametrize("scene", ["in_run", "in_callback", "in_tool", "with_queued_messages"])
def test_end_in_the_middle(stage: Stage, scene: str) -> None:
    """A program that ends in a run, callback or tool, or with messages queued, says nothing."""
    assert stage.play(scene) == Ended(0, "")


@pytest.mark.parametrize(
    "scene", ["in_wait", "in_ask", "in_ask_stream", "in_wait_to_add", "in_with_block", "in_events"]
)
@pytest.mark.parametrize("name", ["assistants", "local-polled"])
def test_interrupt(make_stage: MakeStage, name: str, scene: str) -> None:
    """Ctrl-C ends whatever the main thread waits in, with the traceback of that alone."""
    ended = make_stage(name).play(scene, signal.SIGINT)
    assert ended.code != 0  # that of the signal, or 1, as CPython decides
    assert ended.said.count("Traceback") == 1
    assert ended.said.startswith("Traceback")
    assert ended.said.endswith("\nKeyboardInterrupt\n")


@pytest.mark.parametrize("name", ["assistants", "local-polled"])
def test_terminate(make_stage: MakeStage, name: str) -> None:
    """SIGTERM ends a program at once where it has no handler for it."""
    assert make_stage(name).play("in_wait", signal.SIGTERM) == Ended(-signal.SIGTERM, "")


@pytest.mark.parametrize("name", ["assistants", "local-polled"])
def test_terminate_by_a_handler(make_stage: MakeStage, name: str) -> None:
    """A handler of SIGTERM that raises SystemExit ends the program with its exit code."""
    assert make_stage(name).play("with_exit_handler", signal.SIGTERM) == Ended(3, "")


@pytest.mark.parametrize("name", ["assistants", "responses-polled"])
def test_many_tools(make_stage: MakeStage, name: str) -> None:
    """A hundred tools that hang hold a program up no longer than one."""
    assert make_stage(name).play("in_many_tools") == Ended(0, "")


class Desk:
    """A server that knows as much of the Assistants wire as runs that never end need.

    Args:
        answer: Answers the requests that make one kind of thing, given the usual answer.
        kind: That kind, as the path ends: ``"runs"`` or ``"messages"``.
    """

    def __init__(
        self, answer: Callable[[Response], Response] = lambda usual: usual, kind: str = "runs"
    ) -> None:
        self._answer = answer
        self._kind = kind
        self._numbers = itertools.count()

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        last = request.path.rpartition("/")[2]
        if request.method == "GET" and last in ("messages", "runs"):
            return Response({"object": "list", "data": [], "has_more": False})
        item_id = last if request.method == "GET" else f"id_{next(self._numbers)}"
        usual = Response(
            {
                "id": item_id,
                "object": "thread.run",
                "status": "in_progress",
                "thread_id": request.path.split("/")[2] if request.path.count("/") > 1 else item_id,
                "role": "user",
                "content": [],
                "created_at": 1,
            }
        )
        asked = request.method == "POST" and last == self._kind
        return self._answer(usual) if asked else usual


def test_many_polled_agents(make_stub: MakeStub) -> None:
    """A hundred agents that poll leave nothing open."""
    stage = Stage("AssistantsService", make_stub(Desk()).base_url, "polled")
    assert stage.play("in_many_runs") == Ended(0, "")


REFUSALS = {
    "accepted": Response(),
    "refused": Response({"error": {"message": "no such assistant"}}, status=400),
    "too-many": Response({"error": {"message": "slow down"}}, status=429),
    "broken": Response({"error": {"message": "oops"}}, status=500),
}


@pytest.mark.parametrize("scene", ["many_in_request", "own_session"])
@pytest.mark.parametrize("answer", REFUSALS)
def test_answers_while_agents_stop(make_stub: MakeStub, answer: str, scene: str) -> None:
    """Answers that come while the agents stop are no news, and leave no connection open."""
    stopped = threading.Event()

    def start(usual: Response) -> Response:
        stopped.wait(PATIENCE)
        return usual if answer == "accepted" else REFUSALS[answer]

    stage = Stage("AssistantsService", make_stub(Desk(start)).base_url, "polled")
    assert stage.play(scene, when_ready=stopped.set) == Ended(0, "")


def test_interrupt_in_a_request(make_stub: MakeStub) -> None:
    """Ctrl-C ends a request that the main thread waits for."""
    asked, over = threading.Event(), threading.Event()

    def stall(usual: Response) -> Response:
        asked.set()
        over.wait(3 * PATIENCE)
        return usual

    stage = Stage("AssistantsService", make_stub(Desk(stall, "messages")).base_url, "polled")
    ended = stage.play("in_request", signal.SIGINT, lambda: asked.wait(PATIENCE))
    over.set()
    assert ended.code == -signal.SIGINT
    # Interrupted in the constructor of its answer, CPython's client complains of its own remains.
    said = re.sub(
        r"Exception ignored in: <http\.client\.HTTPResponse.*", "", ended.said, flags=re.S
    )
    assert said.endswith("\nKeyboardInterrupt\n")


def test_server_that_stalls(make_stub: MakeStub) -> None:
    """A hundred requests that are not answered hold a program up no longer than one."""
    over = threading.Event()

    def start(usual: Response) -> Response:
        over.wait(3 * PATIENCE)
        return usual

    stage = Stage("AssistantsService", make_stub(Desk(start)).base_url, "polled")
    ended = stage.play("many_in_request")
    over.set()
    assert ended == Ended(0, "")
