"""What every table format promises, over all of them: schemas, commits, history, differences, fencing."""

from __future__ import annotations

import errno
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.contracts.formats_files import PEDIDOS, PLAIN, SCHEMA, Place, append, change, ids, pedidos, write
from tests.contracts.formats_race import append_until, define, together

from datalab.errors import (
    CommitFailed,
    CommitUnknown,
    Fenced,
    LakeError,
    NotAppendOnly,
    NotSupported,
    SchemaConflict,
    SnapshotNotFound,
    StorageFull,
    TableNotFound,
)
from datalab.events import CommitLanded, Event
from datalab.lake.commit import commit, commit_rebased
from datalab.lake.formats.base import Format, Overtaken
from datalab.lake.provenance import CheckResult, Range
from datalab.lake.schema import normalise
from datalab.lake.table import Change, DataFile, PartitionField, TableSpec, TableState
from datalab.names import TableName

UF = TableSpec(SCHEMA, (PartitionField("uf"),), comment="Pedidos de crédito")


def test_a_new_table_has_its_schema_and_no_snapshot(place: Place) -> None:
    assert place.lake.state(PEDIDOS) is None
    assert place.lake.names() == ()
    made = place.lake.define(PEDIDOS, UF)
    assert made == place.lake.state(PEDIDOS) == place.fresh().require(PEDIDOS)
    assert made.snapshot is None
    assert made.partition == (PartitionField("uf"),)
    assert made.comment == "Pedidos de crédito"
    assert normalise(made.schema) == normalise(SCHEMA)
    assert ids(place.lake.files(made)) == []
    assert place.lake.history(made) == ()
    assert place.lake.names() == (PEDIDOS,)


def test_field_ids_are_on_every_level_where_the_format_has_them(place: Place, state: TableState) -> None:
    def missing(field: pa.Field) -> list[str]:
        children = [] if pa.types.is_primitive(field.type) or not field.type.num_fields else list(_children(field))
        own = [] if b"PARQUET:field_id" in (field.metadata or {}) else [field.name]
        return own + [name for child in children for name in missing(child)]

    without = [name for field in state.schema for name in missing(field)]
    assert bool(without) is not place.tables.capabilities.field_ids


def _children(field: pa.Field) -> list[pa.Field]:
    return [field.type.field(index) for index in range(field.type.num_fields)]


def test_partition_transforms_outside_the_capabilities_are_left_out(place: Place) -> None:
    wanted = (PartitionField("feito_em", "months"), PartitionField("uf"))
    made = place.lake.define(PEDIDOS, TableSpec(SCHEMA, wanted))
    known = place.tables.capabilities.partition_transforms
    assert made.partition == tuple(field for field in wanted if field.transform in known)


def test_define_again_changes_nothing(place: Place) -> None:
    first = append(place, place.lake.define(PEDIDOS, UF), 1, 1) if not UF.partition else place.lake.define(PEDIDOS, UF)
    assert place.lake.define(PEDIDOS, UF) == first


def test_columns_are_added_also_inside_of_structs_and_lists(place: Place, state: TableState) -> None:
    before = append(place, state, 1, 3)
    grown = pa.schema(
        [
            *[field for field in SCHEMA if field.name not in ("local", "fontes")],
            ("local", pa.struct([*SCHEMA.field("local").type, ("uf", pa.string())])),
            ("fontes", pa.list_(pa.struct([("nome", pa.string()), ("score", pa.int32())]))),
            ("cultura", pa.string()),
        ]
    )
    after = place.lake.define(PEDIDOS, TableSpec(grown))
    assert set(after.schema.names) == set(grown.names)
    assert after.schema.field("local").type.num_fields == 3
    assert after.snapshot == before.snapshot
    query = (
        pedidos(4, 5)
        .replace("AS fontes", "AS _x, [{nome: 'x', score: 7}] AS fontes, 'soja' AS cultura")
        .replace("lat: -23.5::DOUBLE", "lat: -23.5::DOUBLE, uf: 'SP'")
    )
    landed = place.lake.commit(after, change(write(after, f"SELECT * EXCLUDE (_x) FROM ({query})")))
    assert ids(place.lake.files(landed)) == [1, 2, 3, 4, 5]
    plain = PLAIN[place.name](place.warehouse, PEDIDOS).sort_by("id").to_pylist()
    assert [row["cultura"] for row in plain] == [None, None, None, "soja", "soja"]
    assert [row["local"]["uf"] for row in plain] == [None, None, None, "SP", "SP"]
    assert place.lake.files(landed, before.snapshot).schema.names == list(SCHEMA.names)


