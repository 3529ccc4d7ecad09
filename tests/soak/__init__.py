"""Many agents for a long time over a faulty way: every ask right, or an error that says why not.

- ``serving``: the server, in a process of its own, and the chance by which faults happen.
- ``driving``: the programs, one to an agent. ``figures``: what the process holds, over time.
- ``soaking``: all of it together.

``python -m tests.soak`` runs it for ten minutes; ``tests/soak/test_soak.py`` for half of one.
"""
