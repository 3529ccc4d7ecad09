"""``gpt-agent`` and its commands."""

from __future__ import annotations

import click

from gpt_agent_sync.cli.archive import export_threads, import_threads, show, threads
from gpt_agent_sync.cli.chat import chat
from gpt_agent_sync.cli.serve import serve
from gpt_agent_sync.version import __version__


@click.group()
@click.version_option(__version__)
def gpt_agent() -> None:
    """Talk to an assistant that calls your Python functions."""


for command in (chat, serve, threads, show, export_threads, import_threads):
    gpt_agent.add_command(command)
