"""A chat in the browser, with Flask: accounts, a database, two tools; one process or many."""
