"""The backplane in a Redis, beyond the contract: when Redis is away, forks, ends, settings."""

from __future__ import annotations

import contextlib
import logging
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.agent import outbox
from gpt_agent_sync.backplane import choosing
from gpt_agent_sync.event_log import START
from gpt_agent_sync.journal.base import Scope
from gpt_agent_sync.secret import Secret
from gpt_agent_sync.testing import CallTools, Reply, ScriptedService
from gpt_agent_sync.testing.backplanes import Heard, event, new_scope, take, wait_until
from tests.plugins.redis_servers import needs_redis
from tests.support.forks import forks, in_forked_child
from tests.support.redis_server import RedisServer
from tests.support.talk import PATIENCE, Talk

pytestmark = needs_redis


@pytest.fixture
def backplane(own_redis_server: RedisServer) -> Iterator[gpt.RedisBackplane]:
    """Return a backplane whose Redis the test may pause and stop."""
    with contextlib.closing(gpt.RedisBackplane(own_redis_server.url, lease=2.0)) as backplane:
        yield backplane


@pytest.mark.parametrize(
    "source, words",
    [
        ("http://host", "URL of a Redis"),
        (7, "not 7"),
        (None, "not None"),
    ],
)
def test_source_is_a_redis(source: Any, words: str) -> None:
    """Anything else is refused when it is given."""
    with pytest.raises(gpt.ConfigurationError, match=words):
        gpt.RedisBackplane(source)


