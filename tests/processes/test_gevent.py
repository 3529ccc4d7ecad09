"""Programs whose threads are greenlets."""

from __future__ import annotations

import json

import pytest

from tests.plugins.processes import Programs
from tests.support.forks import forks
from tests.support.hosts import Host, needs

pytestmark = [
    needs("gevent"),
    pytest.mark.parametrize("how", ["streamed", "polled"]),
]

# gevent's own warning is not what is looked at here.
QUIET = ("-W", "ignore:Monkey-patching")


def check(host: Host) -> None:
    """Check that each greenlet was answered what it asked, in each way."""
    assert host.end() == 0, host.log
    assert json.loads(host.printed) == [
        [f"signed {number}", "RunCompleted", f"signed {number + 2}", 3] for number in range(8)
    ]


def test_patched_first(programs: Programs, how: str) -> None:
    """Greenlets that have agents are answered, each its own, and nothing is said."""
    host = programs.start("-m", "tests.processes.greenlets", "patched_first", how)
    check(host)
    assert host.log == ""


def test_patched_late(programs: Programs, how: str) -> None:
    """Where gevent patched too late that is told once, with the remedy; greenlets are answered."""
    host = programs.start(*QUIET, "-m", "tests.processes.greenlets", "patched_late", how)
    check(host)
    (warning,) = [line for line in host.log.splitlines() if "RuntimeWarning" in line]
    assert "from gevent import monkey; monkey.patch_all()" in warning


@forks
def test_forked_child_has_no_copies_of_agents(programs: Programs, how: str) -> None:
    """A forked child ends its copies of the agents' greenlets, and its parent goes on."""
    quiet = ("-W", "ignore:This process")  # CPython's, of forks with threads
    host = programs.start(*quiet, "-m", "tests.processes.forking_greenlets", how)
    host.find("child done")
    programs.release()
    host.go_on()
    assert host.end() == 0
    assert (host.printed, host.log) == (
        "alive in the child: []\nTrue\nchild done\nRunCompleted\n",
        "",
    )
