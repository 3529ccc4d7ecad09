"""The ``gpt-agent`` command (extra ``cli``).

- ``commands``: options and arguments.
- ``chat``: the conversation.
- ``screen``: what is shown.
- ``tools``: the two tools it brings.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command; say which extra is missing where it cannot be."""
    try:
        from gpt_agent_sync.cli.commands import gpt_agent
    except ModuleNotFoundError as exc:
        if exc.name not in ("click", "rich"):
            raise
        sys.exit(f"gpt-agent needs {exc.name}: pip install 'gpt_agent_sync[cli]'")
    gpt_agent(prog_name="gpt-agent")
