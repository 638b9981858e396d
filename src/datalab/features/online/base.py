"""The online store port: the newest features of each entity, read by key in well under a millisecond.

Truth is the gold table. A row in the store carries the version of the gold table that it was taken from, and every
write is compared with what is there, inside the store: a row never goes back to an older version, whatever order
writers come in and however often they repeat themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class OnlineCapabilities:
    """`shared`: processes on several machines may read and write it."""

    shared: bool


class Lookup(NamedTuple):
    """One entity of one view; values stand in the order of the view's entity columns."""

    view: str
    entity: tuple[Any, ...]


class Stored(NamedTuple):
    """Features of an entity: values by name, when they held (UTC), and the gold table and snapshot they came from."""

    values: Mapping[str, Any]
    timestamp: datetime
    snapshot: int
    table: str


# What to look up next, given the answers so far; nothing at the end.
More = Callable[[Sequence[Stored | None]], Sequence[Lookup]]


@dataclass(frozen=True)
class Version:
    """A snapshot of a gold table, and its place in the table's order of commits, which snapshot ids do not tell."""

    order: int
    snapshot: int


@dataclass(frozen=True)
class Layout:
    """How rows of a view are laid out. `kinds` has the Arrow type of each feature as text, in order.

    `ttl` is in seconds: an older row is not served; None: rows do not age.
    """

    table: str
    entity: tuple[str, ...]
    timestamp: str
    features: tuple[str, ...]
    kinds: tuple[str, ...]
    ttl: float | None = None


@dataclass(frozen=True)
class Position:
    """How far a view is: the version that is whole, and versions that writers began and have not finished.

    `layout` is that of the whole version. Rows of a pending version may be in the store already.
    """

    done: Version | None = None
    pending: tuple[Version, ...] = ()
    layout: Layout | None = None


@dataclass(frozen=True)
class Claim:
    """A writer's right to write one version of one view. `before` is where the view stood when it began."""

    view: str
    version: Version
    layout: Layout
    number: int
    before: Position


@dataclass(frozen=True)
class Entry:
    """A row as parity looks at it: `stored` is None where the entity is known to be gone, expired rows included."""

    entity: tuple[Any, ...]
    order: int
    stored: Stored | None


class Superseded(Exception):
    """A newer version of the view is whole, or being written: this writer has nothing to add."""


class OnlineStore(Protocol):
    """Where features are served from. Thread-safe. Every method may raise OnlineStoreError, which is retryable."""

    name: str
    capabilities: OnlineCapabilities

    def read(self, wanted: Sequence[Lookup], now: datetime, more: More | None = None) -> list[Stored | None]:
        """One answer per lookup, in order, in one round trip; None where the entity is unknown, gone or expired.

        `more` is called with all answers so far until it names no further lookups; each time is one more round trip. A
        store in a file answers all of them from one state of it, so `more` must be quick there.
        """

    def position(self, view: str) -> Position:
        """How far a view is; an empty Position where nothing was ever written."""

    def begin(self, view: str, layout: Layout, version: Version, *, anew: bool = False) -> Claim:
        """Announce a version before its first row. Superseded where a newer one is whole or announced.

        With `anew` the view is emptied first: its table was made anew, and versions do not compare any more.
        """

    def write(self, claim: Claim, rows: pa.Table, gone: pa.Table | None = None) -> int:
        """Set the rows and forget the entities `gone`, each unless a newer version did; answers how many were set.

        `rows` has the layout's columns (entity, timestamp, features), `gone` those of the entity. All of it is
        visible afterwards, or, after an error, any part of it. Superseded where a newer version became whole.
        """

    def finish(self, claim: Claim, *, whole: bool) -> None:
        """The version is whole from now on; with `whole`, entities that no write since `begin` named are forgotten."""

    def entries(self, view: str, limit: int) -> list[Entry]:
        """Up to `limit` rows of a view, from all over it; fewer only where there are no more."""

    def close(self) -> None:
        """Release connections."""
