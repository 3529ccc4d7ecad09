"""The agent of a conversation thread: the object a program holds, and the thread behind it.

- ``agent``: the verbs; ``lifecycle``: how an agent starts and ends; ``registry``: the live ones.
- ``posting``: messages; ``waiting``: what callers wait for; ``text_streams``: replies as iterators.
- ``mailbox``: the progress behind the one lock, and the steps that follow from it.
- ``worker``: the background thread; ``following``: its run's feed; ``clocks``: when it acts by
  itself; ``tool_calls``: the handlers it calls; ``run_setup``: what runs are made with.
"""

from gpt_agent_sync.agent.agent import Agent

__all__ = ["Agent"]
