"""Assistants v2: Azure's classic agents, self-hosted servers, and the embedded one.

- ``service``: the contract's verbs; ``threads``: the runs and messages of threads.
- ``wire``: bodies and objects as data; ``stream``: the stream events of a run.
"""

from gpt_agent_sync.services.assistants.service import AssistantsService

__all__ = ["AssistantsService"]
