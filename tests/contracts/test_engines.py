"""What every engine promises, shown on real files through the port alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlglot import parse_one

from datalab.engine.base import (
    Append,
    Check,
    Engine,
    Mode,
    Query,
    Replace,
    ReplaceGroups,
    Staged,
    Upsert,
    Work,
)
from datalab.engine.duckdb import DuckDBEngine
from datalab.errors import EngineError, PipelineTypeError, UnknownTable
from datalab.lake.table import PartitionField, Relation, WriteTarget
from datalab.names import TableName

ENGINES: dict[str, Callable[[Path], Engine]] = {
    "duckdb": lambda folder: DuckDBEngine(memory_limit="1GB", threads=2, temp_directory=folder),
}
NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
PROPERTY = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("part", pa.int32()),
        ("valor", pa.float64()),
        ("nome", pa.string()),
        ("__sequence", pa.int64()),
    ]
)


@pytest.fixture(scope="module", params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    made = ENGINES[request.param](tmp_path_factory.mktemp("scratch"))
    yield made
    made.close()


def query(sql: str, **relations: pa.Table | Relation) -> Query:
    """A query over tables in memory; `layer__table` stands for layer.table."""
    named = {name.replace("__", ".", 1): _relation(value) for name, value in relations.items()}
    return Query(parse_one(sql, dialect="spark"), named, NOW, "pipelines/teste.sql:10:1")


def _relation(value: pa.Table | Relation) -> Relation:
    return Relation(value.schema, memory=value) if isinstance(value, pa.Table) else value


def check(name: str, condition: str, action: str = "drop") -> Check:
    return Check(name, parse_one(condition, dialect="spark"), action)  # type: ignore[arg-type]


@dataclass
class Table:
    """A table as the lake would keep it: a set of live files, changed by what is staged."""

    engine: Engine
    target: WriteTarget
    relation: Relation = field(init=False)

    def __post_init__(self) -> None:
        self.relation = Relation(self.target.schema)

    def stage(self, rows: Query, mode: Mode, checks: Sequence[Check] = ()) -> Staged:
        staged = self.engine.stage(Work(rows, self.target, mode, tuple(checks), self.relation))
        assert staged.read == staged.written + staged.rejected_rows + staged.superseded
        return staged

    def apply(self, rows: Query, mode: Mode, checks: Sequence[Check] = ()) -> Staged:
        staged = self.stage(rows, mode, checks)
        live = {file.path for file in self.relation.files}
        assert {file.path for file in staged.remove} <= live
        kept = [file for file in self.relation.files if file not in staged.remove]
        self.relation = replace(self.relation, files=(*kept, *staged.add))
        return staged

    def rows(self) -> list[dict[str, Any]]:
        names = ", ".join(f"`{name}`" for name in self.target.schema.names)
        return self.engine.read(query(f"SELECT {names} FROM t", t=self.relation)).read_all().to_pylist()


@pytest.fixture
def make_table(engine: Engine, tmp_path: Path) -> Callable[..., Table]:
    def make(schema: pa.Schema = SCHEMA, *partition: str) -> Table:
        location = tmp_path / f"t{len(list(tmp_path.iterdir()))}" / "data"
        fields = tuple(PartitionField.parse(text) for text in partition)
        return Table(engine, WriteTarget(TableName("silver", "teste"), str(location), schema, fields))

    return make


def table_of(rows: Sequence[dict[str, Any]], schema: pa.Schema = SCHEMA) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=schema)


def canonical(rows: Sequence[dict[str, Any]]) -> list[str]:
    return sorted(repr(sorted(row.items())) for row in rows)


def parquet_files(location: str) -> list[Path]:
    return sorted(path for path in Path(location).rglob("*") if path.is_file())


def test_moments_of_rows_in_memory_can_be_looked_for(engine: Engine) -> None:
    rows = pa.table(
        {"n": [1, 2, 3], "quando": pa.array([NOW, NOW + timedelta(days=1), None], pa.timestamp("us", "UTC"))}
    )
    wanted = ", ".join(f"TIMESTAMP '{NOW + timedelta(days=days):%Y-%m-%d %H:%M:%S}'" for days in (0, 1, 2))
    for condition in (f"quando IN ({wanted})", "quando IS NOT NULL", f"n > 0 AND quando IN ({wanted})"):
        found = engine.read(query(f"SELECT n FROM t WHERE {condition} ORDER BY n", t=rows)).read_all()
        assert found.column("n").to_pylist() == [1, 2]


@pytest.mark.parametrize("value", ["v", "f", "s.v"])
def test_nan_of_rows_in_memory_is_greater_than_every_number(engine: Engine, value: str) -> None:
    numbers = [math.nan, 1.0, -1.0, None, math.inf]
    structs = pa.array([{"v": each} for each in numbers], pa.struct([("v", pa.float64())]))
    rows = pa.table({"n": range(5), "v": numbers, "f": pa.array(numbers, pa.float32()), "s": structs})
    for condition, wanted in (("> 0", [0, 1, 4]), (">= 1", [0, 1, 4]), ("< 5", [1, 2]), ("BETWEEN 0 AND 1", [1])):
        found = engine.read(query(f"SELECT n FROM t WHERE {value} {condition} ORDER BY n", t=rows)).read_all()
        assert found.column("n").to_pylist() == wanted


# ------------------------------------------------------------------------------------------------ upsert

CELLS = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["a", "b", "c", None]),
        "part": st.sampled_from([1, 2, None]),
        "valor": st.sampled_from([1.5, -1.5, math.nan, math.inf, None]),
        "nome": st.sampled_from(["x", "y", "", None]),
        "__sequence": st.sampled_from([1, 2, 3, None]),
    }
)
KEYS = ("id", "part")


def order(row: dict[str, Any]) -> tuple[Any, ...]:
    """The documented order: sequence, then every column, NULL lowest, NaN highest."""
    return tuple(_cell(row[name]) for name in ("__sequence", "id", "part", "valor", "nome"))


def _cell(value: Any) -> tuple[bool, bool, Any]:
    is_nan = isinstance(value, float) and math.isnan(value)
    return (value is not None, is_nan, 0 if is_nan or value is None else value)


def latest(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The model: per key the greatest row."""
    best: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = tuple(row[name] for name in KEYS)
        if key not in best or order(row) > order(best[key]):
            best[key] = row
    return list(best.values())


