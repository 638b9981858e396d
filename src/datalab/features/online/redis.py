"""The online store on a Redis server, for several machines.

Each view is one hash, entity → row, so that a request for many entities of many views is one round trip. A script
compares versions inside the server. A row is `order|snapshot|timestamp|layout|features`; without features the entity
is gone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import redis

from datalab.errors import OnlineStoreError
from datalab.features.online.base import (
    Claim,
    Entry,
    Layout,
    Lookup,
    More,
    OnlineCapabilities,
    Position,
    Stored,
    Superseded,
    Version,
)
from datalab.features.online.encoding import (
    encoded,
    entity_of,
    key_of,
    keys,
    layout_to_text,
    number_of,
    position_of_record,
    position_to_record,
)
from datalab.features.online.positions import begun, finished
from datalab.features.online.reading import Reader, Row

if TYPE_CHECKING:
    import pyarrow as pa

_WRITE = """
local order, done = tonumber(ARGV[1]), redis.call('HGET', KEYS[2], 'done')
if done and tonumber(done) > order then return -1 end
local names = {}
for i = 2, #ARGV, 2 do names[#names + 1] = ARGV[i] end
local held, kept = redis.call('HMGET', KEYS[1], unpack(names)), {}
for i = 1, #names do
  if not held[i] or tonumber(string.match(held[i], '^%d+')) <= order then
    kept[#kept + 1] = names[i]
    kept[#kept + 1] = ARGV[2 * i + 1]
  end
end
if #kept > 0 then redis.call('HSET', KEYS[1], unpack(kept)) end
return #kept / 2
"""
_SWEEP = """
local order, found = tonumber(ARGV[1]), redis.call('HSCAN', KEYS[1], ARGV[2], 'COUNT', 1000)
local changed = 0
for i = 1, #found[2], 2 do
  local held = found[2][i + 1]
  local own = tonumber(string.match(held, '^%d+'))
  if ARGV[3] == '' then
    if own <= order and string.sub(held, -1) == '|' then redis.call('HDEL', KEYS[1], found[2][i]) end
  elseif own < order then
    redis.call('HSET', KEYS[1], found[2][i], ARGV[3])
    changed = changed + 1
  end
end
return {found[1], changed}
"""
_FORGET = """
local order = tonumber(ARGV[1])
for i = 2, #ARGV do
  local held = redis.call('HGET', KEYS[1], ARGV[i])
  if held and string.sub(held, -1) == '|' and tonumber(string.match(held, '^%d+')) <= order then
    redis.call('HDEL', KEYS[1], ARGV[i])
  end
end
"""
_COMMAND = re.compile(r"\ACommand # \d+ \(.*\) of pipeline caused error: ", re.DOTALL)
_BATCH = 100
_IN_FLIGHT = 4
_WRITER_PATIENCE = 30.0


class RedisStore:
    """Features on a server. `project` keeps the keys of several projects apart; `timeout` in seconds is for reads."""

    name = "redis"
    capabilities = OnlineCapabilities(shared=True)

    def __init__(self, url: str, password: str | None, project: str, timeout: float = 0.05) -> None:
        self._project = project
        self._place = url.rpartition("@")[2] if "@" in url else url
        try:
            self._reads = _client(url, password, timeout)
            self._writes = _client(url, password, _WRITER_PATIENCE)
        except ValueError as error:
            raise OnlineStoreError(f"online.url cannot be used: {error}", "write redis://HOST:PORT/NUMBER") from error
        self._write, self._sweep, self._forget = map(self._writes.register_script, (_WRITE, _SWEEP, _FORGET))
        self._readers: dict[str, Reader] = {}
        self._gone: dict[Claim, list[str]] = {}

    def read(self, wanted: Sequence[Lookup], now: datetime, more: More | None = None) -> list[Stored | None]:
        """One answer per lookup, in order, in one round trip for `wanted` and for each answer of `more`."""
        found = self._found(wanted, now)
        while more is not None and (further := more(found)):
            found += self._found(further, now)
        return found

    def _found(self, wanted: Sequence[Lookup], now: datetime) -> list[Stored | None]:
        places: dict[str, list[int]] = {}
        for place, lookup in enumerate(wanted):
            places.setdefault(lookup.view, []).append(place)
        found: list[Stored | None] = [None] * len(wanted)
        with self._errors():
            pipeline = self._reads.pipeline(transaction=False)
            for view, group in places.items():
                pipeline.hmget(self._rows(view), [key_of(wanted[place].entity) for place in group])
            for (view, group), rows in zip(places.items(), pipeline.execute(), strict=True):
                reader = self._reader(view)
                for place, row in zip(group, rows, strict=True):
                    found[place] = reader.stored(_row(row)[1], now) if row is not None else None
        return found

    def position(self, view: str) -> Position:
        """How far a view is."""
        with self._errors():
            return _position(self._reads.hget(self._state(view), "position"))

    def begin(self, view: str, layout: Layout, version: Version, *, anew: bool = False) -> Claim:
        """Announce a version and the layout of its rows."""

        def announce(pipeline: Any) -> Claim:
            held = pipeline.hgetall(self._state(view))
            before = Position() if anew else _position(held.get(b"position"))
            after = begun(before, version)
            number, texts = _layout_number(held, layout)
            pipeline.multi()
            if anew:
                pipeline.delete(self._rows(view))
                pipeline.hdel(self._state(view), "done")
            pipeline.hset(self._state(view), mapping={"position": _text(after), **texts})
            return Claim(view, version, layout, number, before)

        with self._errors():
            claim: Claim = self._writes.transaction(announce, self._state(view), value_from_callable=True)
        return claim

    def write(self, claim: Claim, rows: pa.Table, gone: pa.Table | None = None) -> int:
        """Set rows and forget entities in batches, several of them on their way at a time."""
        order, snapshot, number = claim.version.order, claim.version.snapshot, claim.number
        records = [
            (key, f"{order}|{snapshot}|{moment}|{number}|{content}")
            for key, moment, content in encoded(rows, claim.layout)
        ]
        if gone is not None:
            names = keys(gone, claim.layout)
            self._gone.setdefault(claim, []).extend(names)
            records += [(key, _nothing(claim)) for key in names]
        batches = [records[start : start + _BATCH] for start in range(0, len(records), _BATCH)]
        return sum(
            self._set(claim, batches[start : start + _IN_FLIGHT]) for start in range(0, len(batches), _IN_FLIGHT)
        )

    def finish(self, claim: Claim, *, whole: bool) -> None:
        """The version is whole. What it forgets is marked first, so that nobody late brings it back, then goes."""
        first = claim.before == Position()
        marked = self._swept(claim, _nothing(claim)) if whole and not first else 0

        def close(pipeline: Any) -> None:
            position = _position(pipeline.hget(self._state(claim.view), "position"))
            after = finished(position, claim.version, claim.layout)
            pipeline.multi()
            fields = {"position": _text(after), "done": claim.version.order}
            pipeline.hset(self._state(claim.view), mapping=fields)

        with self._errors():
            self._writes.transaction(close, self._state(claim.view))
        if marked:
            self._swept(claim, "")
        self._forgotten(claim)

    def entries(self, view: str, limit: int) -> list[Entry]:
        """A random sample of a view's rows."""
        with self._errors():
            found = self._writes.hrandfield(self._rows(view), limit, withvalues=True) or []
            reader, answers = self._reader(view), []
            for key, text in zip(found[::2], found[1::2], strict=True):
                order, row = _row(text)
                answers.append(Entry(entity_of(key.decode()), order, reader.stored(row, None)))
        return answers

    def close(self) -> None:
        """Close all connections."""
        self._reads.close()
        self._writes.close()

    def _set(self, claim: Claim, batches: Sequence[Sequence[tuple[str, str]]]) -> int:
        with self._errors():
            pipeline = self._writes.pipeline(transaction=False)
            for batch in batches:
                arguments: list[str | int] = [claim.version.order]
                for record in batch:
                    arguments.extend(record)
                self._write([self._rows(claim.view), self._state(claim.view)], arguments, client=pipeline)
            counts = pipeline.execute()
        if any(count < 0 for count in counts):
            raise Superseded
        return int(sum(counts))

    def _swept(self, claim: Claim, instead: str) -> int:
        """Put a mark in place of all older rows, or, with an empty one, take such marks away; answers how many."""
        cursor, marked = b"0", 0
        with self._errors():
            while True:
                cursor, changed = self._sweep([self._rows(claim.view)], [claim.version.order, cursor, instead])
                marked += changed
                if cursor == b"0":
                    return int(marked)

    def _forgotten(self, claim: Claim) -> None:
        names = self._gone.pop(claim, [])
        with self._errors():
            for start in range(0, len(names), _BATCH):
                self._forget([self._rows(claim.view)], [claim.version.order, *names[start : start + _BATCH]])

    def _reader(self, view: str) -> Reader:
        if view not in self._readers:
            self._readers[view] = Reader(view, lambda number: self._layout(view, number))
        return self._readers[view]

    def _layout(self, view: str, number: int) -> str | None:
        text = self._reads.hget(self._state(view), f"layout:{number}")
        return text.decode() if text is not None else None

    def _rows(self, view: str) -> str:
        """The braces keep both keys of a view on one server of a cluster."""
        return f"datalab:{{{self._project}.{view}}}:features"

    def _state(self, view: str) -> str:
        return f"datalab:{{{self._project}.{view}}}:state"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (redis.RedisError, OSError) as error:
            raise OnlineStoreError(
                f"the online store at {self._place} does not answer: {_said(error)}",
                "see that the server runs, and that online.url and online.password are right",
            ) from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise OnlineStoreError(
                f"the online store at {self._place} holds something that this program did not write",
                "datalab features materialize --rebuild",
            ) from error


def _client(url: str, password: str | None, timeout: float) -> Any:
    given = {"password": password} if password is not None else {}
    return redis.Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=max(timeout, 1.0), **given)


def _said(error: Exception) -> str:
    """What the server said, without the command that it said it of, which names the entity."""
    return _COMMAND.sub("", str(error))


def _row(text: bytes) -> tuple[int, Row]:
    order, snapshot, timestamp, layout, features = text.split(b"|", 4)
    return int(order), (int(snapshot), int(timestamp), int(layout), features.decode() or None)


def _nothing(claim: Claim) -> str:
    return f"{claim.version.order}|{claim.version.snapshot}|0|{claim.number}|"


def _position(text: bytes | None) -> Position:
    return position_of_record(json.loads(text)) if text is not None else Position()


def _text(position: Position) -> str:
    return json.dumps(position_to_record(position))


def _layout_number(held: dict[bytes, bytes], layout: Layout) -> tuple[int, dict[str, str]]:
    """The number of a layout within its view, and what to write where it is a new one."""
    known = {text.decode(): int(name[7:]) for name, text in held.items() if name.startswith(b"layout:")}
    text = layout_to_text(layout)
    if text in known:
        return known[text], {}
    number = number_of(text, known)
    return number, {f"layout:{number}": text}
