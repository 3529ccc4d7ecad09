"""Measure what importing costs, beside its dependencies and a peer.

Run: ``python -m benchmarks.import_time``. Each statement is timed in fresh interpreters, in
turns, so that a noisy machine is noisy to all; medians are above a bare start.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from importlib.util import find_spec

BASE = "import requests, attrs, blinker"


def seconds(statement: str) -> float:
    """Time one fresh interpreter."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - began


def measure(rounds: int) -> dict[str, float]:
    """Return the median seconds of each statement."""
    statements = ["pass", BASE, "import gpt_agent_sync"]
    if find_spec("openai"):
        statements.append("import openai")
    times: dict[str, list[float]] = {statement: [] for statement in statements}
    for _ in range(rounds):
        for statement in statements:
            times[statement].append(seconds(statement))
    bare = statistics.median(times.pop("pass"))
    return {statement: statistics.median(taken) - bare for statement, taken in times.items()}


def main() -> None:
    """Measure and print the table."""
    medians = measure(15)
    print(f"{'statement':36} {'median ms':>10} {'ratio':>6}")
    for statement, median in medians.items():
        print(f"{statement:36} {median * 1000:10.1f} {median / medians[BASE]:6.2f}")


if __name__ == "__main__":
    main()