def test_types_widen_or_the_format_says_that_they_cannot(place: Place) -> None:
    narrow = pa.schema([("n", pa.int32()), ("s", pa.struct([("x", pa.float32())])), ("d", pa.decimal128(5, 2))])
    wide = pa.schema([("n", pa.int64()), ("s", pa.struct([("x", pa.float64())])), ("d", pa.decimal128(9, 2))])
    first = place.lake.define(PEDIDOS, TableSpec(narrow))
    first = place.lake.commit(first, change(write(first, "SELECT 7::INT n, {x: 1.5::FLOAT} s, 1.25::DECIMAL(5,2) d")))
    if not place.tables.capabilities.widens:
        with pytest.raises(NotSupported, match=r"widened column n from int32 to int64"):
            place.lake.define(PEDIDOS, TableSpec(wide))
        return
    second = place.lake.define(PEDIDOS, TableSpec(wide))
    assert normalise(second.schema) == wide
    file = write(second, f"SELECT {2**40}::BIGINT n, {{x: 2.5::DOUBLE}} s, 1234567.25::DECIMAL(9,2) d")
    second = place.lake.commit(second, change(file))
    assert sorted(PLAIN[place.name](place.warehouse, PEDIDOS).column("n").to_pylist()) == [7, 2**40]
    assert sorted(file.lower["n"] for file in place.lake.files(second).files) == [7, 2**40]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (SCHEMA.remove(1), "removed column uf (string)"),
        (SCHEMA.set(0, pa.field("id", pa.string())), "changed column id from int64 to string"),
        (SCHEMA.set(0, pa.field("id", pa.int32())), "changed column id from int64 to int32"),
        (
            SCHEMA.set(7, pa.field("local", pa.struct([("lat", pa.float64())]))),
            "removed column local.municipio (string)",
        ),
    ],
)
def test_other_changes_of_the_schema_are_refused(
    place: Place, state: TableState, wanted: pa.Schema, words: str
) -> None:
    with pytest.raises(SchemaConflict) as refused:
        place.lake.define(PEDIDOS, TableSpec(wanted))
    assert refused.value.message.startswith("bronze.pedidos: ")
    assert words in refused.value.message
    assert place.fresh().require(PEDIDOS) == state


def test_a_missing_column_may_be_kept(place: Place, state: TableState) -> None:
    kept = place.lake.define(PEDIDOS, TableSpec(pa.schema([("id", pa.int64())])), keep_missing=True)
    assert kept == state


def test_commits_are_read_back_by_everybody(place: Place, state: TableState) -> None:
    first = append(place, state, 1, 3)
    second = append(place, first, 4, 6)
    assert ids(place.lake.files(second)) == [1, 2, 3, 4, 5, 6]
    assert second == place.fresh().require(PEDIDOS)
    plain = PLAIN[place.name](place.warehouse, PEDIDOS).sort_by("id")
    assert plain.num_rows == 6
    row = plain.to_pylist()[1]
    assert row["feito_em"] == datetime(2026, 2, 2, 23, 59, 59, 123456, tzinfo=UTC)
    assert row["valor"] == Decimal("2.50")
    assert row["local"] == {"municipio": "Município 2", "lat": -23.5}


def test_an_overwrite_removes_exactly_the_files_it_names(place: Place, state: TableState) -> None:
    first = append(place, append(place, state, 1, 3), 4, 6)
    gone = [file for file in place.lake.files(first).files if file.lower["id"] == 1]
    second = place.lake.commit(first, change(write(first, pedidos(7, 8)), remove=gone, kind="upsert"))
    assert ids(place.lake.files(second)) == [4, 5, 6, 7, 8]
    assert PLAIN[place.name](place.warehouse, PEDIDOS).num_rows == 5
    last = place.lake.history(second)[-1]
    assert (last.operation, last.rows_added, last.rows_removed, last.rows_total) == ("upsert", 2, 3, 5)
    emptied = place.lake.commit(second, change(remove=place.lake.files(second).files, kind="replace"))
    assert ids(place.lake.files(emptied)) == []


def test_a_file_that_is_not_live_cannot_be_removed(place: Place, state: TableState) -> None:
    first = append(place, state, 1, 3)
    other = write(first, pedidos(4, 5))
    with pytest.raises(LakeError, match=r"bronze\.pedidos has no live file"):
        place.lake.commit(first, change(remove=[other]))
    assert place.fresh().require(PEDIDOS) == first


