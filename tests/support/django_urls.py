"""The addresses of the Django project that tests serve."""

from __future__ import annotations

from django.urls import include, path

urlpatterns = [path("chat/", include("gpt_agent_sync.contrib.django.urls"))]
