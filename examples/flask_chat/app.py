"""A chat in the browser: Flask, and an agent's events as server-sent events.

Run it with ``flask --app examples/flask_chat/app run`` and open http://127.0.0.1:5000, after
``pip install 'gpt_agent_sync[server]'`` (that brings Flask). It needs no key and no network.

Agents live in the process that made them, so serve it by one process with many threads, such as
``gunicorn --chdir examples/flask_chat --workers 1 --threads 50 'app:create_app()'``. Each open
page holds one of the threads.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from datetime import datetime, timezone

from flask import Flask, Response, jsonify, render_template, request
from flask.typing import ResponseReturnValue

import gpt_agent_sync as gpt

tools = gpt.Toolbox()


@tools.tool
def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


@tools.tool
def current_time() -> str:
    """Tell the current time in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


STATUSES: dict[type[Exception], int] = {
    gpt.BlankValueError: 400,
    gpt.InvalidThreadIdError: 404,
    gpt.RunInProgressError: 409,
    gpt.ServiceBusyError: 409,
    gpt.ServiceError: 502,
}


def create_app(heartbeat: float = 15.0) -> Flask:
    """Make the application.

    Args:
        heartbeat: Seconds of silence after which a stream says that it is alive; that is also
            how a client that went away is noticed.
    """
    app = Flask(__name__)
    assistant_id = gpt.create_assistant(model="demo", name="flask-chat", tools=tools)

    def connect(thread_id: str) -> gpt.Agent:
        return gpt.connect(thread_id, assistant_id, tools=tools)

    @app.get("/")
    def show_page() -> ResponseReturnValue:
        return render_template("chat.html")

    @app.post("/threads")
    def create_thread() -> ResponseReturnValue:
        return jsonify(id=gpt.create_thread()), 201

    @app.post("/threads/<thread_id>/messages")
    def add_message(thread_id: str) -> ResponseReturnValue:
        content = request.form.get("content", "")
        return jsonify(id=connect(thread_id).add_user_message(content)), 202

    @app.get("/threads/<thread_id>/events")
    def stream_events(thread_id: str) -> ResponseReturnValue:
        agent = connect(thread_id)
        stream = agent.events()  # before the answer begins, so that no event is missed
        try:
            last_id = request.headers.get("Last-Event-ID", "")
            missed = find_missed(agent, last_id) if last_id else []
        except gpt.RequestRejectedError:
            missed = []  # a page that knows a message which is gone is told what is new
        except gpt.ServiceError:
            stream.close()
            raise
        written = write_events(stream, missed, last_id, heartbeat)
        response = Response(written, mimetype="text/event-stream")
        response.headers["Cache-Control"] = "no-cache"
        response.headers["X-Accel-Buffering"] = "no"  # nginx would keep events back
        response.call_on_close(stream.close)
        return response

    def refuse(status: int, error: Exception) -> ResponseReturnValue:
        return jsonify(error=str(error)), status

    for error_class, status in STATUSES.items():
        app.register_error_handler(error_class, functools.partial(refuse, status))
    return app


def find_missed(agent: gpt.Agent, last_id: str) -> list[gpt.AssistantMessageAdded]:
    """Give the assistant's messages after the one that a returning page saw last."""
    return [
        gpt.AssistantMessageAdded(
            thread_id=agent.thread_id,
            message_id=message.id,
            run_id=message.run_id,
            assistant_id=message.assistant_id,
            content=message.content,
        )
        for message in agent.messages(after=last_id)
        if message.role == "assistant"
    ]


def write_events(
    stream: gpt.EventStream,
    missed: list[gpt.AssistantMessageAdded],
    last_id: str,
    heartbeat: float,
) -> Iterator[str]:
    """Write server-sent events until the agent stops or the stream is closed.

    The id of an event is that of the newest message so far. A browser that loses the connection
    comes back with the last id it saw, and is told the messages after it.
    """
    yield "retry: 1000\n\n"
    for message in missed:
        last_id = message.message_id
        yield write_event(message, last_id)
    told = {message.message_id for message in missed}
    while True:
        try:
            event = stream.get(timeout=heartbeat)
        except TimeoutError:
            yield ": heartbeat\n\n"
            continue
        if event is None:
            return
        if isinstance(event, gpt.UserMessageAdded):
            last_id = event.id
        elif isinstance(event, gpt.AssistantMessageAdded):
            if event.message_id in told:
                continue
            last_id = event.message_id
        yield write_event(event, last_id)


def write_event(event: gpt.Event, event_id: str) -> str:
    """Write one event; JSON leaves no line break in it that would end it early."""
    return f"id: {event_id}\ndata: {json.dumps(event.to_dict())}\n\n"


if __name__ == "__main__":
    create_app().run(threaded=True)
