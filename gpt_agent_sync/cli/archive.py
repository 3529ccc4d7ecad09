"""``gpt-agent threads``, ``show``, ``export`` and ``import``: what a server keeps, for people."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, TextIO

import click

from gpt_agent_sync.texts import for_terminal, json_for_terminal

if TYPE_CHECKING:
    from gpt_agent_sync.server.storage.database import Storage

SHOWN = 60
"""Characters of a thread's beginning that are listed."""

database_option = click.option(
    "--database",
    metavar="URL|PATH",
    envvar="GPT_AGENT_DATABASE",
    help="Where the server keeps its threads; the embedded server's file, unless it is said.",
)


@contextlib.contextmanager
def open_storage(database: str | None) -> Iterator[Storage]:
    """Open a server's database, for as long as the block runs.

    Raises:
        click.ClickException: If it cannot be opened.
    """
    try:
        from gpt_agent_sync.server.storage.database import DatabaseError, Storage
        from gpt_agent_sync.server.storage.engines import UnusableLocationError
    except ModuleNotFoundError as exc:
        raise missing_extra(exc) from exc
    try:
        storage = Storage(database or default_database())
    except (OSError, DatabaseError, UnusableLocationError) as exc:
        reason = getattr(exc, "orig", None) or exc
        raise click.ClickException(f"cannot open the database: {reason}") from exc
    try:
        yield storage
    finally:
        storage.close()


def missing_extra(error: ModuleNotFoundError) -> click.ClickException:
    """Return the error for what is not installed, which names the extra."""
    return click.ClickException(f"needs {error.name}: pip install 'gpt_agent_sync[server,cli]'")


def default_database() -> str:
    """Return the file of the embedded server."""
    from gpt_agent_sync.services.local import default_path

    return default_path()


@click.command()
@database_option
def threads(database: str | None) -> None:
    """List the threads and conversations: id, time, messages, and how they begin."""
    from gpt_agent_sync.server.archive import summaries

    with open_storage(database) as storage:
        for parent, count, begin in summaries(storage):
            line = " ".join(begin.split())
            shown = line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"
            click.echo(
                for_terminal(f"{parent['id']}  {_when(parent['created_at'])}  {count:>5}  {shown}")
            )


@click.command()
@click.argument("thread_id", metavar="ID")
@database_option
def show(thread_id: str, database: str | None) -> None:
    """Show a thread or conversation, message by message."""
    from gpt_agent_sync.server.archive import text_of

    with open_storage(database) as storage:
        for line in _exported(storage, thread_id):
            for child in line.get("messages") or line.get("items") or ():
                who = child.get("role") or child.get("type")
                at = child.get("created_at")
                when = "" if at is None else f"  {_when(at)}"
                click.echo(click.style(for_terminal(f"{who}{when}"), bold=True))
                click.echo(for_terminal(text_of(child)) + "\n")


@click.command(name="export")
@click.argument("thread_id", metavar="ID", required=False)
@click.option("--all", "everything", is_flag=True, help="All threads and conversations.")
@database_option
def export_threads(thread_id: str | None, everything: bool, database: str | None) -> None:
    """Write a thread, or all of them, as JSON lines on standard output."""
    if (thread_id is None) != everything:
        raise click.UsageError("pass the ID of a thread, or --all")
    with open_storage(database) as storage:
        for line in _exported(storage, thread_id):
            click.echo(json_for_terminal(json.dumps(line, ensure_ascii=False)))


@click.command(name="import")
@click.argument("file", type=click.File("r", encoding="utf-8"))
@database_option
def import_threads(file: TextIO, database: str | None) -> None:
    """Keep the threads of FILE, with their ids and times; '-' reads standard input.

    FILE has what `export` writes, or threads of another Assistants server with their messages as
    its API listed them. What is there already stays as it is.
    """
    from gpt_agent_sync.server.archive import ArchiveError, Imported, import_thread, read_lines

    done = Imported()
    with open_storage(database) as storage:
        try:
            # Read whole before anything is kept: a file that is broken at its end adds nothing.
            found = list(read_lines(file))
        except (ArchiveError, UnicodeDecodeError) as exc:
            raise click.ClickException(f"{file.name}: {exc}") from exc
        for thread in found:
            done += import_thread(storage, thread, int(time.time()))
    click.echo(
        f"{done.threads} threads made, {done.messages} messages added, {done.known} there already"
    )


def _exported(storage: Storage, thread_id: str | None) -> Iterator[dict[str, Any]]:
    from gpt_agent_sync.server.archive import exported

    try:
        yield from exported(storage, thread_id)
    except KeyError:
        raise click.ClickException(f"no thread or conversation {thread_id!r}") from None


def _when(created_at: float) -> str:
    return datetime.fromtimestamp(created_at, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
