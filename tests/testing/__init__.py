"""Tests of what programs' own tests use."""
