"""The agent of a conversation thread: what a program holds, and the thread that works for it.

- ``agent``: the verbs; ``posting``: messages, and waiting for what comes of them.
- ``worker``: the background thread; ``mailbox``: the state behind the agent's one lock.
- ``tool_calls``: calls of handlers; ``text_streams``: the reply as an iterator.
- ``registry``: the live agents of the process, one a thread.
"""

from gpt_agent_sync.agent.agent import Agent

__all__ = ["Agent"]
