"""The embedded server: the Assistants v2 wire, served locally (extra ``server``).

It knows nothing of agents: any Assistants client can use it by its base URL.

- ``hosting``: the server on a loopback port, in background threads.
- ``app``: the Flask application, to mount elsewhere.
- ``assistants_api``, ``threads_api``, ``runs_api``: the routes.
- ``bodies``: what requests may say; ``wire_errors``: what refusals say.
- ``lifecycle``: how runs go from status to status; ``engine``: makes them go.
- ``storage``: where everything is kept.
- ``models``: who answers.
"""
