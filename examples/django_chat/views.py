"""The project's own pages."""

from __future__ import annotations

from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import UserCreationForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.generic.edit import FormView

from django_chat.models import Thread


@login_required
def threads(request: HttpRequest) -> HttpResponse:
    """Show the user's conversations."""
    found = Thread.objects.filter(user=request.user).order_by("-created_at")
    return render(request, "django_chat/threads.html", {"threads": found})


class SignUp(FormView):  # type: ignore[type-arg]
    """Make a user, and sign in."""

    form_class = UserCreationForm
    template_name = "django_chat/account.html"

    def form_valid(self, form: UserCreationForm) -> HttpResponse:  # type: ignore[type-arg]
        """Sign the new user in."""
        login(self.request, form.save())
        return redirect("threads")
