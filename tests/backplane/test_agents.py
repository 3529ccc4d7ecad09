"""Agents of one thread over a shared backplane, each as if in a process of its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.services.assistants import AssistantsService
from gpt_agent_sync.services.responses import ResponsesService
from gpt_agent_sync.testing import CallTools, EventRecorder, Reply
from gpt_agent_sync.testing.script import Script
from tests.plugins.redis_servers import needs_redis
from tests.support.polling import wait_for
from tests.support.redis_server import RedisServer
from tests.support.scripted_model import ScriptedServer

pytestmark = needs_redis

PATIENCE = 20.0


class Peer:
    """An agent as another process has it: with a service and a backplane of its own.

    Args:
        place: The thread, and where it is.
        key: The key of its service, which makes it another agent.
        options: What else ``connect()`` takes.
    """

    def __init__(self, place: Place, key: str, **options: Any) -> None:
        self.place = place
        self.service = place.service(key)
        self.backplane = gpt.RedisBackplane(place.redis_url, lease=place.lease)
        self.recorder = EventRecorder()
        self.agent = gpt.connect(
            place.thread_id,
            place.assistant_id,
            service=self.service,
            backplane=self.backplane,
            on_event=self.recorder,
            **options,
        )

    @property
    def told(self) -> list[gpt.Event]:
        """The events so far, without the text that came in between."""
        return [
            event
            for event in self.recorder.events
            if not isinstance(event, gpt.AssistantMessageDelta | gpt.AgentStopped)
        ]

    def close(self) -> None:
        """End all of it."""
        self.agent.shutdown(5)
        self.backplane.close()
        self.service.close()


class Place:
    """A thread on a server, beside a Redis.

    Args:
        wire: The wire.
        server: The server.
        redis: The Redis.
    """

    lease = 2.0

    def __init__(self, wire: str, server: ScriptedServer, redis: RedisServer) -> None:
        self.wire, self.base_url, self.redis_url = wire, server.base_url, redis.url
        service = self.service("key")
        self.thread_id = gpt.create_thread(service=service)
        self.assistant_id = "any"
        if wire == "assistants":
            self.assistant_id = gpt.create_assistant(model="any", service=service)
        service.close()

    def service(self, key: str) -> AssistantsService | ResponsesService:
        """Return a service with a key of its own."""
        if self.wire == "assistants":
            return AssistantsService(self.base_url, key)
        service = ResponsesService(self.base_url, key)
        service.register_assistant("any", model="any")
        return service


Meet = Callable[..., list[Peer]]


@pytest.fixture(params=["assistants", "responses"])
def meet(
    request: pytest.FixtureRequest,
    make_server: Callable[[Script], ScriptedServer],
    redis_server: RedisServer,
) -> Iterator[Meet]:
    """Return a maker of agents that meet on one thread."""
    with contextlib.ExitStack() as stack:

        def meet(script: Script, count: int = 2, **options: Any) -> list[Peer]:
            place = Place(request.param, make_server(script), redis_server)
            peers = []
            for number in range(count):
                peers.append(Peer(place, f"key-{number}", **options))
                stack.callback(peers[-1].close)
            return peers

        yield meet


def both_told(peers: list[Peer], event_type: type[gpt.Event], count: int = 1) -> None:
    """Wait until all have been told so many events of a class."""

    def counts() -> list[int]:
        return [sum(isinstance(event, event_type) for event in peer.told) for peer in peers]

    wait_for(counts, lambda found: min(found) >= count, timeout=PATIENCE)


def test_events_are_told_everywhere(meet: Meet) -> None:
    """In the same order, with the same places, each once."""
    one, other = meet([Reply("hi"), Reply("again")])
    assert one.agent.ask("hello", timeout=PATIENCE) == "hi"
    both_told([one, other], gpt.AssistantMessageAdded)
    assert other.agent.ask("hello", timeout=PATIENCE) == "again"
    both_told([one, other], gpt.AssistantMessageAdded, 2)
    assert one.told == other.told
    assert [event.cursor for event in one.told] == [event.cursor for event in other.told]
    assert len({event.cursor for event in one.told}) == len(one.told)


def test_tool_is_called_once(meet: Meet) -> None:
    """By the process that runs the turn; the others are told."""
    calls = []

    def add(a: int, b: int) -> int:
        """Add."""
        calls.append(threading.current_thread().name)
        return a + b

    peers = meet([CallTools(("add", {"a": 1, "b": 2})), Reply("3")], 3, tools=gpt.Toolbox([add]))
    assert peers[0].agent.ask("hello", timeout=PATIENCE) == "3"
    both_told(peers, gpt.AssistantMessageAdded)
    assert len(calls) == 1
    assert peers[0].told == peers[1].told == peers[2].told


def test_state_is_the_same_everywhere(meet: Meet) -> None:
    """A turn is in progress for every agent, with its run and its calls."""
    one, other = meet([CallTools(("weather", {})), Reply("sunny")])
    one.agent.add_user_message("hello")
    both_told([one, other], gpt.ToolCallRequested)
    assert (one.agent.state.running, one.agent.state.tool_calls) == (
        other.agent.state.running,
        other.agent.state.tool_calls,
    )
    assert one.agent.state.run_id == other.agent.state.run_id
    with pytest.raises(gpt.RunInProgressError):
        other.agent.add_user_message("me too")
    (call,) = other.agent.state.tool_calls
    other.agent.submit_tool_output(call.id, "sunny")
    closing = other.agent.wait(PATIENCE)
    assert isinstance(closing, gpt.RunCompleted)
    assert one.agent.wait(PATIENCE) == closing
    assert one.told == other.told


def test_run_is_cancelled_from_elsewhere(meet: Meet) -> None:
    """The process that runs the turn does it, and says what came of it."""
    one, other = meet([CallTools(("weather", {})), Reply("sunny")])
    one.agent.add_user_message("hello")
    both_told([one, other], gpt.ToolCallRequested)
    other.agent.cancel_run()
    assert isinstance(other.agent.wait(PATIENCE), gpt.RunCancelled)
    with pytest.raises(gpt.RunNotInProgressError):
        other.agent.cancel_run()


def test_errors_come_back_from_elsewhere(meet: Meet) -> None:
    """As they are in the process that runs the turn."""
    one, other = meet([CallTools(("weather", {})), Reply("sunny")])
    one.agent.add_user_message("hello")
    both_told([one, other], gpt.ToolCallRequested)
    with pytest.raises(gpt.InvalidToolCallIdError) as refused:
        other.agent.submit_tool_output("call_none", "1")
    assert refused.value.tool_call_id == "call_none"


def test_askers_wait_for_each_other(meet: Meet) -> None:
    """However many processes ask at once, each gets the reply to its own question."""
    peers = meet(lambda text, outputs: Reply(f"re: {text}"), 3)
    replies: dict[str, str] = {}

    def ask(number: int, peer: Peer) -> None:
        for turn in range(5):
            text = f"question {number} {turn}"
            replies[text] = peer.agent.ask(text, when_busy="wait", timeout=PATIENCE)

    threads = [
        threading.Thread(target=ask, args=(number, peer)) for number, peer in enumerate(peers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(replies) == 15
    assert replies == {text: f"re: {text}" for text in replies}
    both_told(peers, gpt.AssistantMessageAdded, 15)
    assert peers[0].told == peers[1].told == peers[2].told


def test_queued_message_is_posted_by_whoever_runs_the_turn(meet: Meet) -> None:
    """After the turn in progress, in order, and told everywhere."""
    script = [CallTools(("weather", {})), *map(Reply, ("sunny", "second", "third"))]
    one, other = meet(script)
    one.agent.add_user_message("hello")
    both_told([one, other], gpt.ToolCallRequested)
    assert other.agent.add_user_message("two", when_busy="queue") is None
    assert one.agent.add_user_message("three", when_busy="queue") is None
    (call,) = other.agent.state.tool_calls
    one.agent.submit_tool_output(call.id, "sunny")
    other.agent.wait(PATIENCE)
    one.agent.wait(PATIENCE)
    both_told([one, other], gpt.AssistantMessageAdded, 3)
    asked = [each.content for each in other.told if isinstance(each, gpt.UserMessageAdded)]
    assert asked == ["hello", "two", "three"]
    assert one.told == other.told


def test_events_without_an_agent(meet: Meet) -> None:
    """An iterator tells them too, from now on or from a cursor."""
    one, other = meet([Reply("hi"), Reply("again")])
    with gpt.events(one.agent.thread_id, service=one.service, backplane=one.backplane) as told:
        other.agent.ask("hello", timeout=PATIENCE)
        seen = [told.get(PATIENCE)]
        while not isinstance(seen[-1], gpt.AssistantMessageAdded):
            seen.append(told.get(PATIENCE))
    assert any(isinstance(event, gpt.AssistantMessageDelta) for event in seen)
    assert [e for e in seen if not isinstance(e, gpt.AssistantMessageDelta)] == other.told
    middle = seen[1].cursor if seen[1] else None
    with gpt.events(
        one.agent.thread_id, middle, service=one.service, backplane=one.backplane
    ) as late:
        replayed = [late.get(PATIENCE) for _ in range(len(seen) - 2)]
        assert replayed == seen[2:]


def test_turn_under_way_elsewhere_is_told_from_its_beginning(meet: Meet) -> None:
    """By an iterator that begins in the middle of it, in another process."""
    one, other = meet([Reply("hi"), CallTools(("weather", {})), Reply("sunny")])
    other.agent.ask("first", timeout=PATIENCE)
    call = begin_call(one)
    with gpt.events(
        call.thread_id, service=other.service, backplane=other.backplane, whole_turn=True
    ) as told:
        begun = told.get(PATIENCE)
        assert isinstance(begun, gpt.UserMessageAdded)
        assert begun.content == "hello"
    one.agent.submit_tool_output(call.id, "fine")
    one.agent.wait(PATIENCE)


def begin_call(peer: Peer) -> gpt.ToolCallRequested:
    """Begin a turn whose run waits for an output, and return the call."""
    peer.agent.add_user_message("hello")
    peer.recorder.wait_for(gpt.ToolCallRequested)
    (call,) = peer.agent.state.tool_calls
    return call


def test_turn_of_a_process_that_is_gone_is_taken_over(meet: Meet) -> None:
    """When its lease has run out; nothing is told twice."""
    one, other = meet([CallTools(("weather", {})), Reply("sunny")])
    call = begin_call(one)
    both_told([other], gpt.ToolCallRequested)
    one.backplane._hub.close()  # as if its process were gone: it renews nothing, and hears nothing

    def submitted() -> bool:
        with contextlib.suppress(gpt.BackplaneError):
            other.agent.submit_tool_output(call.id, "sunny")
            return True
        return False

    wait_for(lambda: other.agent._ownership.holds, bool, timeout=PATIENCE)
    wait_for(submitted, bool, timeout=PATIENCE)
    assert isinstance(other.agent.wait(PATIENCE), gpt.RunCompleted)
    names = [type(event).__name__ for event in other.told]
    assert names == [
        *("UserMessageAdded", "RunStarted", "ToolCallRequested", "ToolCallOutputRecorded"),
        *("RunCompleted", "AssistantMessageAdded"),
    ]


def test_turn_of_an_agent_that_stops_is_taken_over_at_once(meet: Meet) -> None:
    """Its process says so."""
    one, other = meet([CallTools(("weather", {})), Reply("sunny")])
    call = begin_call(one)
    both_told([other], gpt.ToolCallRequested)
    one.agent.shutdown(PATIENCE)
    wait_for(lambda: other.agent._ownership.holds, bool, timeout=PATIENCE)
    other.agent.submit_tool_output(call.id, "sunny")
    assert isinstance(other.agent.wait(PATIENCE), gpt.RunCompleted)


@pytest.mark.parametrize("handle_tools", [True, False])
def test_next_connection_takes_over(meet: Meet, handle_tools: bool) -> None:
    """Where nobody was there to do it, and where it calls no handlers too."""
    (one,) = meet([CallTools(("weather", {})), Reply("sunny")], 1)
    call = begin_call(one)
    one.agent.shutdown(PATIENCE)
    late = Peer(one.place, "late", handle_tools=handle_tools)
    try:
        assert late.agent.running
        wait_for(lambda: late.agent._ownership.holds, bool, timeout=PATIENCE)
        late.agent.submit_tool_output(call.id, "sunny")
        assert isinstance(late.agent.wait(PATIENCE), gpt.RunCompleted)
    finally:
        late.close()


def test_takeover_that_fails_is_tried_again(meet: Meet, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the service cannot be reached the turn stays in progress, and is nobody else's."""
    one, other = meet([CallTools(("weather", {})), Reply("sunny")])
    call = begin_call(one)
    both_told([other], gpt.ToolCallRequested)
    refused: list[str] = []

    def refuse(thread_id: str) -> None:
        refused.append(thread_id)
        raise gpt.ServiceUnavailableError("no")

    with monkeypatch.context() as away:
        away.setattr(other.service, "open_thread", refuse)
        one.agent.shutdown(PATIENCE)
        wait_for(lambda: len(refused), lambda count: count == 2, timeout=PATIENCE)
        assert other.agent.running
    other.agent.submit_tool_output(call.id, "sunny")
    assert isinstance(other.agent.wait(PATIENCE), gpt.RunCompleted)


