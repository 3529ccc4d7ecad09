"""Programs and servers as processes of their own, watched by what they print."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.polling import wait_for

ROOT = Path(__file__).parent.parent.parent

PATIENCE = 30.0
"""Seconds to wait at most for what a process must do."""


def needs(*packages: str) -> pytest.MarkDecorator:
    """Mark a test that runs programs of these packages: where one is missing it is skipped.

    Where ``TESTS_SKIP_NOTHING`` is set it then fails: so does ``.ci/run``, which installs them.
    """
    missing = [package for package in packages if find_spec(package) is None]
    return pytest.mark.skipif(
        bool(missing) and not os.environ.get("TESTS_SKIP_NOTHING"),
        reason=f"not installed: {', '.join(missing)}; the extra 'processes' has them",
    )


class Host:
    """A process whose output goes to files.

    Args:
        arguments: What Python is to run.
        directory: Where the files are.
        environment: Variables on top of those of this process.
    """

    def __init__(self, arguments: list[str], directory: Path, environment: dict[str, str]) -> None:
        self._out, self._err = directory / "stdout", directory / "stderr"
        self._told = directory / "told"
        variables = {**os.environ, "PYTHONPATH": str(ROOT), "TOLD": str(self._told), **environment}
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=err,
                env=variables,
                cwd=directory,
                start_new_session=True,
            )

    @property
    def printed(self) -> str:
        """What it has printed."""
        return self._out.read_text()

    @property
    def log(self) -> str:
        """What it has printed to its standard error."""
        return self._err.read_text()

    @property
    def told(self) -> list[str]:
        """The events of the agent that its first process has, each with the process's id."""
        return self._told.read_text().splitlines() if self._told.exists() else []

    def find(self, pattern: str) -> list[str]:
        """Wait until it has printed what matches, and return the groups of all matches."""

        def found() -> list[str]:
            matches: list[str] = re.findall(pattern, self.printed + self.log)
            assert matches or self.process.poll() is None, self.printed + self.log
            return matches

        return wait_for(found, bool, timeout=PATIENCE)

    def go_on(self) -> None:
        """Have it read a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    def end(self) -> int:
        """Wait for its end, and return its code."""
        return self.process.wait(PATIENCE)

    def terminate(self) -> int:
        """Have it end as a service manager does, and return its code."""
        self.process.terminate()
        return self.end()

    def clear_up(self) -> None:
        """End it, and all processes that it has made and left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE)
        if self.process.stdin is not None:
            self.process.stdin.close()
