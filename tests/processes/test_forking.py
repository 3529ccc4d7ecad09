"""Programs that fork or start processes themselves."""

from __future__ import annotations

import json

import pytest

from tests.plugins.processes import Programs
from tests.support.forks import forks

WAYS = ["os.fork", "unnoticed", "fork", "forkserver", "spawn"]


@forks
@pytest.mark.parametrize("way", WAYS)
def test_children_answer_and_leave_the_parent_its_agent(programs: Programs, way: str) -> None:
    """Children answer with agents of their own, and the parent's run goes on to its end."""
    # CPython warns of each fork with threads; that it goes well is what is shown here.
    quiet = ("-W", "ignore:This process")
    host = programs.start(*quiet, "-m", "tests.processes.forking", way)
    host.find("children done")
    answers = [json.loads(line) for line in host.printed.splitlines() if line[0] == "{"]
    assert sorted(answer["number"] for answer in answers) == [1, 2]
    for answer in answers:
        assert answer["reply"] == f"{answer['number']} by {answer['pid']}"
    programs.release()
    host.go_on()
    assert host.end() == 0
    assert (host.printed.splitlines()[-1], host.log) == ("RunCompleted", "")
    assert f"RunCompleted in {host.process.pid}" in host.told
