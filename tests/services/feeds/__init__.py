"""Tests of ``gpt_agent_sync.services.feeds``."""
