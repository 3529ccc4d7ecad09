"""The Responses wire: conversations, their items, responses.

- ``conversations_api``, ``responses_api``: the routes.
- ``bodies``: what requests may say; ``refusals``: what refusals say.
- ``items``: what a conversation is made of; ``chat``: the same for models; pure.
- ``lifecycle``: how a response goes from status to status; pure.
- ``responding``: responses at work.
"""
