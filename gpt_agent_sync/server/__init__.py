"""The embedded server: Assistants v2 and Responses, served locally (extra ``server``).

It knows nothing of agents: any client of these wires can use it by its base URL.

- ``hosting``: the server on a loopback port, in background threads.
- ``app``: the Flask application, to mount elsewhere.
- ``assistants``, ``responses``: a wire each: routes, bodies, refusals, what goes on.
- ``bodies``, ``listing``, ``wire_errors``: what both wires share.
- ``engine``: has models answer; ``models``: who answers.
- ``storage``: where everything is kept.
"""
