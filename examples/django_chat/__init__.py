"""A chat in the browser, with Django: its users, its database, two tools; one process or many."""
