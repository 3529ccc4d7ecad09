"""The Assistants v2 wire: assistants, threads, messages, runs.

- ``assistants_api``, ``threads_api``, ``runs_api``: the routes.
- ``bodies``: what requests may say; ``refusals``: what refusals say.
- ``lifecycle``: how a run goes from status to status; pure.
- ``running``: runs at work.
"""
