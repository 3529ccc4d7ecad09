"""One client process of a benchmark: an SDK at work on the stub, measured from inside.

``measure()`` runs it in a process of its own. A turn is a user's message and the run that answers
it, to the last word; its overhead is what it takes beyond the run. Both SDKs are used as their
documentation shows for plain synchronous programs: a thread for each conversation, which asks and
waits.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

Turn = Callable[[int], None]
"""Does one turn of the conversation of this number."""

MESSAGE = "How many roads must a man walk down?"


@attrs.frozen(kw_only=True)
class Job:
    """What a client process is to do.

    Attributes:
        sdk: ``"ours"``, ``"openai"``, or ``"requests"``: a bare loop without any SDK.
        wire: ``"assistants"`` or ``"responses"``.
        way: ``"stream"``, ``"text"`` (a stream whose pieces are listened to) or ``"poll"``.
        seconds: What a run takes.
        agents: Conversations at once, all begun in the same moment.
        turns: Turns of each, one after the other.
        base_url: Where the stub listens.
    """

    sdk: str
    wire: str = "assistants"
    way: str = "stream"
    seconds: float = 0.3
    agents: int = 1
    turns: int = 20
    base_url: str = ""


@attrs.frozen(kw_only=True)
class Measured:
    """What a client process measured.

    Attributes:
        overheads: Seconds of each turn beyond its run.
        cpu: Seconds of processor time a turn.
        requests: Requests a turn.
        connections: Connections that were opened, a turn.
        kilobytes: Resident memory that each conversation took while its run was live.
    """

    overheads: list[float]
    cpu: float
    requests: float
    connections: float
    kilobytes: float


def measure(job: Job) -> Measured:
    """Do a job in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.clients", json.dumps(attrs.asdict(job))],
        check=True,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parent.parent,
    )
    return Measured(**json.loads(done.stdout))


def ours(job: Job) -> Turn:
    """Return the turns of this package."""
    import gpt_agent_sync as gpt

    gpt.configure(idle_timeout=None, streaming=job.way != "poll")
    service: gpt.Service
    model, options, assistant_id = str(job.seconds), gpt.RunOptions(), str(job.seconds)
    if job.wire == "assistants":
        service = gpt.AssistantsService(job.base_url, "key")
        options, assistant_id = gpt.RunOptions(model=model), "asst_1"
    else:
        service = gpt.ResponsesService(job.base_url, "key")
    agents = [
        gpt.connect(
            gpt.create_thread(service=service), assistant_id, service=service, run_options=options
        )
        for _ in range(job.agents)
    ]

    def turn(number: int) -> None:
        if job.way == "text":
            for _ in agents[number].ask_stream(MESSAGE):
                pass
        else:
            agents[number].ask(MESSAGE)

    return turn


def theirs(job: Job) -> Turn:
    """Return the turns of the official client."""
    warnings.simplefilter("ignore", DeprecationWarning)  # Assistants are, at OpenAI
    import openai

    client: Any = openai.OpenAI(base_url=job.base_url, api_key="key")
    if job.wire == "responses":
        conversations = [client.conversations.create().id for _ in range(job.agents)]

        def respond(number: int) -> None:
            with client.responses.create(
                conversation=conversations[number],
                input=MESSAGE,
                model=str(job.seconds),
                stream=True,
            ) as stream:
                for _ in stream:
                    pass

        return respond
    threads = [client.beta.threads.create().id for _ in range(job.agents)]

    def turn(number: int) -> None:
        thread_id = threads[number]
        client.beta.threads.messages.create(thread_id, role="user", content=MESSAGE)
        run = {"thread_id": thread_id, "assistant_id": "asst_1", "model": str(job.seconds)}
        if job.way == "poll":
            done = client.beta.threads.runs.create_and_poll(**run)
            list(client.beta.threads.messages.list(thread_id, run_id=done.id))
        else:
            with client.beta.threads.runs.stream(**run) as stream:
                stream.until_done()

    return turn


def bare(job: Job) -> Turn:
    """Return the turns of a loop over ``requests``, which does nothing else."""
    import requests

    sessions = [requests.Session() for _ in range(job.agents)]

    def turn(number: int) -> None:
        session = sessions[number]
        url = f"{job.base_url}/threads/thread_{number}"
        message = {"role": "user", "content": MESSAGE}
        session.post(f"{url}/messages", json=message).json()
        run = {"assistant_id": "asst_1", "model": str(job.seconds), "stream": True}
        with session.post(f"{url}/runs", json=run, stream=True) as answer:
            for line in answer.iter_lines(chunk_size=None):
                if line.startswith(b"data: {"):
                    json.loads(line[6:])

    return turn


SDKS: dict[str, Callable[[Job], Turn]] = {"ours": ours, "openai": theirs, "requests": bare}


def resident() -> float:
    """Return the kilobytes of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1024


def stats(base_url: str) -> dict[str, int]:
    """Ask the stub what it has served."""
    with urllib.request.urlopen(base_url.removesuffix("/v1") + "/stats") as answer:
        told: dict[str, int] = json.loads(answer.read())
    return told


def do(job: Job) -> Measured:
    """Do a job in this process."""
    turn = SDKS[job.sdk](job)
    turn(0)  # loads what is loaded when it is first used
    overheads: list[float] = []
    barrier = threading.Barrier(job.agents + 1)

    def talk(number: int) -> None:
        barrier.wait()
        for _ in range(job.turns):
            began = time.perf_counter()
            turn(number)
            overheads.append(time.perf_counter() - began - job.seconds)

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(job.agents)]
    before, memory = stats(job.base_url), resident()
    for thread in threads:
        thread.start()
    barrier.wait()
    cpu = time.process_time()
    threads[0].join(job.seconds * 0.9)
    memory = resident() - memory
    for thread in threads:
        thread.join()
    cpu = time.process_time() - cpu
    after, turns = stats(job.base_url), job.agents * job.turns
    return Measured(
        overheads=overheads,
        cpu=cpu / turns,
        requests=(after["requests"] - before["requests"]) / turns,
        connections=(after["connections"] - before["connections"] - 1) / turns,
        kilobytes=memory / job.agents,
    )


if __name__ == "__main__":
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    print(json.dumps(attrs.asdict(do(Job(**json.loads(sys.argv[1]))))))
    sys.stdout.flush()
    import os

    os._exit(0)  # a thousand idle conversations need not be ended one by one
