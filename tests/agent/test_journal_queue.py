"""Messages that wait in a journal: a crash loses none, and no two processes post one."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
import requests

import gpt_agent_sync as gpt
from gpt_agent_sync.agent.message_notes import MESSAGE
from gpt_agent_sync.journal.base import Entry, Scope
from gpt_agent_sync.records import Posted, RunRequest, UserMessage
from gpt_agent_sync.testing import (
    CallTools,
    EventRecorder,
    Hold,
    Reply,
    ScriptedService,
    ScriptStep,
)
from tests.plugins.services import WIRES, MakeService
from tests.support.polling import wait_for
from tests.support.scripted_model import ScriptedServer
from tests.support.talk import PATIENCE, Talk

OTHER = "another:process:1"

AFTER_AN_OUTPUT = ["ToolCallOutputRecorded", "RunCompleted", "AssistantMessageAdded"]


def echo(text: str, outputs: Mapping[str, str]) -> ScriptStep:
    """Repeat what the user said; ``"hold"`` waits for an output first."""
    if text == "wait" and not outputs:
        return CallTools(("ask_user", {}))
    return Reply(f"re {text}")


@attrs.define
class Scene:
    """An agent whose run waits for an output, so that messages queue behind it.

    Attributes:
        talk: The agent and its events.
        journal: The journal of all agents.
        wire: How other processes reach the service.
    """

    talk: Talk
    journal: gpt.Journal
    wire: str = ""

    @property
    def scope(self) -> Scope:
        """The conversation in the journal."""
        return Scope(service=self.talk.service.journal_name, thread_id=self.talk.thread_id)

    @property
    def noted(self) -> list[Entry]:
        """The messages that are noted, oldest first."""
        return list(self.journal.entries(self.scope, MESSAGE))

    def wait_in_a_run(self) -> gpt.ToolCallRequested:
        """Begin a run that waits for an output."""
        self.talk.agent.add_user_message("wait")
        return self.talk.recorder.wait_for(gpt.ToolCallRequested)

    def queue(self, *texts: Any, **options: Any) -> None:
        """Queue messages."""
        for text in texts:
            assert self.talk.agent.add_user_message(text, when_busy="queue", **options) is None

    def finish(self) -> None:
        """Answer the call that the run waits for, and wait until all is done."""
        self.talk.agent.submit_tool_output(self.call_id, "yes")
        self.talk.agent.wait(PATIENCE)

    @property
    def run_id(self) -> str:
        """The newest run, which is in progress."""
        live_run = self.talk.service.open_thread(self.talk.thread_id)
        assert live_run is not None
        return live_run.id

    @property
    def call_id(self) -> str:
        """The call that the run waits for."""
        return self.talk.recorder.wait_for(gpt.ToolCallRequested).id

    def reconnect(self, **options: Any) -> gpt.Agent:
        """Connect again, as another process would; its events are recorded alone."""
        self.talk.agent.shutdown()
        self.talk.recorder = EventRecorder()
        self.talk.agent = self.talk.connect(journal=self.journal, **options)
        return self.talk.agent

    def left(self, *texts: str, lease: float = 0.0, **data: Any) -> None:
        """Have another process leave messages in the journal, or keep them for a while."""
        for text in texts:
            given: dict[str, Any] = {
                "content": text,
                "attachments": [],
                "metadata": {},
                "options": {},
                "assistant_id": None,
                "queued": True,
                "begun": False,
                "after": None,
            }
            self.journal.claim(
                self.scope, MESSAGE, f"key of {text}", owner=OTHER, lease=lease, data=given | data
            )

    def posted(self, text: str) -> RunRequest:
        """Have another process post a message that it has noted."""
        service = self.talk.service
        request = RunRequest(
            thread_id=self.talk.thread_id,
            assistant_id=self.talk.assistant_id,
            token=f"key of {text}",
            streaming=gpt.get_settings().streaming,
        )
        posted = service.post_message(request, UserMessage(content=text))
        return attrs.evolve(request, posted=posted)

    def answered(self, text: str) -> None:
        """Have another process post a message that it has noted, and have it answered."""
        for _ in self.talk.service.start_run(self.posted(text)):
            pass

    def said(self) -> list[str]:
        """Return all that was said in the thread."""
        return [message.content for message in self.talk.agent.messages()]


@pytest.fixture
def scene(make_service: MakeService, tmp_path: Path) -> Scene:
    """Return an agent with a journal in a file, over each service."""
    gpt.configure(heartbeat_interval=0.05)
    journal = gpt.SqliteJournal(tmp_path / "journal.db")
    return Scene(Talk(make_service(echo), journal=journal), journal)


def test_message_is_noted_while_it_waits(scene: Scene) -> None:
    """A queued message is in the journal, with all that it takes to post it, until it has a run."""
    scene.wait_in_a_run()
    options = gpt.RunOptions(temperature=0.5)
    scene.queue("a", run_options=options, metadata={"k": "v"})
    (entry,) = scene.noted
    assert entry.data == {
        "content": "a",
        "attachments": [],
        "metadata": {"k": "v"},
        "options": {"temperature": 0.5},
        "assistant_id": scene.talk.assistant_id,
        "queued": True,
        "begun": False,
        "after": None,
    }
    scene.finish()
    assert scene.noted == []
    assert scene.said() == ["wait", "re wait", "a", "re a"]


def test_messages_outlive_their_agent(scene: Scene) -> None:
    """What an agent leaves in its queue, the next one posts in order, one run each."""
    scene.wait_in_a_run()
    scene.queue("a", "b", "c")
    scene.reconnect()
    scene.finish()
    assert scene.said() == ["wait", "re wait", "a", "re a", "b", "re b", "c", "re c"]
    assert scene.noted == []
    added = [event.content for event in scene.talk.recorder.of(gpt.UserMessageAdded)]
    assert added == ["a", "b", "c"]


def test_parts_and_options_outlive_their_agent(scene: Scene) -> None:
    """Content parts and run options are the same in the next agent."""
    scene.wait_in_a_run()
    scene.queue(["a", "b"], run_options=gpt.RunOptions(metadata={"k": "v"}, temperature=0.5))
    scene.reconnect()
    (queued,) = scene.talk.agent._mailbox.progress.queue
    assert queued.message.content == ({"type": "text", "text": "a"}, {"type": "text", "text": "b"})
    assert queued.options == gpt.RunOptions(metadata={"k": "v"}, temperature=0.5)
    assert queued.assistant_id == scene.talk.assistant_id
    scene.finish()
    assert scene.said()[2].replace(" ", "") == "ab"


def test_message_whose_process_was_killed_is_posted(scene: Scene) -> None:
    """What a process was about to post when it was killed is looked for, and posted."""
    scene.talk.say("before")
    scene.left("a", "b", begun=True, after=scene.talk.agent.last_message_id)
    scene.reconnect().wait(PATIENCE)
    assert scene.said() == ["before", "re before", "a", "re a", "b", "re b"]
    assert scene.noted == []


def test_message_that_was_posted_is_not_posted_again(scene: Scene) -> None:
    """What the killed process did post stands once, and its run is not made again."""
    scene.talk.say("before")
    after = scene.talk.agent.last_message_id
    scene.answered("a")
    scene.talk.say("c")
    scene.left("a", "b", begun=True, after=after)
    scene.reconnect().wait(PATIENCE)
    assert scene.said() == ["before", "re before", "a", "re a", "c", "re c", "b", "re b"]
    assert scene.noted == []
    told = [event.content for event in scene.talk.recorder.of(gpt.AssistantMessageAdded)]
    assert told == ["re a", "re b"]


def test_same_words_said_before_are_another_message(scene: Scene) -> None:
    """A message is not taken for an older one with the same words."""
    scene.talk.say("a")
    scene.left("a", begun=True, after=scene.talk.agent.last_message_id)
    scene.reconnect().wait(PATIENCE)
    assert scene.said() == ["a", "re a"] * 2


def test_newest_message_with_the_same_words_is_it(scene: Scene) -> None:
    """Where it is not known what was there before, the newest message counts as the one posted."""
    scene.talk.say("b")
    scene.answered("a")
    scene.left("a", "b", begun=True)
    scene.reconnect().wait(PATIENCE)
    assert scene.said() == ["b", "re b", "a", "re a", "b", "re b"]


def test_run_of_the_message_is_followed_first(scene: Scene) -> None:
    """A run that is in progress by the time the message's turn comes is followed, not repeated."""
    scene.left("wait", begun=True, lease=60.0)
    agent = scene.reconnect()
    scene.answered("wait")  # as far as it goes: it waits for an output
    scene.journal.release(scene.scope, MESSAGE, "key of wait", owner=OTHER)
    agent.submit_tool_output(scene.call_id, "yes")
    agent.wait(PATIENCE)
    assert scene.said() == ["wait", "re wait"]
    assert scene.noted == []
    assert scene.talk.names == ["ToolCallRequested", *AFTER_AN_OUTPUT]


