"""For programs' own tests: a service without HTTP, a recorder of events, crashes, and a contract.

from gpt_agent_sync.testing import CallTools, EventRecorder, Reply, ScriptedService

service = ScriptedService([CallTools(("add", {"a": 2, "b": 3})), Reply("It is 5.")])
recorder = EventRecorder()
agent = gpt.connect(gpt.create_thread(service=service), "any", service=service,
                    on_event=recorder)
agent.add_user_message("What is 2 + 3?")
recorder.wait_for(gpt.RunCompleted)
"""

from gpt_agent_sync.testing.backplanes import BackplaneConformance
from gpt_agent_sync.testing.crashes import crash_after
from gpt_agent_sync.testing.journals import JournalConformance
from gpt_agent_sync.testing.recorder import EventRecorder
from gpt_agent_sync.testing.script import CallTools, Fail, Hold, Incomplete, Reply, ScriptStep
from gpt_agent_sync.testing.scripted import ScriptedService

__all__ = [
    "BackplaneConformance",
    "CallTools",
    "EventRecorder",
    "Fail",
    "Hold",
    "Incomplete",
    "JournalConformance",
    "Reply",
    "ScriptStep",
    "ScriptedService",
    "crash_after",
]
