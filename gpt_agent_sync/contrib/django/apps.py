"""The app, as ``INSTALLED_APPS`` names it."""

from __future__ import annotations

from django.apps import AppConfig

from gpt_agent_sync.contrib.web import page


class GptAgentConfig(AppConfig):
    """The app ``gpt_agent_sync``."""

    name = "gpt_agent_sync.contrib.django"
    label = "gpt_agent_sync"
    verbose_name = "Agents"
    path = str(page.FOLDER)  # where templates and static files are, which Flask has too

    def ready(self) -> None:
        """Register the system checks."""
        from gpt_agent_sync.contrib.django import checks  # noqa: F401