@pytest.fixture(params=["few", "many"])
def amount(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """An upsert of few rows and one of many go different ways to the same table."""
    if request.param == "many":
        monkeypatch.setattr("datalab.engine.upserting.FEW_ROWS", -1)
    return str(request.param)


@pytest.mark.usefixtures("amount")
@PROPERTY
@given(data=st.data())
def test_upsert_does_not_depend_on_order_or_repetition(make_table: Callable[..., Table], data: st.DataObject) -> None:
    rows = data.draw(st.lists(CELLS, min_size=1, max_size=14))
    delivered = data.draw(st.permutations(rows + data.draw(st.lists(st.sampled_from(rows), max_size=5))))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(delivered)), max_size=2)))
    partition = data.draw(st.sampled_from([(), ("part",), ("nome",)]))
    table = make_table(SCHEMA, *partition)
    for start, end in zip([0, *cuts], [*cuts, len(delivered)], strict=True):
        batch = query("SELECT * , __sequence FROM novo", novo=table_of(delivered[start:end]))
        table.apply(batch, Upsert(KEYS, "__sequence"))
    assert canonical(table.rows()) == canonical(latest(rows))
    assert sum(file.rows for file in table.relation.files) == len(latest(rows))


@pytest.mark.usefixtures("amount")
def test_upsert_touches_only_files_that_hold_a_losing_row(make_table: Callable[..., Table]) -> None:
    table = make_table()
    for part in range(4):
        rows = [{"id": f"k{part}{number}", "part": part, "__sequence": 1} for number in range(3)]
        table.apply(query("SELECT *, __sequence FROM novo", novo=table_of(rows)), Upsert(KEYS, "__sequence"))
    late = [{"id": "k20", "part": 2, "__sequence": 2}, {"id": "k31", "part": 3, "__sequence": 0}]
    staged = table.stage(query("SELECT *, __sequence FROM novo", novo=table_of(late)), Upsert(KEYS, "__sequence"))
    (removed,) = staged.remove
    assert removed.lower["id"] == "k20"
    assert (staged.read, staged.written, staged.superseded) == (2, 1, 1)


def test_upsert_opens_no_file_that_cannot_hold_one_of_its_keys(make_table: Callable[..., Table]) -> None:
    """Keys on both sides of a file do not make it a candidate: each key is compared, not their range alone."""
    table = make_table()
    for part in range(3):
        rows = [{"id": f"k{part}{number}", "part": part, "__sequence": 1} for number in range(3)]
        table.apply(query("SELECT *, __sequence FROM novo", novo=table_of(rows)), Upsert(KEYS, "__sequence"))
    middle = next(file for file in table.relation.files if file.lower["part"] == 1)
    Path(middle.path).write_bytes(b"not to be read")
    around = [{"id": f"k{part}0", "part": part, "__sequence": 2} for part in (0, 2)]
    staged = table.stage(query("SELECT *, __sequence FROM novo", novo=table_of(around)), Upsert(KEYS, "__sequence"))
    assert (len(staged.remove), staged.written) == (2, 2)


