"""What a step did, of a flow or of a source."""

from __future__ import annotations

from dataclasses import dataclass

from datalab.lake.provenance import CheckResult


@dataclass(frozen=True)
class Outcome:
    """What a step did. Counts are rows: read = written + quarantined + superseded."""

    snapshot: int | None = None
    read: int = 0
    written: int = 0
    quarantined: int = 0
    superseded: int = 0
    checks: tuple[CheckResult, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """The row counts by name."""
        return {name: getattr(self, name) for name in ("read", "written", "quarantined", "superseded")}
