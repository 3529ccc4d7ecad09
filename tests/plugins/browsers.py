"""The examples under gunicorn, and a browser that opens them."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from gpt_agent_sync.server.hosting import EmbeddedServer
from tests.support.hosts import ROOT, Host
from tests.support.paced_model import NAME, PacedModel
from tests.support.redis_server import PROGRAM, RedisServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

WORKERS = 4

PACKAGES = ("playwright", "gunicorn", "redis", "whitenoise", "flask_wtf", "django", "celery")

needs_browser = pytest.mark.skipif(
    not (CHROMIUM and PROGRAM and all(find_spec(name) for name in PACKAGES))
    and not os.environ.get("TESTS_SKIP_NOTHING"),
    reason="no Chromium, no redis-server, or packages of the extra 'processes' are missing",
)
"""Marks a test that opens a browser; where ``TESTS_SKIP_NOTHING`` is set it fails without."""


@attrs.define
class ChatSite:
    """An example that gunicorn serves.

    Attributes:
        framework: ``"flask"`` or ``"django"``.
        url: Where it is.
        host: gunicorn.
        model: What answers.
        environment: What the example's other programs need, too.
    """

    framework: str
    url: str
    host: Host
    model: PacedModel
    environment: dict[str, str]

    @property
    def workers(self) -> list[int]:
        """The ids of the workers' processes."""
        children = Path(f"/proc/{self.host.process.pid}/task/{self.host.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]

    def kill_workers(self) -> None:
        """Kill all that there are; gunicorn starts others."""
        for pid in self.workers:
            os.kill(pid, signal.SIGKILL)

    def sign_up(self, page: Page, name: str = "ada") -> None:
        """Make an account, and begin a conversation."""
        page.goto(f"{self.url}/chat/")
        if self.framework == "flask":
            page.fill("[name=name]", name)
            page.fill("[name=password]", "secret-word")
            page.click("text=Sign up")
        else:
            page.click("text=Sign up")
            page.fill("[name=username]", name)
            page.fill("[name=password1]", "secret-word")
            page.fill("[name=password2]", "secret-word")
            page.click("button")
        page.click("text=New conversation")


@pytest.fixture(params=["flask", "django"])
def framework(request: pytest.FixtureRequest) -> str:
    """Return the framework of the example."""
    name: str = request.param
    return name


@pytest.fixture
def chat_environment(framework: str, tmp_path: Path, redis_server: RedisServer) -> dict[str, str]:
    """Return what the programs of an example share."""
    return {
        "CHAT_DATABASE": str(tmp_path / "chat.db"),
        "CHAT_SECRET_KEY": "secret",
        "CHAT_DEBUG": "0",
        "CHAT_MODEL": NAME,
        "CHAT_BROKER": redis_server.url.removesuffix("0") + "1",
        "GPT_AGENT_BACKPLANE": redis_server.url,
        "GPT_AGENT_SERVICE": "assistants",
        "OPENAI_API_KEY": "key",
    }


@pytest.fixture
def chat_site(
    framework: str, tmp_path: Path, chat_environment: dict[str, str], request: Any
) -> Iterator[ChatSite]:
    """Return an example under gunicorn; ``CHAT_QUEUE`` where the test is marked so."""
    model = PacedModel()
    server = EmbeddedServer.start(":memory:", models=[model])
    environment = {**chat_environment, "OPENAI_BASE_URL": server.base_url}
    environment |= getattr(request, "param", {})
    hosts = []

    def start(name: str, *arguments: str) -> Host:
        (tmp_path / name).mkdir()
        hosts.append(Host(list(arguments), tmp_path / name, environment))
        return hosts[-1]

    example = ROOT / "examples" / f"{framework}_chat"
    if framework == "django":
        assert start("migrate", str(example / "manage.py"), "migrate").end() == 0
    config = str(example / "gunicorn.conf.py")
    options = ("--bind", "127.0.0.1:0", "--graceful-timeout", "90")
    host = start("gunicorn", "-m", "gunicorn", "--config", config, *options)
    url = host.find(r"Listening at: (http://\S+)")[0]
    yield ChatSite(framework, url, host, model, environment)
    model.go_on(1000)
    for started in hosts:
        started.clear_up()
    server.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Return a page that has complained of nothing when the test is over."""
    context = browser.new_context()
    opened = context.new_page()
    complaints: list[str] = []
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.on("console", lambda message: _note(message, complaints))
    yield opened
    context.close()
    assert complaints == []


def _note(message: Any, complaints: list[str]) -> None:
    # What the network refuses a browser tells of by itself.
    if message.type == "error" and not re.match("Failed to load resource", message.text):
        complaints.append(message.text)
