"""A Redis of the tests' own, on a free port, with nothing on the disk."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from tests.support.polling import wait_for

PROGRAM = shutil.which("redis-server")

PATIENCE = 20.0


class RedisServer:
    """A Redis server as a process.

    Args:
        directory: Where its files are.
        options: What its command line has beside.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        self._directory = directory
        self._options = options
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """Its URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, empty, on the same port as before."""
        assert PROGRAM is not None
        self._process = subprocess.Popen(
            [
                *(PROGRAM, "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--save", "", "--appendonly", "no", "--dir", str(self._directory)),
                *self._options,
            ],
            stdout=subprocess.DEVNULL,
        )
        wait_for(self._answers, bool, timeout=PATIENCE)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), self._connect() as connection:
            return connection.recv(16).startswith(b"+PONG")
        return False

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), 5)
        connection.sendall(b"PING\r\n")
        return connection

    def empty(self) -> None:
        """Drop all that it has."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall(b"FLUSHALL\r\n")
            assert connection.recv(16).startswith(b"+OK")

    def pause(self) -> None:
        """Have it hang until ``go_on()``."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End ``pause()``."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, and lose all that it has."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)
            self._process = None


class RedisClusterServers:
    """A cluster of three servers, each with a third of the slots.

    Args:
        directory: Where their files are.
    """

    def __init__(self, directory: Path) -> None:
        self._servers = []
        for name in ("a", "b", "c"):
            (directory / name).mkdir()
            options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
            self._servers.append(RedisServer(directory / name, *options))
        bounds = (0, 5461, 10923, 16384)
        for server, first, beyond in zip(self._servers, bounds, bounds[1:], strict=False):
            self._command(server, f"CLUSTER ADDSLOTSRANGE {first} {beyond - 1}")
            self._command(server, f"CLUSTER MEET 127.0.0.1 {self._servers[0].port}")
        wait_for(lambda: [self._is_ready(each) for each in self._servers], all, timeout=PATIENCE)

    @property
    def port(self) -> int:
        """The port of one of them."""
        return self._servers[0].port

    def _is_ready(self, server: RedisServer) -> bool:
        told = self._command(server, "CLUSTER INFO")
        return "cluster_state:ok" in told and "cluster_known_nodes:3" in told

    @staticmethod
    def _command(server: RedisServer, words: str) -> str:
        with socket.create_connection(("127.0.0.1", server.port), 5) as connection:
            connection.sendall(f"{words}\r\n".encode())
            return connection.recv(65536).decode()

    def stop(self) -> None:
        """End them."""
        for server in self._servers:
            server.stop()