def test_message_of_a_live_process_is_left_to_it(scene: Scene) -> None:
    """What another process keeps is taken up when it lets go of it, and what comes after it too."""
    scene.left("a", lease=60.0)
    scene.left("b")
    agent = scene.reconnect()
    assert not agent.running
    assert [entry.owner for entry in scene.noted] == [OTHER, OTHER]
    scene.journal.release(scene.scope, MESSAGE, "key of a", owner=OTHER)
    wait_for(scene.said, lambda said: said == ["a", "re a", "b", "re b"])
    agent.wait(PATIENCE)
    assert scene.noted == []


def test_message_that_was_taken_over_is_not_posted(scene: Scene) -> None:
    """A process whose lease ran out leaves the message to the one that took it over."""
    scene.wait_in_a_run()
    scene.queue("a", "b")
    taken, _ = scene.noted
    scene.journal.renew(str(taken.owner), 0.0)
    assert scene.journal.claim(scene.scope, MESSAGE, taken.key, owner=OTHER, lease=60.0).taken
    scene.finish()
    assert scene.said() == ["wait", "re wait", "b", "re b"]
    assert [entry.key for entry in scene.noted] == [taken.key]


def test_message_that_another_caller_holds_up_is_noted(scene: Scene) -> None:
    """A message that waits for another caller's run is in the journal as well."""
    scene.answered("wait")
    scene.queue("a")
    (entry,) = scene.noted
    assert (entry.data["content"], entry.data["queued"]) == ("a", True)
    scene.talk.service.cancel_run(scene.talk.thread_id, scene.run_id)
    scene.talk.agent.wait(PATIENCE)
    assert scene.said()[-2:] == ["a", "re a"]
    assert scene.noted == []