@pytest.mark.parametrize(
    "options", [{"lease": 1}, {"lease": "15"}, {"lease": True}, {"keep": 0}, {"keep": 1.5}]
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    """The error names the option."""
    with pytest.raises(gpt.ConfigurationError, match=next(iter(options))):
        gpt.RedisBackplane("redis://127.0.0.1:1/0", **options)


def test_password_is_shown_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    """Not by the settings, not by the backplane, not by an error."""
    url = "redis://user:swordfish-99@127.0.0.1:1/0"
    settings = gpt.configure(backplane=url)
    backplane = choosing.backplane_of(url)
    with pytest.raises(gpt.BackplaneError) as failed:
        backplane.acquire(new_scope(), "me")
    shown = f"{settings!r} {backplane!r} {backplane.journal!r} {failed.value} {caplog.text}"
    assert "swordfish" not in shown
    assert "127.0.0.1:1" in shown


def test_one_backplane_for_each_url() -> None:
    """So that a process has one connection to it; the setting may come from the environment."""
    one = choosing.backplane_of("redis://127.0.0.1:1/0")
    assert choosing.backplane_of(Secret("redis://127.0.0.1:1/0")) is one
    assert choosing.backplane_of("redis://127.0.0.1:1/1") is not one


@pytest.mark.parametrize("value", ["redis", "http://x", 7])
def test_setting_is_a_backplane(value: Any) -> None:
    """Anything else is refused."""
    with pytest.raises(gpt.ConfigurationError, match="backplane"):
        choosing.backplane_of(gpt.configure(backplane=value).backplane)


def test_turn_is_refused_while_redis_is_away(
    own_redis_server: RedisServer, backplane: gpt.RedisBackplane
) -> None:
    """There might be two owners; it is there again when Redis is."""
    talk = Talk(ScriptedService([Reply("hi")]), backplane=backplane)
    own_redis_server.stop()
    with pytest.raises(gpt.BackplaneError) as refused:
        talk.agent.add_user_message("hello")
    assert not refused.value.in_doubt
    assert not talk.agent.running
    own_redis_server.start()
    assert talk.agent.ask("hello", timeout=PATIENCE) == "hi"


def test_turn_goes_on_while_redis_is_away(
    own_redis_server: RedisServer,
    backplane: gpt.RedisBackplane,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its events are told here, and appended when Redis is back."""
    service = ScriptedService([CallTools(("weather", {})), Reply("sunny")])
    talk = Talk(service, backplane=backplane)
    talk.agent.add_user_message("hello")
    talk.recorder.wait_for(gpt.ToolCallRequested)
    own_redis_server.pause()
    with caplog.at_level(logging.WARNING):
        (call,) = talk.agent.state.tool_calls
        talk.agent.submit_tool_output(call.id, "sunny")
        talk.recorder.wait_for(gpt.ToolCallOutputRecorded, timeout=PATIENCE)
    own_redis_server.go_on()
    talk.agent.wait(PATIENCE)
    scope = Scope(service=service.journal_name, thread_id=talk.thread_id)
    wait_until(lambda: not backplane.is_held(scope))
    kept = [event for entry in backplane.read(scope, START).entries for event in entry.events]
    assert kept == talk.recorder.events
    waits = [each for each in caplog.records if "wait" in each.getMessage()]
    assert len(waits) <= 1


def test_listener_hears_again_when_redis_is_back(
    own_redis_server: RedisServer, backplane: gpt.RedisBackplane
) -> None:
    """Also one that has lost all that it had."""
    scope, heard = new_scope(), Heard()
    backplane.listen(scope, START, heard)
    lease = take(backplane, scope)
    backplane.append(lease, (event(lease, "a"),))
    wait_until(lambda: heard.texts == ["a"])
    own_redis_server.stop()
    own_redis_server.start()
    backplane.append(lease, (event(lease, "b"),))
    wait_until(lambda: heard.texts == ["a", "b"])
    assert backplane.confirm(lease)


def test_lease_runs_out(backplane: gpt.RedisBackplane, own_redis_server: RedisServer) -> None:
    """Of a process that is gone; its listeners elsewhere are told."""
    scope, heard = new_scope(), Heard()
    with contextlib.closing(gpt.RedisBackplane(own_redis_server.url, lease=2.0)) as gone:
        take(gone, scope)
    backplane.listen(scope, START, heard)
    backplane.watch(scope)
    wait_until(lambda: heard.times_ownerless == 1)
    lease = take(backplane, scope)
    assert lease.follows_turn


def test_log_is_bounded(own_redis_server: RedisServer) -> None:
    """What is not kept is told as missing."""
    with contextlib.closing(gpt.RedisBackplane(own_redis_server.url, keep=10)) as backplane:
        scope = new_scope()
        lease = take(backplane, scope)
        first = event(lease, "first")
        backplane.append(lease, (first,))
        for number in range(500):
            backplane.append(lease, (event(lease, str(number)),))
        page = backplane.read(scope, first.cursor or "")
        assert page.missed
        assert len(page.entries) < 300
        late = Heard()
        backplane.listen(scope, first.cursor or "", late)
        wait_until(lambda: late.texts[-1:] == ["499"])
        assert late.pages[0].missed


def test_missing_events_are_told_to_iterators(own_redis_server: RedisServer) -> None:
    """In their place."""
    service = ScriptedService([Reply("hi")])
    with contextlib.closing(gpt.RedisBackplane(own_redis_server.url, keep=1)) as backplane:
        talk = Talk(service, backplane=backplane)
        talk.agent.ask("hello", timeout=PATIENCE)
        with gpt.events(talk.thread_id, "1-1", service=service, backplane=backplane) as told:
            assert isinstance(told.get(PATIENCE), gpt.EventsMissed)


@forks
def test_forked_child_has_connections_of_its_own(redis_server: RedisServer) -> None:
    """And no leases of its parent's."""
    with contextlib.closing(gpt.RedisBackplane(redis_server.url)) as backplane:
        scope, heard = new_scope(), Heard()
        backplane.listen(scope, START, heard)
        lease = take(backplane, scope)

        def child() -> None:
            assert not backplane.confirm(lease)
            assert backplane.acquire(scope, "child") is None
            other = Heard()
            backplane.listen(scope, START, other)
            wait_until(lambda: other.marks == ["begun"])

        in_forked_child(child)
        assert backplane.confirm(lease)


def test_end_of_the_program_is_silent(redis_server: RedisServer, tmp_path: Path) -> None:
    """In the middle of a turn too, which another process may take over at once."""
    program = f"""
        import gpt_agent_sync as gpt
        from gpt_agent_sync.testing import CallTools, ScriptedService

        gpt.configure(backplane={redis_server.url!r})
        service = ScriptedService([CallTools(("weather", {{}}))])
        agent = gpt.connect(gpt.create_thread(service=service), "any", service=service)
        events = agent.events()
        agent.add_user_message("hello")
        while not isinstance(events.get(20), gpt.ToolCallRequested):
            pass
        print("ready")
    """
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parent.parent.parent)},
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "ready\n", "")


def test_turn_that_ends_while_redis_is_away_holds_nothing(
    own_redis_server: RedisServer, backplane: gpt.RedisBackplane
) -> None:
    """Its thread is free when Redis is back."""
    service = ScriptedService([Reply("hi"), Reply("again")])
    talk = Talk(service, backplane=backplane)
    talk.agent.on(gpt.RunStarted, lambda event: own_redis_server.stop())
    scope = Scope(service=service.journal_name, thread_id=talk.thread_id)
    talk.agent.add_user_message("hello")
    talk.recorder.wait_for(gpt.AssistantMessageAdded, timeout=PATIENCE)
    own_redis_server.start()
    wait_until(lambda: not backplane.is_held(scope) and not talk.agent._ownership.holds)
    talk.agent.shutdown(PATIENCE)
    lease = take(backplane, scope)
    assert not lease.follows_turn
    backplane.release(lease)


