"""The web application: accounts, and the conversations of each user.

One process, without anything else: ``flask --app examples/flask_chat/app run``, after ``pip install
-r examples/flask_chat/requirements.txt``. It needs no key and no network, and its page is
http://127.0.0.1:5000. Many processes: see ``compose.yaml`` and ``gunicorn.conf.py``.
"""

from __future__ import annotations

import os
import secrets

from flask import (
    Flask,
    Request,
    abort,
    flash,
    g,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from flask.typing import ResponseReturnValue
from flask_wtf.csrf import CSRFProtect

import gpt_agent_sync as gpt
from flask_chat.assistant import get_accounts, get_assistant
from gpt_agent_sync.contrib.flask import chat_blueprint


def create_app() -> Flask:
    """Make the application.

    ``CHAT_SECRET_KEY`` signs sessions, and must be the same in all processes; ``CHAT_QUEUE=1``
    leaves turns to Celery.
    """
    app = Flask(__name__)
    app.config["SECRET_KEY"] = _secret_key()
    app.config["SESSION_COOKIE_SAMESITE"] = "Lax"
    # The page may be open for longer than an hour.
    app.config["WTF_CSRF_TIME_LIMIT"] = None
    CSRFProtect(app)
    app.before_request(find_user)
    app.add_url_rule("/", view_func=show_threads)
    app.add_url_rule("/account", view_func=account, methods=["GET", "POST"])
    app.add_url_rule("/sign_out", view_func=sign_out, methods=["POST"])
    app.register_blueprint(
        chat_blueprint(
            authorize=may_use,
            connect=get_assistant().connect,
            create_thread=create_thread,
            add_message=queue_message if os.environ.get("CHAT_QUEUE") == "1" else None,
            template="conversation.html",
        ),
        url_prefix="/chat",
    )
    return app


def _secret_key() -> str:
    key = os.environ.get("CHAT_SECRET_KEY")
    if key is None and os.environ.get("GPT_AGENT_BACKPLANE"):
        raise RuntimeError("several processes need the same CHAT_SECRET_KEY")
    return key or secrets.token_hex()


def find_user() -> None:
    """Have the id of the user whose session it is."""
    g.user_id = session.get("user_id")


# the hooks of the blueprint


def may_use(request: Request, thread_id: str | None) -> bool:
    """Let users see their own threads."""
    if g.user_id is None:
        if request.endpoint == "gpt_agent.show":
            abort(redirect(url_for("account")))
        abort(401)
    return thread_id is None or get_accounts().owner(thread_id) == g.user_id


def create_thread(request: Request) -> str:
    """Create a thread, and note whose it is."""
    thread_id = gpt.create_thread()
    get_accounts().add_thread(g.user_id, thread_id)
    return thread_id


def queue_message(request: Request, thread_id: str, content: str) -> None:
    """Have a Celery worker run the turn."""
    from flask_chat import tasks

    tasks.ask.delay(thread_id, content)


# the application's own pages


def show_threads() -> ResponseReturnValue:
    """Show the user's conversations."""
    if g.user_id is None:
        return redirect(url_for("account"))
    return render_template("threads.html", threads=get_accounts().threads(g.user_id))


def account() -> ResponseReturnValue:
    """Sign in, or sign up."""
    if request.method == "GET":
        return render_template("account.html")
    name, password = request.form.get("name", "").strip(), request.form.get("password", "")
    signs_up = request.form.get("act") == "sign up"
    user_id = None
    if not name or len(password) < 8:
        flash("A name is needed, and a password of 8 characters at least.")
    elif signs_up:
        user_id = get_accounts().sign_up(name, password)
        if user_id is None:
            flash("This name is taken.")
    else:
        user_id = get_accounts().sign_in(name, password)
        if user_id is None:
            flash("There is no account with this name and password.")
    if user_id is None:
        return render_template("account.html"), 400
    session.clear()
    session["user_id"] = user_id
    return redirect(url_for("show_threads"))


def sign_out() -> ResponseReturnValue:
    """Forget whose session it is."""
    session.clear()
    return redirect(url_for("account"))