def test_a_commit_of_nothing_still_moves_the_position(place: Place, state: TableState) -> None:
    first = place.lake.commit(state, change(inputs={"bronze.x": Range(None, 7)}))
    assert first.snapshot is not None
    second = place.lake.commit(first, change(inputs={"bronze.x": Range(7, 9)}))
    assert second.snapshot != first.snapshot
    assert second.positions["ingest"].inputs == {"bronze.x": 9}
    assert ids(place.lake.files(second)) == []
    assert [snapshot.rows_total for snapshot in place.lake.history(second)] == [0, 0]


def test_provenance_comes_back_as_it_was(place: Place, state: TableState) -> None:
    first = append(
        place,
        state,
        1,
        3,
        code="c0de",
        inputs={"bronze.x": Range(3, 2**60)},
        offsets={"p0": 41},
        read=5,
        written=3,
        quarantined=2,
        checks=(CheckResult("valor_ok", "valor > 0", "drop", 2),),
        details={"files": ["a.avro"]},
    )
    found = place.lake.history(place.fresh().require(PEDIDOS))[-1].provenance
    assert found is not None
    assert found == replace(found, **{key: getattr(found, key) for key in ("commit_id", "positions")})
    assert (found.code, found.inputs, found.offsets) == ("c0de", {"bronze.x": Range(3, 2**60)}, {"p0": 41})
    assert (found.read, found.written, found.quarantined) == (5, 3, 2)
    assert found.checks == (CheckResult("valor_ok", "valor > 0", "drop", 2),)
    assert found.details == {"files": ["a.avro"]}
    assert found.positions == first.positions


def test_positions_of_all_flows_are_carried_forward(place: Place, state: TableState) -> None:
    one = append(place, state, 1, 1, flow="a", code="1", inputs={"bronze.x": Range(None, 5)})
    two = append(place, one, 2, 2, flow="b", code="2", offsets={"arquivos": {"a.avro": "1f"}})
    compacted = place.lake.commit(
        two, change(write(two, pedidos(1, 2)), remove=place.lake.files(two).files, flow="maintenance", kind="compact")
    )
    positions = place.fresh().require(PEDIDOS).positions
    assert positions == compacted.positions
    assert set(positions) == {"a", "b"}
    assert positions["a"].inputs == {"bronze.x": 5}
    assert positions["b"].offsets == {"arquivos": {"a.avro": "1f"}}


def test_history_and_looking_back(place: Place, state: TableState) -> None:
    one = append(place, state, 1, 3)
    time.sleep(0.01)
    two = append(place, one, 4, 4, run_id="r2")
    history = place.lake.history(two)
    assert [snapshot.id for snapshot in history] == [one.snapshot, two.snapshot]
    assert [snapshot.rows_total for snapshot in history] == [3, 4]
    assert [snapshot.provenance.run_id for snapshot in history if snapshot.provenance] == ["r1", "r2"]
    assert place.lake.at(two, history[1].at - timedelta(milliseconds=1)) == one.snapshot
    assert place.lake.at(two, datetime.now(UTC) + timedelta(days=1)) == two.snapshot
    assert place.lake.at(two, history[0].at.replace(tzinfo=None)) == one.snapshot
    assert ids(place.lake.files(two, one.snapshot)) == [1, 2, 3]
    assert ids(place.lake.files(one)) == [1, 2, 3]
    for wrong in (history[0].at - timedelta(days=1), 987654321):
        with pytest.raises(SnapshotNotFound, match=r"bronze\.pedidos has no snapshot"):
            place.lake.at(two, wrong)
    with pytest.raises(SnapshotNotFound):
        place.lake.files(two, 987654321)


def test_the_difference_between_snapshots(place: Place, state: TableState) -> None:
    one = append(place, state, 1, 3)
    two = append(place, one, 4, 4)
    gone = [file for file in place.lake.files(two).files if file.rows == 3]
    three = place.lake.commit(two, change(write(two, pedidos(5, 6)), remove=gone, kind="upsert"))
    whole = place.lake.changed(three, None, three.snapshot)
    assert (ids(whole.added), ids(whole.removed)) == ([4, 5, 6], [])
    last = place.lake.changed(three, two.snapshot, three.snapshot)
    assert (ids(last.added), ids(last.removed)) == ([5, 6], [1, 2, 3])
    both = place.lake.changed(three, one.snapshot, three.snapshot)
    assert (ids(both.added), ids(both.removed)) == ([4, 5, 6], [1, 2, 3])
    none = place.lake.changed(three, three.snapshot, three.snapshot)
    assert (ids(none.added), ids(none.removed)) == ([], [])


