"""Calls that programs cannot answer: told, closed, and no hindrance to what is said next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.testing import EventRecorder
from tests.support.open_calls_stub import (
    KINDS,
    Item,
    OpenCallsServer,
    approval,
    computer,
    custom_tool,
    said,
    shell,
    shell_output,
)
from tests.support.openai_types import complaints_of
from tests.support.responses_stub import called
from tests.support.stub import Answerer, Request, StubServer
from tests.support.talk import PATIENCE

MakeStub = Callable[[Answerer], StubServer]


@pytest.fixture(params=["streamed", "polled"], autouse=True)
def mode(request: pytest.FixtureRequest) -> None:
    """Have agents follow their runs either way."""
    gpt.configure(streaming=request.param == "streamed")


class Talk:
    """A conversation at a server, and an agent on it.

    Args:
        make_stub: Makes the server.
        server: How it answers.
    """

    def __init__(self, make_stub: MakeStub, server: OpenCallsServer) -> None:
        self.server = server
        self.stub = make_stub(server)
        self.recorder = EventRecorder()
        self.agent = self.connect()

    def connect(self) -> gpt.Agent:
        """Connect as a process that has just started, which knows nothing of the past."""
        service = gpt.ResponsesService(self.stub.base_url, "key")
        return gpt.connect("c", "m", service=service, on_event=self.recorder)

    def say(self) -> gpt.ClosingEvent | None:
        """Say something, and return how that ended."""
        self.agent.add_user_message("hello")
        return self.agent.wait(PATIENCE)

    @property
    def texts(self) -> list[str]:
        """The texts of the assistant's messages so far."""
        return [event.content for event in self.recorder.of(gpt.AssistantMessageAdded)]