def test_message_that_need_not_wait_after_all_is_not_left_as_waiting(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the time of its post nobody else would take it for one that is yet to be posted."""
    poster, service = scene.talk.agent._poster, scene.talk.service
    post, waiting = service.post_message, list[Entry]()

    def refuse(*args: object) -> None:
        raise gpt.RunInProgressError(scene.talk.thread_id, None)

    def look_and_post(request: RunRequest, message: UserMessage) -> Posted:
        waiting.extend(entry for entry in scene.noted if not entry.data["begun"])
        return post(request, message)

    monkeypatch.setattr(poster, "_reserve", refuse)  # as if a run had just been active
    monkeypatch.setattr(service, "post_message", look_and_post)
    assert scene.talk.agent.add_user_message("a", when_busy="queue")
    scene.talk.agent.wait(PATIENCE)
    assert waiting == []
    assert scene.said() == ["a", "re a"]


class Full(gpt.SqliteJournal):
    """A journal whose disk is full."""

    full = True

    def claim(self, *args: Any, **options: Any) -> Any:
        """Fail."""
        if self.full:
            raise gpt.JournalError("it", "note a message", "the disk is full")
        return super().claim(*args, **options)


def test_message_that_cannot_be_noted_is_not_queued(
    make_service: MakeService, tmp_path: Path
) -> None:
    """A journal that fails is told to the caller, and nothing waits."""
    journal = Full(tmp_path / "journal.db")
    scene = Scene(Talk(make_service(echo), journal=journal), journal)
    journal.full = False
    scene.wait_in_a_run()
    journal.full = True
    with pytest.raises(gpt.JournalError, match="the disk is full"):
        scene.queue("a")
    scene.finish()
    assert scene.said() == ["wait", "re wait"]
    scene.answered("wait")
    with pytest.raises(gpt.JournalError, match="the disk is full"):
        scene.queue("b")
    assert not scene.talk.agent.running


def test_options_that_json_cannot_hold_are_refused(scene: Scene) -> None:
    """What cannot be kept is told before anything is queued."""
    scene.wait_in_a_run()
    options = gpt.RunOptions(response_format={"type": object()})
    with pytest.raises(TypeError, match=r"have to be JSON for SqliteJournal"):
        scene.queue("a", run_options=options)
    scene.finish()
    assert scene.said() == ["wait", "re wait"]


def test_messages_in_memory_end_with_their_agent(make_service: MakeService) -> None:
    """Without a journal that outlives the process nothing is noted, and nothing is left."""
    journal = gpt.MemoryJournal()
    scene = Scene(Talk(make_service(echo), journal=journal), journal)
    scene.wait_in_a_run()
    scene.queue("a", run_options=gpt.RunOptions(metadata={"k": "v"}))
    assert scene.noted == []
    scene.reconnect()
    scene.finish()
    assert scene.said() == ["wait", "re wait"]


def test_listener_leaves_messages_alone(scene: Scene) -> None:
    """An agent that handles no tools posts nothing of others, until it handles them."""
    scene.left("a")
    agent = scene.reconnect(handle_tools=False)
    assert not agent.running
    assert scene.talk.connect() is agent
    agent.wait(PATIENCE)
    assert scene.said() == ["a", "re a"]


def test_further_connect_takes_up_what_was_left(scene: Scene) -> None:
    """A live agent takes up what others have left when its thread is connected to again."""
    scene.left("a")
    scene.talk.connect()
    scene.talk.agent.wait(PATIENCE)
    assert scene.said() == ["a", "re a"]


def test_assistant_of_the_message_runs_where_the_agent_has_none(scene: Scene) -> None:
    """An agent without an assistant runs the one that the message was queued for."""
    scene.left("a", assistant_id=scene.talk.assistant_id)
    scene.talk.agent.shutdown()
    agent = gpt.connect(scene.talk.thread_id, service=scene.talk.service, journal=scene.journal)
    assert isinstance(agent.wait(PATIENCE), gpt.RunCompleted)


def test_entry_of_another_version_is_left(scene: Scene) -> None:
    """What cannot be read stays as it is, and keeps nothing else from its turn."""
    scene.journal.add(scene.scope, MESSAGE, "new", {"text": "a"})
    scene.left("b", options={"invented": 1})
    scene.left("c")
    scene.reconnect().wait(PATIENCE)
    assert scene.said() == ["c", "re c"]
    assert [entry.key for entry in scene.noted] == ["new", "key of b"]


PROCESS = textwrap.dedent("""
    import os, signal, sys, threading
    import gpt_agent_sync as gpt
    from gpt_agent_sync.journal.leases import Leases, _known

    wire, url, thread_id, assistant_id, path = sys.argv[1:]
    if wire == "responses":
        service = gpt.ResponsesService(url, "key")
    else:
        together = None if wire == "assistants" else False
        service = gpt.AssistantsService(url, "key", additional_messages=together)
    gpt.configure(heartbeat_interval=0.05)
    journal = gpt.SqliteJournal(path)
    leases = _known.get().by_journal.setdefault(id(journal), Leases(journal, lease=1.5, every=0.2))

    def connect():
        return gpt.connect(thread_id, assistant_id, service=service, journal=journal)

    def kill():
        os.kill(os.getpid(), signal.SIGKILL)

    def queue_behind_a_run(*texts):
        agent, called = connect(), threading.Event()
        agent.on(gpt.ToolCallRequested, lambda event: called.set())
        agent.add_user_message("wait")
        called.wait()
        for text in texts:
            agent.add_user_message(text, when_busy="queue")
        return agent
""")

KILLED_WITH_A_QUEUE = """
queue_behind_a_run("a", "b")
kill()
"""

KILLED_AROUND_A_POST = """
post = service.post_message

def post_or_die(request, message):
    if message.content == "a":
        AROUND
    return post(request, message)

service.post_message = post_or_die
agent = queue_behind_a_run("a", "b")
(call,) = agent.state.tool_calls
agent.submit_tool_output(call.id, "yes")
agent.wait()
"""

TAKE_UP = """
print("ready", flush=True)
sys.stdin.readline()
agent, pause = connect(), threading.Event()
scope = gpt.journal.base.Scope(service=service.journal_name, thread_id=thread_id)
while agent.running or journal.entries(scope, "message"):
    pause.wait(0.02)
"""


@pytest.fixture(params=["assistants", "responses"])
def shared(
    request: pytest.FixtureRequest, make_server: Callable[..., ScriptedServer], tmp_path: Path
) -> Scene:
    """Return an agent over each wire, whose thread and journal other processes share."""
    gpt.configure(heartbeat_interval=0.05)
    journal = gpt.SqliteJournal(tmp_path / "journal.db")
    service = WIRES[request.param](make_server(echo).base_url, "key")
    return Scene(Talk(service, journal=journal), journal, request.param)


def start(scene: Scene, code: str) -> subprocess.Popen[str]:
    """Start another process that connects to the thread."""
    service = scene.talk.service
    assert isinstance(service, (gpt.AssistantsService, gpt.ResponsesService))
    assert isinstance(scene.journal, gpt.SqliteJournal)
    # The Responses wire takes a model's name, which needs not be known beforehand, for one.
    assistant_id = "any" if scene.wire == "responses" else scene.talk.assistant_id
    arguments = [scene.wire, service.base_url, scene.talk.thread_id, assistant_id]
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS + code, *arguments, str(scene.journal.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def be_killed(scene: Scene, code: str) -> None:
    """Have another process connect to the thread, and end by SIGKILL."""
    with start(scene, code) as process:
        assert process.wait(PATIENCE) == -signal.SIGKILL


def test_queue_of_a_killed_process_is_posted(shared: Scene) -> None:
    """A process that is killed while messages wait leaves them to the next one."""
    be_killed(shared, KILLED_WITH_A_QUEUE)
    shared.reconnect()
    shared.finish()
    wait_for(lambda: shared.noted, lambda noted: not noted)
    shared.talk.agent.wait(PATIENCE)
    assert shared.said() == ["wait", "re wait", "a", "re a", "b", "re b"]


@pytest.mark.parametrize("around", ["kill()", "post(request, message); kill()"])
def test_process_is_killed_around_a_post(shared: Scene, around: str) -> None:
    """Killed just before a message is posted, or just after, a process leaves it to stand once."""
    be_killed(shared, KILLED_AROUND_A_POST.replace("AROUND", around))
    shared.reconnect()
    wait_for(lambda: shared.noted, lambda noted: not noted)
    shared.talk.agent.wait(PATIENCE)
    assert shared.said() == ["wait", "re wait", "a", "re a", "b", "re b"]


def test_messages_are_posted_once_by_processes_that_connect_at_once(shared: Scene) -> None:
    """Of processes that find the same messages, one posts each, in order."""
    shared.talk.agent.shutdown()
    shared.left("a", "b", "c")
    with start(shared, TAKE_UP) as one, start(shared, TAKE_UP) as other:
        for process in (one, other):
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in (one, other):
            process.communicate("\n", timeout=PATIENCE)
        assert (one.returncode, other.returncode) == (0, 0)
    shared.reconnect()
    assert shared.said() == ["a", "re a", "b", "re b", "c", "re c"]


def test_message_in_a_response_that_nobody_knows_of_is_not_posted_again(
    make_server: Callable[..., ScriptedServer], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A conversation shows a message when its response ends: a process that waits looks then."""
    server = make_server([Hold(Reply("re a")), Reply("again")])
    journal = gpt.SqliteJournal(tmp_path / "journal.db")
    scene = Scene(Talk(gpt.ResponsesService(server.base_url, "key"), journal=journal), journal)
    body = {"model": "any", "conversation": scene.talk.thread_id, "input": "a", "background": True}
    requests.post(f"{server.base_url}/responses", json=body, timeout=PATIENCE)
    wait_for(lambda: server.model.requests, bool)
    scene.left("a", begun=True)
    caplog.set_level(logging.INFO)
    agent = scene.reconnect()
    wait_for(lambda: "waiting for the conversation" in caplog.text, bool)
    server.model.released.set()
    agent.wait(PATIENCE)
    assert scene.said() == ["a", "re a"]
    assert [event.content for event in scene.talk.recorder.of(gpt.AssistantMessageAdded)] == [
        "re a"
    ]


@pytest.fixture(params=["scripted", "apart"])
def apart(
    request: pytest.FixtureRequest, make_server: Callable[..., ScriptedServer], tmp_path: Path
) -> Scene:
    """Return an agent over services that take a message first, and start its run then."""
    gpt.configure(heartbeat_interval=0.05)
    journal = gpt.SqliteJournal(tmp_path / "journal.db")
    service: gpt.Service = ScriptedService(echo)
    if request.param == "apart":
        url = make_server(echo).base_url
        service = gpt.AssistantsService(url, "key", additional_messages=False)
    return Scene(Talk(service, journal=journal), journal, request.param)


def test_message_that_is_posted_alone_is_noted(apart: Scene) -> None:
    """A message is in the journal from before its post until its run is there."""
    noted = []
    apart.talk.agent.on(gpt.UserMessageAdded, lambda event: noted.extend(apart.noted))
    apart.talk.say("a", run_options=gpt.RunOptions(temperature=0.5))
    (entry,) = noted
    data = entry.data
    assert (data["content"], data["queued"], data["begun"]) == ("a", False, True)
    assert (data["options"], data["assistant_id"]) == (
        {"temperature": 0.5},
        apart.talk.assistant_id,
    )
    assert apart.noted == []


def test_message_that_is_refused_is_not_noted_any_more(apart: Scene) -> None:
    """What its caller knows not to be there is nobody's to look for."""
    apart.answered("wait")
    with pytest.raises(gpt.ThreadBusyError):
        apart.talk.agent.add_user_message("a")
    assert apart.noted == []


def test_message_without_a_run_gets_one(apart: Scene) -> None:
    """A message whose process was killed before its run began is answered, once."""
    apart.talk.say("before")
    apart.left("a", begun=True, queued=False, after=apart.talk.agent.last_message_id)
    apart.posted("a")
    for _ in range(2):
        apart.reconnect().wait(PATIENCE)
    assert apart.said() == ["before", "re before", "a", "re a"]
    assert apart.noted == []


def test_program_hears_of_the_message_and_its_run(apart: Scene) -> None:
    """The turn is told as any other."""
    apart.left("a", begun=True, queued=False)
    posted = apart.posted("a").posted
    apart.reconnect().wait(PATIENCE)
    assert apart.talk.names == [
        "UserMessageAdded",
        "RunStarted",
        "RunCompleted",
        "AssistantMessageAdded",
    ]
    assert posted is not None
    assert apart.talk.recorder.wait_for(gpt.UserMessageAdded).id == posted.message_id


def test_message_that_does_not_stand_is_its_callers(apart: Scene) -> None:
    """Its caller has no id for it, and may say it again: nobody else does."""
    apart.left("a", begun=True, queued=False)
    apart.reconnect().wait(PATIENCE)
    assert apart.said() == []
    assert apart.noted == []


def test_message_that_goes_with_its_run_is_not_noted(
    make_server: Callable[..., ScriptedServer], tmp_path: Path
) -> None:
    """Where message and run are one act there is nothing that a crash could come between."""
    journal = Full(tmp_path / "journal.db")
    server = make_server(echo)
    for service in (wire(server.base_url, "key") for wire in WIRES.values()):
        talk = Talk(service, journal=journal)
        for text in ("a", "b"):
            assert talk.agent.ask(text, timeout=PATIENCE) == f"re {text}"


def test_message_that_cannot_be_noted_is_not_posted_alone(
    make_server: Callable[..., ScriptedServer], tmp_path: Path
) -> None:
    """A journal that fails is told to the caller, and no message stands without a run."""
    journal = Full(tmp_path / "journal.db")
    url = make_server(echo).base_url
    talk = Talk(gpt.AssistantsService(url, "key", additional_messages=False), journal=journal)
    with pytest.raises(gpt.JournalError, match="the disk is full"):
        talk.agent.add_user_message("a")
    assert list(talk.agent.messages()) == []
    assert not talk.agent.running


KILLED_BEFORE_ITS_RUN = """
service.start_run = lambda request: kill()
connect().ask("a")
"""


@pytest.mark.parametrize("apart", ["apart"], indirect=True)
def test_one_of_the_processes_that_connect_starts_the_run(apart: Scene) -> None:
    """A process is killed between message and run: of those that come then, one starts the run."""
    be_killed(apart, KILLED_BEFORE_ITS_RUN)
    apart.talk.agent.shutdown()
    with start(apart, TAKE_UP) as one, start(apart, TAKE_UP) as other:
        for process in (one, other):
            process.communicate("\n", timeout=PATIENCE)
        assert (one.returncode, other.returncode) == (0, 0)
    apart.reconnect()
    assert apart.said() == ["a", "re a"]
    started = apart.talk.service._threads.newest_runs(apart.talk.thread_id)  # type: ignore[attr-defined]
    assert len(started) == 1
