"""The project's settings; what differs between machines comes from the environment."""

from __future__ import annotations

import os
import secrets

import django
from django.core.exceptions import ImproperlyConfigured

DEBUG = os.environ.get("CHAT_DEBUG", "1") == "1"
SECRET_KEY = os.environ.get("CHAT_SECRET_KEY") or secrets.token_hex()
if os.environ.get("GPT_AGENT_BACKPLANE") and "CHAT_SECRET_KEY" not in os.environ:
    raise ImproperlyConfigured("several processes need the same CHAT_SECRET_KEY")
ALLOWED_HOSTS = os.environ.get("CHAT_HOSTS", "127.0.0.1,localhost").split(",")

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "gpt_agent_sync.contrib.django",
    "django_chat",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "django_chat.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
            ]
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("CHAT_DATABASE", "django_chat.db"),
        "OPTIONS": {
            "timeout": 10,
            # Else two processes that read and then write meet "database is locked".
            **({"transaction_mode": "IMMEDIATE"} if django.VERSION >= (5, 1) else {}),
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"}
]
LOGIN_URL = "sign_in"
LOGIN_REDIRECT_URL = LOGOUT_REDIRECT_URL = "threads"
STATIC_URL = "static/"
STATIC_ROOT = os.environ.get("CHAT_STATIC", "static")
WHITENOISE_USE_FINDERS = True
TIME_ZONE, USE_TZ = "UTC", True

GPT_AGENT = {
    "AUTHORIZE": "django_chat.chat.may_use",
    "CONNECT": "django_chat.chat.connect",
    "CREATE_THREAD": "django_chat.chat.create_thread",
    "TEMPLATE": "django_chat/conversation.html",
}
if os.environ.get("CHAT_QUEUE") == "1":
    GPT_AGENT["ADD_MESSAGE"] = "django_chat.chat.queue_message"
