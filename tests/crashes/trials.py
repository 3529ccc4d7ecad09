"""Conversations under kills: their programs are started again until they are done."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import shutil
import threading
from collections.abc import Iterator, Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

import attrs

import gpt_agent_sync as gpt
from gpt_agent_sync.server.hosting import EmbeddedServer
from gpt_agent_sync.server.models.base import ModelChunk, ModelRequest
from gpt_agent_sync.testing import CallTools, Reply, ScriptStep
from tests.crashes.endings import interrupted, problems, read_ending
from tests.crashes.program import PATIENCE, TURNS, Scene, make_service, run
from tests.support.scripted_model import ScriptedModel

LONGEST_LIFE = 0.5
"""Seconds after which a process that is to be killed is: a few turns take as long."""

# The child of a process that has no thread, and everything imported, what the main module imports
# included: it begins at once, as a program would that takes no time to start.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.crashes.trials", "pytest"])


class ThinkingModel(ScriptedModel):
    """A model that has its turn's number noted, and takes some time for everything."""

    def __init__(self) -> None:
        super().__init__(_have_noted)
        self._random = Random()

    def reply(self, request: ModelRequest) -> Iterator[ModelChunk]:
        """Yield the chunks of the next step, each after a while."""
        for chunk in super().reply(request):
            threading.Event().wait(self._random.uniform(0, 0.015))
            yield chunk


def _have_noted(text: str, outputs: Mapping[str, str]) -> ScriptStep:
    if outputs:
        return Reply(f"{text}: {outputs['note']}")
    return CallTools(("note", {"number": int(text)}))


@attrs.frozen(kw_only=True)
class Combination:
    """What is tried.

    Attributes:
        wire: One of ``WIRES``.
        streamed: Whether runs are followed by streams.
        paired: Whether a second process connects to the thread all the time; either is killed.
    """

    wire: str
    streamed: bool
    paired: bool

    def __str__(self) -> str:
        """Name it."""
        way = "streamed" if self.streamed else "polled"
        return f"{self.wire} {way} {'two' if self.paired else 'one'}"


@attrs.define
class Figures:
    """What came of the trials of a combination."""

    kills: int = 0
    turns: int = 0
    interrupted: int = 0
    problems: list[str] = attrs.field(factory=list)


def try_kills(combination: Combination, kills: int, seed: int, folder: Path) -> Figures:
    """Have conversations until so many processes were killed, and return what came of them.

    Args:
        combination: What is tried.
        kills: How many processes are killed.
        seed: What chooses the moments, and who is killed.
        folder: Where the conversations' files go; those of good ones are deleted.
    """
    random, figures = Random(f"{seed} {combination}"), Figures()
    server = EmbeddedServer.start(":memory:", models=[ThinkingModel()])
    try:
        # Tools that tell of a doubt take turns with tools that read back.
        for reads_back in itertools.cycle((False, True)):
            own = folder / f"{combination} {figures.turns}".replace(" ", "-")
            own.mkdir()
            scene = _begin(combination, server.base_url, own, reads_back=reads_back)
            left = kills - figures.kills
            figures.kills += _Conversation(scene, random, left, paired=combination.paired).hold()
            figures.turns += TURNS
            _judge(scene, figures)
            if figures.kills >= kills:
                break
    finally:
        server.stop()
    return figures


def _judge(scene: Scene, figures: Figures) -> None:
    ending = read_ending(scene)
    found = problems(scene, ending)
    figures.interrupted += interrupted(ending)
    figures.problems += [f"{problem} ({scene.folder})" for problem in found]
    if not found:
        shutil.rmtree(scene.folder)


def _begin(combination: Combination, base_url: str, folder: Path, *, reads_back: bool) -> Scene:
    service = make_service(combination.wire, base_url)
    with contextlib.closing(service):
        return Scene(
            base_url=base_url,
            wire=combination.wire,
            streamed=combination.streamed,
            reads_back=reads_back,
            thread_id=gpt.create_thread(service=service),
            folder=folder,
            # With two processes a live one that gets no CPU is not to lose its calls.
            lease=2.0 if combination.paired else 0.5,
        )


class _Conversation:
    """One conversation, and the processes that have it.

    Args:
        scene: The conversation.
        random: Chooses who is killed, and when.
        kills: How many are killed at most.
        paired: Whether there is a second process.
    """

    def __init__(self, scene: Scene, random: Random, kills: int, *, paired: bool) -> None:
        self._scene = scene
        self._random = random
        self._kills = kills
        self._parts = ("lead", "listen") if paired else ("lead",)
        self._living: dict[str, BaseProcess] = {}

    def hold(self) -> int:
        """Have processes killed and started again until all is said; return how many were killed.

        Raises:
            AssertionError: If one fails, or does not come to its end.
        """
        killed = 0
        try:
            while True:
                for part in self._parts:
                    if part not in self._living:
                        self._living[part] = self._start(part)
                leader = self._living["lead"]
                may_kill = killed < self._kills
                leader.join(self._random.uniform(0, LONGEST_LIFE) if may_kill else PATIENCE)
                if leader.exitcode is not None:
                    assert leader.exitcode == 0, f"a process failed ({self._scene.folder})"
                    return killed
                assert may_kill, f"a process does not come to its end ({self._scene.folder})"
                self._kill(self._random.choice(self._parts))
                killed += 1
        finally:
            for part in tuple(self._living):
                self._kill(part)

    def _start(self, part: str) -> BaseProcess:
        ready, told = _processes.Pipe(duplex=False)
        process = _processes.Process(target=run, args=(self._scene, part, told), daemon=True)
        process.start()
        told.close()
        with ready:
            assert ready.poll(PATIENCE), "a process does not begin"
            ready.recv()
        return process

    def _kill(self, part: str) -> None:
        process = self._living.pop(part)
        process.kill()
        process.join()
        process.close()