@pytest.mark.usefixtures("amount")
def test_upserts_keep_the_files_of_a_clustered_table_apart(make_table: Callable[..., Table]) -> None:
    table = make_table()
    table.target = replace(table.target, cluster=("part",), file_rows=2_048)
    rows = [{"id": f"k{number}", "part": number * 7 % 20_000, "__sequence": 1} for number in range(20_000)]
    table.apply(query("SELECT *, __sequence FROM novo", novo=table_of(rows)), Upsert(KEYS, "__sequence"))
    assert _apart(table)
    again = [{**row, "__sequence": 2} for row in rows[::50]]
    table.apply(query("SELECT *, __sequence FROM novo", novo=table_of(again)), Upsert(KEYS, "__sequence"))
    assert _apart(table)
    assert sorted(row["__sequence"] for row in table.rows()) == [1] * 19_600 + [2] * 400


def _apart(table: Table) -> bool:
    spans = sorted((file.lower["part"], file.upper["part"]) for file in table.relation.files)
    return len(spans) >= 6 and all(earlier[1] < later[0] for earlier, later in pairwise(spans))


def test_appended_rows_follow_the_order_of_a_clustered_table(make_table: Callable[..., Table]) -> None:
    table = make_table()
    table.target = replace(table.target, cluster=("part", "id"))
    rows = [{"id": f"k{number % 3}", "part": number * 7 % 100} for number in range(100)]
    table.apply(query("SELECT * FROM novo", novo=table_of(rows)), Append())
    (file,) = table.relation.files
    found = pq.read_table(file.path, columns=["part", "id"]).to_pylist()
    assert found == sorted(found, key=lambda row: (row["part"], row["id"]))


@pytest.mark.usefixtures("amount")
def test_upsert_of_rows_already_there_rewrites_nothing(make_table: Callable[..., Table]) -> None:
    table = make_table()
    batch = query(
        "SELECT *, __sequence FROM novo", novo=table_of([{"id": "a", "part": 1, "valor": math.nan, "__sequence": 1}])
    )
    table.apply(batch, Upsert(KEYS, "__sequence"))
    again = table.stage(batch, Upsert(KEYS, "__sequence"))
    assert (again.add, again.remove, again.superseded) == ((), (), 1)


@pytest.mark.usefixtures("amount")
def test_upsert_can_ignore_the_time_of_processing_in_ties(make_table: Callable[..., Table]) -> None:
    table = make_table()
    mode = Upsert(KEYS, "__sequence", ignore_in_ties=("valor",))
    for valor in (1.0, 2.0):
        rows = [{"id": "a", "part": 1, "valor": valor, "nome": "x", "__sequence": 1}]
        table.apply(query("SELECT *, __sequence FROM novo", novo=table_of(rows)), mode)
    assert [row["valor"] for row in table.rows()] == [1.0]


@pytest.mark.parametrize(
    "sql", ["SELECT a.*, a.__sequence FROM novo a JOIN novo b ON a.id <=> b.id AND a.part <=> b.part"]
)
def test_upsert_computes_a_costly_query_once(make_table: Callable[..., Table], sql: str) -> None:
    table = make_table()
    rows = [{"id": f"k{number}", "part": 1, "__sequence": number} for number in range(20)]
    staged = table.apply(query(sql, novo=table_of([*rows, *rows])), Upsert(KEYS, "__sequence"))
    assert (staged.read, staged.written) == (80, 20)
    assert canonical(table.rows()) == canonical(table_of(rows).to_pylist())


def test_tombstones_are_kept_and_hidden_from_readers(make_table: Callable[..., Table]) -> None:
    schema = pa.schema([("id", pa.string()), ("__sequence", pa.int64()), ("__deleted", pa.bool_())])
    table = make_table(schema)
    sql = "SELECT id, seq AS __sequence, apagado AS __deleted FROM novo"
    for seq, deleted in ((2, True), (1, False)):
        novo = pa.table({"id": ["a"], "seq": [seq], "apagado": [deleted]})
        table.apply(query(sql, novo=novo), Upsert(("id",), "__sequence"))
    assert table.rows() == []
    assert sum(file.rows for file in table.relation.files) == 1


