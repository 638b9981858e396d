"""Views kept up from changed rows alone give what their query gives over all rows: random views, random changes."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pytest
import sqlglot
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlglot import exp
from tests.journeys.rows import close_rows

from datalab.engine.base import Engine, Query
from datalab.engine.duckdb import DuckDBEngine
from datalab.lake.mapped import mapped, rows_at
from datalab.lake.table import Relation, WriteTarget
from datalab.names import TableName
from datalab.pipelines import pieces
from datalab.pipelines.aggregates import Kept, kept
from datalab.pipelines.grouping import Grouping, grouping
from datalab.pipelines.joins import joined_grouping
from datalab.pipelines.keeping import GROUPS, NUMBERS, Keeper, Keeping, Lost, View, final_query, keeper, weighed

SCHEMA = pa.schema(
    [
        ("uf", pa.string()),
        ("ano", pa.int64()),
        ("parcelas", pa.int64()),
        ("area", pa.float64()),
        ("valor", pa.decimal128(10, 2)),
        ("em", pa.timestamp("us", "UTC")),
        ("ativo", pa.bool_()),
        ("cultura", pa.string()),
    ]
)
KEYS = (["uf"], ["ano"], ["uf", "ano"], ["upper(uf)"], ["date_trunc('DAY', em)"])
AGGREGATES = (
    "count(*)", "count(area)", "count_if(ativo)", "sum(parcelas)", "sum(area)", "sum(valor)", "avg(parcelas)",
    "avg(area)", "avg(valor)", "stddev(area)", "stddev_pop(parcelas)", "var_pop(area)", "variance(valor)", "std(area)",
    "min(parcelas)", "max(area)", "min(cultura)", "max(em)", "every(ativo)", "bool_or(ativo)", "mean(parcelas)",
    "count(DISTINCT cultura)", "count(DISTINCT area)", "approx_count_distinct(parcelas)", "count(DISTINCT upper(uf))",
    "mode(cultura, true)", "mode(parcelas)", "median(area)", "median(parcelas)", "median(valor)",
    "percentile(area, 0.9)",
    "percentile_cont(0.25) WITHIN GROUP (ORDER BY parcelas)", "sum(area) FILTER (WHERE ativo)",
    "count(*) FILTER (WHERE parcelas > 0)", "datediff(max(em), min(em))", "avg(area) / nullif(count(*), 0)",
    "CASE WHEN count(*) > 3 THEN 'MUITOS' ELSE 'POUCOS' END", "max(parcelas) - min(parcelas)",
    "max(em) + INTERVAL 1 DAY", "min(CAST(em AS DATE)) - INTERVAL 2 MONTHS",
)  # fmt: skip
Row = dict[str, Any]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = DuckDBEngine(memory_limit="500MB", threads=1)
    yield engine
    engine.close()


class Table:
    """A view over rows that change, kept up beside them."""

    def __init__(self, engine: Engine, sql: str, folder: str, rows: Sequence[Row]) -> None:
        self.engine, self.rows = engine, list(rows)
        self.query = sqlglot.parse_one(sql, read="spark")
        groups = grouping(self.query, SCHEMA.names)
        assert isinstance(groups, Grouping), groups
        apart = kept(self.query, groups)
        assert isinstance(apart, Kept), apart
        self.kept = apart
        self.place = WriteTarget(TableName.parse("gold.resumo"), folder, pa.schema([]))
        made = self.keeper().make(largest_share=9)
        assert made is not None
        self.now: Keeping = made

    def change(self, came: Sequence[Row], went: Sequence[Row]) -> None:
        for row in went:
            self.rows.remove(row)
        self.rows += came
        sides = (self.ask(self.kept.rows(), relation(side)) for side in (came, went))
        self.now = self.keeper().advance(self.now.files, weighed(*sides))

    def keeper(self) -> Keeper:
        made = keeper(self.engine, self.view())
        assert made is not None
        return made

    def view(self) -> View:
        return View(self.kept, {"silver.pedidos": relation(self.rows)}, self.place, datetime.now(UTC), "v.sql:1")

    def both(self) -> tuple[list[Row], list[Row]]:
        """The view out of what is kept, and out of all rows."""
        held = self.keeper()
        files = self.now.files[GROUPS]
        keys = pa.concat_tables([mapped(file).select(list(held.upkeep.keys)) for file in files])
        everything = held.pieces.find(files, keys)
        groups = Relation(everything.schema, memory=everything)
        query = final_query(self.view(), held.upkeep, self.now.touched)
        mine = self.engine.read(Query(query.tree, {"_groups": groups}, query.now)).read_all().to_pylist()
        return mine, self.ask(self.query, relation(self.rows)).to_pylist()

    def ask(self, tree: exp.Query, rows: Relation) -> pa.Table:
        return self.engine.read(Query(tree, {"silver.pedidos": rows}, datetime.now(UTC))).read_all()


def relation(rows: Sequence[Row]) -> Relation:
    return Relation(SCHEMA, memory=pa.Table.from_pylist(list(rows), schema=SCHEMA))


def made_up(chance: random.Random) -> Row:
    """A row of few values, so that they repeat, with NULLs among them."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    row = {
        "uf": chance.choice(["SP", "sp", "MT"]),
        "ano": chance.randrange(2),
        "parcelas": chance.randrange(-5, 6),
        "area": chance.choice([chance.uniform(-1e3, 1e3), 1.5, 2.25, 0.1]),
        "valor": Decimal(chance.randrange(-1000, 1000)) / 100,
        "em": start + timedelta(hours=chance.randrange(40)),
        "ativo": chance.random() < 0.5,
        "cultura": chance.choice(["SOJA", "CAFE", "CANA", "CACAU"]),
    }
    return {name: None if chance.random() < 0.15 else value for name, value in row.items()}


