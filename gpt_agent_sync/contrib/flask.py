"""Agents in a Flask application: a blueprint with the HTTP face, event streams and a page.

Needs the extra ``flask``. In a program::

    def may_see(request, thread_id):
        user = current_user()
        return user is not None and (thread_id is None or owns(user, thread_id))

    app.register_blueprint(
        chat_blueprint(
            authorize=may_see,
            connect=lambda thread_id: gpt.connect(thread_id, ASSISTANT, tools=tools),
        ),
        url_prefix="/chat",
    )
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flask import (
    Blueprint,
    Flask,
    Request,
    Response,
    current_app,
    jsonify,
    render_template,
    url_for,
)
from flask import request as current_request
from werkzeug.exceptions import HTTPException

from gpt_agent_sync.contrib.web import event_streams, page
from gpt_agent_sync.contrib.web.answers import Answer, refusal
from gpt_agent_sync.contrib.web.event_streams import EventLines, end_event_streams
from gpt_agent_sync.contrib.web.face import HEARTBEAT, MAX_BODY, STREAM_TIME, ChatFace
from gpt_agent_sync.contrib.web.showing import show_to_users
from gpt_agent_sync.events import Event

if TYPE_CHECKING:
    from gpt_agent_sync.agent.agent import Agent

__all__ = ["chat_blueprint", "end_event_streams"]


def chat_blueprint(
    *,
    authorize: Callable[[Request, str | None], bool],
    connect: Callable[[str], Agent],
    create_thread: Callable[[Request], str] | None = None,
    add_message: Callable[[Request, str, str], str | None] | None = None,
    show_event: Callable[[Event], Event | None] = show_to_users,
    name: str = "gpt_agent",
    template: str | None = page.TEMPLATE,
    heartbeat: float = HEARTBEAT,
    stream_time: float = STREAM_TIME,
    max_body: int = MAX_BODY,
) -> Blueprint:
    """Return a blueprint to register under a prefix of the program's choice.

    Its addresses: ``POST threads``, ``POST threads/<id>/messages``, ``GET threads/<id>/messages``,
    ``GET threads/<id>/events``, ``POST threads/<id>/cancel``,
    ``POST threads/<id>/tool_calls/<id>/output``, and the page at its root. Bodies and answers are
    JSON; refusals too, but for those of Flask itself, such as 405.

    Hooks are called on the request's thread. What they raise that is none of this package's errors
    is Flask's to answer: ``abort(401)`` in ``authorize`` does what it says. Against requests
    of other sites there is the content type that every ``POST`` must have, and whatever the
    application has: the page sends the token of Flask-WTF's ``CSRFProtect`` where that is in use.

    Args:
        authorize: Called with the request and a thread's id before anything is done; ``True`` lets
            it pass, anything else is refused (403). The id is ``None`` where a thread is to be
            created, and for the page without one.
        connect: Connects to a thread, by ``gpt.connect(thread_id, ...)``.
        create_thread: Creates a thread for a request, and notes whose it is; returns its id. Else
            ``gpt.create_thread()`` does it.
        add_message: Adds a message elsewhere, in a queue of tasks, say: called with the request,
            the thread's id and the text; returns the message's id, or ``None`` where it is not
            known yet. Else the thread's agent in this process adds it.
        show_event: Called with each event of a stream; returns what the client is to see of it,
            ``None`` for nothing. Else words of services and exceptions are replaced.
        name: The blueprint's name.
        template: The page's template; ``None`` for no page. One of the program's own may extend
            ``gpt_agent_sync/chat.html`` and fill its blocks ``title``, ``head``, ``header`` and
            ``footer``.
        heartbeat: Seconds of silence after which an event stream writes a comment.
        stream_time: Seconds after which an event stream ends: a browser comes back by itself, and
            is authorized anew.
        max_body: Bytes of a request's body at most.

    Raises:
        TypeError: If a hook cannot be called.
        ValueError: If a number is none, or out of its range.
    """
    hooks: dict[str, Any] = {} if create_thread is None else {"create_thread": create_thread}
    face: ChatFace[Request] = ChatFace(
        authorize=authorize,
        connect=connect,
        add_message=add_message,
        show_event=show_event,
        heartbeat=heartbeat,
        stream_time=stream_time,
        max_body=max_body,
        **hooks,
    )
    blueprint = Blueprint(
        name,
        __name__,
        template_folder=str(page.FOLDER / "templates"),
        static_folder=str(page.FOLDER / "static"),
        static_url_path="/static",
    )

    def is_page() -> bool:
        return (current_request.endpoint or "").endswith(".show")

    def respond(act: Callable[[Request, str | None, bytes], Answer]) -> Response:
        request = _request()
        return _respond(face.guard(lambda: act(request, request.content_type, _body(max_body))))

    @blueprint.post("/threads")
    def post_thread() -> Response:
        return respond(face.post_thread)

    @blueprint.post("/threads/<thread_id>/messages")
    def post_message(thread_id: str) -> Response:
        return respond(lambda request, *sent: face.post_message(request, thread_id, *sent))

    @blueprint.post("/threads/<thread_id>/cancel")
    def post_cancel(thread_id: str) -> Response:
        return respond(lambda request, *sent: face.post_cancel(request, thread_id, *sent))

    @blueprint.post("/threads/<thread_id>/tool_calls/<call_id>/output")
    def post_output(thread_id: str, call_id: str) -> Response:
        return respond(lambda request, *sent: face.post_output(request, thread_id, call_id, *sent))

    @blueprint.get("/threads/<thread_id>/messages")
    def get_messages(thread_id: str) -> Response:
        request = _request()
        return _respond(face.guard(lambda: face.get_messages(request, thread_id, request.args)))

    @blueprint.get("/threads/<thread_id>/events")
    def get_events(thread_id: str) -> Response:
        request = _request()
        last, after = request.headers.get("Last-Event-ID"), request.args.get("after")
        app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]

        def connect_again(thread_id: str) -> Agent:
            with app.app_context():  # the stream is written when the request's is gone
                return connect(thread_id)

        lines = face.guard(lambda: face.get_events(request, thread_id, last, after, connect_again))
        if not isinstance(lines, EventLines):
            return _respond(lines)
        response = Response(lines, headers=event_streams.HEADERS)
        response.call_on_close(lines.close)
        return response

    @blueprint.errorhandler(HTTPException)
    def show_error(error: HTTPException) -> Response | HTTPException:
        # In the form of all other refusals: a token that is missing, ``abort(401)`` in a hook.
        if error.response is not None or is_page():
            return error
        words = str(error.description or error.name)
        return _respond(refusal(error.code or 500, type(error).__name__, words))

    if template is not None:

        @blueprint.get("/")
        def show() -> Response:
            request = _request()
            thread_id = request.args.get("thread") or None
            refused = face.guard(lambda: face.permit(request, thread_id))
            if refused is not None:
                return _respond(refused)
            context = page.page_context(
                lambda filename: url_for(".static", filename=filename),
                face_url=url_for(".show"),
                thread_id=thread_id,
                csrf_token=_csrf_token(current_app),
            )
            response = Response(render_template(template, **context))
            response.headers.update(page.page_headers(context["script_url"]))
            return response

    return blueprint


def _request() -> Request:
    """Return the request itself, which hooks may keep longer than its proxy is good for."""
    found: Request = current_request._get_current_object()  # type: ignore[attr-defined]
    return found


def _body(most: int) -> bytes:
    """Return the request's body, of one that is too long a byte too many."""
    return current_request.stream.read(most + 1)


def _respond(answer: Answer) -> Response:
    response = jsonify(answer.body)
    response.status_code = answer.status
    response.headers.update(answer.headers)
    response.headers["Cache-Control"] = "no-store"
    return response


def _csrf_token(app: Flask) -> str:
    """Return the token of the application's CSRF protection, as Flask-WTF gives it to templates."""
    make = app.jinja_env.globals.get("csrf_token")
    return str(make()) if callable(make) else ""
