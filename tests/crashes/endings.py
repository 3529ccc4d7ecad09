"""What a conversation has come to, by the server's own state and its tool's effects."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs

from tests.crashes.program import DONE, TURNS, Scene
from tests.support.wire_client import WireClient

Json = dict[str, Any]


@attrs.frozen(kw_only=True)
class Ending:
    """A conversation that is over.

    Attributes:
        said: The user's messages, in order.
        replies: The assistant's messages by their ids, in order.
        others: What else there is, and how often: calls, outputs, runs by their status.
    """

    said: list[str]
    replies: dict[str, str]
    others: Counter[str]


def read_ending(scene: Scene) -> Ending:
    """Ask the server for a conversation."""
    client = WireClient(scene.base_url)
    try:
        return _read_items(client, scene) if scene.wire == "responses" else _read(client, scene)
    finally:
        client.close()


def _read(client: WireClient, scene: Scene) -> Ending:
    path = f"/threads/{scene.thread_id}"
    messages = client.get(f"{path}/messages", order="asc", limit=100)["data"]
    runs = client.get(f"{path}/runs", limit=100)["data"]
    return Ending(
        said=[_text(message) for message in messages if message["role"] == "user"],
        replies={each["id"]: _text(each) for each in messages if each["role"] == "assistant"},
        others=Counter(f"{run['status']} run" for run in runs),
    )


def _read_items(client: WireClient, scene: Scene) -> Ending:
    path = f"/conversations/{scene.thread_id}/items"
    items = client.get(path, order="asc", limit=100)["data"]
    messages = [item for item in items if item["type"] == "message"]
    return Ending(
        said=[_text(message) for message in messages if message["role"] == "user"],
        replies={each["id"]: _text(each) for each in messages if each["role"] == "assistant"},
        others=Counter(item["type"] for item in items if item["type"] != "message"),
    )


def _text(message: Json) -> str:
    texts = [part["text"] for part in message["content"]]
    return "".join(text if isinstance(text, str) else text["value"] for text in texts)


def problems(scene: Scene, ending: Ending) -> list[str]:
    """Return what is wrong with a conversation: nothing is to be lost, doubled or doubted."""
    numbers = [str(number) for number in range(1, TURNS + 1)]
    replies = list(ending.replies.values())
    found = []
    if ending.said != numbers:
        found.append(f"said {ending.said}")
    if [reply.partition(":")[0] for reply in replies] != numbers:
        found.append(f"answered {replies}")
    if set(ending.others.values()) != {TURNS} or ending.others.keys() not in _OTHERS:
        found.append(f"left {dict(ending.others)}")
    effects = Counter(scene.effects)
    for number, reply in zip(numbers, replies, strict=False):
        was_interrupted = "interrupted" in reply and not scene.reads_back
        allowed = (0, 1) if was_interrupted else (1,)
        if effects[number] not in allowed or not (was_interrupted or reply.endswith(DONE)):
            found.append(f"noted {number} {effects[number]} times, and was told {reply!r}")
    untold = _untold(list(ending.replies), scene.told)
    if untold:
        found.append(f"did not tell of {untold}")
    return found


_OTHERS = ({"completed run"}, {"function_call", "function_call_output"})


def interrupted(ending: Ending) -> int:
    """Return how many calls the model was told were interrupted."""
    return sum("interrupted" in reply for reply in ending.replies.values())


def _untold(there: list[str], told: list[str]) -> list[str]:
    """Return the replies after the first one told that were not; before it nothing was saved."""
    first = min((there.index(each) for each in told if each in there), default=len(there))
    return [each for each in there[first:] if each not in told]
