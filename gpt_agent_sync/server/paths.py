"""The paths of Azure's clients, as those of this server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

WsgiApp = Callable[[dict[str, Any], Any], Iterable[bytes]]

DEPLOYMENT = "gpt_agent_sync.deployment"
"""Where in a request's environment the deployment is that its path names: a model."""

_PREFIX = re.compile(r"/(?:openai(?:/v1)?|api/projects/[^/]+)(?=/)")
_DEPLOYMENT = re.compile(r"/deployments/([^/]+)(?=/)")


def wire_path(path: str) -> tuple[str, str | None]:
    """Return a path as this server has it, and the deployment that it names.

    ``/openai/...``, ``/openai/v1/...``, ``/openai/deployments/{model}/...`` and
    ``/api/projects/{project}/...`` are Azure's; others stay as they are.
    """
    prefix = _PREFIX.match(path)
    if prefix is None:
        return path, None
    rest = path[prefix.end() :]
    deployment = _DEPLOYMENT.match(rest)
    if deployment is None:
        return f"/v1{rest}", None
    return f"/v1{rest[deployment.end() :]}", deployment[1]


def with_wire_paths(app: WsgiApp) -> WsgiApp:
    """Return a WSGI application that takes Azure's paths as well."""

    def take(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path, deployment = wire_path(environ.get("PATH_INFO", ""))
        environ["PATH_INFO"] = path
        if deployment is not None:
            environ[DEPLOYMENT] = deployment
        return app(environ, start_response)

    return take
