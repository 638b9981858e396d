"""The order in which rows of one key are preferred: total, and the same however and whenever rows arrive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datalab.engine.base import Upsert, Work
from datalab.engine.relations import quoted


@dataclass(frozen=True)
class Order:
    """Sequence first, then every column in the table's order; NULL lowest. `ignored` decide only within a batch."""

    keys: tuple[str, ...]
    sequence: str
    compared: tuple[str, ...]
    ignored: tuple[str, ...]

    @classmethod
    def of(cls, work: Work, mode: Upsert) -> Order:
        """The order of an upsert into its target."""
        left_out = {mode.sequence, *mode.ignore_in_ties}
        compared = tuple(name for name in work.target.schema.names if name not in left_out)
        return cls(mode.keys, mode.sequence, compared, mode.ignore_in_ties)

    def descending(self) -> list[str]:
        """ORDER BY expressions that put the preferred row first."""
        groups = ((self.sequence,), self.compared, self.ignored)
        return [f"{_sort_key(group)} DESC" for group in groups if group]

    def later(self, left: str, right: str) -> str:
        """A condition: the row `left` has the higher sequence; NULL where both have the same."""
        new, old = _sort_key((self.sequence,), left), _sort_key((self.sequence,), right)
        return f"CASE WHEN {new} <> {old} THEN {new} > {old} END"

    def greater(self, left: str, right: str) -> str:
        """A condition: the row `left` is preferred to the row `right`, both of one key."""
        new, old = _sort_key((self.sequence,), left), _sort_key((self.sequence,), right)
        whole = f"{_sort_key(self.compared, left)} > {_sort_key(self.compared, right)}"
        return f"CASE WHEN {new} <> {old} THEN {new} > {old} ELSE {whole} END"


def _sort_key(names: Sequence[str], table: str = "") -> str:
    prefix = f"{table}." if table else ""
    parts = ", ".join(f"{prefix}{quoted(name)}, 'ASC NULLS FIRST'" for name in names)
    return f"create_sort_key({parts})"