def view(chance: random.Random) -> str:
    keys, calls = chance.choice(KEYS), chance.sample(AGGREGATES, chance.randrange(2, 8))
    columns = [f"{key} AS k{n}" for n, key in enumerate(keys)] + [f"{call} AS c{n}" for n, call in enumerate(calls)]
    where = chance.choice(["", "WHERE parcelas > -3", "WHERE cultura IS NOT NULL"])
    having = chance.choice(["", "", "HAVING count(*) > 2"])
    by = chance.choice([", ".join(keys), ", ".join(str(n) for n, _ in enumerate(keys, 1)), "ALL"])
    return f"SELECT {', '.join(columns)} FROM silver.pedidos {where} GROUP BY {by} {having}"


def test_a_day_after_the_last_is_kept_up_as_a_date_and_as_a_moment(engine: Engine, tmp_path: Path) -> None:
    columns = "max(em) + INTERVAL 1 DAY AS m, max(CAST(em AS DATE)) + INTERVAL 1 MONTH AS d"
    one = {**dict.fromkeys(SCHEMA.names), "uf": "SP"}
    last = datetime(2026, 1, 31, 10, tzinfo=UTC)
    rows = [{**one, "em": last - timedelta(days=n)} for n in range(40)]
    table = Table(engine, f"SELECT uf, {columns} FROM silver.pedidos GROUP BY uf", str(tmp_path), rows[1:])
    table.change(rows[:1], rows[5:6])
    mine, whole = table.both()
    assert mine == whole == [{"uf": "SP", "m": last + timedelta(days=1), "d": date(2026, 2, 28)}]


def kept_up(engine: Engine, seed: int) -> None:
    chance = random.Random(seed)
    with TemporaryDirectory() as folder:
        rows = [made_up(chance) for _ in range(chance.choice([0, 1, 8, 40]))]
        table = Table(engine, view(chance), folder, rows)
        for _ in range(chance.randrange(1, 4)):
            went = chance.sample(table.rows, min(len(table.rows), chance.randrange(0, 5)))
            table.change([made_up(chance) for _ in range(chance.randrange(0, 6))], went)
            mine, whole = table.both()
            assert close_rows(mine, whole), table.query.sql("spark")


PROPERTY = settings(phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck), deadline=None)


@settings(PROPERTY, max_examples=12)
@given(seed=st.integers(0, 2**32))
def test_what_is_kept_gives_what_the_query_gives(engine: Engine, seed: int) -> None:
    kept_up(engine, seed)


@pytest.mark.full
@settings(PROPERTY, max_examples=500)
@given(seed=st.integers(0, 2**32))
def test_what_is_kept_gives_what_the_query_gives_over_and_over(engine: Engine, seed: int) -> None:
    kept_up(engine, seed)


@settings(PROPERTY, max_examples=6)
@given(seed=st.integers(0, 2**32))
def test_pieces_that_are_not_merged_give_what_the_query_gives(engine: Engine, seed: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "_SMALL", 0)
        patch.setattr(pieces, "MOST_PIECES", 3)
        patch.setattr(pieces, "LARGE", 1)
        kept_up(engine, seed)


def many_groups(count: int) -> list[Row]:
    """Two rows of each group."""
    one = {**dict.fromkeys(SCHEMA.names), "parcelas": 1}
    return [{**one, "ano": group, "area": group + step} for step in (0.25, 0.5) for group in range(count)]


SUMS = (
    "SELECT ano, count(*) AS n, sum(parcelas) AS p, stddev(area) AS d, max(area) AS m FROM silver.pedidos GROUP BY ano"
)


