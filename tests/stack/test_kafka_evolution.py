"""Writers that change while processes come and go: what a table has taken holds, whoever reads on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.stack.topics import SCHEMA, TARGET, World, encoded, record, table_of

from datalab.ingest.sources.base import Evolved
from datalab.ingest.workers import Workers
from datalab.quality.quarantine import QUARANTINE_SCHEMA

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
LONG = 1 << 40


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(1, 1 << 30) as pool:
        yield pool


def wider(*fields: dict[str, Any]) -> dict[str, Any]:
    return {**SCHEMA, "fields": [*SCHEMA["fields"], *fields]}


def optional(kind: Any, name: str = "x") -> dict[str, Any]:
    return {"name": name, "type": ["null", kind], "default": None}


def sent(made: World, at: int, *fields: dict[str, Any], **more: Any) -> None:
    """One message of a schema with more fields."""
    schema = wider(*fields)
    schema_id = made.topic.register(schema, f"{made.topic.name}-{at}")
    made.topic.send([encoded({**record(at), **more}, schema, schema_id)], partition=0)


def taken(made: World, **changes: Any) -> tuple[int, int]:
    """What a new process takes in: written and quarantined."""
    other = made.again(**changes)
    outcome = other.run()
    other.feed.close()
    return outcome.written, outcome.quarantined


@pytest.mark.parametrize(
    ("fields", "more"),
    [(optional("long"), {"x": LONG}), (optional("string"), {"x": "a"}), (optional("int", "X"), {"X": 2})],
)
def test_what_does_not_fit_its_column_waits_in_quarantine(
    place: World, fields: dict[str, Any], more: dict[str, Any]
) -> None:
    sent(place, 0, optional("int"), x=1)
    assert taken(place) == (1, 0)
    sent(place, 1, fields, **more)
    assert taken(place) == (0, 1)
    sent(place, 2, optional("int"), x=2)
    assert taken(place) == (1, 0)
    assert place.query("SELECT x FROM t ORDER BY x") == [{"x": 1}, {"x": 2}]
    assert [row["reason"] for row in place.quarantine()] == ["schema_mismatch"]


def test_the_newest_writer_decides_and_older_ones_fit_its_wider_type(place: World) -> None:
    sent(place, 0, optional("int"), x=1)
    sent(place, 1, optional("long"), x=LONG)
    assert taken(place) == (2, 0)
    sent(place, 2, optional("int"), x=2)
    assert taken(place) == (1, 0)
    sent(place, 3, optional("int"), x=3)
    sent(place, 4, optional("long"), x=LONG)
    assert taken(place) == (2, 0)
    assert [row["x"] for row in place.query("SELECT x FROM t ORDER BY x")] == [1, 2, 3, LONG, LONG]


def test_replayed_messages_bring_what_their_writer_added(place: World) -> None:
    sent(place, 0, {"name": "cor", "type": "string"}, optional("long"), cor="azul", x=LONG)
    place.topic.send([b"no record of any schema"], partition=0)
    assert taken(place) == (0, 2)
    waiting, _ = place.quarantine()
    records = table_of(place.quarantine(), QUARANTINE_SCHEMA)
    mended = place.again(schema=wider({"name": "cor", "type": "string", "default": ""}))
    with pytest.raises(Evolved):
        mended.feed.restage(mended.context(), mended.feed.ready(), records)
    again = mended.feed.restage(mended.context(), mended.feed.ready(), records)
    assert (again.accepted, again.staged.written) == ((waiting["id"],), 1)
    assert {"cor", "x"} <= {*place.lake.require(TARGET).schema.names}
    mended.feed.close()
