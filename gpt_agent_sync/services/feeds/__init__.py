"""Feeds: a run followed to its end, by one of two ways with one contract.

- ``polling``: looks at the run again and again; ``pacing``: when.
- ``streaming``: reads the service's events, and polls where they end too early.
- ``run_streams``: events of a run as updates.
"""
