"""The process's defaults, and the service that is used where none is passed."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync import configuration
from gpt_agent_sync.errors import ConfigurationError
from gpt_agent_sync.services import choosing
from gpt_agent_sync.services.base import Service
from gpt_agent_sync.services.choosing import choose_service
from gpt_agent_sync.testing import ScriptedService


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    """Return what the module under test logged."""
    return [
        (record.levelno, record.getMessage())
        for record in caplog.records
        if record.name == "gpt_agent_sync.services.choosing"
    ]


def test_configure_gives_the_settings() -> None:
    """``configure`` gives the settings now in force."""
    settings = gpt.configure(tool_workers=3)
    assert settings.tool_workers == 3
    assert gpt.get_settings() is settings


def test_configure_adds_up() -> None:
    """A second call leaves alone what the first one set."""
    gpt.configure(tool_workers=3)
    gpt.configure(http_retries=0)
    settings = gpt.get_settings()
    assert (settings.tool_workers, settings.http_retries) == (3, 0)


def test_configure_nothing() -> None:
    """Without changes the settings stay as they are."""
    before = gpt.get_settings()
    assert gpt.configure() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"tool_workers": 3, "unknown": 1},
        {"tool_workers": 3, "read_timeout": -1},
        {"tool_workers": 3, "streaming": "yes"},
        {"tool_workers": 3, "service": "nowhere"},
        {"tool_workers": 3, "service": 7},
        {"tool_workers": 3, "journal": 7},
    ],
)
def test_nothing_changes_on_an_error(changes: dict[str, Any]) -> None:
    """When one change is refused, none is made."""
    before = gpt.get_settings()
    with pytest.raises(ConfigurationError):
        gpt.configure(**changes)
    assert gpt.get_settings() is before


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody configured comes from the environment."""
    monkeypatch.setenv("GPT_AGENT_TOOL_WORKERS", "3")
    configuration.reset()
    assert gpt.get_settings().tool_workers == 3


def test_configure_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was configured wins over the environment."""
    monkeypatch.setenv("GPT_AGENT_TOOL_WORKERS", "3")
    monkeypatch.setenv("GPT_AGENT_HTTP_RETRIES", "1")
    configuration.reset()
    settings = gpt.configure(tool_workers=5)
    assert (settings.tool_workers, settings.http_retries) == (5, 1)


def test_unusable_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that cannot be read is reported where settings are asked for, each time."""
    monkeypatch.setenv("GPT_AGENT_TOOL_WORKERS", "many")
    configuration.reset()
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"GPT_AGENT_TOOL_WORKERS='many'"):
            gpt.get_settings()


def test_reset() -> None:
    """After a reset the environment rules again."""
    gpt.configure(tool_workers=3)
    configuration.reset()
    assert gpt.get_settings() == gpt.Settings()


def test_configure_from_many_threads() -> None:
    """Changes made by many threads at once are all made."""
    changes: list[dict[str, Any]] = [
        {"tool_workers": 3},
        {"http_retries": 1},
        {"idle_timeout": 7},
        {"tool_timeout": 8},
        {"rate_limit_retries": 2},
        {"streaming": False},
    ]
    barrier = threading.Barrier(len(changes))

    def change(values: dict[str, Any]) -> None:
        barrier.wait(10)
        gpt.configure(**values)

    threads = [threading.Thread(target=change, args=(values,)) for values in changes]
    for worker in threads:
        worker.start()
    for worker in threads:
        worker.join(10)
    settings = gpt.get_settings()
    expected = {name: value for values in changes for name, value in values.items()}
    assert {name: getattr(settings, name) for name in expected} == expected


def test_service_of_the_argument() -> None:
    """The service that is passed is the one used, whatever else is configured."""
    configured, passed = ScriptedService(), ScriptedService()
    gpt.configure(service=configured)
    assert choose_service(passed) is passed


def test_configured_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """The configured service is used where none is passed, whatever the environment says."""
    monkeypatch.setenv("GPT_AGENT_SERVICE", "local")
    configuration.reset()
    service = ScriptedService()
    gpt.configure(service=service)
    assert choose_service() is service


@pytest.mark.parametrize(
    "name, service_class",
    [
        ("local", gpt.LocalService),
        ("assistants", gpt.AssistantsService),
        ("responses", gpt.ResponsesService),
    ],
)
def test_configured_name(
    monkeypatch: pytest.MonkeyPatch, name: str, service_class: type[Service]
) -> None:
    """A service may be configured by its name."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    gpt.configure(service=name)
    assert type(choose_service()) is service_class


@pytest.mark.parametrize(
    "name, service_class",
    [
        ("local", gpt.LocalService),
        ("assistants", gpt.AssistantsService),
        ("responses", gpt.ResponsesService),
    ],
)
def test_service_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str, service_class: type[Service]
) -> None:
    """``GPT_AGENT_SERVICE`` names the service where none is configured."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("GPT_AGENT_SERVICE", name)
    configuration.reset()
    assert type(choose_service()) is service_class


def test_default_service() -> None:
    """Where nothing says otherwise, the embedded server is used."""
    assert type(choose_service()) is gpt.LocalService


def test_default_service_with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is a key and nothing says otherwise, OpenAI's own wire is used."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert choose_service() == gpt.ResponsesService("https://api.openai.com/v1", "sk-secret")


