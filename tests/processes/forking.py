"""A program that runs ``app`` in two children, made in the way that its argument names."""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.processes import app
from tests.support.forks import fork_in_c


def fork_by(fork: Callable[[], int]) -> None:
    """Answer in two children, each leaving the agent's block that it was forked in."""
    children = []
    for number in (1, 2):
        child = fork()
        if child == 0:
            with app.inherited:
                say(number)
            sys.exit()
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert codes == [0, 0]


def say(number: int) -> None:
    """Print an answer."""
    print(json.dumps(app.answer(number)), flush=True)


def start_by(method: str) -> None:
    """Answer in two processes of ``multiprocessing``."""
    context: Any = multiprocessing.get_context(method)
    processes = [context.Process(target=say, args=(number,)) for number in (1, 2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]


WAYS: dict[str, Callable[[], None]] = {
    "os.fork": lambda: fork_by(os.fork),
    "unnoticed": lambda: fork_by(fork_in_c),
    **{method: partial(start_by, method) for method in multiprocessing.get_all_start_methods()},
}

if __name__ == "__main__":
    WAYS[sys.argv[1]]()
    print("children done", flush=True)
    sys.stdin.readline()
    closing = app.inherited.wait(app.PATIENCE)
    print(type(closing).__name__, flush=True)
