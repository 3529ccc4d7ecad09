"""Tests of agents inside web frameworks."""
