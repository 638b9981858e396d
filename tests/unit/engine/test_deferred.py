"""An engine that is opened when it is first asked, once, and closed only if it was."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

import pyarrow as pa
import sqlglot

from datalab.engine.base import Engine, Query
from datalab.engine.deferred import DeferredEngine
from datalab.engine.duckdb import DuckDBEngine

QUERY = Query(sqlglot.parse_one("SELECT 1 AS a", dialect="spark"), {}, datetime.now(UTC))


def test_it_is_opened_once_by_whoever_asks_first(tmp_path: Path) -> None:
    made: list[Engine] = []
    together = Barrier(4)

    def opened() -> Engine:
        made.append(DuckDBEngine(temp_directory=tmp_path))
        return made[-1]

    def ask(_: int) -> pa.Schema:
        together.wait()
        return engine.schema(QUERY)

    engine = DeferredEngine(opened)
    assert made == []
    with ThreadPoolExecutor(4) as threads:
        assert {schema.field("a").type for schema in threads.map(ask, range(4))} == {pa.int32()}
    assert len(made) == 1
    assert (engine.name, engine.capabilities) == (made[0].name, made[0].capabilities)
    engine.close()
    assert list(tmp_path.iterdir()) == []


def test_one_that_was_never_asked_is_never_opened() -> None:
    def opened() -> Engine:
        raise AssertionError("nobody asked")

    DeferredEngine(opened).close()
