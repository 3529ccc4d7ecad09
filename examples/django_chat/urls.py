"""The addresses."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import LoginView, LogoutView
from django.urls import include, path

from django_chat import views
from gpt_agent_sync.contrib.django.views import show_page

urlpatterns = [
    path("", views.threads, name="threads"),
    path("sign_in", LoginView.as_view(template_name="django_chat/account.html"), name="sign_in"),
    path("sign_up", views.SignUp.as_view(), name="sign_up"),
    path("sign_out", LogoutView.as_view(), name="sign_out"),
    # The page sends those who are not signed in to do so; all else refuses them.
    path("chat/", login_required(show_page)),
    path("chat/", include("gpt_agent_sync.contrib.django.urls")),
]
