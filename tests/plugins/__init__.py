"""Fixtures, in plugins by what they provide; ``tests/conftest.py`` names them."""
