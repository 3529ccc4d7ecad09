"""A program that forks while its agent is a greenlet; its argument names how runs are followed.

The child prints the greenlets of agents that are alive in it.
"""

# ruff: noqa: E402  (what is patched is loaded later)

from __future__ import annotations

import tests.processes.patched_first  # noqa: F401  isort: skip

import gc
import os
import sys

import gevent

import gpt_agent_sync as gpt

gpt.configure(streaming=sys.argv[1] == "streamed")

from tests.processes import app

child = os.fork()
if child == 0:
    gevent.idle()
    alive = [each for each in gc.get_objects() if isinstance(each, gevent.Greenlet) and each]
    print("alive in the child:", [repr(each) for each in alive if "gpt-agent" in repr(each)])
    print(app.answer(1)["reply"] == f"1 by {os.getpid()}", flush=True)
    sys.exit()
os.waitpid(child, 0)
print("child done", flush=True)
sys.stdin.readline()
print(type(app.inherited.wait(app.PATIENCE)).__name__)
