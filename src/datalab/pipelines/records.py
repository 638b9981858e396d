"""The run's own tables: ops.runs, ops.steps, ops.checks. For people; no step ever reads them to decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from datalab.lake.provenance import Provenance
from datalab.lake.rows import write_rows
from datalab.lake.table import Change, TableSpec, TableState
from datalab.names import TableName
from datalab.pipelines.context import Context
from datalab.pipelines.run import StepResult

_TIME = pa.timestamp("us", tz="UTC")
_COUNTS = [(name, pa.int64()) for name in ("read", "written", "quarantined", "superseded")]

RUNS = TableName("ops", "runs")
STEPS = TableName("ops", "steps")
CHECKS = TableName("ops", "checks")
RUNS_SCHEMA = pa.schema(
    [
        ("run_id", pa.string()),
        ("started_at", _TIME),
        ("finished_at", _TIME),
        ("environment", pa.string()),
        ("status", pa.string()),
        ("steps", pa.int64()),
        ("failed", pa.int64()),
        *_COUNTS,
        ("version", pa.string()),
    ]
)
STEPS_SCHEMA = pa.schema(
    [
        ("run_id", pa.string()),
        ("target", pa.string()),
        ("flow", pa.string()),
        ("kind", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("snapshot", pa.int64()),
        *_COUNTS,
        ("seconds", pa.float64()),
        ("attempts", pa.int64()),
        ("error", pa.string()),
        ("finished_at", _TIME),
    ]
)
CHECKS_SCHEMA = pa.schema(
    [
        ("run_id", pa.string()),
        ("target", pa.string()),
        ("flow", pa.string()),
        ("constraint", pa.string()),
        ("condition", pa.string()),
        ("action", pa.string()),
        ("rows", pa.int64()),
        ("failed", pa.int64()),
        ("snapshot", pa.int64()),
        ("checked_at", _TIME),
    ]
)


@dataclass(frozen=True)
class RunRecord:
    """A finished run; `status` is ok, failed or nothing_to_do."""

    run_id: str
    started_at: datetime
    finished_at: datetime
    environment: str
    version: str
    results: tuple[StepResult, ...]

    @property
    def failed(self) -> tuple[StepResult, ...]:
        """Steps that failed or were not tried because of one that failed."""
        return tuple(result for result in self.results if result.status in ("failed", "blocked"))

    @property
    def executed(self) -> tuple[StepResult, ...]:
        """Steps that were not skipped."""
        return tuple(result for result in self.results if result.status != "skipped")

    @property
    def status(self) -> str:
        """The run as a word."""
        if self.failed:
            return "failed"
        return "ok" if self.executed else "nothing_to_do"

    def total(self, count: str) -> int:
        """The sum of one row count over all steps."""
        return sum(result.outcome.counts[count] for result in self.results)


def record_run(context: Context, run: RunRecord) -> None:
    """Append a run, its executed steps and their checks. A run in which nothing was done leaves no record."""
    if not run.executed:
        return
    append_records(context, CHECKS, CHECKS_SCHEMA, [row for result in run.executed for row in _checks(run, result)])
    append_records(context, STEPS, STEPS_SCHEMA, [_step(run, result) for result in run.executed])
    append_records(context, RUNS, RUNS_SCHEMA, [_run(run)])


def _run(run: RunRecord) -> dict[str, Any]:
    counts = {name: run.total(name) for name, _ in _COUNTS}
    names = ("run_id", "started_at", "finished_at", "environment", "version", "status")
    record = {name: getattr(run, name) for name in names}
    return {**record, **counts, "steps": len(run.executed), "failed": len(run.failed)}


def _step(run: RunRecord, result: StepResult) -> dict[str, Any]:
    step = result.step
    return {
        "run_id": run.run_id,
        "target": str(step.target),
        "flow": step.flow,
        "kind": step.kind,
        "status": result.status,
        "reason": step.reason,
        "snapshot": result.outcome.snapshot,
        **result.outcome.counts,
        "seconds": result.seconds,
        "attempts": result.attempts,
        "error": None if result.error is None else str(result.error),
        "finished_at": run.finished_at,
    }


def _checks(run: RunRecord, result: StepResult) -> list[dict[str, Any]]:
    common = {"run_id": run.run_id, "target": str(result.step.target), "flow": result.step.flow}
    outcome = result.outcome
    return [
        {
            **common,
            "constraint": check.name,
            "condition": check.condition,
            "action": check.action,
            "rows": outcome.read,
            "failed": check.failed,
            "snapshot": outcome.snapshot,
            "checked_at": run.finished_at,
        }
        for check in outcome.checks
    ]


def append_records(context: Context, name: TableName, schema: pa.Schema, rows: Sequence[dict[str, Any]]) -> None:
    """Append few rows to a table of `ops` that many writers append to; the table is made where it is not there."""
    if not rows:
        return
    if context.lake.state(name) is None:
        context.lake.define(name, TableSpec(schema))
    made = pa.Table.from_pylist(list(rows), schema=schema)

    def change(state: TableState) -> Change:
        provenance = Provenance(context.run_id, "records", "append", read=len(rows), written=len(rows))
        return Change(provenance, (write_rows(state.target(), made),))

    context.lake.commit_rebased(name, change)
