"""HTTP as the services need it; ``transport``, ``sessions`` and ``failures`` know ``requests``.

- ``transport``: one request over a ``requests.Session``, whole or streamed.
- ``sessions``: the session of a program, or one of our own; ``failures``: what went wrong below.
- ``client``: requests below one base URL; ``repeats``: which are repeated, and when.
- ``answers`` and ``errors``: what an answer says; ``shapes``: JSON that servers fill in oddly.
- ``sse``: server-sent events; ``paging``: lists, page by page.
- ``closing``: waits and requests that another thread can end; ``deadlines``: which ends them late.
"""