# ------------------------------------------------------------------------------------- replace, replace groups

GROUPS = st.lists(
    st.fixed_dictionaries({"id": st.sampled_from(["a", "b", "c", None]), "part": st.integers(0, 2)}), max_size=8
)


@PROPERTY
@given(first=GROUPS, second=GROUPS, touched=st.sets(st.sampled_from(["a", "b", "c", None])))
def test_replace_groups_changes_the_touched_groups_and_nothing_else(
    make_table: Callable[..., Table],
    first: list[dict[str, Any]],
    second: list[dict[str, Any]],
    touched: set[str | None],
) -> None:
    table = make_table(SCHEMA, "part")
    table.apply(query("SELECT * FROM novo", novo=table_of(first)), Append())
    new = [row for row in second if row["id"] in touched]
    keys = pa.table({"id": pa.array(sorted(touched, key=str), pa.string())})
    mode = ReplaceGroups(("id",), query("SELECT id FROM tocados", tocados=keys))
    table.apply(query("SELECT * FROM novo", novo=table_of(new)), mode)
    expected = [row for row in first if row["id"] not in touched] + new
    assert canonical(table.rows()) == canonical(table_of(expected).to_pylist())


def test_replace_removes_every_present_file(make_table: Callable[..., Table]) -> None:
    table = make_table()
    rows = query("SELECT * FROM novo", novo=table_of([{"id": "a"}]))
    table.apply(rows, Append())
    table.apply(rows, Append())
    table.apply(rows, Replace())
    assert [row["id"] for row in table.rows()] == ["a"]
    assert table.stage(query("SELECT * FROM novo WHERE id = 'z'", novo=table_of([])), Replace()).add == ()


# ----------------------------------------------------------------------------------------------- checks

CHECKS = (
    check("tem_valor", "valor IS NOT NULL AND valor < 10", "drop"),
    check("nome_curto", "length(nome) <= 1", "warn"),
    check("tem_id", "id IS NOT NULL", "fail"),
)


@pytest.mark.usefixtures("amount")
@PROPERTY
@given(rows=st.lists(CELLS, max_size=12), upserting=st.booleans(), partition=st.sampled_from([(), ("part",)]))
def test_checks_split_the_rows_and_count_each_failure(
    make_table: Callable[..., Table], rows: list[dict[str, Any]], upserting: bool, partition: tuple[str, ...]
) -> None:
    table = make_table(SCHEMA, *partition)
    mode: Mode = Upsert(KEYS, "__sequence") if upserting else Append()
    staged = table.apply(query("SELECT *, __sequence FROM novo", novo=table_of(rows)), mode, CHECKS)
    bits = [mask(row) for row in rows]
    good = [row for row, bit in zip(rows, bits, strict=True) if not bit]
    expected = latest(good) if upserting else good
    assert canonical(table.rows()) == canonical(expected)
    assert staged.read == len(rows)
    assert staged.failed == {
        "tem_valor": sum(bit & 1 for bit in bits),
        "nome_curto": sum(row["nome"] is None for row in rows),
        "tem_id": sum(bit >> 2 for bit in bits),
    }
    assert _failed_masks(table, staged) == sorted(bit for bit in bits if bit)


def mask(row: dict[str, Any]) -> int:
    valor = row["valor"]
    too_large = valor is None or math.isnan(valor) or valor >= 10
    return int(too_large) + 4 * int(row["id"] is None)


def _failed_masks(table: Table, staged: Staged) -> list[int]:
    if staged.rejected is None:
        return []
    reader = table.engine.read(query("SELECT *, __failed FROM rejeitados", rejeitados=staged.rejected))
    return sorted(reader.read_all().column("__failed").to_pylist())


def test_rejected_rows_stay_out_of_the_table_and_go_when_discarded(make_table: Callable[..., Table]) -> None:
    table = make_table()
    rows = table_of([{"id": "a", "valor": 1.0}, {"id": "b", "valor": 99.0}])
    staged = table.stage(query("SELECT * FROM novo", novo=rows), Append(), CHECKS)
    assert staged.rejected is not None
    assert [str(path) for path in parquet_files(table.target.location)] == [staged.add[0].path]
    assert all(Path(file.path).exists() for file in staged.rejected.files)
    table.engine.discard(staged)
    table.engine.discard(staged)
    assert parquet_files(table.target.location) == []
    assert not any(Path(file.path).exists() for file in staged.rejected.files)


# ------------------------------------------------------------------------------------ partitions and statistics

