"""The services an agent can work over: one class per wire, one contract for all.

- ``base``: the contract, ``Service`` and ``Feed``.
- ``client``: requests, repeated where that is safe; ``answers`` and ``refusals``: what comes back.
- ``http``: the transport below; the only module that imports ``requests``.
- ``paging``: lists, page by page.
- ``polling``: a feed that looks at a run again and again; ``pacing``: when.
- ``streaming``: a feed that reads what the service tells, and looks where that ends too early;
  ``sse`` and ``run_streams``: bytes to events, events to updates.
- ``closing``: waits and requests that another thread can end; ``checks``: what arguments must be.
- ``remote``: what services reached over HTTP share.
- ``assistants``, ``assistants_wire``, ``assistants_stream``: Assistants v2, the talking and the
  reading.
- ``responses``: Conversations + Responses, likewise.
- ``spellings``: what the two wires write differently; ``shapes``: reading JSON that servers fill in
  oddly.
- ``local``: the embedded server, started when first used.
"""
