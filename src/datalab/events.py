"""Events: what happened, as typed values on one bus. A listener that fails never breaks a run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime


@dataclass(frozen=True)
class Event:
    """Something that happened; `name` is the class name in dotted form in logs and documents."""

    at: datetime = field(default_factory=lambda: datetime.now(UTC), kw_only=True)


@dataclass(frozen=True)
class RunStarted(Event):
    """A run begins with so many steps to execute."""

    run_id: str
    steps: int


@dataclass(frozen=True)
class RunFinished(Event):
    """A run ended; `status` is ok, failed or nothing_to_do."""

    run_id: str
    status: str
    seconds: float


@dataclass(frozen=True)
class StepStarted(Event):
    """One step of a run begins."""

    run_id: str
    target: str
    kind: str
    reason: str


@dataclass(frozen=True)
class StepFinished(Event):
    """One step ended; `counts` has read, written and quarantined rows."""

    run_id: str
    target: str
    status: str
    seconds: float
    counts: Mapping[str, int] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True)
class StepRetried(Event):
    """A step failed with a retryable error and is tried again."""

    run_id: str
    target: str
    attempt: int
    error: str


@dataclass(frozen=True)
class Progress(Event):
    """Part of a long task is done; `total` is 0 where it is not known."""

    task: str
    done: int
    total: int


@dataclass(frozen=True)
class ConstraintViolated(Event):
    """Rows broke a constraint of a flow."""

    target: str
    constraint: str
    rows: int
    action: str


@dataclass(frozen=True)
class SourceFileIgnored(Event):
    """A file of a source was not taken, and why: it changed under its old name, or is not readable."""

    source: str
    file: str
    reason: str


@dataclass(frozen=True)
class DeadLettersSent(Event):
    """Quarantined records of a source were sent to its dead letter topic, all of them or none."""

    source: str
    topic: str
    records: int


@dataclass(frozen=True)
class DeadLettersDelayed(Event):
    """A dead letter topic could not be used; the records are in the quarantine, and the next run sends them."""

    source: str
    error: str


@dataclass(frozen=True)
class TopicRecreated(Event):
    """A topic is not the one that was consumed before (its id is another): it is read from its beginning."""

    source: str
    topic: str
    was: str
    now: str


@dataclass(frozen=True)
class PartitionAdded(Event):
    """A topic has a partition that it did not have before: it is read from its beginning."""

    source: str
    topic: str
    partition: int


@dataclass(frozen=True)
class OffsetsLost(Event):
    """The broker has deleted records before they were consumed: offsets `first` up to, not including, `stop`."""

    source: str
    topic: str
    partition: int
    first: int
    stop: int


@dataclass(frozen=True)
class SourceLooked(Event):
    """A look at a source that is followed: so many records wait, of this process's part of it."""

    source: str
    lag: int


@dataclass(frozen=True)
class BatchLanded(Event):
    """Records of a source are queryable: what a commit brought, how long it took, how many records still wait.

    `ages` says how many records were at most so many seconds old by then; about, where there were many.
    """

    source: str
    table: str
    read: int
    written: int
    quarantined: int
    commit_seconds: float
    left: int
    ages: Mapping[float, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SourcePaused(Event):
    """Ingest waits because broker, registry or storage do not answer. Nothing is skipped."""

    source: str
    reason: str


@dataclass(frozen=True)
class SourceResumed(Event):
    """Ingest goes on after a pause of so many seconds."""

    source: str
    seconds: float


@dataclass(frozen=True)
class CommitLanded(Event):
    """A table has a new snapshot; `resolved` says that the answer was lost and found by reading back."""

    table: str
    snapshot: int
    resolved: bool = False


@dataclass(frozen=True)
class ReportWritten(Event):
    """The project's report was written after a run that changed something."""

    run_id: str
    path: str


@dataclass(frozen=True)
class Notified(Event):
    """A finished run was announced."""

    run_id: str
    channel: str


@dataclass(frozen=True)
class ModelLive(Event):
    """The server answers with this version from now on; `before` is the one that it replaced."""

    model: str
    version: int
    before: int | None = None


@dataclass(frozen=True)
class ModelTurnedDown(Event):
    """The server did not take the champion, and why; the version that was live stays."""

    model: str
    version: int
    reason: str


@dataclass(frozen=True)
class ModelMissing(Event):
    """The server has no model to answer with; what else it does goes on."""

    model: str
    reason: str


@dataclass(frozen=True)
class ModelStale(Event):
    """The server answers with the last good version, which the registry does not confirm."""

    model: str
    reason: str


@dataclass(frozen=True)
class RequestFailed(Event):
    """The server failed at a request: the route's template and the kind of error, nothing of the request."""

    route: str
    error: str


@dataclass(frozen=True)
class ScoresFlushed(Event):
    """Records of the server's log are in a table of the lake."""

    table: str
    rows: int


@dataclass(frozen=True)
class FlusherRestarted(Event):
    """The process that takes the server's log to the lake had ended and was started again."""

    exit_code: int


@dataclass(frozen=True)
class ScoreLogFailing(Event):
    """Records of the server cannot be written, so what they would record is not answered."""

    log: str
    reason: str


@dataclass(frozen=True)
class ScoreLogResumed(Event):
    """Records of the server can be written again."""

    log: str


Listener = Callable[[Event], None]


class Bus:
    """Hands each event to every listener, in order of subscription."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._lock = threading.Lock()
        self.failures: list[tuple[Event, Exception]] = []

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Add a listener; the answer is a function that takes it away again."""
        with self._lock:
            self._listeners.append(listener)

        def unsubscribe() -> None:
            with self._lock:
                self._listeners.remove(listener)

        return unsubscribe

    def emit(self, event: Event) -> None:
        """Tell everybody. An exception of a listener is kept in `failures`, never raised."""
        with self._lock:
            listeners = tuple(self._listeners)
        for listener in listeners:
            try:
                listener(event)
            except Exception as error:  # noqa: BLE001 - a listener must never break a run
                self.failures.append((event, error))
