"""Replay: quarantined records enter their table after all, once the contract or the constraint was mended.

Two commits, as everywhere: the table's, which names the replayed ids in its provenance, then the quarantine's new
status. A replay killed in between finds its ids in the table's history and only mends the status.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from datalab.engine.base import Engine, Staged
from datalab.lake.lake import Lake
from datalab.lake.provenance import Provenance
from datalab.lake.restore import present_commits
from datalab.lake.table import Snapshot, TableState
from datalab.quality.publish import discarded_on_failure

BATCH = 1000


@dataclass(frozen=True)
class Restaged:
    """Quarantined records decoded or checked again: ids that are good now, and their rows as staged files."""

    accepted: tuple[str, ...]
    staged: Staged


Restage = Callable[[TableState, pa.Table], Restaged]


def replay(
    lake: Lake, engine: Engine, state: TableState, records: pa.Table, restage: Restage, run_id: str
) -> frozenset[str]:
    """Put what is good now of `records` (QUARANTINE_SCHEMA) into the table; answers the ids that are in it.

    Those ids are to be marked `replayed`; all others stay as they are.
    """
    done = _landed(lake, state)
    for start in range(0, records.num_rows, BATCH):
        batch = records.slice(start, BATCH)
        todo = batch.filter(pc.invert(pc.is_in(batch.column("id"), pa.array(sorted(done), pa.string()))))
        if todo.num_rows == 0:
            continue
        again = restage(state, todo)
        if again.accepted:
            state = _commit(lake, engine, state, again, run_id)
            done |= set(again.accepted)
    return frozenset(done & set(records.column("id").to_pylist()))


def undone(lake: Lake, state: TableState) -> frozenset[str]:
    """The ids whose replay a restore of the table went back behind: they are not in it any more."""
    return frozenset(_replayed(lake.history(state)) - _landed(lake, state))


def _landed(lake: Lake, state: TableState) -> set[str]:
    return _replayed(present_commits(lake.history(state)))


def _replayed(history: Iterable[Snapshot]) -> set[str]:
    commits = (snapshot.provenance for snapshot in history)
    return {entry for commit in commits if commit for entry in commit.details.get("replayed", ())}


def _commit(lake: Lake, engine: Engine, state: TableState, again: Restaged, run_id: str) -> TableState:
    staged = again.staged
    provenance = Provenance(
        run_id,
        "quarantine replay",
        "upsert" if staged.remove or staged.marked else "append",
        details={"replayed": list(again.accepted)},
        read=staged.read,
        written=staged.written,
        superseded=staged.superseded,
    )
    with discarded_on_failure(engine, staged):
        return lake.commit(state, staged.change(provenance))