def test_queue_is_one_for_all_whatever_the_journal(backplane: gpt.RedisBackplane) -> None:
    """Messages wait at the backplane, and are posted."""
    service = ScriptedService([CallTools(("weather", {})), Reply("sunny"), Reply("second")])
    talk = Talk(service, backplane=backplane, journal=gpt.MemoryJournal())
    talk.agent.add_user_message("hello")
    talk.recorder.wait_for(gpt.ToolCallRequested)
    assert talk.agent.add_user_message("two", when_busy="queue") is None
    (call,) = talk.agent.state.tool_calls
    talk.agent.submit_tool_output(call.id, "sunny")
    talk.agent.wait(PATIENCE)
    replies = [
        event.content for event in talk.events if isinstance(event, gpt.AssistantMessageAdded)
    ]
    assert replies == ["sunny", "second"]


def test_broken_entry_deafens_nobody(
    own_redis_server: RedisServer, backplane: gpt.RedisBackplane
) -> None:
    """It is left out, and what comes after it is heard."""
    scope, heard = new_scope(), Heard()
    backplane.listen(scope, START, heard)
    lease = take(backplane, scope)
    client, keys = backplane._client.get(), backplane._keys(scope)
    for text in ("[[1, 2]]", "no JSON", '[{"type": "Newer"}]'):
        client.xadd(keys.events, {"e": text, "b": ""}, id=lease.next_cursor())
    backplane.append(lease, (event(lease, "a"),))
    wait_until(lambda: heard.texts == ["a"])


def test_closed_backplane_has_no_connections(
    own_redis_server: RedisServer, backplane: gpt.RedisBackplane
) -> None:
    """Nor threads; and opens them again when it is used."""
    other = gpt.RedisBackplane(own_redis_server.url)
    backplane.listen(new_scope(), START, Heard())
    take(backplane, new_scope())
    backplane.close()
    wait_until(lambda: len(other._client.get().client_list()) == 1)
    assert backplane.newest(new_scope()) == START
    other.close()


