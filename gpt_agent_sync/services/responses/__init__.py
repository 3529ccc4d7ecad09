"""Conversations + Responses: OpenAI's wire today, and that of servers which speak the same.

- ``service``: the contract's verbs.
- ``runs``: begins runs and answers their calls; ``making`` makes each response once.
- ``ending``: cancels runs, and sees to what they leave behind.
- ``reading``: where a run is; ``trails`` is the way it took, ``memory`` keeps that.
- ``conversations`` and ``responses``: plain requests.
- ``response_streams``: what a response tells while it goes.
- ``wire``, ``turns``, ``notes`` and ``bodies``: what is read and written, as data.
- ``registered``: the assistants, which this wire does not keep.
"""

from gpt_agent_sync.services.responses.service import ResponsesService

__all__ = ["ResponsesService"]
