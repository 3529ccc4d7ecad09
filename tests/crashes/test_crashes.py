"""Processes killed in the middle of conversations, a few of each combination."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.crashes.program import WIRES
from tests.crashes.trials import Combination, try_kills

KILLS = 10
SEED = 1


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "polled"])
@pytest.mark.parametrize("wire", WIRES)
def test_conversation_outlives_its_process(tmp_path: Path, wire: str, *, streamed: bool) -> None:
    """Every message is there once and answered, and no tool was called twice."""
    combination = Combination(wire=wire, streamed=streamed, paired=False)
    figures = try_kills(combination, KILLS, SEED, tmp_path)
    assert figures.problems == []
    assert figures.kills == KILLS


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "polled"])
@pytest.mark.parametrize("wire", ["assistants", "responses"])
def test_conversation_of_two_processes_outlives_either(
    tmp_path: Path, wire: str, *, streamed: bool
) -> None:
    """So it is with a second process that connects to the thread all the time."""
    combination = Combination(wire=wire, streamed=streamed, paired=True)
    figures = try_kills(combination, KILLS, SEED, tmp_path)
    assert figures.problems == []
    assert figures.kills == KILLS
