"""The system checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from gpt_agent_sync.contrib.django import conf

CSRF = "django.middleware.csrf.CsrfViewMiddleware"


@checks.register("gpt_agent_sync")
def check_settings(
    app_configs: Sequence[AppConfig] | None, **options: Any
) -> list[checks.CheckMessage]:
    """Return what is wrong with the settings."""
    found: list[checks.CheckMessage] = []
    try:
        conf.get_face()
        conf.get_template()
    except ImproperlyConfigured as exc:
        found.append(checks.Error(str(exc), id="gpt_agent_sync.E001"))
    if CSRF not in settings.MIDDLEWARE:
        found.append(
            checks.Warning(
                f"{CSRF} is not in MIDDLEWARE: another site could write in a user's name.",
                id="gpt_agent_sync.W001",
            )
        )
    return found
