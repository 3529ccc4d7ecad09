"""A deployment: processes that have agents of the same threads, over one Redis and one server.

Run: ``python -m tests.deployment`` has four processes ask on ten threads; with ``--trouble`` some
are killed, stopped past their leases, or Redis hangs meanwhile.
"""
