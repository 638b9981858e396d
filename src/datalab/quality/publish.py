"""The last move of every step: quarantine first, then the target, each with its provenance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from datalab.engine.base import Check, Engine, Staged
from datalab.errors import CommitUnknown, DataLabError, ExpectationFailed
from datalab.lake.beside import noted
from datalab.lake.lake import Lake
from datalab.lake.provenance import CheckResult, Provenance
from datalab.lake.table import Change, TableState
from datalab.quality.quarantine import Rejected, set_aside, total_records


@dataclass(frozen=True)
class Publication:
    """Staged files ready to be seen: `state` is what was read before staging, and what the commit compares with."""

    state: TableState
    provenance: Provenance
    rejected: Rejected
    staged: Staged


def check_results(checks: Sequence[Check], staged: Staged) -> tuple[CheckResult, ...]:
    """What each constraint said, for the commit's provenance."""
    return tuple(
        CheckResult(check.name, check.condition.sql("spark"), check.action, staged.failed.get(check.name, 0))
        for check in checks
    )


def require_expectations(state: TableState, results: Sequence[CheckResult]) -> None:
    """Raise ExpectationFailed if rows broke a constraint that is declared ON VIOLATION FAIL UPDATE."""
    broken = [result for result in results if result.action == "fail" and result.failed]
    if broken:
        names = ", ".join(f"{result.name} ({result.failed:,} rows): {result.condition}" for result in broken)
        raise ExpectationFailed(
            f"{state.name}: expectation failed: {names}; the table stays as it was",
            f"mend the rows in its inputs, or the constraint, then: datalab run {state.name}",
        )


def publish(lake: Lake, engine: Engine, publication: Publication, now: datetime) -> TableState:
    """Commit the rejected records, then the change; answers the new state. Fenced where another writer was first."""
    rejected, staged = publication.rejected, publication.staged
    made, changes = publication.provenance, staged.changes
    details = {**made.details, **noted(changes)}
    provenance = replace(made, quarantined=total_records(rejected.rows), details=details)
    beside = (*staged.beside, *(changes.files if changes else ()))
    with discarded_on_failure(engine, staged):
        set_aside(lake, engine, rejected, provenance.run_id, now)
        return lake.commit(publication.state, Change(provenance, staged.add, staged.remove, beside))


@contextmanager
def discarded_on_failure(engine: Engine, staged: Staged) -> Iterator[None]:
    """Remove staged files where it is certain that no commit names them.

    After CommitUnknown, an interrupt or a defect they stay: they may be live; if not, maintenance finds them.
    """
    try:
        yield
    except CommitUnknown:
        raise
    except DataLabError:
        engine.discard(staged)
        raise
