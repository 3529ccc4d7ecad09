"""Tests of ``gpt_agent_sync.journal``."""
