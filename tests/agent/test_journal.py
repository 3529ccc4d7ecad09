"""Tool calls over crashes and processes: noted before they are made, and saved before they go."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import attrs
import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.agent import call_notes
from gpt_agent_sync.journal.base import CALL, Scope
from gpt_agent_sync.testing import CallTools, EventRecorder, Reply
from gpt_agent_sync.tools.recovery import AfterCrash
from tests.plugins.services import MakeService
from tests.support.talk import PATIENCE, Talk

OTHER = "another:process:1"


@attrs.define
class Scene:
    """A run that waits for one tool call, and nobody who follows it.

    Attributes:
        talk: The agent that has left.
        call: The call.
        journal: The journal that later agents have.
        contexts: What handlers were called with.
    """

    talk: Talk
    call: gpt.ToolCallRequested
    journal: gpt.MemoryJournal = attrs.field(factory=gpt.MemoryJournal)
    contexts: list[gpt.ToolContext] = attrs.field(factory=list)

    @property
    def key(self) -> str:
        """The call's key in the journal."""
        return call_notes.key_of(self.call)

    @property
    def scope(self) -> Scope:
        """The conversation in the journal."""
        return Scope(service=self.talk.service.journal_name, thread_id=self.talk.thread_id)

    def begun(self, lease: float = 0.0, **data: Any) -> None:
        """Have another process begin the call, and not finish it."""
        self.journal.claim(self.scope, CALL, self.key, owner=OTHER, lease=lease, data=data)

    def done(self, **data: Any) -> None:
        """Have the other process save the call's output."""
        assert self.journal.update(self.scope, CALL, self.key, owner=OTHER, data=data, done=True)

    def reconnect(self, after_crash: AfterCrash = "fail", **options: Any) -> gpt.Agent:
        """Connect again, with a handler."""
        tools = gpt.Toolbox()

        @tools.tool(after_crash=after_crash)
        def pay(amount: int, context: gpt.ToolContext) -> str:
            """Pay."""
            self.contexts.append(context)
            return f"paid {amount}"

        self.talk.recorder = EventRecorder()
        return self.talk.connect(tools=tools, journal=self.journal, **options)

    def output(self) -> str:
        """Return the output that was recorded, once it was."""
        return self.talk.recorder.wait_for(gpt.ToolCallOutputRecorded).output


SetUp = Callable[[], Scene]


@pytest.fixture
def scene(make_service: MakeService) -> Scene:
    """Return a run that waits for a call, over each service."""
    gpt.configure(heartbeat_interval=0.05)
    talk = Talk(make_service([CallTools(("pay", {"amount": 5})), Reply("thanks")]))
    talk.agent.add_user_message("pay")
    call = talk.recorder.wait_for(gpt.ToolCallRequested)
    talk.agent.shutdown()
    return Scene(talk, call)


def test_call_is_noted_and_forgotten_with_its_run(scene: Scene) -> None:
    """A call that nobody has begun is made, and its note goes when the run is over."""
    agent = scene.reconnect()
    assert isinstance(agent.wait(PATIENCE), gpt.RunCompleted)
    assert scene.output() == "paid 5"
    assert scene.journal.entries(scene.scope, CALL) == []


def test_saved_output_is_sent_without_a_call(scene: Scene) -> None:
    """What a process saved before it was killed is what the model gets."""
    scene.begun(lease=60.0)
    scene.done(output="paid before", failure=None, code=None)
    assert isinstance(scene.reconnect().wait(PATIENCE), gpt.RunCompleted)
    assert scene.output() == "paid before"
    assert scene.contexts == []


def test_saved_failure_is_told_as_one(scene: Scene) -> None:
    """A failure that was saved is told with its words and code."""
    scene.begun(lease=60.0)
    scene.done(output='{"error": "broke"}', failure="broke", code="special")
    scene.reconnect().wait(PATIENCE)
    failed = scene.talk.recorder.wait_for(gpt.ToolCallFailed)
    assert (failed.message, failed.code) == ("broke", "special")


def test_interrupted_call_is_not_made_again(scene: Scene) -> None:
    """By default the model is told that nobody knows whether the call took effect."""
    scene.begun()
    assert isinstance(scene.reconnect().wait(PATIENCE), gpt.RunCompleted)
    assert scene.talk.recorder.wait_for(gpt.ToolCallFailed).code == "interrupted"
    assert "interrupted" in scene.output()
    assert scene.contexts == []


def test_call_that_may_happen_twice_is_made_again(scene: Scene) -> None:
    """A handler that is called again knows the attempt, and what the one before remembered."""
    scene.begun(remembered={"order": 7})
    assert isinstance(scene.reconnect("rerun").wait(PATIENCE), gpt.RunCompleted)
    (context,) = scene.contexts
    assert (context.attempt, context.remembered) == (2, {"order": 7})
    assert scene.output() == "paid 5"


def test_program_is_asked_about_an_interrupted_call(scene: Scene) -> None:
    """The call waits until the program has answered it."""
    scene.begun()
    agent = scene.reconnect("ask")
    told = scene.talk.recorder.wait_for(gpt.ToolCallInterrupted)
    assert (told.id, told.run_id, told.name) == (scene.call.id, scene.call.run_id, "pay")
    assert (told.arguments, told.attempt) == ({"amount": 5}, 2)
    agent.submit_tool_output(told.id, "I looked: it was paid")
    assert isinstance(agent.wait(PATIENCE), gpt.RunCompleted)
    assert scene.contexts == []


