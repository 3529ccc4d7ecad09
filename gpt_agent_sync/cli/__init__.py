"""The ``gpt-agent`` command (extra ``cli``).

- ``commands``: the commands; ``chat``: the one there is, and its conversation.
- ``screen``: input and output of a chat.
- ``tools``: the two tools that a chat has when it is given none.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command, or exit with the name of the extra that is missing."""
    try:
        from gpt_agent_sync.cli.commands import gpt_agent
    except ModuleNotFoundError as exc:
        if exc.name not in ("click", "rich"):
            raise
        sys.exit(f"gpt-agent needs {exc.name}: pip install 'gpt_agent_sync[cli]'")
    gpt_agent(prog_name="gpt-agent")
