"""Messages posted on their callers' threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.records import Posted, RunRequest, UserMessage
from gpt_agent_sync.testing import Reply, ScriptedService
from tests.support.talk import PATIENCE, Talk


def test_text_that_utf8_cannot_hold_is_sent(local: gpt.LocalService) -> None:
    """A file name with a stray byte, as Python reads it, goes to the model all the same."""

    @gpt.tool
    def name_file() -> str:
        """Name a file."""
        return "caf\udce9"

    assistant_id = gpt.create_assistant(model="demo", service=local)
    agent = gpt.connect(gpt.create_thread(service=local), assistant_id, service=local)
    agent.add_user_message("Please call name_file.")
    assert isinstance(agent.wait(PATIENCE), gpt.RunCompleted | gpt.RunFailed)
    assert agent.is_alive


class SlowPost(ScriptedService):
    """Take long over a message."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go_on = threading.Event(), threading.Event()

    def post_message(self, request: RunRequest, message: UserMessage) -> Posted:
        """Take the message, in its own time."""
        self.asked.set()
        assert self.go_on.wait(PATIENCE)
        return super().post_message(request, message)


def test_message_posted_to_a_stopped_agent_is_named() -> None:
    """When the agent stops during the post, the error names the message, which has no run."""
    service = SlowPost()
    talk = Talk(service)
    with ThreadPoolExecutor(1) as pool:
        posting = pool.submit(talk.agent.add_user_message, "hello")
        assert service.asked.wait(PATIENCE)
        talk.agent.shutdown()
        service.go_on.set()
        with pytest.raises(gpt.AgentNotAliveError, match="was posted") as stopped:
            posting.result(PATIENCE)
    assert service.texts(talk.thread_id) == [("user", "hello")]
    assert stopped.value.message_id is not None


def test_questions_may_wait_for_each_other() -> None:
    """Callers that ask at once, and are willing to wait, each get their own answer."""
    talk = Talk(ScriptedService(lambda text, outputs: Reply(f"re {text}")))

    def ask(number: int) -> str:
        return talk.agent.ask(f"q{number}", when_busy="wait", timeout=PATIENCE)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    assert answers == [f"re q{number}" for number in range(8)]