def test_program_may_have_an_interrupted_call_made(scene: Scene) -> None:
    """``rerun_tool_call()`` calls the handler, whatever the tool says of crashes."""
    scene.begun()
    agent = scene.reconnect("ask")
    agent.rerun_tool_call(scene.talk.recorder.wait_for(gpt.ToolCallInterrupted).id)
    assert isinstance(agent.wait(PATIENCE), gpt.RunCompleted)
    assert scene.output() == "paid 5"


@pytest.mark.parametrize(
    "found, output, calls",
    [
        ({"state": "paid"}, '{"state": "paid"}', 0),
        (gpt.RERUN, "paid 5", 1),
        (gpt.FAIL, "interrupted", 0),
    ],
)
def test_tool_reads_back_what_became_of_its_call(
    scene: Scene, found: Any, output: str, calls: int
) -> None:
    """A function of the tool's looks at the destination, and says how to go on."""
    asked: list[tuple[dict[str, Any], int]] = []

    def look(arguments: dict[str, Any], context: gpt.ToolContext) -> Any:
        asked.append((arguments, context.attempt))
        return found

    scene.begun()
    scene.reconnect(look).wait(PATIENCE)
    assert asked == [({"amount": 5}, 2)]
    assert output in scene.output()
    assert len(scene.contexts) == calls


def test_function_that_cannot_read_back_fails_the_call(scene: Scene) -> None:
    """What it raises is what the model is told."""

    def look(arguments: dict[str, Any], context: gpt.ToolContext) -> Any:
        raise OSError("the bank is closed")

    scene.begun()
    scene.reconnect(look).wait(PATIENCE)
    assert "the bank is closed" in scene.output()


def test_call_of_a_live_process_is_left_to_it(scene: Scene) -> None:
    """While its owner is at work nobody else calls the handler, and its output is taken then."""
    scene.begun(lease=60.0)
    agent = scene.reconnect("rerun")
    scene.talk.recorder.wait_for(gpt.ToolCallRequested)
    scene.done(output="paid over there", failure=None, code=None)
    assert isinstance(agent.wait(PATIENCE), gpt.RunCompleted)
    assert scene.output() == "paid over there"
    assert scene.contexts == []


def test_idempotency_key_is_the_calls(scene: Scene) -> None:
    """The key is a UUID that depends on nothing but the call."""
    scene.reconnect().wait(PATIENCE)
    (context,) = scene.contexts
    again = gpt.agent.call_notes.CallNotes(
        gpt.MemoryJournal(), scene.talk.service.journal_name, scene.talk.thread_id
    )
    assert uuid.UUID(context.idempotency_key).version == 5
    assert context.idempotency_key == again.idempotency_key(scene.call)


def test_handler_remembers_for_its_next_attempt(scene: Scene) -> None:
    """What is remembered is in the journal at once."""
    tools, seen = gpt.Toolbox(), list[Any]()

    @tools.tool
    def pay(amount: int, context: gpt.ToolContext) -> str:
        """Pay."""
        seen.append(context.remembered)
        context.remember({"order": 9})
        entry = scene.journal.get(scene.scope, CALL, scene.key)
        seen.extend([context.remembered, entry and entry.data["remembered"]])
        return "paid"

    agent = scene.talk.connect(tools=tools, journal=scene.journal)
    agent.wait(PATIENCE)
    assert seen == [None, {"order": 9}, {"order": 9}]


def test_tool_is_not_called_when_the_call_cannot_be_noted(scene: Scene) -> None:
    """A journal that fails costs the call, and not the run."""

    class Broken(gpt.MemoryJournal):
        """A journal whose disk is full."""

        def claim(self, *args: Any, **options: Any) -> Any:
            """Fail."""
            raise gpt.JournalError("it", "note a call", "the disk is full")

    scene.journal = Broken()
    assert isinstance(scene.reconnect().wait(PATIENCE), gpt.RunCompleted)
    assert scene.talk.recorder.wait_for(gpt.ToolCallFailed).code == "journal_error"
    assert scene.contexts == []


@pytest.mark.parametrize("value", ["never", None, 1])
def test_unknown_way_to_go_on_is_refused(value: Any) -> None:
    """A tool says one of three words, or has a function."""
    with pytest.raises(gpt.ToolRegistrationError, match="after_crash"):

        @gpt.tool(after_crash=value)
        def pay() -> None:
            """Pay."""


class SharedJournal(gpt.MemoryJournal):
    """A journal that other processes have, too."""

    shared = True


def test_notes_that_others_may_look_for_outlive_their_run(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that saw the call, and comes late to make it, finds that it was answered."""
    scene.journal = SharedJournal()
    agent = scene.reconnect()
    agent.wait(PATIENCE)
    (entry,) = scene.journal.entries(scene.scope, CALL)
    assert (entry.done, entry.data["output"]) == (True, "paid 5")
    monkeypatch.setattr(call_notes, "CLOSED_KEPT", 0.0)
    agent.add_user_message("again")
    agent.wait(PATIENCE)
    assert scene.journal.entries(scene.scope, CALL) == []
