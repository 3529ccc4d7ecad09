"""``python -m gpt_agent_sync`` is ``gpt-agent``."""

from gpt_agent_sync.cli import main

if __name__ == "__main__":
    main()
