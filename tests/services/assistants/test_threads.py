"""The messages of a thread, from servers that list them as real ones do."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from tests.support.assistants_stub import RUN_MESSAGES, ServeAssistants, message
from tests.support.stub import Request, Response, error, listing

LIST_RUNS = "GET /threads/t/runs"


def unwritten(message_id: str, content: Any, **fields: Any) -> dict[str, Any]:
    """Return an assistant's message whose text is still to come."""
    return {"id": message_id, "role": "assistant", "content": content, **fields}


EMPTY_TEXT = [{"type": "text", "text": {"value": "", "annotations": []}}]


@pytest.mark.parametrize("content", [None, [], "", EMPTY_TEXT])
@pytest.mark.parametrize("fields", [{}, {"status": None}, {"status": "in_progress"}])
def test_message_to_be_written_is_left_out(
    serve_assistants: ServeAssistants, content: Any, fields: dict[str, Any]
) -> None:
    """What a live run has not written yet is not listed."""
    listed = listing(message("m1", "hello", "user"), unwritten("m2", content, **fields))
    service, _ = serve_assistants({RUN_MESSAGES: [listed]})
    assert [found.id for found in service.messages("t")] == ["m1"]


def test_message_without_text_is_listed_when_it_is_complete(
    serve_assistants: ServeAssistants,
) -> None:
    """A reply that has no text, as its status says, or holds an image, is listed."""
    image = [{"type": "image_file", "image_file": {"file_id": "f"}}]
    listed = listing(
        unwritten("m1", [], status="completed"),
        unwritten("m2", EMPTY_TEXT, status="incomplete"),
        unwritten("m3", image),
    )
    service, _ = serve_assistants({RUN_MESSAGES: [listed]})
    assert [found.id for found in service.messages("t")] == ["m1", "m2", "m3"]


def test_empty_message_of_a_user_is_listed(serve_assistants: ServeAssistants) -> None:
    """Only a run writes bit by bit."""
    service, _ = serve_assistants({RUN_MESSAGES: [listing(message("m1", "", "user"))]})
    assert [found.id for found in service.messages("t")] == ["m1"]


@pytest.mark.parametrize(
    "created_at, time",
    [
        (1_700_000_000, datetime(2023, 11, 14, 22, 13, 20, tzinfo=timezone.utc)),
        (1_700_000_000.5, datetime(2023, 11, 14, 22, 13, 20, 500_000, tzinfo=timezone.utc)),
        (None, None),
        (True, None),
        ("soon", None),
        (1e300, None),
        (float("nan"), None),
    ],
)
def test_message_says_when_it_was_added(
    serve_assistants: ServeAssistants, created_at: Any, time: datetime | None
) -> None:
    """Seconds, whole or not, are read as a time in UTC; anything else as unknown."""
    listed = listing(message("m1", "hi", created_at=created_at))
    service, _ = serve_assistants({RUN_MESSAGES: [listed]})
    assert [found.created_at for found in service.messages("t")] == [time]


@pytest.mark.parametrize("limit, page", [(1, "1"), (30, "30"), (500, "100"), (None, "100")])
def test_page_is_no_larger_than_what_is_wanted(
    serve_assistants: ServeAssistants, limit: int | None, page: str
) -> None:
    """A short list is asked for in a short page."""
    service, stub = serve_assistants({RUN_MESSAGES: [listing()]})
    assert list(service.messages("t", order="desc", limit=limit)) == []
    assert stub.requests[0].query == {"order": "desc", "limit": page}


def test_limit_spares_further_pages(serve_assistants: ServeAssistants) -> None:
    """When the limit is reached no more is asked for."""

    def answer(request: Request) -> Response:
        begin = int(request.query.get("after", "m0")[1:]) + 1
        page = [message(f"m{number}", "hi") for number in range(begin, begin + 100)]
        return listing(*page, has_more=True)

    service, stub = serve_assistants(answer)
    assert len(list(service.messages("t", limit=200))) == 200
    assert len(stub.requests) == 2


def listed_run(run_id: str, status: str, created_at: int = 100) -> dict[str, Any]:
    """Return a run as a list has it."""
    return {"id": run_id, "status": status, "assistant_id": "a", "created_at": created_at}


@pytest.mark.parametrize(
    "runs, newest",
    [
        ([], None),
        ([listed_run("r2", "completed", 101), listed_run("r1", "completed")], "r2"),
        ([listed_run("r1", "completed"), listed_run("r2", "in_progress")], "r2"),
    ],
)
def test_newest_run(
    serve_assistants: ServeAssistants, runs: list[dict[str, Any]], newest: str | None
) -> None:
    """One that has ended, too; of those of one second a live one."""
    service, _ = serve_assistants({LIST_RUNS: [listing(*runs)]})
    found = service.newest_run("t")
    assert (found.id if found else None) == newest


def test_newest_run_of_a_server_that_lists_none(serve_assistants: ServeAssistants) -> None:
    """It is not known, and that is no error."""
    service, _ = serve_assistants({LIST_RUNS: [error(405, "Method Not Allowed")]})
    assert service.newest_run("t") is None
