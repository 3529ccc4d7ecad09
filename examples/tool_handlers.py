"""Give an assistant tools: plain functions, methods, and calls that a person answers.

Run it with ``python examples/tool_handlers.py``, after ``pip install 'gpt_agent_sync[server]'``.

It needs no key and no network. The embedded server's model ``"demo"`` calls a tool when a message
names it, and reads the arguments out of the message; a real model chooses for itself.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any

import gpt_agent_sync as gpt


class Size(Enum):
    """How large a cup is."""

    SMALL = "small"
    LARGE = "large"


@dataclass
class Address:
    """Where an order goes."""

    street: str
    town: str


# Annotations and docstrings become the JSON schema that the model sees. Arguments are checked
# and converted before the call: ``size`` is a ``Size``, ``to`` is an ``Address``.


@gpt.tool
def price(size: Size, cups: Annotated[int, "How many cups."] = 1) -> str:
    """Tell the price of coffee."""
    euros = {Size.SMALL: 2.50, Size.LARGE: 3.50}[size] * cups
    return f"{euros:.2f} EUR"


@gpt.tool
def deliver(to: Address) -> dict[str, Any]:
    """Have the order brought to the guest.

    Args:
        to: Where the guest is.
    """
    return {"courier": "Ada", "label": f"{to.street}, {to.town}"}


@gpt.tool(name="where_am_i", timeout=5)
def tell_place(context: gpt.ToolContext) -> str:
    """Tell which conversation this is."""
    # The context is not part of the schema: the model cannot see it and cannot set it.
    return f"call {context.tool_call_id} of thread {context.thread_id}"


@gpt.tool
def open_till() -> str:
    """Open the till."""
    raise PermissionError("the till is locked")  # the model is told, and the run goes on


class Stock:
    """Beans that all conversations share; handlers run in parallel, hence the lock."""

    def __init__(self, bags: int) -> None:
        self._lock = threading.Lock()
        self._bags = bags

    @gpt.tool
    def take_bags(self, count: int) -> int:
        """Take bags of beans out of the stock, and tell how many are left."""
        with self._lock:
            self._bags -= count
            return self._bags


# A tool without a handler: the run waits until ``submit_tool_output()`` answers the call.
ASK_BOSS = {
    "type": "function",
    "function": {
        "name": "ask_boss",
        "description": "Ask the boss for a discount.",
        "parameters": {
            "type": "object",
            "properties": {"percent": {"type": "integer"}},
            "required": ["percent"],
        },
    },
}

MESSAGES = (
    "What is the price of 3 large ones?",
    'Please deliver {"to": {"street": "Elm Street 5", "town": "Springfield"}}',
    "Please take_bags, 2 of them.",
    "Tell me where_am_i.",
    "Please open_till.",
    "Can you ask_boss for 20 percent?",
)


def main() -> None:
    """Send one message for each kind of tool."""
    stock = gpt.Toolbox()
    stock.bind(Stock(bags=12))
    assistant_id = gpt.create_assistant(model="demo", name="barista", tools=[ASK_BOSS])

    with gpt.connect(gpt.create_thread(), assistant_id, tools=stock) as agent:

        @agent.on(gpt.ToolCallRequested)
        def show_call(event: gpt.ToolCallRequested) -> None:
            print(f"  calls {event.name} with {event.arguments}")
            if event.name == "ask_boss":
                agent.submit_tool_output(event.id, {"granted": True, "by": "the boss"})

        @agent.on(gpt.ToolCallOutputRecorded)
        def show_output(event: gpt.ToolCallOutputRecorded) -> None:
            print(f"  {event.name} gives {event.output}")

        @agent.on(gpt.ToolCallFailed)
        def show_failure(event: gpt.ToolCallFailed) -> None:
            print(f"  {event.name} fails: {event.message}")

        for message in MESSAGES:
            print(f"you       > {message}")
            print(f"assistant > {agent.ask(message, timeout=60)}")


if __name__ == "__main__":
    main()
