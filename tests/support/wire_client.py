"""A bare client of the Assistants wire, for tests of what a server answers."""

from __future__ import annotations

from typing import Any

import requests

from tests.support.polling import wait_for

Json = dict[str, Any]

SETTLED = frozenset(
    {"requires_action", "cancelled", "failed", "completed", "incomplete", "expired"}
)
"""The statuses in which a run does nothing by itself."""


class WireClient:
    """A bare client of the Assistants wire.

    Args:
        base_url: The server's URL, below which the wire lies.
        api_key: The bearer key, if it wants one.
    """

    def __init__(self, base_url: str, api_key: str | None = None) -> None:
        self._base_url = base_url
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["OpenAI-Beta"] = "assistants=v2"
        if api_key is not None:
            self._session.headers["Authorization"] = f"Bearer {api_key}"

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send any request, and return whatever is answered."""
        return self._session.request(method, self._base_url + path, timeout=20, **options)

    def get(self, path: str, **query: Any) -> Json:
        """Return the JSON of an object that must be there."""
        return _good(self.send("GET", path, params=query))

    def post(self, path: str, body: Json | None = None) -> Json:
        """Send a body that must be accepted, and return the answer."""
        return _good(self.send("POST", path, json={} if body is None else body))

    def delete(self, path: str) -> Json:
        """Delete what must be there, and return the receipt."""
        return _good(self.send("DELETE", path))

    def refusal(self, method: str, path: str, **options: Any) -> tuple[int, Json]:
        """Send a request that must be refused, and return the status and the error."""
        answer = self.send(method, path, **options)
        assert not answer.ok, answer.text
        error: Json = answer.json()["error"]
        return answer.status_code, error

    def assistant(self, **fields: Any) -> str:
        """Create an assistant and return its id."""
        return str(self.post("/assistants", {"model": "any", **fields})["id"])

    def thread(self, *texts: str) -> str:
        """Create a thread with messages of the user's and return its id."""
        messages = [{"role": "user", "content": text} for text in texts]
        return str(self.post("/threads", {"messages": messages})["id"])

    def start(self, thread_id: str, **fields: Any) -> str:
        """Start a run, of a new assistant unless one is named, and return its id."""
        fields.setdefault("assistant_id", None)
        fields["assistant_id"] = fields["assistant_id"] or self.assistant()
        return str(self.post(f"/threads/{thread_id}/runs", fields)["id"])

    def run(self, thread_id: str, run_id: str) -> Json:
        """Return a run as it is now."""
        return self.get(f"/threads/{thread_id}/runs/{run_id}")

    def settled(self, thread_id: str, run_id: str) -> Json:
        """Wait until a run is final or waits for outputs, and return it."""
        return wait_for(lambda: self.run(thread_id, run_id), lambda run: run["status"] in SETTLED)

    def with_status(self, thread_id: str, run_id: str, status: str) -> Json:
        """Wait until a run has a status, and return it."""
        return wait_for(lambda: self.run(thread_id, run_id), lambda run: run["status"] == status)

    def submit(self, thread_id: str, run: Json, *outputs: str) -> Json:
        """Submit outputs to the calls that a run waits for, in their order."""
        pairs = zip(calls_of(run), outputs, strict=True)
        body = {"tool_outputs": [{"tool_call_id": c["id"], "output": o} for c, o in pairs]}
        return self.post(f"/threads/{thread_id}/runs/{run['id']}/submit_tool_outputs", body)

    def texts(self, thread_id: str, **query: Any) -> list[str]:
        """Return the texts of a thread's messages, oldest first."""
        found = self.get(f"/threads/{thread_id}/messages", **{"order": "asc", **query})
        return [message["content"][0]["text"]["value"] for message in found["data"]]


def calls_of(run: Json) -> list[Json]:
    """Return the tool calls that a run waits for."""
    calls: list[Json] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    return calls


def id_prefix(object_id: str) -> str:
    """Return the prefix of an id, which names the object's kind."""
    return object_id.split("_")[0]


def plain_error(text: str, **fields: str) -> Json:
    """Return a refusal that has nothing but a text, save for some fields."""
    nothing = {"type": "invalid_request_error", "param": None, "code": None}
    return {"message": text, **nothing, **fields}


def _good(answer: requests.Response) -> Json:
    assert answer.ok, answer.text
    data: Json = answer.json()
    return data
