"""What a journal adds to a tool call, and to the turn that asks for it.

Run: ``python -m benchmarks.journal [FOLDER]``; files go into the folder, which says which disk is
measured. A call is its claim, its result, its removal, and the lease meanwhile. A turn is an
agent's, over a service without HTTP, with a call or without; what a closed run leaves is removed
ten minutes later, and so not here. Journals take turns, so that a noisy machine is noisy to all.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import attrs

import gpt_agent_sync as gpt
from gpt_agent_sync.journal.base import Journal, Scope
from gpt_agent_sync.journal.leases import LEASE, leases_of
from gpt_agent_sync.journal.memory import MemoryJournal
from gpt_agent_sync.journal.owners import this_process
from gpt_agent_sync.journal.sqlite import SqliteJournal
from gpt_agent_sync.testing import CallTools, Reply, ScriptedService, ScriptStep

ARGUMENTS = {"name": "get_weather", "arguments": '{"city": "Paris", "unit": "celsius"}'}

RESULT = {**ARGUMENTS, "output": "It is 21 degrees and sunny in Paris, with a light breeze. " * 8}


@attrs.frozen
class Cost:
    """What calls cost: seconds each took, and seconds of CPU each, all threads together."""

    times: list[float]
    cpu: float


def call(journal: Journal, scope: Scope, number: int) -> float:
    """Do what is done in a journal for one tool call, and return how long it took."""
    began = time.perf_counter()
    key = f"run_{number}/call_{number}"
    with leases_of(journal).held():
        owner = this_process()
        journal.claim(scope, "call", key, owner=owner, lease=LEASE, data=ARGUMENTS)
        journal.update(scope, "call", key, owner=owner, data=RESULT, done=True)
    journal.remove(scope, "call", f"run_{number}/")
    return time.perf_counter() - began


def measure(journal: Journal, threads: int, calls: int) -> Cost:
    """Measure calls of so many threads at once, each with a conversation of its own."""
    barrier = threading.Barrier(threads)

    def work(thread: int) -> list[float]:
        scope = Scope(service="benchmark", thread_id=f"thread_{thread}")
        barrier.wait()
        return [call(journal, scope, number) for number in range(calls)]

    with ThreadPoolExecutor(threads) as pool:
        cpu = time.process_time()
        times = [seconds for each in pool.map(work, range(threads)) for seconds in each]
        return Cost(times, (time.process_time() - cpu) / len(times))


@contextmanager
def journals(folder: str | None) -> Iterator[dict[str, Journal]]:
    """Open the journals to measure."""
    with (
        tempfile.TemporaryDirectory(dir=folder) as name,
        closing(SqliteJournal(Path(name) / "calls.db")) as sqlite,
    ):
        yield {"memory": MemoryJournal(), "sqlite": sqlite}


def rows(folder: str | None = None) -> list[list[str]]:
    """Measure files in a folder, by default that for temporary ones, and return a table's rows."""
    found = []
    for threads, calls, rounds in ((1, 200, 5), (16, 20, 3)):
        seen: dict[str, list[Cost]] = {}
        with journals(folder) as opened:
            for _ in range(rounds):
                for name, journal in opened.items():
                    seen.setdefault(name, []).append(measure(journal, threads, calls))
        for name, costs in seen.items():
            times = sorted(seconds for each in costs for seconds in each.times)
            values = (
                statistics.median(times),
                times[int(len(times) * 0.99)],
                statistics.median(each.cpu for each in costs),
            )
            found.append([name, str(threads), *(f"{each * 1000:.3f}" for each in values)])
    return found


def have_tool_called(text: str, outputs: Mapping[str, str]) -> ScriptStep:
    """Have the tool called once in a turn that asks for it."""
    asks = text == "call" and not outputs
    return CallTools(("get_weather", {"city": "Paris"})) if asks else Reply("fine")


def get_weather(city: str) -> str:
    """Tell the weather."""
    return str(RESULT["output"])


@contextmanager
def agents(opened: Mapping[str, Journal]) -> Iterator[dict[str, gpt.Agent]]:
    """Connect an agent with each journal."""
    service = ScriptedService(have_tool_called)
    connected = {
        name: gpt.connect(
            gpt.create_thread(service=service),
            "any",
            service=service,
            tools=[get_weather],
            journal=journal,
        )
        for name, journal in opened.items()
    }
    try:
        yield connected
    finally:
        gpt.shutdown_all()


def turn(agent: gpt.Agent, text: str) -> tuple[float, float]:
    """Do a turn, and return its seconds, and its seconds of CPU, all threads together."""
    began, cpu = time.perf_counter(), time.process_time()
    agent.ask(text)
    return time.perf_counter() - began, time.process_time() - cpu


def turn_rows(folder: str | None = None, turns: int = 300) -> list[list[str]]:
    """Measure turns with a tool call and without, and return a table's rows."""
    found = []
    with journals(folder) as opened, agents(opened) as connected:
        for text, calls in (("call", "1"), ("talk", "0")):
            seen: dict[str, list[tuple[float, float]]] = {name: [] for name in connected}
            for number in range(turns + 10):
                for name, agent in connected.items():
                    measured = turn(agent, text)
                    if number >= 10:  # the first ones load what is loaded when it is first used
                        seen[name].append(measured)
            for name, measurements in seen.items():
                times, cpus = zip(*measurements, strict=True)
                values = (statistics.median(times), statistics.median(cpus))
                found.append([name, calls, *(f"{each * 1000:.3f}" for each in values)])
    return found


TURN_HEAD = ["journal", "calls a turn", "a turn p50 ms", "CPU ms p50"]

HEAD = ["journal", "threads", "a call p50 ms", "p99 ms", "CPU ms a call"]


def main() -> None:
    """Measure and print the table."""
    folder = sys.argv[1] if len(sys.argv) > 1 else None
    for row in [HEAD, *rows(folder), TURN_HEAD, *turn_rows(folder)]:
        print(" ".join(f"{cell:>14}" for cell in row))


if __name__ == "__main__":
    main()
