"""What an upsert has looked for in its table, kept so that a commit can ask it of rows that came in the meantime."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from datalab.engine.rewriting import existing_rows, same_key
from datalab.engine.session import Session
from datalab.lake.table import Relation


def keys_met(session: Session, rows: str, keys: Sequence[str]) -> Callable[[Relation], bool]:
    """Whether any of some rows of the table has a key of the query `rows`; asked when the session is over."""
    looked_for = session.arrow(rows)

    def meets(came: Relation) -> bool:
        with session.again() as later:
            wanted = later.table(later.relation(Relation(looked_for.schema, memory=looked_for)))
            existing = existing_rows(later, came, f"SELECT * FROM {wanted}", keys)
            if existing is None:
                return False
            same = same_key(keys, "came", "wanted")
            found = f"SELECT 1 FROM {existing.rows} came SEMI JOIN {wanted} wanted ON {same} LIMIT 1"
            return bool(later.rows(found))

    return meets