def test_rows_added_by_appends_across_compaction(place: Place, state: TableState) -> None:
    one = append(place, state, 1, 3)
    two = append(place, one, 4, 4)
    compacted = place.lake.commit(
        two, change(write(two, pedidos(1, 4)), remove=place.lake.files(two).files, kind="compact")
    )
    four = append(place, compacted, 5, 6)
    added = {
        since: ids(place.lake.added(four, since, four.snapshot))
        for since in (None, one.snapshot, two.snapshot, compacted.snapshot, four.snapshot)
    }
    assert list(added.values()) == [[1, 2, 3, 4, 5, 6], [4, 5, 6], [5, 6], [5, 6], []]
    assert ids(place.lake.added(four, one.snapshot, compacted.snapshot)) == [4]


def test_rows_added_are_refused_where_rows_changed(place: Place, state: TableState) -> None:
    one = append(place, state, 1, 3)
    two = place.lake.commit(one, change(write(one, pedidos(9, 9)), remove=place.lake.files(one).files, kind="replace"))
    three = append(place, two, 4, 4)
    with pytest.raises(NotAppendOnly, match=rf"bronze\.pedidos is not append-only .*{two.snapshot} is of kind replace"):
        place.lake.added(three, one.snapshot, three.snapshot)
    assert ids(place.lake.added(three, two.snapshot, three.snapshot)) == [4]
    with pytest.raises(SnapshotNotFound):
        place.lake.added(three, 123456, three.snapshot)


def test_an_upsert_that_only_adds_is_an_append(place: Place, state: TableState) -> None:
    one = append(place, state, 1, 3)
    two = append(place, one, 4, 4, kind="upsert")
    assert ids(place.lake.added(two, one.snapshot, two.snapshot)) == [4]


def test_partition_values_and_bounds_contain_every_value(place: Place) -> None:
    state = place.lake.define(PEDIDOS, UF)
    long = "ÿ" * 40
    rows = f"SELECT * REPLACE ('{long}' AS uf) FROM ({pedidos(1, 9)})"
    files = [write(state, pedidos(10, 19, "são paulo/ç%"), ("são paulo/ç%",)), write(state, rows, (long,))]
    state = place.lake.commit(state, change(*files))
    found = {file.partition: file for file in place.fresh().files(state).files}
    assert set(found) == {("são paulo/ç%",), (long,)}
    one = found["são paulo/ç%",]
    assert (one.rows, one.size) == (10, files[0].size)
    assert (one.lower["id"], one.upper["id"]) == (10, 19)
    assert (one.lower["dia"], one.upper["dia"]) == (date(2026, 1, 11), date(2026, 1, 20))
    assert (one.lower["valor"], one.upper["valor"]) == (Decimal("12.50"), Decimal("23.75"))
    assert one.lower["feito_em"] == datetime(2026, 2, 10, 23, 59, 59, 123456, tzinfo=UTC)
    assert (one.lower["area"], one.upper["area"]) == (10.5, 19.5)
    assert one.nulls["id"] == 0
    other = found[long,]
    if "uf" in other.lower:
        assert other.lower["uf"] <= long <= other.upper["uf"]
    plain = PLAIN[place.name](place.warehouse, PEDIDOS)
    assert Counter(plain.column("uf").to_pylist()) == {"são paulo/ç%": 10, long: 9}


def test_no_upper_bound_hides_a_nan(place: Place, state: TableState) -> None:
    query = f"SELECT * REPLACE (CASE WHEN id = 2 THEN 'nan'::DOUBLE ELSE area END AS area) FROM ({pedidos(1, 3)})"
    after = place.lake.commit(state, change(write(state, query)))
    assert "area" not in place.lake.files(after).files[0].upper


