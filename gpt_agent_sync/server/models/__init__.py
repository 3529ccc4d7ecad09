"""Who answers: the offline demo model, or an OpenAI-compatible upstream.

- ``base``: the contract.
- ``demo``: rules, no network; ``demo_arguments``: what it reads out of a text.
- ``upstream``: ``/chat/completions`` of another server.
"""
