"""The page, in Flask and in Django; what it does in a browser is tested in ``tests/browser``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_wtf.csrf import CSRFProtect

import gpt_agent_sync as gpt
from gpt_agent_sync.contrib.flask import chat_blueprint
from gpt_agent_sync.contrib.web import page
from tests.plugins.web import MakeSite, everybody
from tests.support.web_sites import Site

STATIC = page.FOLDER / "static" / "gpt_agent_sync"

DIGESTS = {
    "marked.js": "c622dc6824a1c92c2d10ea9ede2fc872e46128afcc34b298e6ddee6f387ace8e",
    "purify.js": "f1f1ba66e2951e5ca14bc4e71e24cc503d35d49c68f9bcfa4fd97970cb71c76b",
}


@pytest.mark.parametrize("name", DIGESTS)
def test_library_is_what_its_authors_have_published(name: str) -> None:
    """Nothing was changed in it, and nobody has put another in its place."""
    content = (STATIC / "vendor" / name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == DIGESTS[name]


@pytest.mark.parametrize("name", DIGESTS)
def test_library_has_its_licence_beside_it(name: str) -> None:
    """As both licences demand."""
    licence = (STATIC / "vendor" / name).with_suffix(".LICENSE.txt").read_text()
    assert "License" in licence


def test_page_may_load_its_own_files_alone(site: Site) -> None:
    """By a policy that allows nothing inline, and nothing from elsewhere."""
    policy = site.get("/").headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'self'" in policy


def test_page_has_nothing_inline(site: Site) -> None:
    """No script, style or handler, which its policy would refuse."""
    shown = site.get("/").text
    assert re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", shown) is None


def test_page_has_the_thread_of_the_address(site: Site) -> None:
    """So that a reload shows the same conversation."""
    assert 'data-thread-id="thread_1"' in site.get("/?thread=thread_1").text


def test_page_refuses_what_is_no_id(site: Site) -> None:
    """Whatever is in the address does not become a part of the page."""
    answer = site.get('/?thread="><script>')
    assert answer.status_code == 404
    assert "<script>" not in answer.text


def test_page_is_kept_by_no_cache(site: Site) -> None:
    """It holds a token and a thread's id."""
    assert site.get("/").headers["Cache-Control"] == "no-store"


def test_no_page(make_site: MakeSite) -> None:
    """Where the program wants none."""
    site = make_site(template=None)
    assert site.get("/").status_code == 404


@pytest.mark.parametrize(
    "url, files",
    [
        ("/static/chat.js", "'self'"),
        ("https://files.example/x/chat.js", "'self' https://files.example"),
        ("//files.example/chat.js", "'self' https://files.example"),
    ],
)
def test_files_may_be_another_hosts(url: str, files: str) -> None:
    """The policy allows that host then, too, for scripts and styles."""
    policy = page.page_headers(url)["Content-Security-Policy"]
    assert f"script-src {files};" in policy
    assert f"style-src {files};" in policy


# Flask


@pytest.fixture
def make_app() -> Callable[..., Flask]:
    """Return a maker of Flask applications with the chat."""

    def make(**options: Any) -> Flask:
        app = Flask("site", **options.pop("flask", {}))
        app.config["SECRET_KEY"] = "secret"
        given = {"authorize": everybody, "connect": gpt.connect, **options}
        app.register_blueprint(chat_blueprint(**given), url_prefix="/chat")
        return app

    return make


