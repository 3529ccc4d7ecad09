"""Servers that load the application before they fork their workers."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from tests.plugins.processes import Programs
from tests.support.hosts import PATIENCE, Host, needs
from tests.support.polling import wait_for

# One wire is enough here: that both can be forked is shown where the program forks itself.
pytestmark = pytest.mark.parametrize("programs", ["ResponsesService"], indirect=True)

APPLICATION = "tests.processes.app:application"

GUNICORN = [
    *("-m", "gunicorn", "--preload", "--workers", "2"),
    *("--bind", "127.0.0.1:0", "--graceful-timeout", "10"),
]
LISTENS = r"Listening at: (http://[\d.:]+)"

UWSGI = [
    *("-c", "import sys, pyuwsgi; pyuwsgi.run(sys.argv[1:])"),
    *("--master", "--processes", "2", "--need-app", "--die-on-term"),
    *("--http-socket", "127.0.0.1:0"),
    *("--module", APPLICATION),
]


def ask(url: str, numbers: Iterable[int]) -> list[dict[str, Any]]:
    """Have a server answer numbers, all at once."""

    def get(number: int) -> dict[str, Any]:
        with urlopen(f"{url}/?{number}", timeout=PATIENCE) as response:
            answer: dict[str, Any] = json.load(response)
            return answer

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(get, numbers))


def check(answers: list[dict[str, Any]]) -> set[int]:
    """Check that each answer is that of its number, and return the processes that answered."""
    for number, answer in enumerate(answers):
        assert answer["inherited"] == "dead"
        assert answer["number"] == number
        assert answer["reply"] == f"{number} by {answer['pid']}"
    return {answer["pid"] for answer in answers}


def check_parent(programs: Programs, host: Host) -> None:
    """Check that the run of the agent that the parent has goes on to its end."""
    assert not any(line.startswith("RunCompleted") for line in host.told)
    programs.release()
    wait_for(lambda: host.told, lambda told: f"RunCompleted in {host.process.pid}" in told)


TROUBLE = ("Traceback", "Error", "Exception", "Warning", "NO MERCY", "SIGKILL")


def trouble(log: str) -> list[str]:
    """Return the lines of a log that tell of trouble."""
    return [line for line in log.splitlines() if any(word in line for word in TROUBLE)]


@needs("gunicorn", "gevent")
@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent"])
def test_gunicorn(programs: Programs, worker: str) -> None:
    """Workers of a preloaded application answer, end, and leave the parent its agent."""
    options = ["--worker-class", worker]
    if worker == "gthread":
        options += ["--threads", "4"]
    if worker == "gevent":
        options += ["--config", "python:tests.processes.patched_first"]
    host = programs.start(*GUNICORN, *options, APPLICATION)
    url = host.find(LISTENS)[0]
    answered = check(ask(url, range(8)))
    os.kill(min(answered), signal.SIGTERM)
    wait_for(lambda: host.log, lambda log: log.count("Booting worker") > 2)
    check(ask(url, range(4)))
    check_parent(programs, host)
    assert host.terminate() == 0
    assert trouble(host.log) == []


HOOKS = "--py-call-osafterfork"

# Seen with an application that starts no thread and does nothing.
needs_hooks = pytest.mark.skipif(
    sys.version_info >= (3, 13), reason="uWSGI hangs there with --py-call-osafterfork"
)


@needs("pyuwsgi")
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--enable-threads"], id="threads"),
        pytest.param(["--enable-threads", "--threads", "4"], id="many threads"),
        pytest.param(["--enable-threads", HOOKS], id="threads and hooks", marks=needs_hooks),
    ],
)
def test_uwsgi(programs: Programs, options: list[str]) -> None:
    """Workers with threads answer, end, and leave the parent its agent."""
    host = programs.start(*UWSGI, *options)
    url = "http://" + host.find(r"bound to TCP address ([\d.:]+)")[0]
    check(ask(url, range(8)))
    check_parent(programs, host)
    host.terminate()
    assert trouble(host.log) == []


@needs("pyuwsgi")
@pytest.mark.parametrize(
    "options",
    [pytest.param([], id="bare"), pytest.param([HOOKS], id="hooks", marks=needs_hooks)],
)
def test_uwsgi_without_threads(programs: Programs, options: list[str]) -> None:
    """Workers answer and end also where threads only run while a request is worked on."""
    host = programs.start(*UWSGI, *options)
    url = "http://" + host.find(r"bound to TCP address ([\d.:]+)")[0]
    check(ask(url, range(8)))
    host.terminate()
    assert trouble(host.log) == []


CELERY = [
    # The user of a container is often the superuser, which Celery warns of.
    *("-W", "ignore:You're running the worker with superuser"),
    *("-m", "celery", "--app", "tests.processes.tasks:queue", "worker"),
    *("--pool", "prefork", "--concurrency", "2", "--loglevel", "INFO"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
]

SEND = """
import json
from tests.processes.broker import queue
sent = [queue.send_task("answer", [number]) for number in range(8)]
print(json.dumps([result.get(timeout=30) for result in sent]))
"""


@needs("celery")
def test_celery(programs: Programs, tmp_path: Path) -> None:
    """Workers that Celery forks answer, end, and leave the parent its agent."""
    host = programs.start(*CELERY, QUEUE=str(tmp_path))
    host.find("ready")
    sender = programs.start("-c", SEND, QUEUE=str(tmp_path))
    assert sender.end() == 0
    check(json.loads(sender.printed))
    check_parent(programs, host)
    assert host.terminate() == 0
    assert trouble(host.log) == []
