"""Tables that others write to as well: what they did is seen for what it is, and what we knew is not lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake
from pyiceberg.manifest import DataFile as IcebergFile
from pyiceberg.manifest import (
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestWriterV2,
)
from pyiceberg.table.update.snapshot import _FastAppendFiles
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record
from tests.contracts.formats_files import PEDIDOS, change, ids, plain_catalog, write

from datalab.errors import NotAppendOnly, NotSupported
from datalab.lake.lake import Lake, open_lake
from datalab.lake.maintenance.compact import plan_compaction
from datalab.lake.maintenance.goals import Goals
from datalab.lake.provenance import Range
from datalab.lake.restore import restore
from datalab.lake.table import PartitionField, TableSpec, TableState

PAIRS = pa.schema([("id", pa.int64()), ("uf", pa.string())])


def rows(first: int, last: int, uf: str = "SP") -> pa.Table:
    count = last - first + 1
    return pa.table({"id": range(first, last + 1), "uf": [uf] * count}, schema=PAIRS)


def query(first: int, last: int) -> str:
    return f"SELECT range AS id, 'SP' AS uf FROM range({first}, {last + 1})"


@pytest.fixture
def iceberg(tmp_path: Path) -> Lake:
    return open_lake("iceberg", str(tmp_path))


@pytest.fixture
def delta(tmp_path: Path) -> Lake:
    return open_lake("delta", str(tmp_path))


def started(lake: Lake, *partition: PartitionField) -> TableState:
    state = lake.define(PEDIDOS, TableSpec(PAIRS, partition))
    file = write(state, query(1, 3), ("SP",) if partition else ())
    return lake.commit(state, change(file, inputs={"bronze.x": Range(None, 4)}, code="c"))


def test_an_append_through_pyiceberg_is_an_append(iceberg: Lake, tmp_path: Path) -> None:
    one = started(iceberg)
    with plain_catalog(tmp_path) as catalog:
        catalog.load_table(str(PEDIDOS)).append(rows(4, 6))
    two = iceberg.require(PEDIDOS)
    assert [snapshot.operation for snapshot in iceberg.history(two)] == ["append", "append"]
    assert ids(iceberg.added(two, one.snapshot, two.snapshot)) == [4, 5, 6]
    assert two.positions == one.positions
    assert ids(iceberg.files(two)) == [1, 2, 3, 4, 5, 6]


def test_a_delete_through_pyiceberg_is_foreign(iceberg: Lake, tmp_path: Path) -> None:
    one = started(iceberg)
    with plain_catalog(tmp_path) as catalog:
        catalog.load_table(str(PEDIDOS)).delete("id = 2")
    two = iceberg.require(PEDIDOS)
    assert iceberg.history(two)[-1].operation == "foreign"
    assert ids(iceberg.files(two)) == [1, 3]
    with pytest.raises(NotAppendOnly):
        iceberg.added(two, one.snapshot, two.snapshot)


class _DeleteManifest(ManifestWriterV2):
    def content(self) -> ManifestContent:
        return ManifestContent.DELETES


class _RowDeletes(_FastAppendFiles):
    """Adds a manifest of position deletes, as Spark's merge-on-read does."""

    def _manifests(self) -> list[Any]:
        metadata = self._transaction.table_metadata
        writer = _DeleteManifest(
            metadata.spec(), metadata.schema(), self.new_manifest_output(), self._snapshot_id, "null"
        )
        with writer:
            for file in self._added_data_files:
                writer.add(
                    ManifestEntry.from_args(
                        status=ManifestEntryStatus.ADDED,
                        snapshot_id=self._snapshot_id,
                        sequence_number=None,
                        file_sequence_number=None,
                        data_file=file,
                    )
                )
        self._added_data_files = []
        return [writer.to_manifest_file(), *self._existing_manifests()]