def test_agent_that_handles_no_tools_leaves_them(meet: Meet) -> None:
    """Even its own message's: that is what it is for."""
    one, other = meet([CallTools(("weather", {})), Reply("sunny")], handle_tools=False)
    call = begin_call(one)
    both_told([other], gpt.ToolCallRequested)
    other.agent.submit_tool_output(call.id, "sunny")
    assert isinstance(one.agent.wait(PATIENCE), gpt.RunCompleted)


def test_run_that_was_found_is_one_agents(meet: Meet) -> None:
    """Of those that connect to a thread with a live run one follows it, and all tell of it."""
    peers = meet([CallTools(("weather", {})), Reply("sunny")], 1)
    alone = gpt.connect(
        peers[0].agent.thread_id, peers[0].place.assistant_id, service=peers[0].place.service("a")
    )
    alone.add_user_message("hello")
    with alone.events() as events:
        while not alone.state.tool_calls:
            events.get(PATIENCE)
    (call,) = alone.state.tool_calls
    alone.shutdown(PATIENCE)
    late = [Peer(peers[0].place, f"late-{number}") for number in range(2)]
    try:
        both_told(late, gpt.ToolCallRequested)
        assert [peer.agent._ownership.holds for peer in late].count(True) == 1
        late[1].agent.submit_tool_output(call.id, "sunny")
        assert [peer.agent.wait(PATIENCE) for peer in late].count(None) == 0
    finally:
        for peer in late:
            peer.close()
