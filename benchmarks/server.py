"""The server: requests a second over each database, open streams, memory, and growth.

Run: ``python -m benchmarks.server`` prints tables, in some minutes; ``--quick`` in one. PostgreSQL
is started if it is installed. Each server is a ``gpt-agent serve`` of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.__main__ import milliseconds, table
from gpt_agent_sync.server.storage.database import Storage
from tests.plugins.postgres_servers import PostgresServer, programs
from tests.support.free_ports import free_port

STREAMS = 200

Json = dict[str, Any]


class Client:
    """A client with one connection.

    Args:
        port: The server's port.
    """

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def send(self, method: str, path: str, body: Json | None = None) -> Json:
        """Send a request that must be accepted, and return its JSON."""
        data = None if body is None else json.dumps(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        self._connection.request(method, f"/v1{path}", data, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        found: Json = json.loads(text)
        return found

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class Server:
    """A ``gpt-agent serve``.

    Args:
        database: Where it keeps everything.
        arguments: Further options.
    """

    def __init__(self, database: str, *arguments: str) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "gpt_agent_sync", "serve", "--port", str(self.port)]
        command += ["--database", database, *arguments]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        assert "listens on" in line, line + self.process.stderr.read()
        # Its log is read, or it would wait for somebody who does.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    @property
    def megabytes(self) -> float:
        """Its resident memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    @property
    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self) -> None:
        """Stop it."""
        self.process.terminate()
        self.process.wait(30)


@contextlib.contextmanager
def serving(database: str, *arguments: str) -> Iterator[Server]:
    """Run a server while the block does."""
    server = Server(database, *arguments)
    try:
        yield server
    finally:
        server.stop()


def rates(port: int, seconds: float, clients: int, ask: Callable[[Client], object]) -> list[float]:
    """Return the seconds that each of many requests took, by clients that ask all the time."""
    until = time.perf_counter() + seconds

    def go() -> list[float]:
        client, took = Client(port), []
        while time.perf_counter() < until:
            began = time.perf_counter()
            ask(client)
            took.append(time.perf_counter() - began)
        client.close()
        return took

    with ThreadPoolExecutor(clients) as pool:
        return [each for found in pool.map(lambda _: go(), range(clients)) for each in found]


def p99(took: list[float]) -> float:
    """Return what 99 of 100 do not exceed."""
    return sorted(took)[int(len(took) * 0.99)]


def requests_table(databases: dict[str, str], seconds: float) -> str:
    """Return a table of requests a second."""
    rows = []
    for name, database in databases.items():
        with serving(database) as server:
            client = Client(server.port)
            thread = client.send("POST", "/threads", {"messages": _messages(20)})["id"]
            assistant = client.send("POST", "/assistants", {"model": "demo"})["id"]
            run = client.send("POST", f"/threads/{thread}/runs", {"assistant_id": assistant})
            path, own = f"/threads/{thread}", threading.local()

            def create(client: Client, own: threading.local = own) -> object:
                # A thread of their own each: one thread takes its messages one by one.
                if not hasattr(own, "path"):
                    own.path = f"/threads/{client.send('POST', '/threads')['id']}/messages"
                return client.send("POST", own.path, {"role": "user", "content": "hello"})

            asked: dict[str, Callable[[Client], object]] = {
                "create message": create,
                "get run": lambda client: client.send("GET", f"{path}/runs/{run['id']}"),  # noqa: B023
                "list messages": lambda client: client.send("GET", f"{path}/messages"),  # noqa: B023
            }
            for what, ask in asked.items():
                cells = [name, what]
                for clients in (1, 8):
                    took = rates(server.port, seconds, clients, ask)
                    cells += [f"{len(took) / seconds:.0f}", milliseconds(p99(took))]
                rows.append(cells)
            client.close()
    heads = ["database", "request", "1 client, 1/s", "p99", "8 clients, 1/s", "p99"]
    return table(heads, rows)


def _messages(count: int) -> list[Json]:
    return [{"role": "user", "content": f"message {number}"} for number in range(count)]


