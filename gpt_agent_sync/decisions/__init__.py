"""The pure layer: from what is true and what happened to what is true next and what to do.

Every public function takes a ``Progress`` first and gives a ``Transition``. None of them does
I/O, takes a lock, reads a clock or logs: times come as arguments, and the worker
obeys the steps.

- ``verbs``: what the program asks for.
- ``outputs``: tool outputs, recorded and sent.
- ``runs``: what the service shows.
- ``failures``: what went wrong, rate limits included.
- ``closing``: how a turn ends and the next one begins.
"""
