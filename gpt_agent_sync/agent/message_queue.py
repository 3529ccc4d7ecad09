"""The posts of queued messages, those among them that other processes have left included."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import attrs

from gpt_agent_sync.agent.mailbox import Mailbox
from gpt_agent_sync.agent.message_notes import EarlierPost, MessageNotes
from gpt_agent_sync.agent.run_setup import RunSetup
from gpt_agent_sync.decisions import failures, message_queue, verbs
from gpt_agent_sync.decisions.bounds import is_dead
from gpt_agent_sync.decisions.state import DecisionContext, Phase, Progress, Turn
from gpt_agent_sync.errors import AgentNotAliveError, JournalError
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.services.base import Service
from gpt_agent_sync.services.http.closing import FeedClosed

logger = get_logger(__name__)

NEWEST = 100
"""How many of the newest messages are searched for one that an earlier process may have posted."""


class MessageQueue:
    """The posts of queued messages; used on the worker's thread, ``take_up()`` excepted.

    Args:
        thread_id: The conversation.
        mailbox: The agent's progress.
        service: The service.
        setup: What runs are made with.
        notes: The notes on messages in the journal.
        context: Returns the context of a decision made now.
        failed: Takes in that a request failed: the turn's number, its phase, and the error.
        regain: Sees to it that the turn is still this agent's when its message was posted.
    """

    def __init__(
        self,
        thread_id: str,
        mailbox: Mailbox,
        service: Service,
        setup: RunSetup,
        notes: MessageNotes,
        context: Callable[[], DecisionContext],
        failed: Callable[[int, Phase, Exception], None],
        regain: Callable[[], None],
    ) -> None:
        self._regain = regain
        self._thread_id = thread_id
        self._mailbox = mailbox
        self._service = service
        self._setup = setup
        self._notes = notes
        self._context = context
        self._failed = failed

    def take_up(self) -> None:
        """Queue the messages that other processes have left; from any thread.

        Raises:
            AgentNotAliveError: If the agent has stopped.
            JournalError: If the journal cannot be read or written.
        """
        messages = self._notes.take_up()
        if not messages:
            return
        try:
            self._mailbox.apply(message_queue.take_up, messages, self._context())
        except AgentNotAliveError:
            for message in messages:
                self._notes.release(message.key)
            raise

    def look(self, now: float) -> None:
        """Take up what other processes have left since, if it is time to look."""
        if self._notes.look_at is None or self._notes.look_at > now:
            return
        try:
            self.take_up()
        except AgentNotAliveError:
            logger.debug("the agent of thread %s has stopped meanwhile", self._thread_id)
        except (JournalError, RuntimeError) as exc:
            logger.warning("messages of thread %s may be left: %s", self._thread_id, exc)

    def post(self, turn: Turn) -> None:
        """Post the message of a turn, unless another process has, or is at work on it."""
        assert turn.message is not None
        try:
            earlier = None
            if turn.key is not None:
                if not self._is_ours(turn, turn.key):
                    return
                earlier = self._notes.earlier_post(turn.key)
                if earlier is not None and self._is_settled(turn, turn.key, earlier):
                    return
            request = attrs.evolve(
                self._setup.request(turn, self._mailbox.progress), pause=self._pause
            )
            if earlier is not None:
                request = attrs.evolve(request, may_be_posted=True, last_message_id=earlier.after)
            posted = self._service.post_message(request, turn.message)
            self._regain()
        except FeedClosed as exc:
            # The agent stops, or the run was cancelled before it began.
            logger.debug("a queued message of thread %s is not posted", self._thread_id)
            self._mailbox.apply(
                failures.request_failed, turn.number, Phase.POSTING, exc, self._context()
            )
        except Exception as exc:
            self._failed(turn.number, Phase.POSTING, exc)
        else:
            if not self._mailbox.apply(verbs.message_posted, turn.number, posted):
                posted.drop()

    def _is_ours(self, turn: Turn, key: str) -> bool:
        if self._notes.begin(key, self._mailbox.progress.last_message_id):
            return True
        logger.warning("message %s of thread %s was taken over", key, self._thread_id)
        self._mailbox.apply(message_queue.drop_message, turn.number, self._context())
        return False

    def _is_settled(self, turn: Turn, key: str, earlier: EarlierPost) -> bool:
        """Decide on a message that may be there; return whether it is not to be posted now."""
        assert turn.message is not None
        live_run = self._service.open_thread(self._thread_id)
        if live_run is not None and not is_dead(live_run):
            self._mailbox.apply(message_queue.follow_first, turn.number, live_run, self._context())
            return True
        listed = self._service.messages(self._thread_id, order="desc", limit=NEWEST)
        newest = list(itertools.islice(listed, NEWEST))
        standing = message_queue.find_standing(newest, turn.message, key, earlier.after)
        if standing is not None and not standing.answered:
            logger.info("message %s was posted before, and has no run", standing.message_id)
            self._mailbox.apply(message_queue.answer_standing, turn.number, standing.message_id)
        elif standing is not None or not earlier.queued:
            replies = standing.replies if standing is not None else ()
            self._mailbox.apply(message_queue.drop_message, turn.number, self._context(), replies)
        else:
            return False
        return True

    def forget(self, key: str) -> None:
        """Drop the note on a message whose run is there, or will never be."""
        self._notes.forget(key)

    def _pause(self, seconds: float) -> None:
        if self._mailbox.wait_until(_is_pointless, seconds):
            raise FeedClosed


def _is_pointless(progress: Progress, quiet: bool) -> bool:
    """Return whether nobody waits for the post of the turn's message any more."""
    turn = progress.turn
    return progress.stopped is not None or turn is None or turn.cancel_requested
