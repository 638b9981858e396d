"""A listener that counts what ingest does, source by source: for the status, for health, for Prometheus."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from datalab.events import BatchLanded, Event, SourceLooked, SourcePaused, SourceResumed
from datalab.observability.histogram import Histogram

AGE_BOUNDS = (0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0, 30.0, 60.0, 300.0, 3_600.0, 86_400.0)
COMMIT_BOUNDS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_RECENT = 60.0
_LONGEST = 400


@dataclass
class SourceMeter:
    """What a process did for one source since it began. `lag`: records known to wait, of its own part of the source."""

    source: str
    table: str = ""
    paused: str = ""
    paused_at: datetime | None = None
    lag: int | None = None
    commits: int = 0
    read: int = 0
    written: int = 0
    quarantined: int = 0
    committed_at: datetime | None = None
    commit_seconds: Histogram = field(default_factory=lambda: Histogram(COMMIT_BOUNDS))
    ages: Histogram = field(default_factory=lambda: Histogram(AGE_BOUNDS))
    recent: deque[tuple[datetime, int]] = field(default_factory=deque)

    def landed(self, event: BatchLanded) -> None:
        """Count a commit."""
        self.table, self.committed_at, self.lag = event.table, event.at, event.left
        self.commits += 1
        self.read += event.read
        self.written += event.written
        self.quarantined += event.quarantined
        self.commit_seconds.add(event.commit_seconds)
        self.ages.add_counts(event.ages)
        self.recent.append((event.at, event.read))

    def rate(self, now: datetime, began: datetime) -> float:
        """Records a second over the last minute, or since the process began."""
        while self.recent and (now - self.recent[0][0]).total_seconds() > _RECENT:
            self.recent.popleft()
        seconds = min(_RECENT, max((now - began).total_seconds(), 1.0))
        return sum(count for _, count in self.recent) / seconds


class IngestMeter:
    """Subscribe it to the bus."""

    def __init__(self, sources: Iterable[tuple[str, str]] = ()) -> None:
        self.began = datetime.now(UTC)
        self._sources = {source: SourceMeter(source, table) for source, table in sources}
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Take an event."""
        with self._lock:
            match event:
                case BatchLanded(source=source):
                    self._of(source).landed(event)
                case SourceLooked(source=source, lag=lag):
                    self._of(source).lag = lag
                case SourcePaused(source=source, reason=reason, at=at):
                    self._of(source).paused, self._of(source).paused_at = reason[:_LONGEST], at
                case SourceResumed(source=source):
                    self._of(source).paused, self._of(source).paused_at = "", None
                case _:
                    pass

    def records(self) -> list[dict[str, Any]]:
        """One record per source, of JSON's types."""
        now = datetime.now(UTC)
        with self._lock:
            return [_record(each, now, self.began) for each in self._sources.values()]

    def _of(self, source: str) -> SourceMeter:
        return self._sources.setdefault(source, SourceMeter(source))


def _record(each: SourceMeter, now: datetime, began: datetime) -> dict[str, Any]:
    times = {name: value.isoformat() if value else None for name, value in _times(each)}
    counts = {name: getattr(each, name) for name in ("lag", "commits", "read", "written", "quarantined")}
    histograms = {"commit_seconds": each.commit_seconds.to_json(), "ages": each.ages.to_json()}
    named = {"source": each.source, "table": each.table, "paused": each.paused}
    return {**named, **times, **counts, "rate": round(each.rate(now, began), 1), **histograms}


def _times(each: SourceMeter) -> Iterator[tuple[str, datetime | None]]:
    yield "paused_at", each.paused_at
    yield "committed_at", each.committed_at


def metrics_text(records: Iterable[Mapping[str, Any]]) -> str:
    """The records of a meter in the text format of Prometheus."""
    found = list(records)
    lines = [
        *_family("datalab_ingest_lag_records", "gauge", "Records known to wait, of this process's part of the source."),
        *(f"datalab_ingest_lag_records{{{_label(each)}}} {each['lag']}" for each in found if each["lag"] is not None),
        *_family("datalab_ingest_paused", "gauge", "1 while broker, registry or storage are waited for."),
        *(f"datalab_ingest_paused{{{_label(each)}}} {int(bool(each['paused']))}" for each in found),
        *_family("datalab_ingest_records_total", "counter", "Records that landed, by where."),
        *(
            f'datalab_ingest_records_total{{{_label(each)},to="{to}"}} {each[name]}'
            for each in found
            for to, name in (("bronze", "written"), ("quarantine", "quarantined"))
        ),
        *_family("datalab_ingest_commit_seconds", "histogram", "Seconds that commits took."),
        *_histograms(found, "commit_seconds", "datalab_ingest_commit_seconds", COMMIT_BOUNDS),
        *_family("datalab_ingest_age_seconds", "histogram", "Age of records when they became queryable."),
        *_histograms(found, "ages", "datalab_ingest_age_seconds", AGE_BOUNDS),
    ]
    return "\n".join([*lines, ""])


def _histograms(records: Iterable[Mapping[str, Any]], key: str, name: str, bounds: tuple[float, ...]) -> Iterator[str]:
    for each in records:
        yield from Histogram.from_json(bounds, each[key]).lines(name, _label(each))


def _label(record: Mapping[str, Any]) -> str:
    return f'source="{record["source"]}"'


def _family(name: str, kind: str, text: str) -> tuple[str, str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"
