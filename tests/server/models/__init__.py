"""Tests of ``gpt_agent_sync.server.models``."""
