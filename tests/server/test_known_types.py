"""Types that are known to msgspec before threads use them at once."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

TOOLS = """
    from gpt_agent_sync.tools.schema import read_signature

    @dataclasses.dataclass
    class Place:
        name: str = ""
        tags: list[dict[str, int]] = dataclasses.field(default_factory=list)

    parameters = [
        inspect.Parameter(f"p{number}", inspect.Parameter.KEYWORD_ONLY, annotation=list[Place])
        for number in range(20)
    ]

    def handler(**arguments): ...

    handler.__signature__ = inspect.Signature(parameters)
    handler.__annotations__ = {each.name: each.annotation for each in parameters}
    signature = read_signature(handler, "handler", int)
    arguments = {each.name: [{"name": "x"}] for each in parameters}
    at_once(lambda: signature.bind(arguments, None))
"""

BODIES = """
    from gpt_agent_sync.server.bodies import Body, read_fields

    class Inner(Body):
        a: int | None = None
        b: list[dict[str, int]] = msgspec.field(default_factory=list)

    default = msgspec.field(default_factory=list)
    fields = [(f"f{number}", list[Inner], default) for number in range(20)]
    Outer = msgspec.defstruct("Outer", fields, bases=(Body,), kw_only=True)
    at_once(lambda: read_fields({"f1": [{"a": 1}]}, Outer))
"""

PROGRAM = """
import dataclasses, inspect, sys, threading
import msgspec

sys.setswitchinterval(1e-6)

def at_once(call):
    start = threading.Barrier(8)

    def wait_and_call():
        start.wait()
        call()

    threads = [threading.Thread(target=wait_and_call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

for _ in range(60):
    def once():
{body}
    once()
"""


@pytest.mark.parametrize("body", [TOOLS, BODIES], ids=["tool", "body"])
def test_first_uses_at_once(body: str) -> None:
    """A type that several threads use for the first time is whole for each of them."""
    program = PROGRAM.format(body=textwrap.indent(textwrap.dedent(body), " " * 8))
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
