"""A synchronous, threaded SDK for LLM agents: one agent per conversation thread."""
