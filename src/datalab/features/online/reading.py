"""From rows as a store keeps them to what is served: decoded by their layout, too old ones left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from datalab.errors import OnlineStoreError
from datalab.features.online.base import Layout, Stored
from datalab.features.online.encoding import (
    decoder,
    layout_of_record,
    microseconds_of,
    moment_of,
    ttl_microseconds,
)

# A row in a store: snapshot, timestamp, number of the layout within the view, features; None where the entity is gone.
Row = tuple[int, int, int, str | None]
_MOST_KEPT = 1024


class Reader:
    """The layouts of one view, fetched once each. `fetch` answers the text of a layout by its number.

    Rows that come again among the last thousand, as a state's do and its people's do not, are decoded once.
    """

    def __init__(self, view: str, fetch: Callable[[int], str | None]) -> None:
        self._view = view
        self._fetch = fetch
        self._known: dict[int, tuple[Layout, Callable[[str], dict[str, Any]], int | None]] = {}
        self._seen: set[int] = set()
        self._kept: dict[tuple[Any, ...], Stored] = {}

    def stored(self, entity: tuple[Any, ...], row: Row, now: datetime | None) -> Stored | None:
        """The row of an entity as it is served at `now`; with None, however old it is."""
        snapshot, timestamp, number, features = row
        if features is None:
            return None
        layout, decode, ttl = self._known.get(number) or self._learn(number)
        if now is not None and ttl is not None and timestamp + ttl < microseconds_of(now):
            return None
        kept = self._kept.get((entity, row))
        if kept is not None:
            return kept
        try:
            stored = Stored(decode(features), moment_of(timestamp), snapshot, layout.table)
        except (ValueError, TypeError, ArithmeticError) as error:
            raise OnlineStoreError(
                f"the online store has a row of view {self._view} that is damaged",
                f"datalab features materialize {self._view} --rebuild",
            ) from error
        self._keep_again((entity, row), stored)
        return stored

    def _keep_again(self, asked: tuple[Any, ...], stored: Stored) -> None:
        mark = hash(asked)
        if mark not in self._seen:
            if len(self._seen) >= _MOST_KEPT:
                self._seen.clear()
            self._seen.add(mark)
            return
        if len(self._kept) >= _MOST_KEPT:
            self._kept.clear()
        self._kept[asked] = stored

    def _learn(self, number: int) -> tuple[Layout, Callable[[str], dict[str, Any]], int | None]:
        text = self._fetch(number)
        if text is None:
            raise OnlineStoreError(
                f"the online store has rows of view {self._view} in a layout that it does not know ({number})",
                f"datalab features materialize {self._view} --rebuild",
            )
        layout = layout_of_record(json.loads(text))
        self._known[number] = (layout, decoder(layout), ttl_microseconds(layout))
        return self._known[number]