def delete_by_position(lake: Lake, state: TableState, position: int) -> TableState:
    """As Spark's merge-on-read does it: the delete file says itself which data file it is about."""
    table = lake.format("iceberg")._catalog.load_table(str(PEDIDOS))
    path = Path(state.target().location) / f"{uuid4()}-deletes.parquet"
    fields = [
        pa.field("file_path", pa.string(), False, {"PARQUET:field_id": "2147483546"}),
        pa.field("pos", pa.int64(), False, {"PARQUET:field_id": "2147483545"}),
    ]
    target = lake.files(state).files[0].path
    pq.write_table(pa.table({"file_path": [target], "pos": [position]}, schema=pa.schema(fields)), path)
    deletes = IcebergFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=str(path),
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=1,
        file_size_in_bytes=path.stat().st_size,
    )
    deletes.spec_id = 0
    with table.transaction() as transaction:
        producer = _RowDeletes(operation="delete", transaction=transaction, io=table.io)
        producer.append_data_file(deletes)
        producer.commit()
    return lake.require(PEDIDOS)


def test_rows_deleted_by_position_are_left_out_by_the_tables_own_scan(iceberg: Lake) -> None:
    one = started(iceberg)
    two = delete_by_position(iceberg, one, 1)
    assert ids(iceberg.files(two)) == [1, 3]
    assert iceberg.files(two).scan().schema == PAIRS
    assert ids(iceberg.files(two, one.snapshot)) == [1, 2, 3]
    with pytest.raises(NotSupported, match="row-level deletes"):
        iceberg.changed(two, one.snapshot, two.snapshot)


def test_the_tables_own_scan_tells_no_list_from_an_empty_one(iceberg: Lake) -> None:
    item = pa.struct([("n", pa.int64())])
    nested = [("itens", pa.list_(item)), ("por_nome", pa.map_(pa.string(), item)), ("fundo", pa.list_(pa.list_(item)))]
    state = iceberg.define(PEDIDOS, TableSpec(pa.schema([("id", pa.int64()), *nested])))
    made = """
        SELECT i AS id, CASE i % 3 WHEN 0 THEN [] WHEN 1 THEN [{'n': i}] END::STRUCT(n BIGINT)[] AS itens,
          CASE i % 3 WHEN 0 THEN MAP {} WHEN 1 THEN MAP {'a': {'n': i}} END::MAP(VARCHAR, STRUCT(n BIGINT)) AS por_nome,
          [CASE i % 3 WHEN 0 THEN [] WHEN 1 THEN [{'n': i}] END, NULL]::STRUCT(n BIGINT)[][] AS fundo
        FROM range(7) t(i)
    """
    state = iceberg.commit(state, change(write(state, made)))
    left = iceberg.files(delete_by_position(iceberg, state, 0)).scan().read_all().to_pylist()
    lists = {0: [], 1: [{"n": 1}], 2: None, 3: [], 4: [{"n": 4}], 5: None, 6: []}
    assert {row["id"]: row["itens"] for row in left} == {n: lists[n] for n in range(1, 7)}
    maps = {0: [], 1: [("a", {"n": 1})], 2: None, 3: [], 4: [("a", {"n": 4})], 5: None, 6: []}
    assert {row["id"]: row["por_nome"] for row in left} == {n: maps[n] for n in range(1, 7)}
    assert {row["id"]: row["fundo"] for row in left} == {n: [lists[n], None] for n in range(1, 7)}


def test_files_from_before_other_partitions_are_read_and_neither_merged_nor_brought_back(
    iceberg: Lake, tmp_path: Path
) -> None:
    state = started(iceberg, PartitionField("uf"))
    for number in range(4, 8):
        state = iceberg.commit(state, change(write(state, query(number, number), ("SP",))))
    with plain_catalog(tmp_path) as catalog, catalog.load_table(str(PEDIDOS)).update_spec() as update:
        update.remove_field("uf")
        update.add_field("id", IdentityTransform(), "id_igual")
    state = iceberg.require(PEDIDOS)
    for number in range(8, 12):
        state = iceberg.commit(state, change(write(state, query(number, number), (number,))))
    live = iceberg.files(state).files
    assert ids(iceberg.files(state)) == [*range(1, 12)]
    assert {file.older for file in live if file.partition == ("SP",)} == {True}
    assert {group.partition for group in plan_compaction(iceberg, PEDIDOS, Goals()).groups} <= {
        (8,),
        (9,),
        (10,),
        (11,),
    }
    old = next(file for file in live if file.older)
    without = iceberg.commit(state, change(write(state, query(20, 20), (20,)), remove=(old,)))
    with pytest.raises(NotSupported, match="going back behind other partitions"):
        restore(iceberg, PEDIDOS, state.snapshot or 0, "r")
    assert ids(iceberg.files(without)) == ids(iceberg.files(iceberg.require(PEDIDOS)))


