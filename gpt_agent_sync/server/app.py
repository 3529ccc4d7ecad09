"""The server as a Flask application, or as a blueprint for one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from flask import Blueprint, Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from gpt_agent_sync.secret import Secret, conceal
from gpt_agent_sync.server import chat_api
from gpt_agent_sync.server.admission import MOST_BODY_BYTES, Admission, too_large
from gpt_agent_sync.server.assistants import assistants_api, runs_api, threads_api
from gpt_agent_sync.server.assistants.run_work import RunWork
from gpt_agent_sync.server.engine import RUN_SECONDS, Engine
from gpt_agent_sync.server.errors import WireError
from gpt_agent_sync.server.models.base import Model
from gpt_agent_sync.server.models.demo import DemoModel
from gpt_agent_sync.server.models.offered import OfferedOnly
from gpt_agent_sync.server.models.shortening import Shortening
from gpt_agent_sync.server.models.upstream import UpstreamModel
from gpt_agent_sync.server.paths import with_wire_paths
from gpt_agent_sync.server.responses import context_api, conversations_api, responses_api
from gpt_agent_sync.server.responses.response_work import ResponseWork
from gpt_agent_sync.server.storage.collection import new_id
from gpt_agent_sync.server.storage.database import Storage
from gpt_agent_sync.server.strict_json import respond

ROUTES = (
    assistants_api,
    threads_api,
    runs_api,
    conversations_api,
    # Before the responses: "/responses/compact" is no response's id.
    context_api,
    responses_api,
    chat_api,
)


def make_engine(
    location: str,
    *,
    model: str = "demo",
    upstream: str | None = None,
    upstream_api_key: str | Secret | None = None,
    models: Sequence[Model] = (),
    names: Mapping[str, str] | None = None,
    run_seconds: float = RUN_SECONDS,
    clock: Callable[[], float] = time.time,
) -> Engine:
    """Return an engine over a storage of its own.

    Args:
        location: A SQLite file's path, ``":memory:"``, or a database URL.
        model: What the model name ``"default"`` stands for.
        upstream: Base URL of a ``/chat/completions`` for all other model names.
        upstream_api_key: The key for it.
        models: Further models, asked first.
        names: Names of models that stand for other ones.
        run_seconds: How many seconds a run may take.
        clock: Returns Unix time.
    """
    # Rebound before anything can fail: error trackers keep the variables of a frame.
    upstream_api_key = conceal(upstream_api_key)
    behind = None if upstream is None else UpstreamModel(upstream, upstream_api_key)
    chosen: list[Model] = [*models, DemoModel()]
    # Last: it serves every name.
    if behind is not None:
        chosen.append(OfferedOnly(Shortening(behind)))
    return Engine(
        Storage(location),
        chosen,
        (RunWork, ResponseWork),
        default_model=model,
        names=names,
        upstream=behind,
        run_seconds=run_seconds,
        clock=clock,
    )


def create_blueprint(
    engine: Engine,
    *,
    api_key: str | Secret | None = None,
    hosts: Iterable[str] | None = None,
    origins: Iterable[str] = (),
    max_body: int = MOST_BODY_BYTES,
) -> Blueprint:
    """Return the blueprint with both wires' routes, to be mounted below ``/v1``.

    Args:
        engine: What answers.
        api_key: The key that is asked for, as a bearer token or in ``api-key``; ``None`` asks for
            none.
        hosts: The names under which it may be asked, without ports; ``"*"`` for any. Without them
            any name will do where a key is asked for, and else those of loopback.
        origins: The origins of pages that may ask it beside its own; ``"*"`` for any.
        max_body: Bytes that a request's body may have.
    """
    api_key = conceal(api_key)
    key: Secret | None = conceal(api_key)
    admission = Admission(key, hosts, origins, max_body)
    blueprint = Blueprint("gpt_agent_server", __name__)
    for routes in ROUTES:
        routes.register(blueprint, engine)

    @blueprint.before_request
    def check() -> Response | None:
        allowed = admission.preflight()
        if allowed is not None:
            return Response(status=204, headers=allowed)
        admission.check()
        return None

    @blueprint.after_request
    def name_request(response: Response) -> Response:
        # OpenAI's clients show it in their errors.
        response.headers["x-request-id"] = new_id("req")
        response.headers.update(admission.headers())
        return response

    # On the blueprint, so that refusals are the wire's in an application that mounts it, too.
    blueprint.register_error_handler(WireError, _refusal)
    return blueprint


def create_app(
    engine: Engine,
    *,
    api_key: str | Secret | None = None,
    hosts: Iterable[str] | None = None,
    origins: Iterable[str] = (),
    max_body: int = MOST_BODY_BYTES,
) -> Flask:
    """Return an application with both wires below ``/v1``, and where Azure's clients look for them.

    Arguments are as for the blueprint.
    """
    api_key = conceal(api_key)
    app = Flask("gpt_agent_server", static_folder=None)
    # An empty part of a path is not found; it would be redirected, by a page.
    app.url_map.merge_slashes = False
    # A body whose length is not said is counted as it is read.
    app.config["MAX_CONTENT_LENGTH"] = max_body
    blueprint = create_blueprint(
        engine, api_key=api_key, hosts=hosts, origins=origins, max_body=max_body
    )
    app.register_blueprint(blueprint, url_prefix="/v1")
    app.register_error_handler(HTTPException, _http_error)
    app.wsgi_app = with_wire_paths(app.wsgi_app)  # type: ignore[method-assign,assignment]
    return app


def _refusal(error: WireError) -> Response:
    answer = respond(error.body())
    answer.status_code = error.status
    return answer


def _http_error(error: HTTPException) -> Response:
    # Routes that do not exist are refused in the wire's form, too: clients read no HTML.
    message = f"Invalid URL ({request.method} {request.path})"
    if isinstance(error, RequestEntityTooLarge):
        return _refusal(too_large(current_app.config["MAX_CONTENT_LENGTH"]))
    status: Any = error.code or 500
    text = message if status in (404, 405) else str(error.description)
    kind = "invalid_request_error" if status < 500 else "server_error"
    return _refusal(WireError(status, text, kind=kind))
