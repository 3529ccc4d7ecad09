"""The embedded server: the Assistants v2 wire, served locally (extra ``server``).

It knows nothing of agents: any Assistants client can use it by its base URL.

- ``hosting``: the server on a loopback port, in background threads.
- ``app``: the Flask application, to mount elsewhere.
- ``assistants``: the wire: routes, bodies, refusals, what goes on.
- ``bodies``, ``listing``, ``wire_errors``: what wires share.
- ``engine``: has models answer; ``models``: who answers.
- ``storage``: where everything is kept.
"""
