"""What an answer and its record say of the features that were used."""

from __future__ import annotations

from typing import Any, NamedTuple

from datalab.features.online.base import Stored
from datalab.serving.feature_reader import FeatureReader
from datalab.serving.lookup import Features, LookupPlan, View


class Said(NamedTuple):
    """Of one view's features: in the answer, and in the record."""

    answered: dict[str, Any] | None
    recorded: dict[str, Any] | None


_NOTHING = Said(None, None)


class Sources:
    """Tells it for the rows of one call; rows that share features share what is said of them."""

    def __init__(self, reader: FeatureReader) -> None:
        self._reader = reader
        self._said: dict[int, tuple[Stored, Said]] = {}  # by identity, which lasts as long as the object is held here

    def of(self, plan: LookupPlan, features: Features) -> dict[str, Said]:
        """By view, in the order of the views; nothing of features that were not found."""
        return {
            name: _NOTHING if stored is None else self._of(plan.views[name], features.entities[name], stored)
            for name, stored in features.stored.items()
        }

    def _of(self, view: View, entity: tuple[Any, ...], stored: Stored) -> Said:
        known = self._said.get(id(stored))
        if known is not None:
            return known[1]
        answered = {"momento": stored.timestamp, "snapshot": str(stored.snapshot)}
        recorded = {
            "table": stored.table,
            "snapshot": stored.snapshot,
            "timestamp": stored.timestamp,
            "entity": dict(zip(self._reader.columns(view), entity, strict=True)),
            "values": {name: stored.values.get(name) for name in view.used},
        }
        said = Said(answered, recorded)
        self._said[id(stored)] = stored, said
        return said
