"""DuckDB's errors as ours."""

from __future__ import annotations

import errno
from datetime import UTC, datetime

import duckdb
import pyarrow as pa
import pytest
from sqlglot import parse_one

from datalab.engine.base import Query
from datalab.engine.duckdb import DuckDBEngine
from datalab.engine.faults import fault
from datalab.errors import EngineError, NotSupported, OutOfMemory, StorageFull
from datalab.lake.table import Relation

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "error",
    [
        duckdb.IOException('IO Error: Could not write file "x": No space left on device'),
        duckdb.OutOfMemoryException("Out of Memory Error: failed to offload data block of size 256.0 KiB"),
        OSError(errno.ENOSPC, "write"),
        OSError(errno.EDQUOT, "write"),
    ],
)
def test_a_full_disk_is_told_apart(error: Exception) -> None:
    told = fault(error, "flow.sql:3")
    assert isinstance(told, StorageFull)
    assert told.retryable
    assert told.message.startswith("flow.sql:3: no space left")


def test_any_other_error_keeps_its_words_and_place() -> None:
    told = fault(duckdb.InvalidInputException("Invalid Input Error: x"), "flow.sql:3")
    assert (type(told), told.message) == (EngineError, "flow.sql:3: Invalid Input Error: x")


def test_a_query_beyond_the_memory_limit_is_out_of_memory() -> None:
    rows = pa.table({"a": list(range(200_000))})
    query = Query(
        parse_one(
            "SELECT length(array_join(collect_list(concat(x.a, repeat('-', 400))), ',')) AS n FROM x", dialect="spark"
        ),
        {"x": Relation(rows.schema, memory=rows)},
        NOW,
        "flow.sql:3",
    )
    engine = DuckDBEngine(memory_limit="30MB", threads=1)
    try:
        with pytest.raises(OutOfMemory, match=r"flow\.sql:3: the query needs more memory"):
            engine.read(query).read_all()
    finally:
        engine.close()


def test_a_type_that_no_table_has_is_named() -> None:
    engine = DuckDBEngine(memory_limit="100MB", threads=1)
    relation = Relation(pa.schema([("a", pa.month_day_nano_interval())]))
    try:
        with pytest.raises(NotSupported, match="DuckDB engine does not support the type"):
            engine.schema(Query(parse_one("SELECT a FROM x"), {"x": relation}, NOW))
    finally:
        engine.close()


def test_a_folder_that_may_not_be_written_leads_to_the_setting() -> None:
    told = fault(OSError(errno.EROFS, "Read-only file system", "/p/.datalab/tmp"), "/p/.datalab/tmp")
    assert "engine.temp" in told.hint
