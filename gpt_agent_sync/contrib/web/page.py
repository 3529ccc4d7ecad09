"""The page: where its files are, and what its template and its answer's head are given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

FOLDER = Path(__file__).parent
"""Where ``templates`` and ``static`` are."""

TEMPLATE = "gpt_agent_sync/chat.html"
SCRIPT = "gpt_agent_sync/chat.js"
STYLE = "gpt_agent_sync/chat.css"


def page_context(
    static: Callable[[str], str], *, face_url: str, thread_id: str | None, csrf_token: str
) -> dict[str, str]:
    """Return what the template is given.

    Args:
        static: Returns the URL of a static file.
        face_url: The URL that the addresses of the HTTP face begin with, ending in ``/``.
        thread_id: The thread to show; ``None`` for a new one.
        csrf_token: What the framework wants to have back in ``X-CSRFToken``; ``""`` for nothing.
    """
    return {
        "script_url": static(SCRIPT),
        "style_url": static(STYLE),
        "face_url": face_url,
        "thread_id": thread_id or "",
        "csrf_token": csrf_token,
    }


def page_headers(script_url: str) -> dict[str, str]:
    """Return the headers of the page: nothing is loaded but its own files, and nothing inline.

    Args:
        script_url: Where its static files are; they may be another host's.
    """
    parts = urlsplit(script_url)
    elsewhere = f" {parts.scheme or 'https'}://{parts.netloc}" if parts.netloc else ""
    files = f"'self'{elsewhere}"
    policy = {
        "default-src": "'none'",
        "script-src": files,
        "style-src": files,
        "img-src": "data:",
        "connect-src": "'self'",
        "base-uri": "'none'",
        "form-action": "'self'",
        "frame-ancestors": "'self'",
    }
    return {
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        # It holds a token, and the id of a conversation.
        "Cache-Control": "no-store",
    }
