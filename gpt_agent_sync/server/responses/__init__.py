"""The Responses wire: conversations, their items, responses.

- ``conversations_api``, ``responses_api``: the routes.
- ``bodies``: the shapes of requests; ``errors``: the texts of refusals.
- ``items``: the items of conversations, read from requests; pure.
- ``lifecycle``: a response's way from status to status; pure.
- ``response_work``: responses in progress; ``response_events``: their items and stream events.
"""
