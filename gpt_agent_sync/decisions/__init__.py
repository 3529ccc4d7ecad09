"""The pure layer: what an agent does next, given its progress and what has happened.

Every decision takes a ``Progress`` first and returns a ``Transition``: the next progress, and the
steps that the worker then performs in order. None of them does I/O, takes a lock, reads a clock or
logs; times come as arguments. So they can run under the mailbox's lock, and every order of events
can be tested without a thread.

- ``state``: progress, turns, steps and transitions.
- ``verbs``: what the program asks for.
- ``runs``: snapshots, deltas and messages of a run; ``outputs``: tool outputs.
- ``failures``: failed requests and runs; ``rate_limits``: what a service says of its limits.
- ``closing``: how a turn begins and ends.
"""
