"""Eight workers of gunicorn that ask on one thread at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

import gpt_agent_sync as gpt
from gpt_agent_sync.testing import Reply
from tests.plugins.redis_servers import needs_redis
from tests.support.hosts import Host, needs
from tests.support.redis_server import RedisServer
from tests.support.scripted_model import ScriptedServer

pytestmark = [needs_redis, needs("gunicorn"), pytest.mark.timeout(120)]

WORKERS, ASKERS = 8, 32

PATIENCE = 100.0


def say_again(text: str, outputs: Mapping[str, str]) -> Reply:
    """Answer with the question."""
    return Reply(f"you said {text}")


@pytest.mark.parametrize("wire", ["AssistantsService", "ResponsesService"])
def test_each_asker_gets_its_own_reply(
    wire: str,
    make_server: Callable[..., ScriptedServer],
    redis_server: RedisServer,
    tmp_path: Path,
) -> None:
    """Though all of them wait for the same thread."""
    base_url = make_server(say_again).base_url
    service = getattr(gpt, wire)(base_url, "key")
    environment = {
        "SERVICE": wire,
        "BASE_URL": base_url,
        "REDIS": redis_server.url,
        "THREAD": gpt.create_thread(service=service),
        "ASSISTANT": gpt.create_assistant(model="any", service=service)
        if wire == "AssistantsService"
        else "any",
    }
    service.close()
    # A worker has one request at a time, so that the others get theirs.
    options = ["--workers", str(WORKERS), "--worker-class", "sync", "--timeout", "100"]
    command = ["-m", "gunicorn", "--bind", "127.0.0.1:0", *options]
    host = Host([*command, "tests.deployment.asking:application"], tmp_path, environment)
    try:
        (url,) = host.find(r"Listening at: (http://\S+)")

        def ask(number: int) -> dict[str, object]:
            answer = requests.get(url, params={"text": f"q{number}"}, timeout=PATIENCE)
            found: dict[str, object] = answer.json()
            return found

        with ThreadPoolExecutor(ASKERS) as pool:
            answers = list(pool.map(ask, range(ASKERS)))
    finally:
        host.clear_up()
    assert [answer["reply"] for answer in answers] == [
        f"you said q{number}" for number in range(ASKERS)
    ]
    assert len({answer["pid"] for answer in answers}) > 1
