"""A web application of each framework with the chat in it, served on a loopback port."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs
import requests
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wsgi import ClosingIterator

import gpt_agent_sync as gpt
from gpt_agent_sync.contrib.web import event_streams

PATIENCE = 20.0

TOKEN = re.compile(r'data-csrf-token="([^"]*)"')


def open_streams() -> int:
    """Return how many event streams of this process are open."""
    return len(event_streams._open._streams)


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:
        """Log nothing."""


class Site:
    """An application that is served, and a client of it that does what the page does.

    Args:
        app: The WSGI application; the chat is below ``/chat/``.
    """

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self.stream_closed = threading.Event()

        def watch(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            body = app(environ, start_response)
            is_stream = environ["PATH_INFO"].endswith("/events")
            return ClosingIterator(body, self.stream_closed.set) if is_stream else body

        self._server = make_server("127.0.0.1", 0, watch, threaded=True, request_handler=_Handler)
        self._serving = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}
        )
        self._serving.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/chat"
        self.session = requests.Session()

    def stop(self) -> None:
        """Stop serving."""
        self.session.close()
        self._server.shutdown()
        self._server.server_close()
        self._serving.join()

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Make a request."""
        return self.session.request(method, self.url + path, timeout=PATIENCE, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        """Make a request that reads."""
        return self.request("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> requests.Response:
        """Post JSON, with the token that the page would have."""
        found = TOKEN.search(self.get("/").text)
        headers = {"X-CSRFToken": found[1]} if found else {}
        return self.request("POST", path, json={} if body is None else body, headers=headers)

    def create_thread(self) -> str:
        """Create a thread."""
        answer = self.post("/threads")
        assert answer.status_code == 201, answer.text
        thread_id: str = answer.json()["id"]
        return thread_id

    def say(self, thread_id: str, content: str, **more: str) -> requests.Response:
        """Post a message."""
        return self.post(f"/threads/{thread_id}/messages", {"content": content, **more})

    def listen(self, thread_id: str, after: str | None = None, **headers: str) -> requests.Response:
        """Open the thread's event stream."""
        return self.get(
            f"/threads/{thread_id}/events", params={"after": after}, headers=headers, stream=True
        )


@attrs.frozen
class SentEvent:
    """An event of a stream, and the place that it was sent with."""

    place: str
    event: gpt.Event


def read_events(response: requests.Response) -> Iterator[SentEvent]:
    """Read events off a stream."""
    place = ""
    for line in response.iter_lines(chunk_size=1):
        field, _, value = line.decode().partition(": ")
        if field == "id":
            place = value
        elif field == "data":
            yield SentEvent(place, gpt.Event.from_dict(json.loads(value)))


def read_until(response: requests.Response, last: type[gpt.Event]) -> list[SentEvent]:
    """Read up to the first event of a class."""
    events = []
    for sent in read_events(response):
        events.append(sent)
        if isinstance(sent.event, last):
            break
    return events


def flask_app(options: Mapping[str, Any]) -> Callable[..., Iterable[bytes]]:
    """Return a Flask application with the chat."""
    from flask import Flask

    from gpt_agent_sync.contrib.flask import chat_blueprint

    app = Flask("site")
    app.register_blueprint(chat_blueprint(**options), url_prefix="/chat")
    return app


def django_app() -> Callable[..., Iterable[bytes]]:
    """Return a Django application with the chat, by whatever ``GPT_AGENT`` is when it is asked."""
    import django
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application

    if not settings.configured:
        settings.configure(
            ALLOWED_HOSTS=["127.0.0.1"],
            INSTALLED_APPS=["django.contrib.staticfiles", "gpt_agent_sync.contrib.django"],
            MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"],
            ROOT_URLCONF="tests.support.django_urls",
            SECRET_KEY="secret",
            STATIC_URL="/static/",
            TEMPLATES=[
                {"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}
            ],
        )
        django.setup()
    return get_wsgi_application()