@pytest.mark.parametrize(
    ("column", "value", "partition"),
    [
        ("dia", "DATE '2026-01-02'", date(2026, 1, 2)),
        ("feito_em", "TIMESTAMPTZ '2026-01-02 03:04:05.000006+00'", datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
        ("valor", "1.25", Decimal("1.25")),
        ("ativo", "true", True),
        ("id", "-5", -5),
        ("uf", "NULL", None),
    ],
)
def test_partition_values_of_every_type(place: Place, column: str, value: str, partition: object) -> None:
    state = place.lake.define(PEDIDOS, TableSpec(SCHEMA, (PartitionField(column),)))
    kind = {"valor": "DECIMAL(10, 2)", "uf": "VARCHAR", "id": "BIGINT"}.get(column)
    literal = f"{value}::{kind}" if kind else value
    query = f"SELECT * REPLACE ({literal} AS {column}) FROM ({pedidos(1, 2)})"
    after = place.lake.commit(state, change(write(state, query, (partition,))))
    found = place.fresh().files(after).files
    assert [file.partition for file in found] == [(partition,)]
    assert PLAIN[place.name](place.warehouse, PEDIDOS).column(column).to_pylist() == [partition, partition]
    emptied = place.lake.commit(after, change(remove=found, kind="replace"))
    assert place.lake.files(emptied).files == ()


def test_of_two_writers_from_one_state_the_second_is_fenced(place: Place, state: TableState) -> None:
    first = append(place, state, 1, 3, run_id="vencedor")
    file = write(state, pedidos(4, 6))
    with pytest.raises(Fenced, match=rf"run vencedor \(ingest\) committed first: it is at snapshot {first.snapshot}"):
        place.lake.commit(state, change(file))
    assert place.fresh().require(PEDIDOS) == first
    assert ids(place.lake.files(first)) == [1, 2, 3]
    with pytest.raises(Overtaken):
        place.tables.commit(state, change(file))
    assert append(place, first, 4, 6).snapshot != first.snapshot


def test_appends_are_made_anew_after_a_lost_race(place: Place, state: TableState) -> None:
    seen: list[int | None] = []

    def make(newest: TableState) -> Change:
        seen.append(newest.snapshot)
        if len(seen) == 1:
            append(place, newest, 1, 1, flow="outro")
        return change(write(newest, pedidos(2, 2)))

    after = commit_rebased(place.tables, PEDIDOS, make)
    assert ids(place.lake.files(after)) == [1, 2]
    assert len(seen) == len(set(seen)) == 2
    with pytest.raises(Fenced):
        commit_rebased(place.tables, PEDIDOS, lambda now: (append(place, now, 3, 3), change())[1], attempts=2)


def test_threads_of_one_lake_append_side_by_side(place: Place, state: TableState) -> None:
    def work(number: int) -> None:
        for _ in range(3):
            place.lake.commit_rebased(
                PEDIDOS, lambda now: change(write(now, pedidos(number, number)), flow=f"f{number}")
            )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    newest = place.fresh().require(PEDIDOS)
    assert Counter(ids(place.lake.files(newest))) == {0: 3, 1: 3, 2: 3, 3: 3}
    assert set(newest.positions) == {"f0", "f1", "f2", "f3"}


def test_two_processes_race_and_every_acknowledged_commit_is_there_once(
    place: Place, state: TableState, tmp_path: Path
) -> None:
    ledgers = [tmp_path / "um.txt", tmp_path / "dois.txt"]
    assert together(append_until, [(place.name, str(place.warehouse), ledger, 6) for ledger in ledgers]) == [0, 0]
    told = [line.split() for ledger in ledgers for line in ledger.read_text(encoding="utf-8").splitlines()]
    landed = [commit_id for outcome, commit_id in told if outcome == "landed"]
    newest = place.fresh().require(PEDIDOS)
    present = [snapshot.provenance.commit_id for snapshot in place.lake.history(newest) if snapshot.provenance]
    assert sorted(present) == sorted(landed)
    assert len(landed) == 12
    assert len(ids(place.lake.files(newest))) == 36
    assert set(newest.positions) == {"um", "dois"}


def test_many_processes_define_the_same_table_at_once(place: Place) -> None:
    assert together(define, [(place.name, str(place.warehouse))] * 3) == [0, 0, 0]
    assert normalise(place.lake.require(PEDIDOS).schema) == normalise(SCHEMA)


class Broken:
    """A format whose storage answers with an error, before or after the effect."""

    def __init__(self, tables: Format, error: Exception, *, after: bool, mute: bool = False) -> None:
        self.name, self.capabilities = tables.name, tables.capabilities
        self._tables, self._error, self._after, self._mute = tables, error, after, mute

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tables, name)

    def load(self, name: TableName) -> TableState | None:
        if self._mute:
            raise OSError("storage is gone")
        return self._tables.load(name)

    def commit(self, state: TableState, change: Change) -> TableState:
        if self._after:
            self._tables.commit(state, change)
        raise self._error


