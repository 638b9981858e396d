"""Which files a table has consumed, and as which version: from its commits, and from its rows where those expired."""

from __future__ import annotations

from datalab.ingest.content import Unstable, opened
from datalab.ingest.sources.base import Consumed
from datalab.ingest.sources.listing import Listed

CHANGED = "it changed after it was consumed: give the new content a new name"


def consumed_versions(consumed: Consumed) -> dict[str, str]:
    """File name -> version. The commits' lists are complete if they hold as many files as were ever counted."""
    listed = [entry for details in consumed.details for entry in details.get("files", ())]
    known = {name: version for name, version, *_ in listed}
    known.update(consumed.offsets.get("empty", {}))
    if len(listed) < consumed.offsets.get("files", 0) and consumed.rows is not None:
        rows = consumed.rows()
        names, versions = (rows.column(name).to_pylist() for name in ("source_file", "source_version"))
        known = {**dict(zip(names, versions, strict=True)), **known}
    return known


def is_same(each: Listed, version: str) -> bool:
    """Whether a file still is what was consumed: by size and time, else by its content."""
    size, mtime_ns, digest = version.rsplit("-", 2)
    if (int(size), int(mtime_ns)) == (each.size, each.mtime_ns):
        return True
    if int(size) != each.size:
        return False
    try:
        with opened(each.path) as (_, present):
            return present.rsplit("-", 1)[1] == digest
    except (OSError, Unstable):
        return False