MOMENT = datetime(2026, 2, 28, 23, 59, 59, 999999, tzinfo=UTC)
EARLY = datetime(1969, 12, 31, 23, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("field_text", "expected"),
    [
        ("years(quando)", {56, -1, None}),
        ("months(quando)", {673, -1, None}),
        ("days(quando)", {20512, -1, None}),
        ("hours(quando)", {492311, -1, None}),
        ("uf", {"SP", "", "NULL", "a/b=c é%", None}),
        ("dia", {date(2026, 2, 28), None}),
        ("dinheiro", {Decimal("1.50"), None}),
        ("ativo", {True, False, None}),
        ("quando", {MOMENT, EARLY, None}),
    ],
)
def test_partition_values_are_typed_and_files_do_not_mix_them(
    make_table: Callable[..., Table], field_text: str, expected: set[Any]
) -> None:
    schema = pa.schema(
        [
            ("quando", pa.timestamp("us", tz="UTC")),
            ("uf", pa.string()),
            ("dia", pa.date32()),
            ("dinheiro", pa.decimal128(12, 2)),
            ("ativo", pa.bool_()),
        ]
    )
    rows = [
        {"quando": MOMENT, "uf": "SP", "dia": date(2026, 2, 28), "dinheiro": Decimal("1.50"), "ativo": True},
        {"quando": EARLY, "uf": "", "ativo": False},
        {"uf": "NULL"},
        {"uf": "a/b=c é%"},
        {"uf": None},
    ]
    table = make_table(schema, field_text)
    staged = table.apply(query("SELECT * FROM novo", novo=table_of(rows, schema)), Append())
    assert {file.partition[0] for file in staged.add} == expected
    assert len(staged.add) == len(expected)
    assert canonical(table.rows()) == canonical(table_of(rows, schema).to_pylist())
    assert all(set(pq.ParquetFile(file.path).schema_arrow.names) == set(schema.names) for file in staged.add)


def test_texts_too_long_for_a_name_part_files_like_others(make_table: Callable[..., Table]) -> None:
    schema = pa.schema([("id", pa.int64()), ("uf", pa.string()), ("cor", pa.string()), ("versao", pa.int64())])
    short, digest = "é" * 32, f"sha256:{sha256(('ã' * 400).encode()).hexdigest()}"
    values = ["ã" * 400, "ã" * 400 + "x", "'/%=\n" * 13, "x" * 65, "x" * 20_000, short, digest, "SP", "", None]
    same = {"cor": "y" * 300, "versao": 1}
    rows = [{"id": 10 * at + twice, "uf": uf, **same} for at, uf in enumerate(values) for twice in range(2)]
    table = make_table(schema, "uf", "cor")
    staged = table.apply(query("SELECT * FROM novo", novo=table_of(rows, schema)), Append())
    assert sorted(file.partition for file in staged.add if file.partition[0] is not None) == sorted(
        (uf, "y" * 300) for uf in values if uf is not None
    )
    assert len(staged.add) == len(values)
    again = [{"id": key, "uf": values[0], "cor": cor, "versao": 2} for key, cor in ((0, "z"), (20, "w" * 99))]
    table.apply(query("SELECT * FROM novo", novo=table_of(again, schema)), Upsert(("id",), "versao"))
    wanted = {row["id"]: row for row in [*rows, *again]}
    assert canonical(table.rows()) == canonical(list(wanted.values()))
    assert {file.partition for file in table.relation.files} >= {(values[0], "z"), (values[0], "w" * 99)}


def unsigned_zero(value: float) -> float:
    """DuckDB's Parquet writer keeps one of two zeros of a column, since they are equal: the sign may be lost."""
    return value + 0.0


VALUES = {
    "inteiro": st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)),
    "real": st.one_of(st.none(), st.floats().map(unsigned_zero)),
    "curto": st.one_of(st.none(), st.floats(width=32).map(unsigned_zero)),
    "texto": st.one_of(st.none(), st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4)),
    "longo": st.one_of(st.none(), st.sampled_from(["z" * 400, "é" * 300, "a" * 255 + "\U0010ffff", ""])),
    "bytes": st.one_of(st.none(), st.binary(max_size=4)),
    "dinheiro": st.one_of(st.none(), st.decimals(-9999, 9999, places=2, allow_nan=False)),
    "dia": st.one_of(st.none(), st.dates()),
    "quando": st.one_of(st.none(), st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))),
    "sim": st.one_of(st.none(), st.booleans()),
}
WIDE = pa.schema(
    [
        ("inteiro", pa.int64()),
        ("real", pa.float64()),
        ("curto", pa.float32()),
        ("texto", pa.string()),
        ("longo", pa.string()),
        ("bytes", pa.binary()),
        ("dinheiro", pa.decimal128(12, 2)),
        ("dia", pa.date32()),
        ("quando", pa.timestamp("us", tz="UTC")),
        ("sim", pa.bool_()),
    ]
)


