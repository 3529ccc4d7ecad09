"""Five hundred open event streams in one worker of gunicorn, with short requests beside them.

Run: ``python -m benchmarks.streams`` prints a table, in half a minute. The worker has threads
(``gthread``), and the chat of ``gpt_agent_sync.contrib.flask`` over a service without HTTP; fifty
threads have ten pages each.
"""

from __future__ import annotations

import contextlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import requests
from flask import Flask

import gpt_agent_sync as gpt
from benchmarks.__main__ import milliseconds, per_cent, table
from gpt_agent_sync.contrib.flask import chat_blueprint
from gpt_agent_sync.testing import ScriptedService

STREAMS, THREADS = 500, 50

ROUNDS = 200


def create_app() -> Flask:
    """Return the application that the worker serves."""
    gpt.configure(service=ScriptedService(), idle_timeout=None)
    app = Flask("streams")
    app.register_blueprint(
        chat_blueprint(
            authorize=lambda request, thread_id: True,
            connect=lambda thread_id: gpt.connect(thread_id, "asst"),
        )
    )
    return app


@contextlib.contextmanager
def worker() -> Iterator[tuple[str, int]]:
    """Run gunicorn, and return its URL and the id of its worker's process."""
    command = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--threads"]
    command += [
        str(STREAMS + 20),
        "--worker-connections",
        "2000",
        "benchmarks.streams:create_app()",
    ]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stderr=log, cwd=Path(__file__).parent.parent)
        try:
            while True:
                log.seek(0)
                text = log.read()
                found = re.search(r"Listening at: (http://\S+)", text)
                booted = re.search(r"Booting worker with pid: (\d+)", text)
                if found and booted:
                    break
                time.sleep(0.05)
            yield found[1], int(booted[1])
        finally:
            process.kill()
            process.wait()


class Page:
    """An open event stream."""

    def __init__(self, url: str, thread_id: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._socket = socket.create_connection((host, int(port)))
        path = f"/threads/{thread_id}/events"
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        self._seen = b""
        self.read_to(b"retry: 1000")

    def read_to(self, text: bytes) -> None:
        """Read up to a text."""
        while text not in self._seen:
            self._seen += self._socket.recv(65536)
        self._seen = self._seen.partition(text)[2]


def resident(pid: int) -> float:
    """Return the megabytes of memory that a process has."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def used(pid: int) -> float:
    """Return the seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def short_requests(url: str, thread_id: str) -> list[float]:
    """Return what short requests take."""
    with requests.Session() as session:
        took = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            session.get(f"{url}/threads/{thread_id}/messages?limit=1", timeout=30)
            took.append(time.perf_counter() - began)
    return took


def main() -> None:
    """Measure, and print a table."""
    with worker() as (url, pid):
        threads = [
            requests.post(f"{url}/threads", json={}, timeout=30).json()["id"]
            for _ in range(THREADS)
        ]
        without, memory = short_requests(url, threads[0]), resident(pid)
        pages = [Page(url, threads[number % THREADS]) for number in range(STREAMS)]
        memory = resident(pid) - memory
        cpu = used(pid)
        threading.Event().wait(5)
        cpu = (used(pid) - cpu) / 5
        beside = short_requests(url, threads[0])
        took = []
        for number in range(THREADS):
            began = time.perf_counter()
            path = f"{url}/threads/{threads[number]}/messages"
            requests.post(path, json={"content": "hello"}, timeout=30)
            for page in pages[number::THREADS]:
                page.read_to(b"AssistantMessageAdded")
            took.append(time.perf_counter() - began)
    rows = [
        ["short request without streams, p50 ms", milliseconds(statistics.median(without))],
        ["beside the streams, p50 ms", milliseconds(statistics.median(beside))],
        ["beside the streams, p99 ms", milliseconds(per_cent(beside, 99))],
        ["message to its answer on ten pages, p50 ms", milliseconds(statistics.median(took))],
        ["the same, p99 ms", milliseconds(per_cent(took, 99))],
        ["memory of a stream, KB", f"{memory * 1024 / STREAMS:.0f}"],
        ["CPU while nothing happens, share of a core", f"{cpu:.1%}"],
    ]
    print(table([f"{STREAMS} open streams in one worker", ""], rows))


if __name__ == "__main__":
    main()
