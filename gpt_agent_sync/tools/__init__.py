"""Handlers of tool calls: registered, described to the model, and run.

- ``toolbox``: the decorator, and the tools by name; ``definitions``: assistants with their tools.
- ``tool``: one tool, described, called, and its result as text for the model.
- ``schema`` and ``docstrings``: from a signature to a JSON schema, and back to typed values.
- ``pool``: the threads that handlers run on.
"""

from gpt_agent_sync.tools.tool import Tool, ToolContext
from gpt_agent_sync.tools.toolbox import Toolbox, default_toolbox

__all__ = ["Tool", "ToolContext", "Toolbox", "default_toolbox"]
