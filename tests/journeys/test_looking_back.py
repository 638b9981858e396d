"""What was, and the way back: histories, differences, tags, and a restore that loses and doubles nothing."""

from __future__ import annotations

import pytest
from tests.journeys.pedidos import Pedidos, order
from tests.journeys.test_maintenance import AT_ONCE

SILVER = "SELECT id, uf, valor FROM silver.pedidos"


def three_days(pedidos: Pedidos) -> None:
    pedidos.deliver("d1", order("a", valor=1), order("b", valor=2), order("x", valor=-1))
    pedidos.run()
    pedidos.deliver("d2", order("b", valor=20, versao=2), order("c", valor=3))
    pedidos.run()
    pedidos.deliver("d3", order("d", valor=4))
    pedidos.run()


def snapshots(pedidos: Pedidos, table: str) -> list[int]:
    """Oldest first."""
    return [entry["snapshot"] for entry in reversed(pedidos("data", "history", table, "--json").json)]


def test_the_history_says_all_of_each_commit(pedidos: Pedidos) -> None:
    three_days(pedidos)
    newest, second, first = pedidos("data", "history", "silver.pedidos", "--json").json
    assert (first["read"], first["written"], first["quarantined"], first["total"]) == (3, 2, 1, 2)
    assert (second["read"], second["written"], second["total"]) == (2, 2, 3)
    assert first["inputs"] == [f"bronze.pedidos start → {snapshots(pedidos, 'bronze.pedidos')[0]}"]
    assert second["checks"] == [{"name": "valor_positivo", "condition": "valor > 0", "action": "drop", "failed": 0}]
    for entry in (newest, second, first):
        assert entry["kind"] == "upsert"
        assert entry["flow"] == "atualiza"
        assert len(entry["code"]) == 12
        assert entry["run"]
        assert entry["at"]
        assert entry["files"] >= 1
        assert entry["bytes"] > 100
    shown = pedidos("data", "history", "silver.pedidos").out
    assert "valor_positivo 1 drop" in shown
    assert "bytes" in shown


def test_differences_by_key_both_ways_and_without(pedidos: Pedidos) -> None:
    three_days(pedidos)
    first, second, third = snapshots(pedidos, "silver.pedidos")
    found = pedidos("data", "diff", "silver.pedidos", first, second, "--json").json
    assert {name: found[name] for name in ("since", "until", "keys", "added", "removed", "changed")} == {
        "since": first, "until": second, "keys": ["id"], "added": 1, "removed": 0, "changed": 1,
    }  # fmt: skip
    assert [(row["change"], row["id"], row["valor"]) for row in found["rows"]] == [
        ("before", "b", 2),
        ("after", "b", 20),
        ("added", "c", 3),
    ]
    back = pedidos("data", "diff", "silver.pedidos", third, first, "--json").json
    assert (back["added"], back["removed"], back["changed"]) == (0, 2, 1)
    assert [row["change"] for row in back["rows"]] == ["before", "after", "removed", "removed"]
    whole = pedidos("data", "diff", "silver.pedidos", first, second, "--key", "", "--json").json
    assert (whole["added"], whole["removed"], whole["changed"]) == (2, 1, 0)
    assert "has no column nada" in pedidos("data", "diff", "silver.pedidos", first, second, "--key", "nada", code=5).err
    view = pedidos("data", "diff", "gold.por_uf", *snapshots(pedidos, "gold.por_uf")[:2], "--json").json
    assert (view["keys"], view["removed"]) == (["uf"], 1)
    two = snapshots(pedidos, "bronze.pedidos")[:2]
    bronze = pedidos("data", "diff", "bronze.pedidos", *two, "--json").json
    assert (bronze["keys"], bronze["added"], bronze["removed"], bronze["changed"]) == ([], 2, 0, 0)
    assert "rows are compared as a whole" in pedidos("data", "diff", "bronze.pedidos", *two).out
    same = pedidos("data", "diff", "silver.pedidos", first, first, "--json").json
    assert (same["added"], same["removed"], same["changed"], same["rows"]) == (0, 0, 0, [])


def test_a_difference_reads_through_compaction(pedidos: Pedidos) -> None:
    three_days(pedidos)
    first, *_, last = snapshots(pedidos, "bronze.pedidos")
    pedidos("data", "optimize", "--all")
    compacted = snapshots(pedidos, "bronze.pedidos")[-1]
    assert compacted != last
    found = pedidos("data", "diff", "bronze.pedidos", last, compacted, "--json").json
    assert (found["added"], found["removed"]) == (0, 0)
    assert pedidos("data", "diff", "bronze.pedidos", first, compacted, "--json").json["added"] == 3


