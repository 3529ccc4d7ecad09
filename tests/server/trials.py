"""Trials of several server processes on one database, one of them killed at random now and then.

``python -m tests.server.trials --runs 500`` prints what became of the runs.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

from tests.plugins.postgres_servers import PostgresServer, programs
from tests.support.free_ports import free_port

FINAL = frozenset({"completed", "failed", "cancelled", "expired", "incomplete"})

TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
    },
}

PATIENCE = 60.0
"""Seconds in which a run has to end, whatever happens."""


class SlowUpstream:
    """A model that takes its time: it calls the tool, and then says what that gave.

    Args:
        slowest: Seconds that an answer takes at most.
        seed: Of its chances.
    """

    def __init__(self, slowest: float, seed: int) -> None:
        chances = random.Random(seed)

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                threading.Event().wait(chances.uniform(0, slowest))
                message: dict[str, Any] = {"content": "done"}
                if body["messages"][-1]["role"] != "tool":
                    call = {"function": {"name": "add", "arguments": '{"a": 1}'}}
                    message = {"tool_calls": [call]}
                answer = json.dumps(
                    {"choices": [{"message": message, "finish_reason": "stop"}]}
                ).encode()
                with contextlib.suppress(OSError):
                    self.send_response(200)
                    self.send_header("Content-Type", "application/json")
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def base_url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def stop(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()


class Servers:
    """Server processes on one database, each on a port of its own.

    Args:
        database: The database.
        upstream: Who answers.
        count: How many.
        folder: Where their logs go.
    """

    def __init__(self, database: str, upstream: str, count: int, folder: Path) -> None:
        self._command = [
            *(sys.executable, "-m", "gpt_agent_sync", "serve"),
            *("--database", database, "--upstream", upstream, "--model", "slow=slow"),
        ]
        self._folder = folder
        self._ports = [free_port() for _ in range(count)]
        self._processes = [self._start(port) for port in self._ports]
        for port in self._ports:
            self._wait(port)

    def _start(self, port: int) -> subprocess.Popen[bytes]:
        with (self._folder / f"{port}.log").open("ab") as log:
            return subprocess.Popen([*self._command, "--port", str(port)], stdout=log, stderr=log)

    def _wait(self, port: int) -> None:
        until = time.monotonic() + 30
        while True:
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5).ok:
                    return
            log = (self._folder / f"{port}.log").read_text()
            assert time.monotonic() < until, log
            threading.Event().wait(0.05)

    def any(self, chances: random.Random) -> str:
        """Return the base URL of one of them."""
        return f"http://127.0.0.1:{chances.choice(self._ports)}/v1"

    def kill_one(self, chances: random.Random) -> None:
        """Kill one of them, and start it again."""
        number = chances.randrange(len(self._processes))
        self._processes[number].kill()
        self._processes[number].wait()
        self._processes[number] = self._start(self._ports[number])
        self._wait(self._ports[number])

    def stop(self) -> list[int]:
        """Stop all of them in good order, and return their exit codes."""
        for process in self._processes:
            process.terminate()
        return [process.wait(30) for process in self._processes]


class Client:
    """A client that goes on at another server when its own does not answer.

    Args:
        servers: The servers.
        seed: Of its chances.
    """

    def __init__(self, servers: Servers, seed: int) -> None:
        self._servers = servers
        self._chances = random.Random(seed)
        self._until = time.monotonic() + PATIENCE

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Send a request until there is an answer, and return its status and JSON."""
        while True:
            assert time.monotonic() < self._until, f"{method} {path} has no answer"
            with contextlib.suppress(requests.RequestException):
                answer = requests.request(
                    method, self._servers.any(self._chances) + path, json=body, timeout=10
                )
                if answer.status_code not in (500, 503):
                    return answer.status_code, answer.json()
            threading.Event().wait(0.05)

    def converse(self, assistant_id: str) -> dict[str, Any]:
        """Have one run with a tool to its end, and return what is found then."""
        _, thread = self.send("POST", "/threads", {"messages": [{"role": "user", "content": "hi"}]})
        path = f"/threads/{thread['id']}"
        # The answer may be lost: the second one is then refused, and names the first.
        self.send("POST", f"{path}/runs", {"assistant_id": assistant_id})
        _, runs = self.send("GET", f"{path}/runs")
        run_id = runs["data"][0]["id"]
        run = self._followed(f"{path}/runs/{run_id}")
        status, _ = self.send("POST", f"{path}/messages", {"role": "user", "content": "more"})
        _, messages = self.send("GET", f"{path}/messages?order=asc")
        _, steps = self.send("GET", f"{path}/runs/{run_id}/steps?order=asc")
        _, again = self.send("GET", f"{path}/runs/{run_id}")
        return {
            "runs": len(runs["data"]),
            "status": run["status"],
            "error": (run["last_error"] or {}).get("message"),
            "is_free": status == 200,
            "is_settled": again == run,
            "messages": [message["role"] for message in messages["data"]],
            "steps": [(step["type"], step["status"]) for step in steps["data"]],
        }

    def _followed(self, path: str) -> dict[str, Any]:
        while True:
            _, run = self.send("GET", path)
            if run["status"] in FINAL:
                return dict(run)
            if run["status"] == "requires_action":
                calls = run["required_action"]["submit_tool_outputs"]["tool_calls"]
                outputs = [{"tool_call_id": call["id"], "output": "1"} for call in calls]
                self.send("POST", f"{path}/submit_tool_outputs", {"tool_outputs": outputs})
            threading.Event().wait(0.05)