def test_a_lost_answer_is_resolved_by_reading_back(place: Place, state: TableState) -> None:
    heard: list[Event] = []
    place.bus.subscribe(heard.append)
    broken = Broken(place.tables, ConnectionResetError("answer lost"), after=True)
    after = commit(broken, state, change(write(state, pedidos(1, 3))), place.bus)
    assert ids(place.lake.files(after)) == [1, 2, 3]
    assert [(event.table, event.snapshot, event.resolved) for event in heard if isinstance(event, CommitLanded)] == [
        ("bronze.pedidos", after.snapshot, True)
    ]
    overtaken = Broken(place.tables, Overtaken("by itself: the library tried twice"), after=True)
    again = commit(overtaken, after, change(write(after, pedidos(4, 4))), place.bus)
    assert ids(place.lake.files(again)) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (ConnectionResetError("storage said no"), CommitFailed),
        (OSError(errno.ENOSPC, "No space left on device"), StorageFull),
        (RuntimeError("Generic LocalFileSystem error: No space left on device (os error 28)"), StorageFull),
    ],
)
def test_a_commit_that_did_not_land_is_said_to_have_failed(
    place: Place, state: TableState, error: Exception, meaning: type[Exception]
) -> None:
    with pytest.raises(meaning, match=r"bronze\.pedidos"):
        commit(Broken(place.tables, error, after=False), state, change(write(state, pedidos(1, 3))))
    assert place.fresh().require(PEDIDOS) == state


@pytest.mark.parametrize("after", [True, False])
def test_an_outcome_that_cannot_be_read_back_is_unknown(place: Place, state: TableState, after: bool) -> None:
    broken = Broken(place.tables, OSError("timeout"), after=after, mute=True)
    with pytest.raises(CommitUnknown, match=r"may or may not have landed"):
        commit(broken, state, change(write(state, pedidos(1, 3))))


def test_a_staged_file_that_is_gone_fails_the_commit(place: Place, state: TableState) -> None:
    with pytest.raises(CommitFailed):
        place.lake.commit(state, change(DataFile(f"{state.target().location}/dl-none.parquet", 1, 1)))
    assert place.fresh().require(PEDIDOS) == state


def test_an_unknown_table_is_named_with_its_neighbours(place: Place, state: TableState) -> None:
    with pytest.raises(TableNotFound) as unknown:
        place.lake.require(TableName("bronze", "pedido"))
    assert unknown.value.message == "there is no table bronze.pedido"
    assert unknown.value.hint == "did you mean bronze.pedidos?"


def test_states_stay_as_they_were_read(place: Place, state: TableState) -> None:
    one = append(place, state, 1, 3)
    two = append(place, one, 4, 6)
    assert ids(place.lake.files(one)) == [1, 2, 3]
    assert [snapshot.id for snapshot in place.lake.history(one)] == [one.snapshot]
    assert len(place.lake.history(two)) == 2


def test_who_writes_all_the_time_knows_what_a_new_reader_knows(place: Place, state: TableState) -> None:
    for step in range(1, 24):
        state = append(place, state, step, step + 1)
        gone = place.lake.files(state).files[:1] if step % 3 == 0 else ()
        state = place.lake.commit(state, change(write(state, pedidos(90, 90 + step)), remove=gone, kind="upsert"))
        reader = place.fresh()
        seen = reader.require(PEDIDOS)
        assert state == seen
        assert _told(place.lake.files(state).files) == _told(reader.files(seen).files)
    wide = place.lake.reshape(state, pa.schema([*state.schema, ("novo", pa.int64())]))
    files = place.lake.files(wide).files
    after = place.lake.commit(
        wide, change(write(wide, f"SELECT *, 7::BIGINT AS novo FROM ({pedidos(1, 2)})"), remove=files)
    )
    assert after == place.fresh().require(PEDIDOS)
    (file,) = place.lake.files(after).files
    assert (file.lower["novo"], file.lower["id"], file.upper["id"]) == (7, 1, 2)


def _told(files: tuple[DataFile, ...]) -> dict[str, tuple[object, ...]]:
    """All that is known of each file, what is never compared too."""
    return {file.path: (file.rows, file.size, file.partition, file.lower, file.upper, file.nulls) for file in files}