def closed_ids(server: OpenCallsServer) -> list[tuple[str, str]]:
    """Return what the server was sent to close calls: type and id."""
    return [
        (item["type"], item.get("call_id") or item["approval_request_id"]) for item in server.closed
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_call_is_told_and_closed(make_stub: MakeStub, kind: str) -> None:
    """A run that ends with such a call has failed, for that kind; the next message goes through."""
    talk = Talk(make_stub, OpenCallsServer([KINDS[kind]()]))
    closing = talk.say()
    assert isinstance(closing, gpt.RunFailed)
    assert (closing.status, closing.code) == ("failed", "unsupported_call")
    assert kind in (closing.message or "")
    assert len(talk.server.closed) == 1
    assert talk.agent.ask("and now?", timeout=PATIENCE) == "fine"


@pytest.mark.parametrize("kind", KINDS)
def test_call_is_closed_in_words_that_the_service_takes(make_stub: MakeStub, kind: str) -> None:
    """What closes a call is of the shape that the ``openai`` package has for it."""
    talk = Talk(make_stub, OpenCallsServer([KINDS[kind]()]))
    talk.say()
    (sent,) = [request for request in talk.stub.requests if _adds_items(request)]
    # The service goes by the call's id, which the package's type leaves out.
    known = "has no field 'call_id'" if kind == "local_shell_call" else None
    told = [line for line in complaints_of(sent) if known is None or known not in line]
    assert told == []


def _adds_items(request: Request) -> bool:
    return request.line == "POST /conversations/c/items"


@pytest.mark.parametrize("kind", KINDS)
def test_call_is_closed_by_who_connects(make_stub: MakeStub, kind: str) -> None:
    """A conversation that was left with such a call is told so, and goes on."""
    server = OpenCallsServer()
    server.items += [said_by_user(), KINDS[kind]()]
    talk = Talk(make_stub, server)
    closing = talk.agent.wait(PATIENCE)
    assert isinstance(closing, gpt.RunFailed)
    assert (closing.code, kind in (closing.message or "")) == ("unsupported_call", True)
    assert talk.agent.ask("and now?", timeout=PATIENCE) == "fine"
    assert len(server.closed) == 1


def said_by_user() -> Item:
    """Return a user's message as a conversation holds it."""
    part = {"type": "input_text", "text": "hello"}
    return {"type": "message", "id": "u1", "role": "user", "content": [part]}


def test_what_was_said_before_the_call_is_told(make_stub: MakeStub) -> None:
    """The messages of a run that ends with such a call are told, once each."""
    talk = Talk(make_stub, OpenCallsServer([said("I will look.", 90), custom_tool()]))
    talk.say()
    assert talk.texts == ["I will look."]


def test_function_calls_beside_it_are_closed_too(make_stub: MakeStub) -> None:
    """Function calls of the same response are not asked for, and get outputs that say so."""
    output = [*called("call_f"), custom_tool("call_c"), approval("mcpr_1")]
    talk = Talk(make_stub, OpenCallsServer(output))
    closing = talk.say()
    assert isinstance(closing, gpt.RunFailed)
    assert "custom_tool_call, mcp_approval_request" in (closing.message or "")
    assert talk.recorder.of(gpt.ToolCallRequested) == []
    assert sorted(closed_ids(talk.server)) == [
        ("custom_tool_call_output", "call_c"),
        ("function_call_output", "call_f"),
        ("mcp_approval_response", "mcpr_1"),
    ]
    assert talk.agent.ask("and now?", timeout=PATIENCE) == "fine"


def test_call_after_a_round_of_tools(make_stub: MakeStub) -> None:
    """A run may come to such a call after calls that were answered; it has one id all along."""
    talk = Talk(make_stub, OpenCallsServer(called("call_f"), [custom_tool("call_c")]))

    @talk.agent.tool
    def add() -> str:
        """Add."""
        return "1"

    closing = talk.say()
    assert isinstance(closing, gpt.RunFailed)
    (started,) = talk.recorder.of(gpt.RunStarted)
    assert (closing.id, closing.code) == (started.id, "unsupported_call")
    assert [call_id for _, call_id in closed_ids(talk.server)] == ["call_f", "call_c"]
    assert talk.agent.ask("and now?", timeout=PATIENCE) == "fine"


@pytest.mark.parametrize("shows_items", [True, False])
def test_next_message_closes_what_could_not_be_closed(
    make_stub: MakeStub, shows_items: bool
) -> None:
    """Where items cannot be added, the next message brings the output along.

    A server that lists no items names the call in its refusal.
    """
    server = OpenCallsServer([custom_tool()], adds_items=False, shows_items=shows_items)
    talk = Talk(make_stub, server)
    talk.say()
    assert server.closed == []
    assert talk.agent.ask("and now?", timeout=PATIENCE) == "fine"
    assert closed_ids(server) == [("custom_tool_call_output", "call_1")]


def test_process_that_starts_later_closes_it_with_its_message(make_stub: MakeStub) -> None:
    """The outputs that could not be added then go along with the message of another process."""
    server = OpenCallsServer([custom_tool()], adds_items=False)
    talk = Talk(make_stub, server)
    talk.say()
    talk.agent.shutdown()
    talk.agent = talk.connect()
    talk.agent.wait(PATIENCE)
    assert talk.agent.ask("and now?", timeout=PATIENCE) == "fine"
    assert closed_ids(server) == [("custom_tool_call_output", "call_1")]


def test_safety_checks_of_a_computer_are_acknowledged(make_stub: MakeStub) -> None:
    """The service takes no output of a computer whose checks are not acknowledged."""
    talk = Talk(make_stub, OpenCallsServer([computer()]))
    talk.say()
    (item,) = talk.server.closed
    assert item["acknowledged_safety_checks"] == computer()["pending_safety_checks"]


@pytest.mark.parametrize(
    "output",
    [
        [shell(), shell_output()],
        [shell(environment="container_reference"), shell_output()],
        [{**KINDS["tool_search_call"](), "execution": "server", "call_id": None}],
    ],
)
def test_what_the_service_does_itself_is_no_trouble(
    make_stub: MakeStub, output: list[Item]
) -> None:
    """Calls that the service answers, of the same kinds, leave a run complete."""
    talk = Talk(make_stub, OpenCallsServer([*output, said("done", 90)]))
    assert isinstance(talk.say(), gpt.RunCompleted)
    assert (talk.texts, talk.server.closed) == (["done"], [])


def image(item_id: str, result: str | None = "iVBORw0KGgo=") -> dict[str, Any]:
    """Return an image that the model was asked for."""
    kind = "image_generation_call"
    return {"type": kind, "id": item_id, "status": "completed", "result": result}


def test_images_are_told_as_messages(make_stub: MakeStub) -> None:
    """An image is a message without text, whose part is the item, in its place."""
    output = [said("Here it is:", 90), image("ig_1"), said("Do you like it?", 91)]
    talk = Talk(make_stub, OpenCallsServer(output))
    assert isinstance(talk.say(), gpt.RunCompleted)
    told = talk.recorder.of(gpt.AssistantMessageAdded)
    assert [event.message_id for event in told] == ["msg_90", "ig_1", "msg_91"]
    assert (told[1].content, told[1].parts) == ("", (image("ig_1"),))
    listed = {message.id: message for message in talk.agent.messages()}
    assert (listed["ig_1"].role, listed["ig_1"].parts) == ("assistant", (image("ig_1"),))


def test_image_that_did_not_come_is_not_told(make_stub: MakeStub) -> None:
    """An item without a result holds nothing to show."""
    talk = Talk(make_stub, OpenCallsServer([image("ig_1", None), said("I cannot.", 90)]))
    talk.say()
    assert talk.texts == ["I cannot."]