def problems_of(outcome: dict[str, Any]) -> list[str]:
    """Return what is wrong with how a run ended."""
    found = []
    if outcome["runs"] != 1:
        found.append("more than one run")
    if outcome["status"] not in ("completed", "failed"):
        found.append(f"ended as {outcome['status']}")
    if outcome["status"] == "failed" and "is gone" not in str(outcome["error"]):
        found.append(f"failed: {outcome['error']}")
    if not outcome["is_free"]:
        found.append("its thread is locked")
    if not outcome["is_settled"]:
        found.append("changed after its end")
    if outcome["status"] == "completed":
        if outcome["messages"] != ["user", "assistant", "user"]:
            found.append(f"messages: {outcome['messages']}")
        done = [("tool_calls", "completed"), ("message_creation", "completed")]
        if outcome["steps"] != done:
            found.append(f"steps: {outcome['steps']}")
    return found


def trial(
    database: str, *, runs: int, kill_every: float, clients: int, seed: int, folder: Path
) -> tuple[collections.Counter[str], list[str]]:
    """Have runs on four servers, one of which is killed now and then.

    Returns:
        How many runs ended in each status, and the problems.
    """
    chances = random.Random(seed)
    upstream = SlowUpstream(0.4, seed)
    servers = Servers(database, upstream.base_url, 4, folder)
    over = threading.Event()

    def kill() -> int:
        killed = 0
        while not over.wait(chances.uniform(0.5, 1.5) * kill_every):
            servers.kill_one(chances)
            killed += 1
        return killed

    try:
        _, assistant = Client(servers, seed).send(
            "POST", "/assistants", {"model": "slow", "tools": [TOOL]}
        )
        with ThreadPoolExecutor(clients + 1) as pool:
            killing = pool.submit(kill)
            try:
                outcomes = list(
                    pool.map(
                        lambda number: Client(servers, seed + number).converse(assistant["id"]),
                        range(runs),
                    )
                )
            finally:
                over.set()
            counted = collections.Counter(outcome["status"] for outcome in outcomes)
            counted["killed servers"] = killing.result()
    finally:
        servers.stop()
        upstream.stop()
    return counted, [problem for outcome in outcomes for problem in problems_of(outcome)]


@contextlib.contextmanager
def _database(given: str | None) -> Iterator[str]:
    if given is not None:
        yield given
        return
    folder = programs()
    assert folder is not None, "PostgreSQL is not installed"
    server = PostgresServer(folder)
    try:
        yield server.database()
    finally:
        server.stop()


def main() -> None:
    """Run a trial, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--kill-every", type=float, default=3.0, help="seconds")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--database", help="a URL; PostgreSQL is started without")
    options = parser.parse_args()
    with _database(options.database) as database, tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        counted, problems = trial(
            database,
            runs=options.runs,
            kill_every=options.kill_every,
            clients=options.clients,
            seed=options.seed,
            folder=Path(folder),
        )
    print(f"seed {options.seed}, {time.monotonic() - began:.0f} s: {dict(counted)}")
    print(f"{len(problems)} problems")
    for problem in problems:
        print(" ", problem)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
