"""The addresses of the Django project that tests serve."""

from __future__ import annotations

from django.urls import include, path

CHAT = "gpt_agent_sync.contrib.django.urls"

urlpatterns = [
    path("chat/", include(CHAT)),
    path("shop/", include(([path("help/", include(CHAT, namespace="help"))], "shop"))),
]
