"""Agents in a Django project: an app with the HTTP face, event streams and a page.

Needs the extra ``django`` (4.2 or newer). In a project::

    INSTALLED_APPS = [..., "gpt_agent_sync.contrib.django"]
    GPT_AGENT = {
        "AUTHORIZE": "shop.chat.may_see",
        "CONNECT": "shop.chat.connect",
    }
    urlpatterns = [..., path("chat/", include("gpt_agent_sync.contrib.django.urls"))]

``conf`` tells of the settings, ``urls`` of the addresses. Tools that use the database are wrapped
in ``database.closing_connections``.
"""