def test_a_restored_table_goes_on_from_where_it_was(pedidos: Pedidos) -> None:
    three_days(pedidos)
    present = pedidos.rows(SILVER)
    first = snapshots(pedidos, "silver.pedidos")[0]
    done = pedidos("data", "restore", "silver.pedidos", "--to", first, "--json").json
    assert (done["restored"], done["rows"]) == (first, 2)
    assert pedidos.rows(SILVER) == [("a", "SP", 1), ("b", "SP", 2)]
    history = pedidos("data", "history", "silver.pedidos", "--json").json
    assert [entry["kind"] for entry in history] == ["restore", "upsert", "upsert", "upsert"]
    assert history[0]["inputs"] == [f"back to {first}"]
    assert pedidos.run().json["status"] == "ok"
    assert pedidos.rows(SILVER) == present
    assert pedidos.rows("SELECT pedidos, total FROM gold.por_uf") == []  # four orders: the view's constraint drops it
    assert pedidos.run().json["status"] == "nothing_to_do"


def test_a_restored_bronze_table_takes_its_files_in_again_once(pedidos: Pedidos) -> None:
    three_days(pedidos)
    first, second, _ = snapshots(pedidos, "bronze.pedidos")
    present = pedidos.rows("SELECT id, versao, source_file FROM bronze.pedidos")
    pedidos("data", "restore", "bronze.pedidos", "--to", second)
    pedidos("data", "restore", "bronze.pedidos", "--to", first)
    assert len(pedidos.rows("SELECT id FROM bronze.pedidos")) == 3
    assert pedidos("data", "ingest", "--json").json["steps"][0]["read"] == 3
    assert pedidos.rows("SELECT id, versao, source_file FROM bronze.pedidos") == present
    refused = pedidos.run(code=6)
    assert "is of kind restore" in refused.err
    pedidos("run", "--full-refresh")
    assert len(pedidos.rows(SILVER)) == 4


def test_a_bronze_table_that_is_restored_back_and_forth_has_its_files(pedidos: Pedidos) -> None:
    three_days(pedidos)
    first, _, third = snapshots(pedidos, "bronze.pedidos")
    present = pedidos.rows("SELECT id, versao, source_file FROM bronze.pedidos")
    for snapshot in (first, third):
        pedidos("data", "restore", "bronze.pedidos", "--to", snapshot)
    assert pedidos("data", "ingest", "--json").json["status"] == "nothing_to_do"
    assert pedidos.rows("SELECT id, versao, source_file FROM bronze.pedidos") == present


def test_tags_are_found_again_and_keep_their_snapshot(pedidos: Pedidos, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in AT_ONCE.items():
        monkeypatch.setenv(f"DATALAB__MAINTENANCE__{name}", value)
    three_days(pedidos)
    first, second, _ = snapshots(pedidos, "silver.pedidos")
    pedidos("data", "tag", "silver.pedidos", "antes", "--at", first)
    assert pedidos("data", "tag", "silver.pedidos", "--json").json == [{"tag": "antes", "snapshot": first}]
    expired = pedidos("data", "expire", "silver.pedidos", "--json").json[0]
    assert (expired["expired"], expired["kept"]) == (1, 2)
    assert expired["snapshots"][0]["why"] == "tag antes"
    assert len(pedidos("data", "show", "silver.pedidos", "--at", "antes", "--json").json["rows"]) == 2
    assert (
        pedidos("data", "diff", "silver.pedidos", "antes", snapshots(pedidos, "silver.pedidos")[-1], "--json").json[
            "added"
        ]
        == 2
    )
    assert "has no snapshot" in pedidos("data", "restore", "silver.pedidos", "--to", second, code=4).err
    assert "tags of silver.pedidos: antes" in pedidos("data", "restore", "silver.pedidos", "--to", "nada", code=4).err
    pedidos("data", "tag", "silver.pedidos", "antes", "--remove")
    assert pedidos("data", "tag", "silver.pedidos", "--json").json == []
    assert "has no tag antes" in pedidos("data", "tag", "silver.pedidos", "antes", "--remove", code=4).err
    assert pedidos("data", "expire", "silver.pedidos", "--json").json[0]["expired"] == 1
    assert "is no tag" in pedidos("data", "tag", "silver.pedidos", "9", code=2).err


def test_a_stream_is_not_sent_back_to_where_its_input_has_expired(
    pedidos: Pedidos, monkeypatch: pytest.MonkeyPatch
) -> None:
    three_days(pedidos)
    first = snapshots(pedidos, "silver.pedidos")[0]
    for name, value in AT_ONCE.items():
        monkeypatch.setenv(f"DATALAB__MAINTENANCE__{name}", value)
    pedidos("data", "expire", "bronze.pedidos")
    refused = pedidos("data", "restore", "silver.pedidos", "--to", first, code=4)
    assert "which has expired" in refused.err
    assert "--full-refresh" in refused.err
    assert pedidos("data", "tag", "silver.pedidos", "--json").json == []
    assert len(pedidos.rows(SILVER)) == 4
