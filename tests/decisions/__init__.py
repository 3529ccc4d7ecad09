"""The pure layer."""
