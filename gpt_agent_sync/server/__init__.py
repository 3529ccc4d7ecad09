"""The embedded server: Assistants v2 and Responses, served locally (extra ``server``).

It knows nothing of agents: any client of these wires can use it by its base URL.

- ``hosting``: the server on a loopback port, in background threads.
- ``app``: the Flask application, to mount elsewhere.
- ``assistants``, ``responses``: a wire each: routes, bodies, refusals, work in progress.
- ``bodies``, ``listing``, ``errors``, ``streams``: what both wires share.
- ``engine``: the threads that answer runs and responses; ``models``: who answers.
- ``storage``: the database; ``collection``: one kind of objects in it.
"""