@PROPERTY
@given(rows=st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=6))
def test_bounds_contain_every_value_and_values_come_back_unchanged(
    make_table: Callable[..., Table], rows: list[dict[str, Any]]
) -> None:
    table = make_table(WIDE)
    (file,) = table.apply(query("SELECT * FROM novo", novo=table_of(rows, WIDE)), Append()).add
    back = table.rows()
    assert canonical(back) == canonical(table_of(rows, WIDE).to_pylist())
    for name in WIDE.names:
        values = [row[name] for row in back]
        present = [value for value in values if value is not None]
        assert file.nulls.get(name, len(values) - len(present)) == len(values) - len(present)
        if name in file.lower:
            assert all(file.lower[name] <= value <= file.upper[name] for value in present)


def test_bounds_are_told_for_ordinary_values(make_table: Callable[..., Table]) -> None:
    table = make_table()
    rows = [{"id": "a", "part": 1, "valor": 0.1}, {"id": "b", "part": 2, "valor": 2.5}]
    (file,) = table.apply(query("SELECT * FROM novo", novo=table_of(rows)), Append()).add
    assert (file.lower["id"], file.upper["id"], file.lower["valor"], file.upper["part"]) == ("a", "b", 0.1, 2)
    assert file.size == Path(file.path).stat().st_size


# ------------------------------------------------------------------------------------------- reading


def with_ids(schema: pa.Schema, *ids: int) -> pa.Schema:
    fields = [item.with_metadata({"PARQUET:field_id": str(number)}) for item, number in zip(schema, ids, strict=True)]
    return pa.schema(fields)


def test_columns_are_found_by_field_id_after_renames_and_additions(make_table: Callable[..., Table]) -> None:
    before = with_ids(pa.schema([("velho", pa.int32()), ("sai", pa.string())]), 1, 2)
    table = make_table(before)
    table.apply(query("SELECT * FROM novo", novo=pa.table({"velho": [1, 2], "sai": ["x", "y"]})), Append())
    after = with_ids(pa.schema([("novo", pa.int64()), ("velho", pa.string())]), 1, 3)
    seen = query("SELECT * FROM t", t=Relation(after, table.relation.files))
    assert canonical(table.engine.read(seen).read_all().to_pylist()) == canonical(
        [{"novo": 1, "velho": None}, {"novo": 2, "velho": None}]
    )


def test_columns_without_field_ids_are_found_by_name(make_table: Callable[..., Table]) -> None:
    inner = pa.struct([("a", pa.int32())])
    table = make_table(pa.schema([("s", inner), ("n", pa.int32())]))
    table.apply(query("SELECT * FROM novo", novo=pa.table({"s": pa.array([{"a": 1}], inner), "n": [7]})), Append())
    wider = pa.struct([("b", pa.string()), ("a", pa.int64())])
    schema = pa.schema([("n", pa.int64()), ("nova", pa.string()), ("s", wider)])
    rows = table.engine.read(query("SELECT * FROM t", t=Relation(schema, table.relation.files))).read_all()
    assert rows.to_pylist() == [{"n": 7, "nova": None, "s": {"b": None, "a": 1}}]


def test_field_ids_are_written_down_to_the_last_nesting(make_table: Callable[..., Table]) -> None:
    def named(name: str, kind: pa.DataType, number: int) -> pa.Field:
        return pa.field(name, kind, metadata={"PARQUET:field_id": str(number)})

    schema = pa.schema(
        [
            named("s", pa.struct([named("a", pa.int32(), 11)]), 1),
            named("l", pa.list_(named("element", pa.string(), 12)), 2),
            named("m", pa.map_(named("key", pa.string(), 13).with_nullable(False), named("value", pa.int64(), 14)), 3),
        ]
    )
    table = make_table(schema)
    sql = "SELECT named_struct('a', 1) AS s, array('x') AS l, map('k', 2) AS m"
    (file,) = table.apply(query(sql), Append()).add
    text = str(pq.ParquetFile(file.path).schema)
    assert [f"field_id={number}" in text for number in (1, 2, 3, 11, 12, 13, 14)] == [True] * 7
    assert table.rows() == [{"s": {"a": 1}, "l": ["x"], "m": [("k", 2)]}]


