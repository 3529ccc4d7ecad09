"""Feeds: a run followed to its end, in one of two ways under one contract.

- ``polling``: polls the run; ``pacing``: when.
- ``streaming``: reads the service's stream events, and polls where they end too early.
- ``run_streams``: the stream events of a run as updates.
"""
