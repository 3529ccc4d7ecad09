"""The services an agent can work over: one class per wire, one contract for all.

- ``base``: the contract, ``Service`` and ``Feed``.
- ``choosing``: the service of a program that names none.
- ``remote``: what services reached over HTTP share; ``checks``: what their arguments must be.
- ``http``: requests and answers; ``feeds``: a run followed to its end, polled or streamed.
- ``assistants``: Assistants v2; ``responses``: Conversations + Responses.
- ``tool_formats``: what the two write differently.
- ``local``: the embedded server, started when first used.
"""
