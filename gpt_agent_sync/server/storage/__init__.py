"""Where the server keeps its objects: SQLite in memory or in a file, or PostgreSQL.

- ``database``: the collections there are, and the transactions on them.
- ``collection``: the objects of one kind; ``event_log``: the events of streams.
- ``workers``: the processes that work on runs and responses, and which of them are alive.
- ``engines``: what each kind of database wants; ``schema``: the tables, made or upgraded.
- ``migrations``: Alembic's: from each shape of the tables to the next.
"""
