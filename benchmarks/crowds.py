"""What many agents cost in one process: idle ones, and turns that begin at a steady rate.

Run in a process of its own by ``measure_idle()`` and ``measure_sustained()``.
"""

from __future__ import annotations

import json
import os
import queue
import resource
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import gpt_agent_sync as gpt
from benchmarks.clients import MESSAGE, resident

POSTERS = 8
"""Threads that add the messages of a steady rate."""


def measure_idle(base_url: str, agents: int, seconds: float) -> Any:
    """Return kilobytes and processor share of idle agents."""
    return _run("idle", base_url, agents, seconds)


def measure_sustained(base_url: str, rate: float, seconds: float) -> Any:
    """Return the overheads of turns that begin at a rate, a second, for so long."""
    return _run("sustained", base_url, rate, seconds)


def _run(what: str, *arguments: object) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.crowds", what, *map(str, arguments)],
        check=True,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
    )
    return json.loads(done.stdout)


def idle(base_url: str, count: str, seconds: str) -> dict[str, float]:
    """Measure idle agents in this process."""
    gpt.configure(idle_timeout=3600.0)
    service = gpt.AssistantsService(base_url, "key")
    agents = [gpt.connect("thread_0", "asst_1", service=service)]
    memory = resident()
    for number in range(1, int(count)):
        agents.append(gpt.connect(f"thread_{number}", "asst_1", service=service))
    memory = resident() - memory
    cpu = time.process_time()
    threading.Event().wait(float(seconds))
    cpu = time.process_time() - cpu
    return {"kilobytes": memory / len(agents), "share": cpu / float(seconds)}


def sustained(base_url: str, rate: str, seconds: str) -> dict[str, Any]:
    """Measure turns at a steady rate in this process; each run takes a second."""
    gpt.configure(idle_timeout=None)
    service = gpt.AssistantsService(base_url, "key")
    options = gpt.RunOptions(model="1.0")
    wanted, duration = float(rate), float(seconds)
    agents = {
        f"thread_{number}": gpt.connect(
            f"thread_{number}", "asst_1", service=service, run_options=options
        )
        for number in range(int(wanted * 2.5))
    }
    began: dict[str, float] = {}
    overheads: list[float] = []
    free, asked = deque(agents), queue.SimpleQueue[str | None]()

    @gpt.on(gpt.RunCompleted)
    def note(event: gpt.RunCompleted) -> None:
        overheads.append(time.perf_counter() - began[event.thread_id] - 1.0)
        free.append(event.thread_id)

    def post() -> None:
        while (thread_id := asked.get()) is not None:
            agents[thread_id].add_user_message(MESSAGE)

    posters = [threading.Thread(target=post) for _ in range(POSTERS)]
    for poster in posters:
        poster.start()
    start, cpu, count = time.perf_counter(), time.process_time(), 0
    pause = threading.Event()
    while (now := time.perf_counter() - start) < duration:
        while count < now * wanted and free:
            thread_id = free.popleft()
            began[thread_id] = time.perf_counter()
            asked.put(thread_id)
            count += 1
        pause.wait(0.002)
    for _ in posters:
        asked.put(None)
    while len(overheads) < count:
        pause.wait(0.05)
    took = time.perf_counter() - start - 1.0
    cpu = time.process_time() - cpu
    return {"overheads": overheads, "rate": count / took, "cpu": cpu / count}


if __name__ == "__main__":
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    what, *arguments = sys.argv[1:]
    print(json.dumps({"idle": idle, "sustained": sustained}[what](*arguments)), flush=True)
    os._exit(0)  # ten thousand idle agents need not be ended one by one
