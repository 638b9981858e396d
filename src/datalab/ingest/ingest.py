"""One batch of a source, staged for its bronze table: data files, rejected records, and the provenance of both."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from datalab.engine.base import Engine, Query, Staged
from datalab.events import Event, SourceFileIgnored
from datalab.ingest.produced import Produced
from datalab.ingest.sources.base import Batch, Consumed, Ignored, Run, Source, StagedBatch
from datalab.lake.provenance import Provenance
from datalab.lake.restore import present_commits
from datalab.lake.table import DataFile, Relation, Snapshot, TableState
from datalab.plugins import deferred
from datalab.quality.quarantine import Rejected
from datalab.quality.replay import Restaged

if TYPE_CHECKING:
    from sqlglot import exp
else:
    exp = deferred("sqlglot.expressions")


@dataclass(frozen=True)
class IngestStaged:
    """A batch ready to be published against the state that it was staged for."""

    add: tuple[DataFile, ...]
    rejected: Rejected
    provenance: Provenance
    events: tuple[Event, ...] = ()
    rest: Batch | None = None
    produced: Produced | None = None
    onto: Callable[[TableState], Provenance | None] | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing was consumed, so that there is nothing to commit."""
        return not (self.rejected.units or self.rejected.within)


def consumed(
    source: str, state: TableState | None, history: Iterable[Snapshot], rows: Callable[[], pa.Table]
) -> Consumed:
    """What a table has consumed of a source: its position, what its commits list, and `rows` as the last resort."""
    if state is None:
        return Consumed()
    commits = (snapshot.provenance for snapshot in present_commits(history))
    details = tuple(commit.details for commit in commits if commit is not None and commit.flow == source)
    return Consumed(offsets_of(source, state), details, rows)


def offsets_of(source: str, state: TableState) -> Mapping[str, Any]:
    """Where a source stands in a table."""
    position = state.positions.get(source)
    return position.offsets if position else {}


def source_positions(engine: Engine, relation: Relation, run: Run) -> pa.Table:
    """The distinct `source_file, source_version` of a bronze table's rows."""
    columns = [exp.column(name, quoted=True) for name in ("source_file", "source_version")]
    tree = exp.select(*columns).distinct().from_("rows")
    return engine.read(Query(tree, {"rows": relation}, run.now, "consumed files")).read_all()


def ingest(
    source: Source, batch: Batch, state: TableState, run: Run, before: Mapping[str, Any] | None = None
) -> IngestStaged:
    """Stage one batch for the table as it was read. Does not commit; on any error nothing is left behind.

    `before` is where the source will stand by the time that it is committed, if that is not what the state says.
    """
    stands = offsets_of(source.name, state) if before is None else before
    staged = source.stage(batch, state.target(), stands, run)
    provenance = Provenance(
        run_id=run.run_id,
        flow=source.name,
        kind="append",
        code=source.contract.schema_id,
        offsets=staged.offsets,
        details=staged.details,
        read=staged.written + staged.quarantined,
        written=staged.written,
        quarantined=staged.quarantined,
    )
    rejected = Rejected(state.name, source.name, staged.rejected, staged.units, staged.within)
    ignored, onto = ignored_events(source.name, staged.ignored), _onto(source.name, staged, provenance)
    return IngestStaged(staged.add, rejected, provenance, ignored, staged.rest, staged.produced, onto)


def _onto(source: str, staged: StagedBatch, provenance: Provenance) -> Callable[[TableState], Provenance | None] | None:
    """The provenance for a state that others have committed to meanwhile, None where they took any of the same."""
    moved = staged.onto
    if moved is None:
        return None

    def onto(state: TableState) -> Provenance | None:
        offsets = moved(offsets_of(source, state))
        return None if offsets is None else replace(provenance, offsets=offsets)

    return onto


def ignored_events(source: str, ignored: Iterable[Ignored]) -> tuple[Event, ...]:
    """What was not taken, as events."""
    return tuple(SourceFileIgnored(source, each.unit, each.reason) for each in ignored)


def replay(source: Source, state: TableState, records: pa.Table, run: Run) -> Restaged:
    """Quarantined records of the source decoded again, under the present contract, staged for the table."""
    found = source.replay(records, state.target(), run)
    return Restaged(found.accepted, Staged(found.add, read=found.written, written=found.written))