def test_of_many_groups_only_those_that_changed_are_written(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "_SMALL", 10)
    monkeypatch.setattr(pieces, "MOST_PIECES", 4)
    table = Table(engine, SUMS, str(tmp_path), many_groups(60))
    first = table.now.files[GROUPS][0]
    sizes = []
    for step in range(6):
        came = [{**table.rows[0], "ano": group, "area": 7.0 + step} for group in (step, 0, 1000)]
        table.change(came, [row for row in table.rows if row["ano"] == 30 + step])
        mine, whole = table.both()
        assert close_rows(mine, whole)
        sizes.append([file.rows for file in table.now.files[GROUPS]])
    assert sizes[:3] == [[60, 3], [60, 3, 4], [60, 3, 4, 4]]
    assert table.now.files[GROUPS][0] == first or table.now.files[GROUPS][0].rows != 60


def test_a_group_is_found_by_its_number_and_without(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What tells the numbers of groups is of one first piece: missing, cut short or of another it counts as none."""
    monkeypatch.setattr(pieces, "_SMALL", 0)
    monkeypatch.setattr(pieces, "LARGE", 10)
    rows = [{**row, "ano": row["ano"] or None} for row in many_groups(60)]
    table = Table(engine, SUMS, str(tmp_path), rows)
    found: list[int] = []
    monkeypatch.setattr(pieces, "rows_at", lambda file, numbers: rows_at(file, found.append(1) or numbers))

    def change(*groups: int | None) -> bool:
        before = len(found)
        table.change([{**rows[0], "ano": group} for group in groups], [])
        mine, whole = table.both()
        assert close_rows(mine, whole)
        return len(found) > before

    def numbers() -> Path:
        (file,) = table.now.files[NUMBERS]
        return Path(file.path)

    assert not change(1, None)
    assert change(1, 1000, None)
    numbers().write_bytes(numbers().read_bytes()[:-20])
    assert not change(1)
    assert change(2, 1000)
    numbers().unlink()
    assert not change(2)
    first = table.now.files[GROUPS][0]
    while table.now.files[GROUPS][0] == first:
        assert change(*range(9))
    assert change(1, 59, None)


def test_a_group_that_went_comes_back_as_a_new_one(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "_SMALL", 0)
    table = Table(engine, SUMS, str(tmp_path), many_groups(20))
    one = [row for row in table.rows if row["ano"] == 3]
    table.change([], one)
    mine, whole = table.both()
    assert close_rows(mine, whole)
    assert len(mine) == 19
    table.change(one[:1], [])
    mine, whole = table.both()
    assert close_rows(mine, whole)
    assert next(row for row in mine if row["ano"] == 3)["n"] == 1


def test_small_groups_that_lie_far_apart_are_kept_where_sums_are_enough(engine: Engine, tmp_path: Path) -> None:
    table = Table(engine, SUMS, str(tmp_path), many_groups(50))
    assert table.keeper().make(largest_share=0.05) is not None
    counted = Table(
        engine, "SELECT ano, median(area) AS m FROM silver.pedidos GROUP BY ano", str(tmp_path), many_groups(50)
    )
    assert counted.keeper().make(largest_share=0.05) is None


def test_what_is_not_of_this_version_is_noticed(engine: Engine, tmp_path: Path) -> None:
    table = Table(engine, SUMS, str(tmp_path), many_groups(3))
    Path(table.now.files[GROUPS][0].path).write_bytes(b"PAR1 and more that is no Arrow file PAR1")
    with pytest.raises(Lost):
        table.change(many_groups(1), [])


def rows_of(areas: Sequence[float]) -> list[Row]:
    return [{**dict.fromkeys(SCHEMA.names), "uf": "SP", "area": area} for area in areas]


def test_a_sum_that_lost_its_digits_is_computed_again(engine: Engine, tmp_path: Path) -> None:
    sql = "SELECT uf, sum(area) AS total, avg(area) AS media, stddev(area) AS desvio FROM silver.pedidos GROUP BY uf"
    table = Table(engine, sql, str(tmp_path), rows_of([0.1, 0.2, 0.7]))
    huge = rows_of([1e17])
    table.change(huge, [])
    table.change([], huge)
    mine, whole = table.both()
    assert close_rows(mine, whole, 1e-12)


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_a_number_that_is_none_leaves_no_trace(engine: Engine, tmp_path: Path, odd: float) -> None:
    sql = "SELECT uf, sum(area) AS total, avg(area) AS media, var_pop(area) AS v, stddev(area) AS d FROM silver.pedidos"
    table = Table(engine, f"{sql} GROUP BY uf", str(tmp_path), rows_of([odd]))
    table.change(rows_of([0.5]), [])
    assert [math.isnan(row["v"]) and math.isnan(row["d"]) for row in table.both()[0]] == [True]
    table.change(rows_of([2.5]), table.rows[:1])
    mine, whole = table.both()
    assert mine == whole == [{**whole[0], "total": 3.0, "media": 1.5, "v": 1.0}]


def test_equal_values_have_the_spread_that_the_query_gives(engine: Engine, tmp_path: Path) -> None:
    sql = "SELECT uf, stddev(area) AS desvio FROM silver.pedidos GROUP BY uf"
    table = Table(engine, sql, str(tmp_path), rows_of([0.1] * 7))
    table.change(rows_of([0.1] * 3), [])
    mine, whole = table.both()
    assert close_rows(mine, whole, 1e-15)


def test_a_window_that_moved_away_is_made_anew(engine: Engine, tmp_path: Path) -> None:
    sql = "SELECT uf, median(area) AS mediana FROM silver.pedidos GROUP BY uf"
    table = Table(engine, sql, str(tmp_path), rows_of([float(n) for n in range(200)]))
    for step in range(1, 5):
        table.change(rows_of([1000.0 + n for n in range(60 * step)]), [])
        mine, whole = table.both()
        assert mine == whole


def test_many_pieces_become_one(engine: Engine, tmp_path: Path) -> None:
    sql = "SELECT uf, count(DISTINCT area) AS n, mode(area) AS m FROM silver.pedidos GROUP BY uf"
    table = Table(engine, sql, str(tmp_path), rows_of([float(n) for n in range(50)]))
    for step in range(20):
        table.change(rows_of([float(step), 1000.0 + step]), [])
    mine, whole = table.both()
    assert mine == whole
    assert len(table.now.files["counts0"]) <= 16


def test_a_row_that_was_never_there_is_noticed(engine: Engine, tmp_path: Path) -> None:
    table = Table(
        engine, "SELECT uf, count(DISTINCT area) AS n FROM silver.pedidos GROUP BY uf", str(tmp_path), rows_of([1])
    )
    changes = weighed(*(table.ask(table.kept.rows(), relation(side)) for side in ([], rows_of([2]))))
    with pytest.raises(Lost):
        table.keeper().advance(table.now.files, changes)


def test_many_small_groups_are_not_kept(engine: Engine, tmp_path: Path) -> None:
    table = Table(
        engine, "SELECT area, count(*) AS n FROM silver.pedidos GROUP BY area", str(tmp_path), rows_of([1, 2, 3])
    )
    assert table.keeper().make(largest_share=0.5) is None


REFUSED = [
    (
        "SELECT uf, max_by(area, em) AS a FROM silver.pedidos GROUP BY uf",
        "MAX_BY(area, em) needs the rows of its group",
    ),
    ("SELECT uf, sum(DISTINCT area) AS a FROM silver.pedidos GROUP BY uf", "needs the rows of its group"),
    ("SELECT uf, max(struct(em, area)) AS a FROM silver.pedidos GROUP BY uf", "needs the rows of its group"),
    ("SELECT uf, collect_list(area) AS a FROM silver.pedidos GROUP BY uf", "needs the rows of its group"),
    ("SELECT uf, count(DISTINCT area, em) AS a FROM silver.pedidos GROUP BY uf", "needs the rows of its group"),
    ("SELECT uf, n + 1 AS m FROM (SELECT uf, count(*) AS n FROM silver.pedidos GROUP BY uf)", "worked on once more"),
    ("SELECT uf, count(*) AS n FROM silver.pedidos GROUP BY uf ORDER BY n", "its result is ordered"),
    ("SELECT uf, count(*) AS n FROM silver.pedidos GROUP BY uf HAVING n > 1", "n is no group key"),
]


@pytest.mark.parametrize(("sql", "reason"), REFUSED)
def test_views_that_need_their_rows_say_why(sql: str, reason: str) -> None:
    query = sqlglot.parse_one(sql, read="spark")
    groups = grouping(query, SCHEMA.names)
    assert isinstance(groups, Grouping)
    answer = kept(query, groups)
    assert isinstance(answer, str)
    assert reason in answer


@pytest.mark.parametrize(
    "clause",
    [
        "/ (SELECT count(*) FROM silver.produtos) AS parte FROM silver.pedidos GROUP BY uf",
        "AS total FROM silver.pedidos GROUP BY uf HAVING count(*) > (SELECT count(*) FROM silver.produtos)",
        "AS total FROM silver.pedidos GROUP BY uf HAVING EXISTS (SELECT 1 FROM silver.produtos)",
        "IN (SELECT count(*) FROM silver.produtos) AS cheio FROM silver.pedidos GROUP BY uf",
    ],
)
def test_the_aggregates_of_a_subquery_are_not_those_of_the_groups(clause: str) -> None:
    query = sqlglot.parse_one(f"SELECT uf, sum(parcelas) {clause}", read="spark")
    groups = joined_grouping(query, TableName.parse("silver.pedidos"))
    assert isinstance(groups, Grouping)
    assert kept(query, groups) == "its results need a subquery"