def test_events_that_were_too_many_are_told_as_missing(
    own_redis_server: RedisServer,
    backplane: gpt.RedisBackplane,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a turn goes on for longer without Redis than its events are kept."""
    monkeypatch.setattr(outbox, "MOST", 3)
    monkeypatch.setattr(outbox, "DROPPED", 2)
    calls = CallTools(*(("weather", {}) for _ in range(8)))
    service = ScriptedService([calls, Reply("sunny")])
    talk = Talk(service, backplane=backplane)
    talk.agent.add_user_message("hello")
    talk.recorder.wait_for(gpt.ToolCallRequested)
    wait_until(lambda: len(talk.agent.state.tool_calls) == 8)
    own_redis_server.stop()
    for call in talk.agent.state.tool_calls:
        talk.agent.submit_tool_output(call.id, "sunny")
    wait_until(lambda: len(talk.names) >= 16)
    own_redis_server.start()
    talk.agent.wait(PATIENCE)
    scope = Scope(service=service.journal_name, thread_id=talk.thread_id)
    wait_until(lambda: not talk.agent._ownership.holds)
    entries = backplane.read(scope, START).entries
    kept = [type(event).__name__ for entry in entries for event in entry.events]
    assert "EventsMissed" in kept
    assert kept[-1] == "AssistantMessageAdded"


@pytest.mark.parametrize(
    "policy, warns", [("noeviction", False), ("allkeys-lru", True), ("volatile-ttl", True)]
)
def test_redis_that_evicts_keys_is_warned_of(
    tmp_path: Path, policy: str, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Once a process, with what to do: leases and claims would go with the keys."""
    server = RedisServer(tmp_path, "--maxmemory-policy", policy)
    with contextlib.closing(gpt.RedisBackplane(server.url)) as backplane:
        for _ in range(2):
            _tell_something(backplane)
    server.stop()
    told = [record.message for record in caplog.records if "evicts" in record.message]
    assert len(told) == warns
    assert all(policy in words and "noeviction" in words for words in told)


def _tell_something(backplane: gpt.RedisBackplane) -> None:
    """Have a thread's listener hear an event."""
    scope, heard = new_scope(), Heard()
    with contextlib.closing(backplane.listen(scope, START, heard)):
        lease = take(backplane, scope)
        backplane.append(lease, (event(lease, "told"),))
        wait_until(lambda: heard.texts)


def test_listener_that_redis_refuses_makes_no_other_deaf(
    backplane: gpt.RedisBackplane, caplog: pytest.LogCaptureFixture
) -> None:
    """All threads of a process are read together: one that cannot be is left out."""
    refused = backplane.listen(new_scope(), f"{2**64}-1", Heard())
    _tell_something(backplane)
    refused.close()
    assert "cannot be read" in caplog.text


def test_two_agents_over_a_cluster(cluster_client: Any) -> None:
    """One asks, the other tells; a tool is called once."""
    calls: list[int] = []

    @gpt.tool
    def count(number: int) -> int:
        """Count."""
        calls.append(number)
        return number

    service = ScriptedService([CallTools(("count", {"number": 1})), Reply("done")])
    talk = Talk(service, backplane=gpt.RedisBackplane(cluster_client))
    other = gpt.RedisBackplane(cluster_client)
    with gpt.events(talk.thread_id, service=service, backplane=other) as told:
        assert talk.agent.ask("hello", timeout=PATIENCE) == "done"
        seen = [told.get(PATIENCE) for _ in talk.events]
    assert seen == talk.events
    assert calls == [1]
    talk.agent.shutdown(PATIENCE)  # before the client is closed
    for backplane in (talk.agent.backplane, other):
        backplane.close()


@pytest.fixture
def replica(own_redis_server: RedisServer, tmp_path: Path) -> Iterator[RedisServer]:
    """Return a replica of the Redis that the test may pause."""
    (tmp_path / "replica").mkdir()
    options = ("--replicaof", "127.0.0.1", str(own_redis_server.port))
    server = RedisServer(tmp_path / "replica", *options)
    import redis

    with contextlib.closing(redis.Redis.from_url(server.url)) as client:
        wait_until(lambda: client.info("replication")["master_link_status"] == "up")
    yield server
    server.go_on()
    server.stop()


def test_lease_that_replicas_have(own_redis_server: RedisServer, replica: RedisServer) -> None:
    """Is held as any other; so is the claim of a call."""
    backplane = gpt.RedisBackplane(own_redis_server.url, replicas=1)
    calls: list[str] = []

    def note(text: str) -> str:
        """Note."""
        calls.append(text)
        return "noted"

    service = ScriptedService([CallTools(("note", {"text": "a"})), Reply("done")])
    talk = Talk(service, backplane=backplane, tools=[note])
    assert talk.agent.ask("hello", timeout=PATIENCE) == "done"
    assert calls == ["a"]
    talk.agent.shutdown()
    backplane.close()


def test_lease_that_too_few_replicas_have(
    own_redis_server: RedisServer, replica: RedisServer
) -> None:
    """Begins no turn, and is nobody's: a failover could lose it."""
    backplane = gpt.RedisBackplane(own_redis_server.url, replicas=1)
    scope = new_scope()
    replica.pause()
    with pytest.raises(gpt.BackplaneError, match="0 of 1 replicas"):
        backplane.acquire(scope, "owner")
    replica.go_on()
    lease = take(backplane, scope)
    assert not lease.follows_turn
    backplane.release(lease)
    backplane.close()


def test_turn_is_left_to_be_taken_over_where_too_few_replicas_have_the_lease(
    own_redis_server: RedisServer, replica: RedisServer
) -> None:
    """Whoever fails to take it over does not end it."""
    with contextlib.closing(gpt.RedisBackplane(own_redis_server.url, lease=2.0)) as gone:
        scope = new_scope()
        lease = take(gone, scope)
        gone.append(lease, (event(lease, "asked"),))
        gone.release(lease, settled=False)
    backplane = gpt.RedisBackplane(own_redis_server.url, replicas=1)
    replica.pause()
    with pytest.raises(gpt.BackplaneError, match="0 of 1 replicas"):
        backplane.acquire(scope, "owner")
    replica.go_on()
    assert take(backplane, scope).follows_turn
    backplane.close()


@pytest.mark.parametrize("replicas", [-1, True, 1.5, "1"])
def test_number_of_replicas_is_checked(replicas: Any) -> None:
    """It is a whole number."""
    with pytest.raises(gpt.ConfigurationError, match="replicas"):
        gpt.RedisBackplane("redis://127.0.0.1:1/0", replicas=replicas)


def test_replicas_of_a_cluster_are_not_waited_for(cluster_client: Any) -> None:
    """Its client sends a script and the question to different servers."""
    with pytest.raises(gpt.ConfigurationError, match="cluster"):
        gpt.RedisBackplane(cluster_client, replicas=1)
