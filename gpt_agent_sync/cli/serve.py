"""``gpt-agent serve``: the server as a program."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from gpt_agent_sync.cli.archive import database_option, default_database, missing_extra
from gpt_agent_sync.errors import ConfigurationError
from gpt_agent_sync.secret import Secret, conceal
from gpt_agent_sync.services.checks import check_base_url

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def _read_config(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Take the options that are not given from a file."""
    if path is None:
        return None
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise click.BadParameter(f"{path} cannot be read: {exc}") from exc
    names = {each.name for each in context.command.params} - {"config"}
    given = {name.replace("-", "_"): value for name, value in found.items()}
    unknown = sorted(given.keys() - names)
    if unknown:
        raise click.BadParameter(f"{path} has {unknown[0]!r}, which is no option of this command")
    models = given.get("model")
    if isinstance(models, Mapping):
        given["model"] = [f"{name}={behind}" for name, behind in models.items()]
    context.default_map = {**(context.default_map or {}), **given}
    return path


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="On which port."
)
@database_option
@click.option("--upstream", metavar="URL", help="An OpenAI-compatible server that answers.")
@click.option("--upstream-key-env", metavar="NAME", help="The variable that holds its key.")
@click.option(
    "--model",
    metavar="NAME=UPSTREAM_MODEL",
    multiple=True,
    help="A name for one of its models; the first is the default.",
)
@click.option("--api-key-env", metavar="NAME", help="The variable that holds the clients' key.")
@click.option(
    "--allow-host", metavar="NAME", multiple=True, help="A name it may be asked as; * for any."
)
@click.option("--allow-origin", metavar="URL", multiple=True, help="A web page that may ask it.")
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=1000,
    show_default=True,
    help="Requests that a process answers at a time; an open stream is one.",
)
@click.option("--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes.")
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="Seconds in which runs may end when it is stopped.",
)
@click.option(
    "--config",
    metavar="FILE.toml",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    callback=_read_config,
    is_eager=True,
    expose_value=False,
    help="A file with these options.",
)
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
def serve(
    host: str,
    port: int,
    database: str | None,
    upstream: str | None,
    upstream_key_env: str | None,
    model: tuple[str, ...],
    api_key_env: str | None,
    allow_host: tuple[str, ...],
    allow_origin: tuple[str, ...],
    threads: int,
    workers: int,
    grace: float,
    verbose: bool,
) -> None:
    """Serve Assistants v2, and Responses with Conversations, to any client of these.

    Without an upstream the offline demo model answers. SIGTERM and Ctrl-C stop it in good order.
    """
    try:
        from gpt_agent_sync.server import running, serving
        from gpt_agent_sync.server.storage.database import DatabaseError
        from gpt_agent_sync.server.storage.engines import UnusableLocationError
    except ModuleNotFoundError as exc:
        raise missing_extra(exc) from exc
    _set_up_logs(verbose)
    try:
        options = serving.ServeOptions(
            host=host,
            port=port,
            database=database or default_database(),
            upstream=None if upstream is None else check_base_url(upstream, "--upstream"),
            upstream_key=_key(upstream_key_env, "--upstream-key-env"),
            models=serving.read_models(model),
            api_key=_key(api_key_env, "--api-key-env"),
            hosts=allow_host,
            origins=allow_origin,
            threads=threads,
            workers=workers,
            grace=grace,
        )
        running.serve(options, lambda url: click.echo(f"gpt-agent listens on {url}", err=True))
    except (serving.ServeError, ConfigurationError, UnusableLocationError) as exc:
        raise click.ClickException(str(exc)) from exc
    except DatabaseError as exc:
        reason = getattr(exc, "orig", None) or exc
        raise click.ClickException(f"cannot open the database: {reason}") from exc
    except OSError as exc:
        raise click.ClickException(f"cannot listen on {host}:{port}: {exc.strerror}") from exc


def _key(name: str | None, option: str) -> Secret | None:
    """Return the key that an environment variable holds.

    Raises:
        click.ClickException: If there is no such variable, or nothing in it.
    """
    if name is None:
        return None
    value = os.environ.get(name, "").strip()
    if not value:
        raise click.ClickException(f"{option}: the environment variable {name} is not set")
    key: Secret = conceal(value)
    return key


def _set_up_logs(verbose: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter())
    logging.basicConfig(level=logging.DEBUG if verbose else logging.WARNING, handlers=[handler])
    logging.getLogger("gpt_agent_sync").setLevel(logging.DEBUG if verbose else logging.INFO)


class _JsonFormatter(logging.Formatter):
    """A formatter that writes one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record; a message that is JSON itself stays so."""
        said: Any = record.getMessage()
        if record.name.endswith(".access"):
            said = json.loads(said)
        told = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname,
            "logger": record.name,
            "message": said,
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told)
