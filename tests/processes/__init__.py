"""Programs that fork, as real processes: each runs ``app`` in a host, and talks to one server."""
