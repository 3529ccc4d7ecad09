"""The kinds of requests that faults happen to, by method and route, and by what came before."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import attrs

from tests.faults.faults import BY_NAME, Fault, cut
from tests.support.stub import Request

ASSISTANTS, RESPONSES = "assistants", "responses"
WIRES = (ASSISTANTS, RESPONSES)

STREAMED, POLLED = "streamed", "polled"
MODES = (STREAMED, POLLED)

CONNECT, ASK, CANCEL = "connect", "ask", "cancel"
"""Phases of a cell in which faults happen; in others, all goes well."""

_ID = re.compile(r"^(thread|run|conv|resp|asst|msg)_")

MESSAGE, OUTPUTS = "POST /responses (message)", "POST /responses (outputs)"
SUBMIT = "POST /threads/*/runs/*/submit_tool_outputs"
RUN = "POST /threads/*/runs"


def label_of(request: Request, path: str) -> str:
    """Return method and route of a request; ids are ``*``."""
    route = "/".join("*" if _ID.match(part) else part for part in path.split("/"))
    label = f"{request.method} {route}"
    if label == "POST /responses":
        items = request.body.get("input")
        roles = [item.get("role") for item in items] if isinstance(items, list) else ["user"]
        return MESSAGE if "user" in roles else OUTPUTS
    if label == "GET /responses/*" and "stream" in request.query:
        return f"{label} (stream)"
    return label


@attrs.frozen
class Record:
    """A request of a cell, and what became of it.

    Attributes:
        phase: What the cell was at.
        label: Method and route.
        fault: What happened to it.
        came_at: When it came, monotonic seconds.
        answered_at: When its answer began, likewise; ``None`` while there is none.
        status: What it was answered.
    """

    phase: str
    label: str
    fault: Fault | None
    came_at: float
    answered_at: float | None = None
    status: int | None = None

    @property
    def writes(self) -> bool:
        """Whether it writes."""
        return self.label.startswith("POST ")


When = Callable[[Sequence[Record]], bool]
"""Tells by the requests before whether one is of the kind."""


def _outputs_sent(earlier: Sequence[Record]) -> bool:
    return any(record.label in (OUTPUTS, SUBMIT) for record in earlier)


def _outputs_not_sent(earlier: Sequence[Record]) -> bool:
    return not _outputs_sent(earlier)


def _polled(earlier: Sequence[Record]) -> bool:
    """Tell what follows connect()'s own requests: of the conversation, the response, the items."""
    own = ("GET /conversations/*", "GET /responses/*", "GET /conversations/*/items")
    return _outputs_not_sent(earlier) and {record.label for record in earlier}.issuperset(own)


def _after_fault_on(label: str) -> When:
    """Tell a look for what became of a write, by its label, that met a fault."""

    def fits(earlier: Sequence[Record]) -> bool:
        writes = [record for record in earlier if record.writes]
        return bool(writes) and writes[-1].label == label and writes[-1].fault is not None

    return fits


@attrs.frozen
class Injection:
    """A fault that happens to requests of a kind.

    Attributes:
        kind: The kind.
        fault: The fault.
        times: How many of them it happens to, from the first one on.
    """

    kind: RequestKind
    fault: Fault
    times: int = 1


@attrs.frozen(kw_only=True)
class RequestKind:
    """Requests of one purpose.

    Attributes:
        name: Its name.
        wire: The wire.
        labels: Method and route, as a regular expression.
        role: What it is for, which decides what may come of a fault: see ``expected``.
        phases: When it comes.
        when: Tells it by the requests before.
        scenario: The scenario in which it comes.
        modes: Whether it comes where runs are streamed, where they are polled, or both.
        preludes: The faults that bring it about, by mode.
    """

    name: str
    wire: str
    labels: str
    role: str
    phases: Sequence[str] = (ASK,)
    when: When = lambda earlier: True
    scenario: str = "turn"
    modes: Sequence[str] = MODES
    preludes: dict[str, tuple[Injection, ...]] = attrs.field(factory=dict, eq=False)

    def fits(self, phase: str, label: str, earlier: Sequence[Record]) -> bool:
        """Return whether a request is of this kind."""
        return (
            phase in self.phases
            and re.fullmatch(self.labels, label) is not None
            and self.when(earlier)
        )