def test_internal_columns_are_hidden_unless_named(engine: Engine) -> None:
    novo = pa.table({"a": [1], "__sequence": [9]})
    for sql, names in [
        ("SELECT * FROM novo", ["a"]),
        ("SELECT n.* FROM novo n", ["a"]),
        ("SELECT *, __sequence FROM novo", ["a", "__sequence"]),
        ("SELECT n.*, o.__sequence FROM novo n JOIN novo o USING (a)", ["a", "__sequence"]),
        ("WITH x AS (SELECT * FROM novo) SELECT *, (SELECT max(__sequence) FROM novo) AS m FROM x", ["a", "m"]),
    ]:
        assert engine.read(query(sql, novo=novo)).read_all().column_names == names


def test_names_of_tables_are_resolved_as_sql_does(engine: Engine) -> None:
    tables = {"silver__x": pa.table({"a": [1]}), "y": pa.table({"a": [2]}), "z": pa.table({"a": [3]})}
    for sql, expected in [
        ("SELECT x.a FROM silver.x", [1]),
        ("SELECT silver.x.a FROM silver.x WHERE silver.x.a = 1", [1]),
        ("SELECT q.a FROM silver.x AS q", [1]),
        ("WITH y AS (SELECT 7 AS a) SELECT a FROM y", [7]),
        ("WITH x AS (SELECT 7 AS a) SELECT silver.x.a FROM silver.x", [1]),
        ("WITH y AS (SELECT a + 1 AS a FROM y) SELECT a FROM y", [3]),
        ("WITH y AS (SELECT 7 AS a), z AS (SELECT a FROM y) SELECT a FROM z", [7]),
        ("SELECT (WITH y AS (SELECT 7 AS a) SELECT max(a) FROM y) + a AS a FROM y", [9]),
        ("SELECT y.a FROM y JOIN z ON y.a + 1 = z.a", [2]),
    ]:
        assert engine.read(query(sql, **tables)).read_all().column("a").to_pylist() == expected, sql


def test_a_scan_may_be_read_twice_by_one_query(engine: Engine) -> None:
    rows = pa.table({"a": [1, 2]})
    scanned = Relation(rows.schema, scan=rows.to_reader)
    answer = engine.read(query("SELECT x.a FROM t x JOIN t y ON x.a = y.a", t=scanned)).read_all()
    assert sorted(answer.column("a").to_pylist()) == [1, 2]


def test_a_scanned_table_can_be_upserted_into(make_table: Callable[..., Table]) -> None:
    table = make_table()
    rows = [{"id": "a", "part": 1, "__sequence": 1}, {"id": "b", "part": 1, "__sequence": 1}]
    table.apply(query("SELECT *, __sequence FROM novo", novo=table_of(rows)), Upsert(KEYS, "__sequence"))
    table.relation = replace(table.relation, scan=table_of(rows).to_reader)
    new = [{"id": "a", "part": 1, "nome": "novo", "__sequence": 2}]
    table.apply(query("SELECT *, __sequence FROM novo", novo=table_of(new)), Upsert(KEYS, "__sequence"))
    table.relation = replace(table.relation, scan=None)
    assert canonical(table.rows()) == canonical(table_of([rows[1], *new]).to_pylist())


def test_a_relation_without_rows_still_has_its_columns(engine: Engine) -> None:
    schema = pa.schema([("a", pa.int32()), ("s", pa.struct([("b", pa.timestamp("us", tz="UTC"))]))])
    answer = engine.read(query("SELECT a, s.b FROM t", t=Relation(schema))).read_all()
    assert answer.schema == pa.schema([("a", pa.int32()), ("b", pa.timestamp("us", tz="UTC"))])


# ------------------------------------------------------------------------------------------ types and errors


def test_schema_answers_the_lakes_types_without_reading(engine: Engine) -> None:
    gone = Relation(pa.schema([("a", pa.int64()), ("t", pa.timestamp("us", tz="UTC"))]), memory=None)
    sql = "SELECT a, t, sum(a) OVER () AS s, 1.5 AS d, array(t) AS l, count(*) OVER () AS n FROM bronze.x"
    schema = engine.schema(query(sql, bronze__x=gone))
    moment = pa.timestamp("us", tz="UTC")
    assert schema.types == [
        pa.int64(),
        moment,
        pa.int64(),
        pa.decimal128(2, 1),
        pa.list_(pa.field("element", moment)),
        pa.int64(),
    ]


