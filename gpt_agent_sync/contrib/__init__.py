"""Agents inside web frameworks: ``contrib.flask`` and ``contrib.django``."""