def _assistants() -> list[RequestKind]:
    def kind(name: str, labels: str, role: str, **rest: object) -> RequestKind:
        return RequestKind(name=name, wire=ASSISTANTS, labels=labels, role=role, **rest)  # type: ignore[arg-type]

    thread, runs = r"GET /threads/\*", r"GET /threads/\*/runs"
    run, messages = r"GET /threads/\*/runs/\*", r"GET /threads/\*/messages"
    post_message, post_run = r"POST /threads/\*/messages", r"POST /threads/\*/runs"
    submit, cancel = re.escape(SUBMIT), r"POST /threads/\*/runs/\*/cancel"
    message = kind("message", post_message, "message")
    create = kind("run", post_run, "run")
    outputs = kind("outputs", submit, "outputs")
    cut_run, cut_outputs = Injection(create, cut(2)), Injection(outputs, cut(2))
    lost = BY_NAME["closed after"]
    plain = {"scenario": "plain"}
    reconnect = {"scenario": "reconnect"}
    # The agent's worker may be quicker than connect() returns.
    followed = {"scenario": "reconnect", "phases": (CONNECT, ASK)}
    in_progress = {"scenario": "cancel", "phases": (CANCEL,)}
    waiting = {"scenario": "cancel waiting", "phases": (CANCEL,)}
    return [
        kind("thread", thread, "connect", phases=(CONNECT,)),
        kind("list of runs", runs, "connect", phases=(CONNECT,)),
        kind("thread (live run)", thread, "connect", phases=(CONNECT,), **reconnect),
        kind("list of runs (live run)", runs, "connect", phases=(CONNECT,), **reconnect),
        kind("poll (live run)", run, "look", when=_outputs_not_sent, **followed),
        kind("assistant", r"GET /assistants/\*", "aside"),
        message,
        create,
        outputs,
        kind("message (no tools)", post_message, "message", **plain),
        kind("run (no tools)", post_run, "run", **plain),
        kind("poll", run, "look", when=_outputs_not_sent, preludes={STREAMED: (cut_run,)}),
        kind(
            "poll (outputs)", run, "look", when=_outputs_sent, preludes={STREAMED: (cut_outputs,)}
        ),
        kind("id of the message", messages, "look for message", when=_outputs_not_sent),
        kind("reply", messages, "look", when=_outputs_sent, preludes={STREAMED: (cut_outputs,)}),
        *_looks(kind, r"GET /threads/.*", (message, "POST /threads/*/messages"), lost),
        *_looks(kind, r"GET /threads/.*", (create, RUN), lost),
        *_looks(kind, r"GET /threads/.*", (outputs, SUBMIT), lost),
        kind("cancel", cancel, "cancel", **in_progress),
        kind("cancel (waiting)", cancel, "cancel", **waiting),
    ]


def _responses() -> list[RequestKind]:
    def kind(name: str, labels: str, role: str, **rest: object) -> RequestKind:
        return RequestKind(name=name, wire=RESPONSES, labels=labels, role=role, **rest)  # type: ignore[arg-type]

    conversation, items = r"GET /conversations/\*", r"GET /conversations/\*/items"
    response, resume = r"GET /responses/\*", r"GET /responses/\* \(stream\)"
    note, add = r"POST /conversations/\*", r"POST /conversations/\*/items"
    cancel = r"POST /responses/\*/cancel"
    message = kind("message", re.escape(MESSAGE), "message")
    outputs = kind("outputs", re.escape(OUTPUTS), "outputs")
    # Without a call that waits, nothing keeps the conversation from taking the message again.
    plain_message = attrs.evolve(message, name="message (no tools)", scenario="plain")
    resumed = kind("resume", resume, "aside", when=_outputs_not_sent)
    resumed_outputs = kind("resume (outputs)", resume, "aside", when=_outputs_sent)
    lost, gone = BY_NAME["closed after"], BY_NAME["500"]
    cut_message, cut_outputs = Injection(message, cut(3)), Injection(outputs, cut(3))
    to_poll = {STREAMED: (cut_message, Injection(resumed, gone))}
    to_poll_outputs = {STREAMED: (cut_outputs, Injection(resumed_outputs, gone))}
    reconnect = {"scenario": "reconnect"}
    # The agent's worker may be quicker than connect() returns.
    followed = {"scenario": "reconnect", "phases": (CONNECT, ASK)}
    in_progress = {"scenario": "cancel", "phases": (CANCEL,)}
    waiting = {"scenario": "cancel waiting", "phases": (CANCEL,)}
    return [
        kind("conversation", conversation, "connect", phases=(CONNECT,)),
        kind("items", items, "connect", phases=(CONNECT,)),
        kind("conversation (live run)", conversation, "connect", phases=(CONNECT,), **reconnect),
        kind("response (live run)", response, "connect", phases=(CONNECT,), **reconnect),
        kind("items (live run)", items, "connect", phases=(CONNECT,), **reconnect),
        kind("poll (live run)", conversation, "look", when=_polled, **followed),
        kind("items, looked at (live run)", items, "look", when=_polled, **followed),
        message,
        outputs,
        plain_message,
        kind("poll", response, "look", when=_outputs_not_sent, preludes=to_poll),
        kind("poll (outputs)", response, "look", when=_outputs_sent, preludes=to_poll_outputs),
        attrs.evolve(resumed, preludes={STREAMED: (cut_message,)}, modes=(STREAMED,)),
        attrs.evolve(resumed_outputs, preludes={STREAMED: (cut_outputs,)}, modes=(STREAMED,)),
        kind("note", note, "aside", when=_outputs_not_sent),
        kind("note (outputs)", note, "aside", when=_outputs_sent),
        *_looks(kind, r"GET /(conversations|responses)/.*", (message, MESSAGE), lost),
        *_looks(kind, r"GET /(conversations|responses)/.*", (outputs, OUTPUTS), lost),
        *_looks(kind, r"GET /(conversations|responses)/.*", (plain_message, MESSAGE), lost),
        kind("cancel", cancel, "cancel", **in_progress),
        kind("cancel: note (waiting)", note, "cancel aside", **waiting),
        kind("cancel: items (waiting)", items, "cancel aside", **waiting),
        kind("cancel: outputs (waiting)", add, "cancel aside", **waiting),
    ]


def _looks(
    kind: Callable[..., RequestKind], labels: str, write: tuple[RequestKind, str], lost: Fault
) -> list[RequestKind]:
    """Return the looks for a write whose answer was lost, and for one that never arrived."""
    written, label = write
    role = f"look for {written.role}"
    when, before = _after_fault_on(label), BY_NAME["closed before"]
    return [
        kind(
            f"look for {written.name} ({what})",
            labels,
            role,
            when=when,
            scenario=written.scenario,
            preludes=dict.fromkeys(MODES, (Injection(written, fault),)),
        )
        for what, fault in (("handled", lost), ("not handled", before))
    ]


KINDS: tuple[RequestKind, ...] = (*_assistants(), *_responses())
