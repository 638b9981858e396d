"""The order in which rows of one key are preferred: total, and the same however and whenever rows arrive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datalab.engine.base import History, Upsert, Work
from datalab.engine.relations import quoted


@dataclass(frozen=True)
class Order:
    """Sequence first, then every column in the table's order; NULL lowest. `ignored` decide only within a batch."""

    keys: tuple[str, ...]
    sequence: str
    compared: tuple[str, ...]
    ignored: tuple[str, ...]

    @classmethod
    def of(cls, work: Work, mode: Upsert | History, derived: Sequence[str] = ()) -> Order:
        """The order of an upsert into its target; columns that are `derived` from the order take no part."""
        left_out = {mode.sequence, *mode.ignore_in_ties, *derived}
        compared = tuple(name for name in work.target.schema.names if name not in left_out)
        return cls(mode.keys, mode.sequence, compared, mode.ignore_in_ties)

    def descending(self, later: str = "") -> list[str]:
        """ORDER BY expressions that put the preferred row first; of equal ones that for which `later` is false."""
        groups = [f"{sort_key(group)} DESC" for group in ((self.sequence,), self.compared) if group]
        return [*groups, *([later] if later else []), *([f"{sort_key(self.ignored)} DESC"] if self.ignored else [])]

    def later(self, left: str, right: str) -> str:
        """A condition: the row `left` has the higher sequence; NULL where both have the same."""
        new, old = sort_key((self.sequence,), left), sort_key((self.sequence,), right)
        return f"CASE WHEN {new} <> {old} THEN {new} > {old} END"

    def greater(self, left: str, right: str) -> str:
        """A condition: the row `left` is preferred to the row `right`, both of one key."""
        new, old = sort_key((self.sequence,), left), sort_key((self.sequence,), right)
        whole = f"{sort_key(self.compared, left)} > {sort_key(self.compared, right)}"
        return f"CASE WHEN {new} <> {old} THEN {new} > {old} ELSE {whole} END"


def sort_key(names: Sequence[str], table: str = "") -> str:
    """An expression over columns that sorts as they do, NULL lowest."""
    prefix = f"{table}." if table else ""
    parts = ", ".join(f"{prefix}{quoted(name)}, 'ASC NULLS FIRST'" for name in names)
    return f"create_sort_key({parts})"
