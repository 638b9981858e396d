"""The last move of every step: quarantine first, then the target, each with its provenance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from datalab.engine.base import Check, Engine, Staged
from datalab.errors import CommitUnknown, DataLabError, ExpectationFailed, Fenced
from datalab.lake.beside import noted
from datalab.lake.commit import turns
from datalab.lake.lake import Lake
from datalab.lake.provenance import CheckResult, Provenance
from datalab.lake.table import Change, TableState
from datalab.quality.quarantine import Rejected, set_aside, total_records

_RACES = 20


@dataclass(frozen=True)
class Publication:
    """Staged files ready to be seen: `state` is what was read before staging, and what the commit compares with.

    `onto` is asked where another writer was first: it answers the provenance to commit with against the newer state,
    or None where that writer touched what this one has consumed. Without it, the first writer wins.
    """

    state: TableState
    provenance: Provenance
    rejected: Rejected
    staged: Staged
    onto: Callable[[TableState], Provenance | None] | None = None


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
    details = {**made.details, **noted(changes, staged.marked)}
    provenance = replace(made, quarantined=total_records(rejected.rows), details=details)
    with discarded_on_failure(engine, staged):
        _require_room(lake, publication)
        set_aside(lake, engine, rejected, provenance.run_id, now)
        return _committed(lake, publication, staged.change(provenance))


def _committed(lake: Lake, publication: Publication, change: Change) -> TableState:
    """The state after the change, which is made anew for each newer state that leaves room for it."""
    try:
        return lake.commit(publication.state, change)
    except Fenced as fenced:
        lost = fenced
    for _ in turns(_RACES):
        with lake.turn(publication.state):
            newest = lake.state(publication.state.name)
            renewed = _renewed(publication, newest)
            if newest is None or renewed is None:
                break
            said = change.provenance
            made = replace(renewed, details=said.details, quarantined=said.quarantined)
            try:
                return lake.commit(newest, replace(change, provenance=made))
            except Fenced as fenced:
                lost = fenced
    raise lost


def _require_room(lake: Lake, publication: Publication) -> None:
    """Fenced before anything is set aside a second time: what others set aside may be resolved by now."""
    state, rows = publication.state, publication.rejected.rows
    newest = lake.state(state.name) if publication.onto is not None and rows.num_rows else None
    if newest is not None and newest.snapshot != state.snapshot and _renewed(publication, newest) is None:
        raise Fenced(
            f"{state.name}: another writer has consumed the same: it is at snapshot {newest.snapshot}, "
            f"run {publication.provenance.run_id} had read {state.snapshot}",
            "run again: the next run starts from the newer snapshot",
        )


def _renewed(publication: Publication, newest: TableState | None) -> Provenance | None:
    state, onto = publication.state, publication.onto
    if onto is None or newest is None:
        return None
    return onto(newest) if state.same_layout(newest) else None


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
