"""Conversations + Responses: OpenAI's wire today, and that of servers which speak the same.

- ``service``: the contract's verbs.
- ``starting``, ``submitting`` and ``cancelling``: what a run's requests are at each of its stages;
  ``creation`` creates each response once.
- ``tracking``: where runs are; ``chain``: the responses of a run; ``cache``: what is known of it.
- ``history``: the messages of conversations; ``turns``: their items by turns.
- ``resources``: plain requests; ``stream``: the stream events of a response.
- ``wire`` and ``bodies``: what is read and what is sent, as data.
- ``definitions``: the assistants, which this wire does not keep.
"""

from gpt_agent_sync.services.responses.service import ResponsesService

__all__ = ["ResponsesService"]
