"""How cost grows with the number of agents, as a picture."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from pathlib import Path

from benchmarks.clients import Measured

Series = Mapping[str, list[tuple[int, Measured]]]


def draw(series: Series, names: Mapping[str, str], path: Path) -> None:
    """Draw overhead, processor time and memory over the number of agents, as SVG."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "gpt_agent_sync"
    from matplotlib import pyplot

    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(12, 3.6))
    for sdk, seen in series.items():
        counts = [count for count, _ in seen]
        medians = [statistics.median(each.overheads) * 1000 for _, each in seen]
        left.plot(counts, medians, marker="o", label=names[sdk])
        middle.plot(counts, [each.cpu * 1000 for _, each in seen], marker="o")
        right.plot(counts[1:], [each.kilobytes for _, each in seen][1:], marker="o")
    left.set_ylabel("median overhead, ms")
    left.set_yscale("log")
    left.legend()
    middle.set_ylabel("CPU a turn, ms")
    right.set_ylabel("memory of each, KB")
    for axis in (left, middle, right):
        axis.set_xlabel("agents at once")
        axis.grid(alpha=0.3)
    for axis in (middle, right):
        axis.set_ylim(bottom=0)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