def test_files_of_the_page_are_there(make_app: Callable[..., Flask]) -> None:
    """Those that it names, and those that its script names."""
    client = make_app().test_client()

    def load(path: str) -> tuple[int, str, str]:
        with client.get(path) as answer:
            return answer.status_code, answer.content_type, answer.get_data(as_text=True)

    paths = re.findall(r'(?:src|href)="(/[^"]*\.\w+)"', load("/chat/")[2])
    script = next(path for path in paths if path.endswith(".js"))
    for name in re.findall(r'from "\./([^"]+)"', load(script)[2]):
        paths.append(f"{script.rpartition('/')[0]}/{name}")
    answers = {path.rpartition("/")[2]: load(path) for path in paths}
    assert set(answers) == {"chat.css", "chat.js", "marked.js", "purify.js"}
    assert {status for status, _, _ in answers.values()} == {200}
    assert all("javascript" in answers[name][1] for name in DIGESTS)


def test_program_may_have_a_template_of_its_own(
    make_app: Callable[..., Flask], tmp_path: Path
) -> None:
    """It extends the page's, and fills its blocks."""
    text = '{% extends "gpt_agent_sync/chat.html" %}{% block title %}Ours{% endblock %}'
    (tmp_path / "ours.html").write_text(text)
    app = make_app(template="ours.html", flask={"template_folder": str(tmp_path)})
    shown = app.test_client().get("/chat/").text
    assert "<title>Ours</title>" in shown
    assert 'class="gpt-composer"' in shown


def test_token_of_flask_wtf_is_sent_back(make_app: Callable[..., Flask]) -> None:
    """The page has it, and without it a request is refused, as JSON."""
    app = make_app()
    CSRFProtect(app)
    client = app.test_client()
    refused = client.post("/chat/threads", json={})
    assert refused.status_code == 400
    assert refused.json is not None
    assert refused.json["error"]["type"] == "CSRFError"
    found = re.search(r'data-csrf-token="([^"]+)"', client.get("/chat/").text)
    assert found is not None
    made = client.post("/chat/threads", json={}, headers={"X-CSRFToken": found[1]})
    assert made.status_code == 201


def test_hooks_may_abort(make_app: Callable[..., Flask]) -> None:
    """With a status of theirs, which is told in JSON."""
    from flask import abort

    def authorize(request: object, thread_id: str | None) -> bool:
        abort(401, "Sign in first.")

    answer = make_app(authorize=authorize).test_client().post("/chat/threads", json={})
    assert answer.status_code == 401
    assert answer.json is not None
    assert answer.json["error"]["message"] == "Sign in first."


def test_hooks_may_redirect(make_app: Callable[..., Flask]) -> None:
    """To where users sign in, say."""
    from flask import abort, redirect

    def authorize(request: object, thread_id: str | None) -> bool:
        abort(redirect("/sign_in"))

    answer = make_app(authorize=authorize).test_client().get("/chat/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/sign_in")


def test_two_chats_in_one_application(make_app: Callable[..., Flask]) -> None:
    """Under names of their own."""
    app = make_app()
    app.register_blueprint(
        chat_blueprint(authorize=everybody, connect=gpt.connect, name="other"), url_prefix="/other"
    )
    shown = app.test_client().get("/other/").text
    assert 'data-face-url="/other/"' in shown
    assert "/other/static/" in shown


@pytest.mark.parametrize(
    "wrong",
    [
        {"authorize": None},
        {"connect": "x"},
        {"create_thread": 7},
        {"add_message": 7},
        {"heartbeat": 0},
        {"stream_time": -1},
        {"show_event": None},
        {"heartbeat": float("nan")},
        {"max_body": 0},
        {"max_body": True},
    ],
)
def test_options_are_checked(make_app: Callable[..., Flask], wrong: dict[str, Any]) -> None:
    """When the blueprint is made, and the error names what is wrong."""
    with pytest.raises((TypeError, ValueError), match=next(iter(wrong))):
        make_app(**wrong)


@pytest.mark.parametrize("missing", ["authorize", "connect"])
def test_hooks_that_are_demanded(missing: str) -> None:
    """There is no open default."""
    given = {"authorize": everybody, "connect": gpt.connect}
    del given[missing]
    with pytest.raises(TypeError, match=missing):
        chat_blueprint(**given)  # type: ignore[arg-type]
