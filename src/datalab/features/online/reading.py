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


class Reader:
    """The layouts of one view, fetched once each. `fetch` answers the text of a layout by its number."""

    def __init__(self, view: str, fetch: Callable[[int], str | None]) -> None:
        self._view = view
        self._fetch = fetch
        self._known: dict[int, tuple[Layout, Callable[[str], dict[str, Any]], int | None]] = {}

    def stored(self, row: Row, now: datetime | None) -> Stored | None:
        """The row as it is served at `now`; with None, however old it is."""
        snapshot, timestamp, number, features = row
        if features is None:
            return None
        layout, decode, ttl = self._known.get(number) or self._learn(number)
        if now is not None and ttl is not None and timestamp + ttl < microseconds_of(now):
            return None
        try:
            return Stored(decode(features), moment_of(timestamp), snapshot, layout.table)
        except (ValueError, TypeError, ArithmeticError) as error:
            raise self._damaged("a row") from error

    def _learn(self, number: int) -> tuple[Layout, Callable[[str], dict[str, Any]], int | None]:
        text = self._fetch(number)
        if text is None:
            raise OnlineStoreError(
                f"the online store has rows of view {self._view} in a layout that it does not know ({number})",
                f"datalab features materialize {self._view} --rebuild",
            )
        try:
            layout = layout_of_record(json.loads(text))
            self._known[number] = (layout, decoder(layout), ttl_microseconds(layout))
        except (ValueError, TypeError, LookupError, ArithmeticError) as error:
            raise self._damaged("a layout") from error
        return self._known[number]

    def _damaged(self, what: str) -> OnlineStoreError:
        return OnlineStoreError(
            f"the online store has {what} of view {self._view} that is damaged",
            f"datalab features materialize {self._view} --rebuild",
        )