def test_an_append_through_delta_rs_is_an_append(delta: Lake, tmp_path: Path) -> None:
    one = started(delta)
    write_deltalake(tmp_path / "bronze" / "pedidos", rows(4, 6), mode="append")
    two = delta.require(PEDIDOS)
    assert [snapshot.operation for snapshot in delta.history(two)] == ["append", "append"]
    assert ids(delta.added(two, one.snapshot, two.snapshot)) == [4, 5, 6]
    assert two.positions == one.positions
    assert delta.files(two).scan is None


def test_files_of_others_in_a_partitioned_delta_table_need_its_own_scan(delta: Lake, tmp_path: Path) -> None:
    started(delta, PartitionField("uf"))
    write_deltalake(tmp_path / "bronze" / "pedidos", rows(4, 5, "MG/ç é"), mode="append", partition_by=["uf"])
    found = delta.files(delta.require(PEDIDOS))
    assert found.scan is not None
    assert {file.partition for file in found.files} == {("SP",), ("MG/ç é",)}
    assert all(Path(file.path).is_file() for file in found.files)
    assert sorted(found.scan().read_all().to_pydict()["uf"]) == ["MG/ç é", "MG/ç é", "SP", "SP", "SP"]


def test_compaction_and_deletes_by_delta_rs(delta: Lake, tmp_path: Path) -> None:
    one = started(delta)
    two = delta.commit(one, change(write(one, query(4, 6))))
    root = tmp_path / "bronze" / "pedidos"
    DeltaTable(root).optimize.compact()
    three = delta.require(PEDIDOS)
    assert delta.history(three)[-1].operation == "compact"
    assert ids(delta.added(three, one.snapshot, three.snapshot)) == [4, 5, 6]
    assert three.positions == two.positions
    DeltaTable(root).delete("id = 2")
    four = delta.require(PEDIDOS)
    assert delta.history(four)[-1].operation == "foreign"
    assert ids(delta.files(four)) == [1, 3, 4, 5, 6]
    with pytest.raises(NotAppendOnly):
        delta.added(four, three.snapshot, four.snapshot)
    DeltaTable(root).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert delta.require(PEDIDOS).snapshot == four.snapshot


def test_settings_and_new_columns_are_no_snapshots(delta: Lake, tmp_path: Path) -> None:
    one = started(delta)
    DeltaTable(tmp_path / "bronze" / "pedidos").alter.set_table_properties({"delta.appendOnly": "false"})
    wider = delta.define(PEDIDOS, TableSpec(pa.schema([*PAIRS, ("cultura", pa.string())]), comment="novo"))
    assert wider.snapshot == one.snapshot
    assert wider.comment == "novo"
    assert ids(delta.files(wider)) == [1, 2, 3]
    assert ids(delta.files(wider, one.snapshot)) == [1, 2, 3]


def test_positions_outlive_the_cleaning_of_the_log(delta: Lake, tmp_path: Path) -> None:
    one = started(delta)
    two = delta.commit(one, change(write(one, query(4, 4)), flow="outro", code="d", offsets={"p0": 7}))
    root = tmp_path / "bronze" / "pedidos"
    write_deltalake(root, rows(5, 6), mode="append")
    DeltaTable(root).create_checkpoint()
    write_deltalake(root, rows(7, 8), mode="append")
    for version in (0, 1, 2):
        (root / "_delta_log" / f"{version:020}.json").unlink()
    three = open_lake("delta", str(tmp_path)).require(PEDIDOS)
    assert three.positions == two.positions
    assert three.snapshot == 4
    history = delta.history(three)
    assert [(snapshot.id, snapshot.rows_total) for snapshot in history] == [(3, 6), (4, 8)]
    assert ids(delta.added(three, 3, 4)) == [7, 8]


