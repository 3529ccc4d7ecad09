"""Tests of ``gpt_agent_sync.services.assistants``."""