class PacedUpstream:
    """A model that says a word each tenth of a second, with the time in it, until it is left."""

    def __init__(self) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.end_headers()
                pause = threading.Event()
                with contextlib.suppress(OSError):
                    while True:
                        delta = {"content": f"{time.perf_counter():.6f} "}
                        data = json.dumps({"choices": [{"index": 0, "delta": delta}]})
                        self.wfile.write(f"data: {data}\n\n".encode())
                        self.wfile.flush()
                        pause.wait(0.1)

            def log_message(self, format: str, *args: Any) -> None:
                """Log nothing."""

        class Listening(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

        self._server = Listening(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def stop(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()


def streams_table(database: str, seconds: float) -> str:
    """Return a table of what many open streams cost, and short requests beside them."""
    upstream = PacedUpstream()
    delays: list[float] = []
    over = threading.Event()

    def read(port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        body = json.dumps({"model": "m", "input": "go", "stream": True})
        connection.request("POST", "/v1/responses", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        while not over.is_set():
            line = answer.readline()
            if line.startswith(b"data: ") and b"output_text.delta" in line:
                delta = json.loads(line[6:])["delta"]
                delays.append(time.perf_counter() - float(delta))
        connection.close()

    try:
        with serving(database, "--upstream", upstream.base_url) as server:
            client = Client(server.port)
            idle = server.megabytes
            before = rates(
                server.port, seconds, 1, lambda client: client.send("GET", "/models/demo")
            )
            readers = [threading.Thread(target=read, args=(server.port,)) for _ in range(STREAMS)]
            for reader in readers:
                reader.start()
            while len(delays) < STREAMS:
                threading.Event().wait(0.1)
            delays.clear()
            began, cpu = time.perf_counter(), server.cpu
            beside = rates(
                server.port, seconds, 1, lambda client: client.send("GET", "/models/demo")
            )
            share = (server.cpu - cpu) / (time.perf_counter() - began)
            found, memory = list(delays), server.megabytes
            over.set()
            for reader in readers:
                reader.join(10)
            client.close()
    finally:
        upstream.stop()
    rows = [
        ["a short request alone: median, p99", _two(before)],
        [f"beside {STREAMS} open streams", _two(beside)],
        ["a word from the upstream to the reader", _two(found)],
        ["CPU of the server", f"{share * 100:.0f} %"],
        ["memory: at rest, with the streams", f"{idle:.0f} MB, {memory:.0f} MB"],
    ]
    return table(["what", "figure"], rows)


def _two(took: list[float]) -> str:
    return f"{milliseconds(statistics.median(took))}, {milliseconds(p99(took))}"


def fill(database: str, threads: int, messages: int) -> str:
    """Put threads and one long one into a database, and return the long one's id."""
    storage = Storage(database)
    message = {
        "object": "thread.message",
        "created_at": 1,
        "role": "user",
        "content": [{"type": "text", "text": {"value": "hello", "annotations": []}}],
    }
    with storage.write() as connection:
        for number in range(threads):
            thread = {"id": f"thread_{number}", "object": "thread", "created_at": 1, "metadata": {}}
            storage.threads.insert(connection, thread)
        for number in range(messages):
            run_id = "run_x" if number % 1000 == 500 or messages == 10 else None
            fields = {"id": f"msg_{number}", "thread_id": "thread_0", "run_id": run_id}
            storage.messages.insert(connection, {**message, **fields}, "thread_0")
    storage.close()
    return "thread_0"


def growth_table(make: Callable[[], str], sizes: list[tuple[int, int]], seconds: float) -> str:
    """Return a table of the time of requests as a database grows."""
    rows = []
    for threads, messages in sizes:
        database = make()
        path = f"/threads/{fill(database, threads, messages)}"
        with serving(database) as server:
            asked: list[Callable[[Client], object]] = [
                lambda client: client.send("GET", f"{path}/messages?limit=10"),  # noqa: B023
                lambda client: client.send("GET", f"{path}/messages?limit=10&run_id=run_x"),  # noqa: B023
                lambda client: client.send(
                    "POST",
                    f"{path}/messages",  # noqa: B023
                    {"role": "user", "content": "hello"},
                ),
                lambda client: client.send("GET", "/threads?limit=10"),
                lambda client: client.send("GET", path),  # noqa: B023
            ]
            times = [
                milliseconds(statistics.median(rates(server.port, seconds, 1, ask)))
                for ask in asked
            ]
            rows.append([f"{threads:,}", f"{messages:,}", *times])
    heads = ["threads", "messages in one", "list", "list of a run", "create", "threads", "get"]
    return table(heads, rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter, and less certain")
    seconds = 1.0 if parser.parse_args().quick else 5.0
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        numbers = iter(range(1000))

        def new_file() -> str:
            return str(Path(folder) / f"{next(numbers)}.db")

        databases = {"SQLite": new_file()}
        makers: dict[str, Callable[[], str]] = {"SQLite": new_file}
        found = programs()
        if found is not None:
            postgres = PostgresServer(found)
            stack.callback(postgres.stop)
            databases["PostgreSQL"] = postgres.database()
            makers["PostgreSQL"] = postgres.database
        print("## Requests\n")
        print(requests_table(databases, seconds))
        print(f"\n## {STREAMS} streams, ten words a second each\n")
        print(streams_table(new_file(), seconds))
        sizes = [(10, 10), (10, 1000), (10, 100_000), (100_000, 10)]
        for name, make in makers.items():
            print(f"\n## Growth, {name} (median of a request)\n")
            print(growth_table(make, sizes, seconds / 5))


if __name__ == "__main__":
    main()
