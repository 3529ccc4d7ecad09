"""A trial of a deployment: its processes, the trouble they have, and what must be so at the end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

import gpt_agent_sync as gpt
from tests.faults.kinds import ASSISTANTS
from tests.soak.serving import SoakServer
from tests.support.cut_line import CutLine
from tests.support.redis_server import RedisServer

ROOT = Path(__file__).parent.parent.parent

LEASE, CALM_LEASE = 2.0, 15.0
"""Seconds: with trouble, and without, when none is to run out on a machine that is busy."""

KILL, STOP, REDIS, CUT, RESTART = "kill", "stop", "redis", "cut", "restart"
"""Troubles: a process is killed and replaced, one is stopped past its leases, Redis hangs, the
network between a process and Redis is cut, or Redis is restarted and empty, logs and all."""

FAKE_CLOCK = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
"""What gives a process a clock of its own (Debian's ``faketime``)."""


@attrs.frozen(kw_only=True)
class Trial:
    """What is tried.

    Attributes:
        wire: The wire.
        processes: How many processes.
        threads: How many threads.
        turns: Questions on each thread, of all processes together.
        troubles: What happens meanwhile.
        pause: Seconds between two troubles.
        seed: Of all chance.
        clocks_apart: Whether each process has a clock of its own, hours from the others.
    """

    wire: str
    processes: int = 4
    threads: int = 10
    turns: int = 50
    troubles: Sequence[str] = ()
    pause: float = 1.0
    seed: int = 0
    clocks_apart: bool = False


@attrs.define
class Result:
    """What came of a trial.

    Attributes:
        asked: What came of the questions.
        happened: The troubles that there were.
        events: How many events there were.
        problems: What must not be.
    """

    asked: Counter[str] = attrs.field(factory=Counter)
    happened: Counter[str] = attrs.field(factory=Counter)
    events: int = 0
    problems: list[str] = attrs.field(factory=list)


class _Process:
    """A process of the deployment."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.name = str(config["name"])
        self.ended_by_us = False
        folder = Path(config["folder"])
        self._errors = (folder / f"stderr {self.name}").open("ab")
        self.line = CutLine(int(config["redis_port"]))
        redis = f"redis://127.0.0.1:{self.line.port}/0"
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.deployment.program"),
                json.dumps({**config, "redis": redis}),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=ROOT,
            env={**os.environ, **config["environment"]},
        )

    def hear(self, word: str) -> bool:
        """Wait for a word; return whether it came before its end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip() == word.encode()

    def say(self) -> None:
        """Let it go on."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def close(self) -> None:
        """End it, if it has not ended."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self._errors):
            if stream is not None:
                stream.close()
        self.line.close()


def attempt(trial: Trial, folder: Path) -> Result:
    """Try a deployment, with files in a folder."""
    result, chance = Result(), random.Random(trial.seed)
    redis = RedisServer(folder)
    server = SoakServer([], trial.seed)
    processes: list[_Process] = []
    try:
        config = _config(trial, folder, server.base_urls["direct"], redis.port)
        for number in range(trial.processes):
            turns = list(range(number, trial.turns, trial.processes))
            environment = _clock(3 * number - 4) if trial.clocks_apart else {}
            own = {"name": f"p{number}", "turns": turns, "environment": environment}
            processes.append(_Process({**config, **own}))
        _begin(processes)
        ended = threading.Event()
        troubler = threading.Thread(
            target=_trouble, args=(trial, chance, processes, redis, ended, result)
        )
        troubler.start()
        heard = _hear_all(processes, 0, result)
        ended.set()
        troubler.join()
        _hear_all(processes, heard, result)  # one that was started last
        left = [process for process in processes if process.process.poll() is None]
        for process in left:
            process.say()
        for process in left:
            if not process.hear("told"):
                result.problems.append(f"{process.name} did not come to its end")
        _check(trial, folder, [process.name for process in left], result)
        for thread_id in config["threads"]:
            state = server.state(trial.wire, thread_id)
            often = {text: count for text, count in state.messages.items() if count > 1}
            if often or any(count > 1 for count in state.outputs.values()):
                result.problems.append(f"{thread_id}: doubled: {often} {dict(state.outputs)}")
            if state.live:
                result.problems.append(f"{thread_id}: still live: {state.live}")
    finally:
        for process in processes:
            process.close()
        redis.go_on()
        redis.stop()
        server.stop()
    return result


def _clock(hours: int) -> dict[str, str]:
    """Return the environment of a process whose clock is wrong by so many hours."""
    return {
        "LD_PRELOAD": str(FAKE_CLOCK),
        "FAKETIME": f"{hours:+d}h",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def _config(trial: Trial, folder: Path, server: str, redis_port: int) -> dict[str, Any]:
    assistants = trial.wire == ASSISTANTS
    made = gpt.AssistantsService if assistants else gpt.ResponsesService
    service = made(server, "key")
    config = {
        "folder": str(folder),
        "wire": trial.wire,
        "server": server,
        "redis_port": redis_port,
        # Over a line that was cut the bell may be silent until the next sweep.
        "quiet": 7.0 if CUT in trial.troubles else 1.0,
        "lease": LEASE if trial.troubles else CALM_LEASE,
        "threads": [gpt.create_thread(service=service) for _ in range(trial.threads)],
        "assistant": gpt.create_assistant(model="any", service=service) if assistants else "any",
    }
    service.close()
    return config


def _begin(processes: Sequence[_Process]) -> None:
    for process in processes:
        assert process.hear("ready"), process.name
    for process in processes:
        process.say()


def _hear_all(processes: list[_Process], place: int, result: Result) -> int:
    """Wait for the processes from a place on, those too that are started meanwhile."""
    while place < len(processes):
        process = processes[place]
        if not process.hear("done") and not process.ended_by_us:
            result.problems.append(f"{process.name} ended: {process.process.poll()}")
        place += 1
    return place


def _trouble(
    trial: Trial,
    chance: random.Random,
    processes: list[_Process],
    redis: RedisServer,
    ended: threading.Event,
    result: Result,
) -> None:
    """Cause trouble until all is asked."""
    while trial.troubles and not ended.wait(trial.pause * chance.uniform(0.5, 1.5)):
        trouble = chance.choice(list(trial.troubles))
        alive = [each for each in processes if each.process.poll() is None]
        if trouble == REDIS:
            redis.pause()
            ended.wait(chance.uniform(0.1, 1.5 * LEASE))
            redis.go_on()
        elif trouble == RESTART:
            redis.stop()
            ended.wait(chance.uniform(0.0, LEASE))
            redis.start()
        elif len(alive) > 1:
            victim = chance.choice(alive)
            if trouble == CUT:
                victim.line.cut()
                ended.wait(LEASE * chance.uniform(0.3, 2.0))
                victim.line.mend(broken=chance.random() < 0.5)
            elif trouble == STOP:
                victim.process.send_signal(signal.SIGSTOP)
                ended.wait(LEASE * chance.uniform(0.5, 2.0))
                victim.process.send_signal(signal.SIGCONT)
            else:
                _replace(victim, processes)
        result.happened[trouble] += 1


def _replace(victim: _Process, processes: list[_Process]) -> None:
    """Kill a process, and start one that asks what it had not asked yet."""
    victim.ended_by_us = True
    victim.process.kill()
    victim.process.wait()
    config, asked = victim.config, _asked(Path(victim.config["folder"]), victim.name)
    begun = {text.rpartition("-")[2] for text in asked}
    turns = [turn for turn in config["turns"] if str(turn) not in begun]
    successor = _Process({**config, "name": f"{victim.name}+", "turns": turns})
    if successor.hear("ready"):
        successor.say()
    processes.append(successor)  # from now on the one who tries hears it


def _asked(folder: Path, name: str) -> dict[str, list[str]]:
    """Return what came of a process's questions."""
    asked: dict[str, list[str]] = {}
    for line in _lines(folder / f"asked {name}"):
        text, _, outcome = line.partition("\t")
        asked.setdefault(text, []).append(outcome)
    return asked


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _check(trial: Trial, folder: Path, survivors: Sequence[str], result: Result) -> None:
    """Look whether everything is as it must be."""
    tools = Counter(_lines(folder / "tools"))
    result.problems += [f"{key}: the tool ran {n} times" for key, n in tools.items() if n > 1]
    for path in folder.glob("asked *"):
        for text, outcomes in _asked(folder, path.name.removeprefix("asked ")).items():
            outcome = outcomes[1] if len(outcomes) > 1 else "killed"
            kind = outcome if outcome in ("right", "killed") else outcome.partition(":")[0]
            result.asked[kind] += 1
            if outcome not in ("right", "killed") and not trial.troubles:
                result.problems.append(f"{text}: {outcome}")
            if outcome.startswith(("wrong", "WaitTimeoutError")):
                result.problems.append(f"{text}: {outcome}")
    told = {name: _told(folder, name) for name in survivors}
    for name, by_thread in told.items():
        for thread_id, events in by_thread.items():
            # That something is missing may be told of a place that was passed already.
            told_of = [event for event in events if event["type"] != "EventsMissed"]
            places = [place_of(event) for event in told_of]
            if places != sorted(set(places)):
                result.problems.append(f"{name} {thread_id}: told twice, or out of order")
    if RESTART not in trial.troubles:  # which takes the logs away
        _compare(told, result)


def place_of(event: dict[str, Any]) -> tuple[int, int]:
    """Return the place of an event."""
    fence, _, number = str(event["cursor"]).partition("-")
    return int(fence), int(number)


def _told(folder: Path, name: str) -> dict[str, list[dict[str, Any]]]:
    """Return the events that a process was told, by thread."""
    by_thread: dict[str, list[dict[str, Any]]] = {}
    for line in _lines(folder / f"told {name}"):
        event = json.loads(line)
        # Text of a process that is stopped then may have been told there alone.
        if event.get("cursor") and event["type"] != "AssistantMessageDelta":
            by_thread.setdefault(event["thread_id"], []).append(event)
    return by_thread


def _compare(told: dict[str, dict[str, list[dict[str, Any]]]], result: Result) -> None:
    """Compare what the processes were told: the same, from when each had begun to listen."""
    for thread_id in {thread_id for each in told.values() for thread_id in each}:
        lists = {name: each.get(thread_id, []) for name, each in told.items()}
        whole = max(lists.values(), key=len)
        result.events += len(whole)
        for name, events in lists.items():
            if not events:
                continue
            since = place_of(events[0])
            expected = [event for event in whole if place_of(event) >= since]
            if [_essence(each) for each in events] != [_essence(each) for each in expected]:
                missing = [each for each in expected if each not in events][:2]
                more = [each for each in events if each not in expected][:2]
                result.problems.append(f"{name} {thread_id}: lacks {missing}, has {more}")


def _essence(event: dict[str, Any]) -> tuple[str, ...]:
    # Not its place: an owner without Redis tells what it does by itself, and whoever takes the turn
    # over tells that at a place of its own.
    return tuple(str(event.get(name)) for name in ("type", "id", "message_id", "run_id"))


def problems_of(result: Result) -> list[str]:
    """Return the problems, no more than a page of them."""
    return result.problems[:40]
