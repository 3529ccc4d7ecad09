"""The addresses, to be included under a prefix of the project's choice."""

from __future__ import annotations

from django.urls import path

from gpt_agent_sync.contrib.django import views

app_name = "gpt_agent_sync"

urlpatterns = [
    path("", views.show_page, name="page"),
    path("threads", views.threads, name="threads"),
    path("threads/<str:thread_id>/messages", views.messages, name="messages"),
    path("threads/<str:thread_id>/events", views.events, name="events"),
    path("threads/<str:thread_id>/cancel", views.cancel, name="cancel"),
    path(
        "threads/<str:thread_id>/tool_calls/<str:call_id>/output",
        views.tool_call_output,
        name="tool_call_output",
    ),
]