def test_default_service_with_a_key_and_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address of the environment holds for the default service too."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://host/v1")
    assert choose_service() == gpt.ResponsesService("http://host/v1", "sk-secret")


@pytest.mark.parametrize("key", ["", "  "])
def test_blank_key_is_none(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """A variable that is set to nothing does not choose a service."""
    monkeypatch.setenv("OPENAI_API_KEY", key)
    assert type(choose_service()) is gpt.LocalService


@pytest.mark.parametrize(
    "name, service_class",
    [("local", gpt.LocalService), ("assistants", gpt.AssistantsService)],
)
def test_named_service_beats_the_key(
    monkeypatch: pytest.MonkeyPatch, name: str, service_class: type[Service]
) -> None:
    """A service that is named is used, though there is a key."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    gpt.configure(service=name)
    assert type(choose_service()) is service_class


def test_service_of_the_key_is_logged_without_it(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That the key chose the service is logged, the key is not."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    choose_service()
    assert told(caplog) == [
        (logging.INFO, "using the responses service, because OPENAI_API_KEY is set")
    ]


def test_service_that_lacks_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """A named service without a key is refused, and can be had once there is one."""
    gpt.configure(service="responses")
    with pytest.raises(ConfigurationError, match=r"ResponsesService needs api_key"):
        choose_service()
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    assert type(choose_service()) is gpt.ResponsesService


def test_default_after_a_configured_one() -> None:
    """Configuring ``None`` goes back to the choice by the environment."""
    gpt.configure(service=ScriptedService())
    gpt.configure(service=None)
    assert type(choose_service()) is gpt.LocalService


def test_choice_starts_nothing() -> None:
    """Choosing the local service starts no server."""
    before = set(threading.enumerate())
    choose_service()
    assert set(threading.enumerate()) <= before


def test_same_service_each_time() -> None:
    """The service that was made by its name is used again."""
    assert choose_service() is choose_service()


def test_same_service_for_many_threads() -> None:
    """Threads that choose at the same time get the same service."""
    barrier = threading.Barrier(8)
    chosen: list[Service] = []

    def choose() -> None:
        barrier.wait(10)
        chosen.append(choose_service())

    threads = [threading.Thread(target=choose) for _ in range(8)]
    for worker in threads:
        worker.start()
    for worker in threads:
        worker.join(10)
    assert len(chosen) == 8
    assert all(service is chosen[0] for service in chosen)


def test_default_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Which service is used, and why, is logged once, at INFO."""
    caplog.set_level(logging.DEBUG)
    choose_service()
    choose_service()
    assert told(caplog) == [
        (logging.INFO, "using the local service, because nothing else is configured")
    ]


def test_name_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """A service chosen by its name is logged with that reason, once."""
    caplog.set_level(logging.DEBUG)
    gpt.configure(service="local")
    choose_service()
    choose_service()
    assert told(caplog) == [(logging.INFO, "using the local service, because the settings name it")]


def test_race_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that make the same service at the same time use one, which is logged once."""
    caplog.set_level(logging.DEBUG)
    barrier = threading.Barrier(2)
    make = choosing.make_service
    chosen: list[Service] = []

    def make_together(name: str) -> Service:
        barrier.wait(10)
        return make(name)

    monkeypatch.setattr(choosing, "make_service", make_together)
    threads = [threading.Thread(target=lambda: chosen.append(choose_service())) for _ in range(2)]
    for worker in threads:
        worker.start()
    for worker in threads:
        worker.join(10)
    assert chosen[0] is chosen[1]
    assert len(told(caplog)) == 1


def test_argument_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A service that the program passes itself is no choice to tell of."""
    caplog.set_level(logging.DEBUG)
    choose_service(ScriptedService())
    assert told(caplog) == []


@pytest.mark.parametrize("service", ["nowhere", "", 7, ScriptedService])
def test_unusable_configured_service(service: Any) -> None:
    """Anything but a service, or the name of one, is refused with the names there are."""
    with pytest.raises(
        ConfigurationError, match=r"no service .*'responses', 'assistants', 'local'"
    ):
        gpt.configure(service=service)


@pytest.mark.parametrize("service", [7, ScriptedService, object()])
def test_unusable_argument(service: Any) -> None:
    """An argument that is no service is refused."""
    with pytest.raises(ConfigurationError, match=r"service must be a Service, not"):
        choose_service(service)


def test_unknown_name_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown name in ``GPT_AGENT_SERVICE`` is refused with the names there are."""
    monkeypatch.setenv("GPT_AGENT_SERVICE", "nowhere")
    configuration.reset()
    with pytest.raises(ConfigurationError, match=r"no service 'nowhere': .*'local'"):
        choose_service()


def test_service_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A named service that lacks its address is refused, and can be had once it has one."""
    gpt.configure(service="assistants")
    with pytest.raises(ConfigurationError, match=r"AssistantsService needs base_url"):
        choose_service()
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert type(choose_service()) is gpt.AssistantsService


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_settings_after_a_fork() -> None:
    """The lock of the settings is free in a child, even if it was held at the fork."""
    with configuration._defaults.lock:
        held = configuration._defaults.lock
        configuration._after_fork()
        assert gpt.get_settings().http_retries == 2
    assert configuration._defaults.lock is not held
