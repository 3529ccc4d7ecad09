"""Servers that are told to stop by a signal, with event streams open; each in a process."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap

import pytest

PATIENCE = 20.0

PROGRAM = """
import signal, threading
import gpt_agent_sync as gpt
from gpt_agent_sync.contrib.web.event_streams import EventLines
from gpt_agent_sync.contrib.web.showing import show_to_users
from gpt_agent_sync.contrib.web.stopping import end_event_streams_at_stop
from gpt_agent_sync.testing import ScriptedService

service = ScriptedService()
thread_id = gpt.create_thread(service=service)

def connect(thread_id):
    return gpt.connect(thread_id, "asst", service=service)

stopped = threading.Event()
{former}
end_event_streams_at_stop()
lines = EventLines(
    connect(thread_id), connect, None, show_event=show_to_users, heartbeat=60.0, stream_time=600.0
)
next(lines)
print("open", flush=True)
reading = threading.Thread(target=lambda: list(lines), daemon=True)
reading.start()
while not stopped.is_set():
    stopped.wait(0.1)
reading.join(10)
print("ended" if not reading.is_alive() else "open", flush=True)
"""

SERVERS_OWN = "signal.signal({signal}, lambda number, frame: stopped.set())"


def run(former: str, number: int) -> tuple[str, int]:
    """Run a program, stop it by a signal, and return what it has printed and its code."""
    code = textwrap.dedent(PROGRAM).replace("{former}", former)
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "open\n"
        process.send_signal(number)
        said, _ = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
        process.wait()
    return said, process.returncode


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_streams_end_and_the_servers_handler_is_called(number: signal.Signals) -> None:
    """So that it stops as ever, and waits for nothing."""
    former = SERVERS_OWN.format(signal=int(number))
    assert run(former, number) == ("ended\n", 0)


def test_program_without_a_handler_ends_as_ever() -> None:
    """By the signal."""
    assert run("", signal.SIGTERM) == ("", -signal.SIGTERM)
