"""What must not be forgotten in a project's lake: what its tables need of each other, and its models of them."""

from __future__ import annotations

from datalab.features.training import LAYER
from datalab.lake.maintenance.retention import Need, needs
from datalab.ml.history import entries, lasting
from datalab.names import TableName
from datalab.platform.lab import Lab


def project_needs(lab: Lab) -> tuple[Need, ...]:
    """Snapshots that somebody needs. Reads histories, and where there are training sets the rows of `ops.models`."""
    return (*needs(lab.lake), *_model_needs(lab))


def _model_needs(lab: Lab) -> list[Need]:
    """Drift is measured against the training set of the live version, and a score is traced to its version's."""
    if not any(name.layer == LAYER for name in lab.lake.names()):
        return []
    found = []
    for entry in lasting(entries(lab.context())):
        name, _, snapshot = entry.training_set.partition("@")
        if snapshot.isdecimal():
            reason = f"{entry.model} version {entry.version} learnt from it"
            found.append(Need(TableName(LAYER, name), int(snapshot), reason))
    return found
