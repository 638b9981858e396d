"""A dry look at files under a contract: what would be accepted and what not, and why. Writes nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from datalab.errors import SourceError
from datalab.ingest.contracts import Contract
from datalab.ingest.isolate import run_jobs
from datalab.ingest.jobs import FileDone, FileJob, Job
from datalab.ingest.limits import Limits
from datalab.ingest.reasons import Reject
from datalab.ingest.sources.listing import format_of
from datalab.ingest.text_forms import require_text_form
from datalab.ingest.workers import Workers


@dataclass(frozen=True)
class Validated:
    """What a file holds: accepted records, rejected ones by reason, the first few of them; or why it cannot be read."""

    file: str
    accepted: int
    reasons: Mapping[str, int]
    examples: tuple[Reject, ...] = ()
    problem: str = ""


def validate(
    paths: Sequence[Path], contract: Contract, kind: str | None = None, limits: Limits | None = None
) -> tuple[Validated, ...]:
    """Decode files as ingest would. SourceError for a file whose format cannot be told, ContractError as ingest."""
    bounds = limits or Limits()
    jobs = tuple(_job(path, kind) for path in paths)
    for each in jobs:
        require_text_form(contract, each.format)
    with Workers(bounds.workers, bounds.worker_memory) as workers:
        parts = [jobs[number :: bounds.workers] for number in range(bounds.workers)]
        calls = [Job(part, contract.text, bounds, datetime.now(UTC)) for part in parts if part]
        found = {each.name: each for each in run_jobs(workers, calls).files}
    return tuple(_summary(found[each.name]) for each in jobs)


def _job(path: Path, setting: str | None) -> FileJob:
    kind = format_of(path.name, setting)
    if kind is None:
        raise SourceError(f"the format of {path} cannot be told from its name", "say it: --format avro")
    return FileJob(str(path), str(path), kind, path.stat().st_size if path.exists() else 0)


def _summary(done: FileDone) -> Validated:
    reasons: Counter[str] = Counter()
    for reject in done.rejects:
        reasons[str(reject.reason)] += reject.records
    return Validated(done.name, done.accepted, dict(reasons), done.rejects[:5], done.problem)
