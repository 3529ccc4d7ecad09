"""``python -m tests.soak``: many agents for ten minutes, one request in twenty with a fault."""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Sequence

from tests.soak.figures import Figures
from tests.soak.soaking import AGENTS, soak


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a soak, and return the process's exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--agents", type=int, default=AGENTS)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}, {options.agents} agents, {options.seconds:.0f} s", flush=True)
    began: list[float] = []

    def tell(figures: Figures, asks: Counter[str]) -> None:
        began.append(figures.at)
        print(
            f"{figures.at - began[0]:6.0f} s  {figures.threads:4} threads  "
            f"{figures.descriptors:4} descriptors  {figures.sockets:4} sockets  "
            f"{figures.megabytes:7.1f} MB  {dict(asks)}",
            flush=True,
        )

    outcome = soak(options.seconds, options.seed, options.agents, tell)
    print(f"asks: {dict(outcome.asks)}")
    for name, (early, late) in outcome.grown.items():
        print(f"grown: {name} from {early:.1f} to {late:.1f}")
    print(f"problems: {len(outcome.problems)}", *outcome.problems[:100], sep="\n  ")
    return 1 if outcome.problems or outcome.grown else 0


if __name__ == "__main__":
    sys.exit(main())
