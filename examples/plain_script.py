"""Ask an assistant a few questions, and see what the answers cost.

Run it with ``python examples/plain_script.py``, after ``pip install 'gpt_agent_sync[server]'``.

It needs no key and no network: where nothing else is configured, an embedded server runs the
conversation, and its model ``"demo"`` follows simple rules. For a server of your own, begin with
``gpt.configure(service=gpt.AssistantsService("https://host/v1", "key"))`` and name its model.
"""

from __future__ import annotations

import gpt_agent_sync as gpt

QUESTIONS = (
    "Who are you?",
    "What is a thread, in one sentence?",
    "And what did I ask you first?",
)


def main() -> None:
    """Hold a conversation of a few questions on a new thread."""
    assistant_id = gpt.create_assistant(
        name="tutor", model="demo", instructions="Answer in one sentence."
    )
    spent: list[gpt.Usage] = []

    with gpt.connect(gpt.create_thread(), assistant_id) as agent:

        @agent.on(gpt.RunCompleted)
        def count(event: gpt.RunCompleted) -> None:
            if event.usage is not None:
                spent.append(event.usage)

        for question in QUESTIONS:
            print(f"you       > {question}")
            print(f"assistant > {agent.ask(question, timeout=60)}")

    read = sum(usage.input_tokens for usage in spent)
    written = sum(usage.output_tokens for usage in spent)
    print(f"{len(spent)} runs, {read} tokens read, {written} tokens written")


if __name__ == "__main__":
    main()
