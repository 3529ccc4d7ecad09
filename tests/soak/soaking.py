"""A soak: agents, their server and the figures, for some time."""

from __future__ import annotations

import gc
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import attrs

import gpt_agent_sync as gpt
from tests.faults.kinds import WIRES
from tests.faults.running import hurry
from tests.faults.state import ServerState
from tests.soak.driving import Asked, Driver, Tally
from tests.soak.figures import Figures, growth, take_figures
from tests.soak.serving import SoakServer

AGENTS = 100

PAUSE = 2.5
"""Seconds between two asks of an agent, on average."""


@attrs.frozen
class Outcome:
    """What came of a soak.

    Attributes:
        asks: How many asks came to what.
        problems: What must not be.
        figures: What the process held, over time.
        grown: What has grown after the warm-up, from what to what.
    """

    asks: Counter[str]
    problems: Sequence[str]
    figures: Sequence[Figures]
    grown: dict[str, tuple[float, float]]


def soak(
    seconds: float,
    seed: int,
    agents: int = AGENTS,
    told: Callable[[Figures, Counter[str]], object] = lambda figures, asks: None,
) -> Outcome:
    """Have many agents ask for some time.

    Args:
        seconds: How long.
        seed: Of all chance.
        agents: How many.
        told: Called with the figures as they are taken.
    """
    hurry()
    names = [f"agent{number}" for number in range(agents)]
    server, tally, stop = SoakServer(names, seed), Tally(), threading.Event()
    until = time.monotonic() + seconds
    threads = []
    for number, name in enumerate(names):
        driver = Driver(
            name,
            WIRES[number % 2],
            number % 4 < 2,
            server.base_urls[name],
            server.base_urls["direct"],
            tally,
            random.Random(f"{seed} {name}"),
        )
        threads.append(threading.Thread(target=driver.drive, args=(until, PAUSE, stop), name=name))
    figures = []
    try:
        for thread in threads:
            thread.start()
        while (left := until - time.monotonic()) > 0:
            stop.wait(min(left, max(1.0, seconds / 60)))
            gc.collect()
            figures.append(take_figures())
            told(figures[-1], Counter(tally.outcomes))
    finally:
        stop.set()
        for thread in threads:
            thread.join(120)
        gpt.shutdown_all(10)
    problems = [*tally.wrong, *_doubled_tools(tally)]
    for wire, thread_id, asked in tally.threads:
        problems += _problems_of(server.state(wire, thread_id), asked)
    server.stop()
    return Outcome(tally.outcomes, problems, figures, growth(figures))


_BOUNDS = {
    "right": (1, 1),
    "failed": (1, 1),
    "doubt": (0, 1),
    "refused": (0, 0),
    "wrong": (0, 1),
}
"""How often a text may stand in its conversation, by what came of it."""


def _doubled_tools(tally: Tally) -> list[str]:
    return [f"{key}: the tool ran {count} times" for key, count in tally.tools.items() if count > 1]


def _problems_of(state: ServerState, asked: Sequence[Asked]) -> list[str]:
    """Return what the server has of a thread and must not have."""
    problems = []
    for each in asked:
        least, most = _BOUNDS[each.outcome]
        count = state.messages.get(each.text, 0)
        if not least <= count <= most:
            problems.append(f"{each.text} ({each.outcome}): stands {count} times")
    often = {call: count for call, count in state.outputs.items() if count > 1}
    if often:
        problems.append(f"outputs doubled after {asked[0].text}: {often}")
    return problems
