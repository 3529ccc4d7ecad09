"""What the project keeps: whose a thread is, notes, and the assistant that it made."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class Thread(models.Model):
    """A user's conversation."""

    id = models.CharField(primary_key=True, max_length=128)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    created_at = models.DateTimeField(auto_now_add=True)


class Note(models.Model):
    """A note that the assistant keeps for a user."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    text = models.TextField()


class Assistant(models.Model):
    """The assistant of a model at the service: one for all processes."""

    model = models.CharField(primary_key=True, max_length=128)
    assistant_id = models.CharField(max_length=128)