def test_a_table_made_anew_in_the_same_place_is_another(delta: Lake, tmp_path: Path) -> None:
    started(delta)
    root = tmp_path / "bronze" / "pedidos"
    for path in sorted(root.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    assert delta.state(PEDIDOS) is None
    write_deltalake(root, rows(7, 8))
    write_deltalake(root, rows(9, 9), mode="append")
    assert ids(delta.files(delta.require(PEDIDOS))) == [7, 8, 9]
    assert delta.require(PEDIDOS).positions == {}


def test_notes_of_others_in_a_commit_are_no_provenance(delta: Lake, tmp_path: Path) -> None:
    started(delta)
    root = tmp_path / "bronze" / "pedidos"

    for note in ("commit_id: um", '{"commit_id": 1}', "[]", ""):
        write_deltalake(
            root, rows(4, 4), mode="append", commit_properties=CommitProperties(custom_metadata={"userMetadata": note})
        )
    history = delta.history(delta.require(PEDIDOS))
    assert [snapshot.provenance is None for snapshot in history] == [False, True, True, True, True]


# One row is gone, the second: a portable Roaring bitmap of {1}, in the encoding of Delta's log.
VECTOR = {
    "storageType": "i",
    "pathOrInlineDv": "^Bg9^0rr910000000000iXQKl0rr91000005c8Xg0rr91",
    "sizeInBytes": 34,
    "cardinality": 1,
}
FEATURE = ["deletionVectors"]


def with_vector(state: TableState) -> Lake:
    """What Spark does for DELETE where a table has deletion vectors."""
    log, version = Path(state.location) / "_delta_log", state.handle.version()
    lines = (log / f"{version:020}.json").read_text(encoding="utf-8").splitlines()
    (add,) = [json.loads(line)["add"] for line in lines if '"add"' in line]
    protocol = {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": FEATURE, "writerFeatures": FEATURE}
    actions = [
        {"protocol": protocol},
        {"remove": {"path": add["path"], "dataChange": True, "deletionTimestamp": 1}},
        {"add": {**add, "deletionVector": VECTOR}},
        {"commitInfo": {"operation": "DELETE", "timestamp": 1}},
    ]
    text = "".join(f"{json.dumps(action)}\n" for action in actions)
    (log / f"{version + 1:020}.json").write_text(text, encoding="utf-8")
    return open_lake("delta", str(Path(state.location).parents[1]))


def test_files_with_deletion_vectors_are_not_removed_by_their_path_alone(delta: Lake) -> None:
    lake = with_vector(started(delta))
    state = lake.require(PEDIDOS)
    assert ids(lake.files(state)) == [1, 3]
    grown = lake.commit(state, change(write(state, query(4, 4))))
    assert ids(lake.files(grown)) == [1, 3, 4]
    (old,) = lake.files(state).files
    with pytest.raises(NotSupported, match="removing files with deletion vectors"):
        lake.commit(grown, change(write(grown, query(5, 5)), remove=(old,)))
    assert ids(lake.files(lake.require(PEDIDOS))) == [1, 3, 4]


def test_files_of_deletion_vectors_are_no_strays(delta: Lake) -> None:
    lake = with_vector(started(delta))
    state = lake.require(PEDIDOS)
    (Path(state.location) / "deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin").write_bytes(b"x")
    (Path(state.location) / "left.bin").write_bytes(b"x")
    assert [Path(file.path).name for file in lake.format("delta").upkeep.strays(state)] == ["left.bin"]


def test_a_file_that_another_writer_describes_anew_is_described_anew(delta: Lake) -> None:
    state = started(delta)
    (before,) = delta.files(state).files
    log, version = Path(state.location) / "_delta_log", state.handle.version()
    lines = (log / f"{version:020}.json").read_text(encoding="utf-8").splitlines()
    (add,) = [json.loads(line)["add"] for line in lines if '"add"' in line]
    again = {**add, "stats": json.dumps({"numRecords": 2}), "dataChange": False}
    (log / f"{version + 1:020}.json").write_text(json.dumps({"add": again}) + "\n", encoding="utf-8")
    (after,) = delta.files(delta.require(PEDIDOS)).files
    assert (before.rows, after.rows) == (3, 2)
    assert (before.lower["id"], after.lower) == (1, {})
