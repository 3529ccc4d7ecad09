"""A short soak; ``python -m tests.soak`` runs a long one."""

from __future__ import annotations

import pytest

from tests.soak.figures import Figures, growth
from tests.soak.soaking import soak

SECONDS = 30.0
SEED = 10


def figures(*megabytes: float) -> list[Figures]:
    """Return figures that differ by their memory."""
    return [
        Figures(at=float(number), threads=1, descriptors=1, sockets=1, megabytes=size)
        for number, size in enumerate(megabytes)
    ]


def test_growth_before_the_warm_up_is_none() -> None:
    """What grows at first and stays is no growth."""
    assert growth(figures(*range(0, 400, 100), *[400.0] * 6)) == {}


def test_growth_after_the_warm_up_is_found() -> None:
    """What grows on and on is told, from what to what."""
    assert growth(figures(*(float(size) for size in range(0, 1000, 100)))) == {
        "megabytes": (500.0, 900.0)
    }


@pytest.mark.timeout(170)
@pytest.mark.usefixtures("hurried")
def test_hundred_agents_over_a_faulty_way() -> None:
    """Every ask is right, or its error says that it is in doubt or was refused; nothing grows."""
    outcome = soak(SECONDS, SEED)
    assert outcome.problems == []
    assert outcome.asks["right"] > 0
    assert outcome.grown == {}
