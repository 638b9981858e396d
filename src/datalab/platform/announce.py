"""After a run that changed something: the project's report, then a notification."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datalab.events import Bus, Notified, ReportWritten
from datalab.platform.settings import Configuration
from datalab.platform.simulate import load_file

if TYPE_CHECKING:
    import pyarrow as pa

    from datalab.pipelines.records import RunRecord

Ask = Callable[[str], "pa.Table"]


def announce(configuration: Configuration, record: RunRecord, ask: Ask, bus: Bus) -> Path | None:
    """Write the project's report, if it has one, and tell its channel; answers the report's path.

    A run in which nothing was to be done is not announced; a failed one is, without a report.
    """
    settings = configuration.settings
    if record.status == "nothing_to_do":
        return None
    path = None
    if settings.report is not None and record.status == "ok":
        path = Path(load_file(settings.report).report(ask, configuration.folder))
        bus.emit(ReportWritten(record.run_id, str(path)))
    if settings.notify.file is not None:
        _append(settings.notify.file, _notification(configuration, record, path))
        bus.emit(Notified(record.run_id, str(settings.notify.file)))
    return path


def _notification(configuration: Configuration, record: RunRecord, report: Path | None) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(),
        "project": configuration.settings.name,
        "environment": configuration.environment,
        "run_id": record.run_id,
        "status": record.status,
        "steps": len(record.executed),
        "failed": [str(result.step.target) for result in record.failed],
        "rows_written": record.total("written"),
        "rows_quarantined": record.total("quarantined"),
        "report": report.relative_to(configuration.folder).as_posix() if report else None,
    }


def _append(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record, ensure_ascii=False) + "\n")
