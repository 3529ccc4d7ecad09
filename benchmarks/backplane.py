"""What a backplane over Redis adds, and how quickly processes hear of each other.

Run: ``python -m benchmarks.backplane`` prints a table, in about two minutes; it starts a Redis of
its own (``redis-server``), and processes that listen. Turns with and without a backplane are made
in turns, so that a noisy machine is noisy to both.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gpt_agent_sync as gpt
from benchmarks.__main__ import milliseconds, per_cent, table
from gpt_agent_sync.journal.base import Scope
from gpt_agent_sync.testing import Hold, Reply, ScriptedService
from gpt_agent_sync.testing.script import ScriptStep

LEASE = 3.0
"""Seconds of the lease whose takeover is measured."""

Row = list[str]


@contextlib.contextmanager
def redis() -> Iterator[str]:
    """Run a Redis, and return its URL."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("there is no redis-server")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [program, "--port", str(port), "--save", "", "--dir", folder],
            stdout=subprocess.DEVNULL,
        )
        try:
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.kill()
            process.wait()


class _Child:
    """A process that runs a function of this module, and prints JSON."""

    def __init__(self, what: str, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.backplane", "--child", what, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parent.parent,
        )

    def read(self) -> Any:
        """Return the next line that it prints."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        """Kill it, if it runs."""
        self.process.kill()
        self.process.communicate()


def say(value: object) -> None:
    """Print to the parent."""
    print(json.dumps(value), flush=True)


# Turns


def _words(text: str, outputs: object) -> ScriptStep:
    return Reply("hi")


def turns(url: str, count: int) -> list[Row]:
    """Measure turns over a service without HTTP, with a backplane and without."""
    times: dict[str, list[float]] = {"without": [], "with": []}
    cpu = dict.fromkeys(times, 0.0)
    backplane = gpt.RedisBackplane(url)
    agents = {}
    chosen: dict[str, dict[str, Any]] = {"without": {}, "with": {"backplane": backplane}}
    for name, options in chosen.items():
        service = ScriptedService(_words)
        thread_id = gpt.create_thread(service=service)
        agents[name] = gpt.connect(thread_id, "asst", service=service, **options)
    for number in range(count):
        for name, agent in agents.items():
            began, cpu_began = time.perf_counter(), time.process_time()
            agent.ask("hello", when_busy="wait")
            agent.wait()
            if number >= count // 10:  # warm
                times[name].append(time.perf_counter() - began)
                cpu[name] += time.process_time() - cpu_began
    for agent in agents.values():
        agent.shutdown()
    backplane.close()
    medians = {name: statistics.median(each) for name, each in times.items()}
    used = {name: cpu[name] / len(times[name]) for name in times}
    return [
        ["turn without a backplane, p50 ms", milliseconds(medians["without"])],
        ["turn with one, p50 ms", milliseconds(medians["with"])],
        ["added to a turn, p50 ms", milliseconds(medians["with"] - medians["without"])],
        ["added to a turn, CPU ms", milliseconds(used["with"] - used["without"])],
    ]


# Events from process to process


def listen(url: str, threads: str, count: str) -> None:
    """Hear events that say when they were told, and print how old they were."""
    backplane, ages = gpt.RedisBackplane(url), list[float]()
    heard = threading.Event()

    class Listener:
        def heard(self, page: Any) -> None:
            now = time.monotonic()
            for entry in page.entries:
                ages.extend(now - float(event.reason) for event in entry.events)
            if len(ages) >= int(count):
                heard.set()

        def __getattr__(self, name: str) -> Callable[..., dict[str, Any]]:
            return lambda *arguments: {}

    for number in range(int(threads)):
        backplane.listen(_scope(number), "", Listener())  # type: ignore[arg-type]
    cpu = time.process_time()
    say("ready")
    heard.wait(120)
    say({"ages": ages, "cpu": (time.process_time() - cpu) / max(1, len(ages))})


def _scope(number: int) -> Scope:
    return Scope(service="benchmark", thread_id=f"thread_{number}")


def events(url: str, rate: int, seconds: float) -> list[Row]:
    """Measure events of fifty threads, told at a steady rate, as another process hears them."""
    threads, count = 50, int(rate * seconds)
    child = _Child("listen", url, threads, count)
    try:
        assert child.read() == "ready"
        backplane = gpt.RedisBackplane(url)
        leases = [backplane.acquire(_scope(number), uuid.uuid4().hex) for number in range(threads)]
        began, cpu = time.monotonic(), time.process_time()
        for number in range(count):
            pause = began + number / rate - time.monotonic()
            if pause > 0:
                threading.Event().wait(pause)
            lease = leases[number % threads]
            assert lease is not None
            event = gpt.AgentStopped(
                thread_id=lease.scope.thread_id,
                reason=str(time.monotonic()),
                cursor=lease.next_cursor(),
            )
            backplane.append(lease, (event,))
        took, cpu = time.monotonic() - began, (time.process_time() - cpu) / count
        seen = child.read()
        for lease in leases:
            assert lease is not None
            backplane.release(lease)
        backplane.close()
    finally:
        child.end()
    return [
        [f"event to another process at {count / took:.0f}/s, p50 ms", _ms(seen["ages"], 50)],
        ["the same, p99 ms", _ms(seen["ages"], 99)],
        ["CPU of telling it, ms", f"{cpu * 1000:.2f}"],
        ["CPU of hearing it, ms", f"{seen['cpu'] * 1000:.2f}"],
    ]


def _ms(seconds: list[float], share: float) -> str:
    return milliseconds(per_cent(seconds, share))


# Text as it comes


def deltas(url: str, count: int) -> list[Row]:
    """Measure the CPU that pieces of text cost which go to other processes."""
    from gpt_agent_sync.events import AssistantMessageDelta

    used = {}
    for name in ("here alone", "to others too"):
        backplane = gpt.RedisBackplane(url)
        service = ScriptedService([Hold(Reply("hi"))])
        thread_id = gpt.create_thread(service=service)
        options: dict[str, Any] = {} if name == "here alone" else {"backplane": backplane}
        agent = gpt.connect(thread_id, "asst", service=service, **options)
        agent.add_user_message("hello")
        cpu = time.process_time()
        for _ in range(count):
            threading.Event().wait(1 / 200)
            agent._ownership.publish(
                AssistantMessageDelta(
                    thread_id=thread_id, message_id="m", run_id="r", text="a piece of text "
                )
            )
        used[name] = (time.process_time() - cpu) / count
        service.release()
        agent.wait()
        agent.shutdown()
        backplane.close()
    added = used["to others too"] - used["here alone"]
    return [["added to a piece of text at 200/s, CPU ms", f"{added * 1000:.3f}"]]


# Idle agents


def idle(url: str, count: int) -> list[Row]:
    """Count what idle agents hold at Redis."""
    import redis as library

    gpt.configure(idle_timeout=None)
    service, backplane = ScriptedService(), gpt.RedisBackplane(url)
    before = threading.active_count()
    agents = [
        gpt.connect(
            gpt.create_thread(service=service), "asst", service=service, backplane=backplane
        )
        for _ in range(count)
    ]
    with contextlib.closing(library.Redis.from_url(url)) as client:
        connections = len(client.client_list()) - 1
    cpu = time.process_time()
    threading.Event().wait(10)
    share = (time.process_time() - cpu) / 10
    further = threading.active_count() - before - count
    for agent in agents:
        agent.shutdown(0.01)
    gpt.shutdown_all(30)
    backplane.close()
    return [
        [f"{count} idle agents, connections to Redis", str(connections)],
        ["the same, threads beside their own", str(further)],
        ["the same, share of a core", f"{share:.1%}"],
    ]


# Takeover


def own(url: str, base_url: str, thread_id: str, assistant_id: str) -> None:
    """Begin a turn whose run goes on, and say so."""
    agent = gpt.connect(
        thread_id,
        assistant_id,
        service=gpt.AssistantsService(base_url, "key"),
        backplane=gpt.RedisBackplane(url, lease=LEASE),
    )
    agent.on(gpt.RunStarted, lambda event: say(event.id))
    agent.add_user_message("hello")
    threading.Event().wait()


def takeover(url: str, rounds: int) -> list[Row]:
    """Measure the time from kill -9 of an owner to the end of its run, told by another process."""
    from gpt_agent_sync.server.hosting import EmbeddedServer
    from gpt_agent_sync.server.models.base import Finish, Model, TextDelta

    released = threading.Event()

    class Slow(Model):
        def serves(self, name: str) -> bool:
            return True

        def reply(self, request: Any) -> Iterator[Any]:
            yield TextDelta("hi")
            released.wait(60)
            yield Finish()

    took: list[float] = []
    for _ in range(rounds):
        released.clear()
        server = EmbeddedServer.start(":memory:", models=[Slow()])
        service = gpt.AssistantsService(server.base_url, "key")
        thread_id = gpt.create_thread(service=service)
        assistant_id = gpt.create_assistant(model="any", service=service)
        backplane = gpt.RedisBackplane(url, lease=LEASE)
        agent = gpt.connect(thread_id, assistant_id, service=service, backplane=backplane)
        child = _Child("own", url, server.base_url, thread_id, assistant_id)
        child.read()
        released.set()
        os.kill(child.process.pid, signal.SIGKILL)
        began = time.monotonic()
        ended = threading.Event()
        agent.on(gpt.RunCompleted, lambda event, ended=ended: ended.set())  # type: ignore[misc]
        ended.wait(60)
        took.append(time.monotonic() - began)
        child.end()
        agent.shutdown()
        backplane.close()
        service.close()
        server.stop()
    return [
        [f"takeover after kill -9, lease of {LEASE:g} s, p50 s", f"{statistics.median(took):.2f}"],
        ["the same, at most, s", f"{max(took):.2f}"],
    ]


CHILDREN: dict[str, Callable[..., None]] = {"listen": listen, "own": own}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.backplane", description=__doc__)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.child:
        what, *arguments = chosen.child
        CHILDREN[what](*arguments)
        return
    with redis() as url:
        rows: list[Row] = []
        parts: list[Callable[[], list[Row]]] = [
            lambda: turns(url, 400),
            lambda: events(url, 1000, 10.0),
            lambda: deltas(url, 1000),
            lambda: idle(url, 1000),
            lambda: takeover(url, 5),
        ]
        for part in parts:
            found = part()
            rows += found
            for row in found:
                print(" ".join(row), file=sys.stderr, flush=True)
    print(table(["over a backplane", ""], rows))


if __name__ == "__main__":
    main()
