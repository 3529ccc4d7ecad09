"""The views: Django's requests to the HTTP face, and its answers back."""

from __future__ import annotations

from collections.abc import Callable

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.middleware.csrf import get_token
from django.shortcuts import render
from django.templatetags.static import static
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from gpt_agent_sync.contrib.django.conf import get_face, get_template
from gpt_agent_sync.contrib.django.database import release_connections
from gpt_agent_sync.contrib.web import event_streams, page
from gpt_agent_sync.contrib.web.answers import Answer, refusal
from gpt_agent_sync.contrib.web.event_streams import EventLines

Act = Callable[[HttpRequest, "str | None", bytes], Answer]


@require_GET
def show_page(request: HttpRequest) -> HttpResponse:
    """Show the page, of the thread that ``?thread=`` names, or of a new one."""
    template = get_template()
    if template is None:
        raise Http404
    face = get_face()
    thread_id = request.GET.get("thread") or None
    refused = face.guard(lambda: face.permit(request, thread_id))
    if refused is not None:
        return _respond(refused)
    context = page.page_context(
        static,
        # Whatever the project has included it as; it is what all other addresses are below.
        face_url=request.path,
        thread_id=thread_id,
        csrf_token=get_token(request),
    )
    response = render(request, template, context)
    for name, value in page.page_headers(context["script_url"]).items():
        response.setdefault(name, value)  # the project's own policy goes first
    return response


@require_POST
def threads(request: HttpRequest) -> HttpResponse:
    """Create a thread."""
    return _act(request, get_face().post_thread)


@require_http_methods(["GET", "POST"])
def messages(request: HttpRequest, thread_id: str) -> HttpResponse:
    """Return the messages, or add one."""
    face = get_face()
    if request.method == "POST":
        return _act(request, lambda got, *sent: face.post_message(got, thread_id, *sent))
    return _respond(face.guard(lambda: face.get_messages(request, thread_id, request.GET)))


@require_POST
def cancel(request: HttpRequest, thread_id: str) -> HttpResponse:
    """Ask for the run to be cancelled."""
    face = get_face()
    return _act(request, lambda got, *sent: face.post_cancel(got, thread_id, *sent))


@require_POST
def tool_call_output(request: HttpRequest, thread_id: str, call_id: str) -> HttpResponse:
    """Record the output of a tool call."""
    face = get_face()
    return _act(request, lambda got, *sent: face.post_output(got, thread_id, call_id, *sent))


@require_GET
def events(request: HttpRequest, thread_id: str) -> HttpResponseBase:
    """Return the thread's events as a stream."""
    if hasattr(request, "scope"):
        # Over ASGI Django would gather the whole stream first, which has no end.
        return _respond(refusal(501, "NotSupportedError", "event streams need a WSGI server"))
    face = get_face()
    last, after = request.headers.get("Last-Event-ID"), request.GET.get("after")
    lines = face.guard(lambda: face.get_events(request, thread_id, last, after))
    if not isinstance(lines, EventLines):
        return _respond(lines)
    # The request goes on for as long as the client reads: it would keep its connection so long.
    release_connections()
    # It closes what it iterates over when the client is gone.
    return StreamingHttpResponse(lines, headers=event_streams.HEADERS)


def _act(request: HttpRequest, act: Act) -> HttpResponse:
    face = get_face()
    content_type = request.headers.get("Content-Type")
    # Of a body that is too long a byte too many.
    return _respond(face.guard(lambda: act(request, content_type, request.read(face.max_body + 1))))


def _respond(answer: Answer) -> HttpResponse:
    headers = {**answer.headers, "Cache-Control": "no-store"}
    return JsonResponse(dict(answer.body), status=answer.status, headers=headers)
