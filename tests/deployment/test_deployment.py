"""Short trials of a deployment; ``python -m tests.deployment`` has the long ones, and more trouble.

Processes that are stopped, and a Redis that hangs, take longer than a suite should.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.deployment.trial import KILL, Trial, attempt
from tests.faults.kinds import WIRES
from tests.plugins.redis_servers import needs_redis

pytestmark = [needs_redis, pytest.mark.timeout(240)]


@pytest.mark.parametrize("troubles", [(), (KILL,)])
@pytest.mark.parametrize("wire", WIRES)
def test_every_asker_gets_its_reply(wire: str, troubles: Sequence[str], tmp_path: Path) -> None:
    """Each tool is called once, and each event told once and in order, in every process."""
    trial = Trial(wire=wire, processes=3, threads=3, turns=24, troubles=troubles, pause=0.5, seed=1)
    result = attempt(trial, tmp_path)
    assert result.problems == []
    assert result.asked["right"] > 0
    assert result.happened.total() > 0 or not troubles
