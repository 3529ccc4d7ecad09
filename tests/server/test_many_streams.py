"""The embedded server while very many of its streams are open at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs
import pytest

from gpt_agent_sync.records import (
    AssistantDefinition,
    FeedUpdate,
    Message,
    RunRequest,
    RunSnapshot,
    TextDelta,
    UserMessage,
)
from gpt_agent_sync.services.base import Feed, Service
from gpt_agent_sync.testing import Hold, Reply
from tests.plugins.services import WIRES
from tests.support.polling import wait_for
from tests.support.scripted_model import ScriptedServer

STREAMS = 200

PATIENCE = 60.0
"""Seconds that one step may take on a machine that has much else to do."""

pytestmark = pytest.mark.timeout(170)


def hold_all_but_one(text: str, outputs: Mapping[str, str]) -> Hold | Reply:
    """Answer ``"quick"`` at once, and all else when the model is released."""
    answer = Reply(f"you said {text}")
    return answer if text == "quick" else Hold(answer)


class Crowd:
    """A server and a service that follows many of its runs.

    Args:
        server: The server.
        service: A service over one of its wires.
    """

    def __init__(self, server: ScriptedServer, service: Service) -> None:
        self.model = server.model
        self._service = service
        self._assistant_id = service.create_assistant(AssistantDefinition(model="any"))

    def start(self, text: str) -> Feed:
        """Start a run on a new thread, and read its stream up to the run's first snapshot."""
        request = RunRequest(
            thread_id=self._service.create_thread(),
            assistant_id=self._assistant_id,
            streaming=True,
        )
        posted = self._service.post_message(request, UserMessage(content=text))
        feed = self._service.start_run(attrs.evolve(request, posted=posted))
        first = next(feed)
        assert isinstance(first, RunSnapshot)
        assert not first.is_final
        return feed

    def hold(self) -> list[Feed]:
        """Open all the streams, and wait until the model is asked for every one of them."""
        feeds = [self.start(str(number)) for number in range(STREAMS)]
        wait_for(lambda: len(self.model.requests), lambda asked: asked == STREAMS, timeout=PATIENCE)
        return feeds


@pytest.fixture(params=WIRES)
def crowd(
    request: pytest.FixtureRequest, make_server: Callable[..., ScriptedServer]
) -> Iterator[Crowd]:
    """Yield a crowd over each wire."""
    server = make_server(hold_all_but_one)
    service = WIRES[request.param](server.base_url, "key", timeout=PATIENCE)
    yield Crowd(server, service)
    server.model.released.set()
    service.close()


def summary(updates: Sequence[FeedUpdate]) -> tuple[str, list[str | None], str]:
    """Return the joined deltas of a run's text, its messages, and its last status."""
    deltas = [update.text for update in updates if isinstance(update, TextDelta)]
    messages = [str(update.content) for update in updates if isinstance(update, Message)]
    last = updates[-1]
    assert isinstance(last, RunSnapshot)
    return "".join(deltas), [*messages], last.status


def test_streams_that_are_open_at_once_all_come_to_their_ends(crowd: Crowd) -> None:
    """Each of two hundred open streams carries its own run's text, message and end."""
    feeds = crowd.hold()
    crowd.model.released.set()
    said = [f"you said {number}" for number in range(STREAMS)]
    assert [summary(list(feed)) for feed in feeds] == [(text, [text], "completed") for text in said]


def test_server_with_many_open_streams_takes_up_another_run(crowd: Crowd) -> None:
    """However many streams wait for their models, a further run is answered meanwhile."""
    feeds = crowd.hold()
    assert summary(list(crowd.start("quick"))) == (
        "you said quick",
        ["you said quick"],
        "completed",
    )
    for feed in feeds:
        feed.close()
    assert [list(feed) for feed in feeds] == [[]] * STREAMS


def test_streams_may_be_read_in_any_order(crowd: Crowd) -> None:
    """A stream that nobody reads for a while keeps none of the others from ending."""
    feeds = crowd.hold()
    crowd.model.released.set()
    ends = [summary(list(feed))[2] for feed in reversed(feeds)]
    assert ends == ["completed"] * STREAMS
