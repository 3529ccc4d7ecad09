"""Handlers of tool calls: registered, described to the model, and run.

- ``toolbox``: the decorator, and the tools by name; ``definitions``: assistants with their tools.
- ``schema`` and ``docstrings``: from a signature to a JSON schema, and back to typed values.
- ``encoding``: results as text for the model.
- ``pool``: the threads that handlers run on.
"""

from gpt_agent_sync.tools.toolbox import Tool, Toolbox, ToolContext, default_toolbox

__all__ = ["Tool", "ToolContext", "Toolbox", "default_toolbox"]
