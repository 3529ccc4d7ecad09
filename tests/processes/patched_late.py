"""gevent's patches, after the package has been loaded."""

from gevent import monkey

import gpt_agent_sync  # noqa: F401  (loaded too early)

monkey.patch_all()
