"""The receivers of an agent's events.

- ``subscriptions``: ``on()``, and the delivery of an event to its receivers.
- ``subscribers``: the subscriptions and streams of one agent.
- ``event_streams``: an agent's events as an iterator.
"""
