"""Who answers: the offline demo model, or an OpenAI-compatible upstream.

- ``base``: the contract.
- ``demo``: rules, no network; ``demo_arguments``: the tool arguments that it reads in a text.
- ``upstream``: ``/chat/completions`` of another server.
"""
