"""Conversations whose process is killed at random moments, until they are done.

Run: ``python -m tests.crashes`` kills 200 processes on each wire and in each mode.
"""
