"""The Assistants v2 wire: assistants, threads, messages, runs.

- ``assistants_api``, ``threads_api``, ``runs_api``: the routes.
- ``bodies``: the shapes of requests; ``errors``: the texts of refusals.
- ``lifecycle``: a run's way from status to status; pure.
- ``run_work``: runs in progress; ``run_events``: their messages, calls and stream events.
"""