def test_an_unknown_column_is_named_with_its_line_and_the_nearest_one(engine: Engine) -> None:
    rows = pa.table({"serasa_score": [1], "uf": ["SP"]})
    with pytest.raises(PipelineTypeError) as caught:
        engine.schema(query("SELECT uf,\n  serasa_scor\nFROM bronze.x", bronze__x=rows))
    assert caught.value.message.startswith("pipelines/teste.sql:11: ")
    assert "serasa_scor" in caught.value.message
    assert "serasa_score" in caught.value.hint


def test_types_that_do_not_fit_are_named(engine: Engine) -> None:
    with pytest.raises(PipelineTypeError, match=r"pipelines/teste\.sql:10"):
        engine.schema(query("SELECT a + array(1) AS b FROM x", x=pa.table({"a": [1]})))


def test_an_unknown_table_is_named_with_the_nearest_one(engine: Engine) -> None:
    with pytest.raises(UnknownTable) as caught:
        engine.schema(query("SELECT 1\nFROM silver.produtor", silver__produtores=pa.table({"a": [1]})))
    assert caught.value.message == "pipelines/teste.sql:11: no table silver.produtor"
    assert caught.value.hint == "did you mean silver.produtores?"


def test_columns_that_the_table_does_not_have_are_named(make_table: Callable[..., Table]) -> None:
    table = make_table()
    with pytest.raises(PipelineTypeError, match="does not have: extra"):
        table.stage(query("SELECT id, 1 AS extra FROM novo", novo=table_of([])), Append())


def test_rows_are_cast_to_the_tables_types_and_order(make_table: Callable[..., Table]) -> None:
    table = make_table()
    table.apply(query("SELECT 1.5 AS valor, CAST(3 AS BIGINT) AS part, 'a' AS id"), Append())
    assert table.rows() == [{"id": "a", "part": 3, "valor": 1.5, "nome": None, "__sequence": None}]


@pytest.mark.parametrize("mode", [Append(), Replace(), Upsert(("id",), "__sequence"), None])
@pytest.mark.parametrize("partition", [(), ("part",)])
def test_a_failure_leaves_no_files(
    make_table: Callable[..., Table], mode: Mode | None, partition: tuple[str, ...]
) -> None:
    table = make_table(SCHEMA, *partition)
    table.apply(query("SELECT * FROM novo", novo=table_of([{"id": "1"}, {"id": "2"}])), Append())
    before = parquet_files(table.target.location)
    touched = query("SELECT id FROM novo", novo=table_of([{"id": "1"}]))
    rows = query("SELECT CAST(id AS INT) AS part, id FROM novo", novo=table_of([{"id": "1"}, {"id": "x"}]))
    with pytest.raises(EngineError, match="pipelines/teste"):
        table.stage(rows, mode or ReplaceGroups(("id",), touched))
    assert parquet_files(table.target.location) == before
    assert [path for path in Path(table.target.location).iterdir() if path.is_dir()] == []


def test_nothing_is_written_for_no_rows(make_table: Callable[..., Table]) -> None:
    table = make_table()
    staged = table.stage(query("SELECT * FROM novo", novo=table_of([])), Append(), CHECKS)
    assert staged == Staged(add=(), failed={"tem_valor": 0, "nome_curto": 0, "tem_id": 0})
    assert parquet_files(table.target.location) == []


def test_now_is_the_querys_own(engine: Engine) -> None:
    rows = engine.read(query("SELECT current_timestamp() AS t, current_date() AS d")).read_all().to_pylist()
    assert rows == [{"t": NOW, "d": NOW.date()}]


def test_independent_work_runs_side_by_side(make_table: Callable[..., Table]) -> None:
    tables = [make_table() for _ in range(4)]
    novo = table_of([{"id": str(number), "part": 1, "__sequence": number} for number in range(500)])
    batch = query("SELECT *, __sequence FROM novo", novo=novo)
    with ThreadPoolExecutor(4) as pool:
        staged = list(pool.map(lambda table: table.apply(batch, Upsert(KEYS, "__sequence")), tables))
    assert [item.written for item in staged] == [500] * 4


def test_closing_ends_open_readers_and_removes_scratch_files(tmp_path: Path) -> None:
    for make in ENGINES.values():
        engine = make(tmp_path)
        reader = engine.read(query("SELECT * FROM novo", novo=pa.table({"a": list(range(300_000))})))
        reader.read_next_batch()
        engine.close()
        engine.close()
        assert list(tmp_path.iterdir()) == []
