"""What every online store promises, through the port alone: SQLite in a file, Redis as a real server."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.contracts.redis_server import PASSWORD, redis_server

from datalab.errors import FeatureError, OnlineStoreError
from datalab.features.online import sqlite
from datalab.features.online.base import Layout, Lookup, OnlineStore, Position, Stored, Superseded, Version
from datalab.features.online.encoding import key_of, layout_of
from datalab.features.online.sqlite import SqliteStore
from datalab.platform.online import wire_online_store
from datalab.platform.settings import load

NOW = datetime(2026, 7, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MOMENT = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema([("cliente", pa.string()), ("visto_em", MOMENT), ("gasto", pa.float64()), ("nome", pa.string())])
LAYOUT = layout_of(SCHEMA, Layout("gold.clientes", ("cliente",), "visto_em", ("gasto", "nome"), (), 30 * 86400.0))
PROPERTY = settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
Open = Callable[[], OnlineStore]
_names = count()


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    """Opens one more handle of the same store."""
    folder = tmp_path_factory.mktemp("store")
    if request.param == "sqlite":
        yield lambda: SqliteStore(folder / "state" / "online.db")
        return
    with redis_server(folder) as url:
        from datalab.features.online.redis import RedisStore  # noqa: PLC0415 - only where Redis is asked for

        yield lambda: RedisStore(url, PASSWORD, "loja", 2.0)


@pytest.fixture
def store(place: Open) -> Iterator[OnlineStore]:
    made = place()
    yield made
    made.close()


@pytest.fixture
def view() -> str:
    return f"cliente_{next(_names)}"


def rows(*records: tuple[str, float] | tuple[str, float, datetime]) -> pa.Table:
    """cliente, gasto and, if it matters, when."""
    values = [
        {"cliente": r[0], "gasto": r[1], "nome": f"nome {r[0]}", "visto_em": r[2] if len(r) > 2 else NOW}
        for r in records
    ]
    return pa.Table.from_pylist(values, schema=SCHEMA)


def keys(*names: str) -> pa.Table:
    return pa.table({"cliente": pa.array(names, pa.string())})


def put(store: OnlineStore, view: str, order: int, table: pa.Table, whole: bool = True) -> None:
    claim = store.begin(view, LAYOUT, Version(order, order * 1000))
    store.write(claim, table)
    store.finish(claim, whole=whole)


def spent(store: OnlineStore, view: str, *names: str, now: datetime = NOW) -> list[Any]:
    found = store.read([Lookup(view, (name,)) for name in names], now)
    return [None if row is None else row.values["gasto"] for row in found]


def test_what_was_written_is_read(store: OnlineStore, view: str) -> None:
    put(store, view, 3, rows(("ana", 1.5), ("bia", 2.5, NOW - DAY)))
    ana, zoe, bia = store.read([Lookup(view, (name,)) for name in ("ana", "zoe", "bia")], NOW)
    assert ana is not None
    assert (ana.values, ana.timestamp) == ({"gasto": 1.5, "nome": "nome ana"}, NOW)
    assert (ana.snapshot, ana.table) == (3000, "gold.clientes")
    assert zoe is None
    assert bia is not None
    assert bia.timestamp == NOW - DAY


def test_a_row_that_is_read_often_is_as_new_as_one_that_is_not(store: OnlineStore, view: str) -> None:
    for order in (1, 2, 3):
        put(store, view, order, rows(("ana", order / 2)))
        assert [spent(store, view, "ana") for _ in range(4)] == [[order / 2]] * 4
    assert spent(store, view, "ana", now=NOW + 400 * DAY) == [None]
    put(store, view, 4, rows(("bia", 1.0)))
    assert spent(store, view, "ana", "bia") == [None, 1.0]


def test_many_entities_of_many_views_in_one_call(store: OnlineStore, view: str) -> None:
    other = f"{view}_outra"
    put(store, view, 1, rows(*((f"c{number}", float(number)) for number in range(2500))))
    put(store, other, 1, rows(("c7", -7.0)))
    wanted = [Lookup(view, (f"c{number}",)) for number in range(2500)] + [Lookup(other, ("c7",)), Lookup("nada", (1,))]
    found = store.read(wanted, NOW)
    assert [row.values["gasto"] for row in found[:2500] if row] == [float(number) for number in range(2500)]
    assert found[2500] is not None
    assert found[2500].values["gasto"] == -7.0
    assert found[2501] is None
    assert store.read([], NOW) == []


def test_what_is_looked_up_next_may_hang_on_the_answers(store: OnlineStore, view: str) -> None:
    put(store, view, 1, rows(("ana", 1.0), ("nome ana", 2.0), ("bia", 3.0)))
    told: list[list[float | None]] = []

    def more(found: Sequence[Stored | None]) -> list[Lookup]:
        told.append([None if row is None else row.values["gasto"] for row in found])
        asked = {2: [Lookup(view, (found[0].values["nome"],))] if found[0] else [], 3: [Lookup(view, ("bia",))]}
        return asked.get(len(found), [])

    found = store.read([Lookup(view, ("ana",)), Lookup(view, ("zoe",))], NOW, more)
    assert [row and row.values["gasto"] for row in found] == [1.0, None, 2.0, 3.0]
    assert told == [[1.0, None], [1.0, None, 2.0], [1.0, None, 2.0, 3.0]]
    assert spent(store, view, "bia") == [3.0]


def test_too_old_rows_are_not_served(store: OnlineStore, view: str) -> None:
    put(store, view, 1, rows(("ana", 1.0, NOW - 30 * DAY), ("bia", 2.0, NOW - 30 * DAY - timedelta(microseconds=1))))
    assert spent(store, view, "ana", "bia") == [1.0, None]
    assert spent(store, view, "ana", now=NOW + timedelta(microseconds=1)) == [None]
    assert {entry.entity for entry in store.entries(view, 9) if entry.stored} == {("ana",), ("bia",)}


EVERY = pa.schema(
    [
        ("a", pa.string()), ("b", pa.int64()), ("c", pa.bool_()), ("d", pa.date32()), ("t", MOMENT),
        ("f64", pa.float64()), ("f32", pa.float32()), ("i32", pa.int32()), ("logico", pa.bool_()),
        ("texto", pa.string()), ("dia", pa.date32()), ("quando", MOMENT), ("decimal", pa.decimal128(38, 10)),
        ("vetor", pa.list_(pa.field("element", pa.float64()))),
    ]
)  # fmt: skip


def test_values_of_every_type_come_back_as_they_were(store: OnlineStore, view: str) -> None:
    entity, names = ("a", "b", "c", "d"), tuple(EVERY.names[5:])
    layout = layout_of(EVERY, Layout("gold.tudo", entity, "t", names, ()))
    first = ("ção|\n\"'", -(2**62), True, date(2026, 2, 28), NOW, 0.1 + 0.2, 0.5, -7, False, "é\x00ü|",
             date(1969, 12, 31), datetime(1950, 1, 1, 1, tzinfo=UTC), Decimal("-1E-10"), [1.5, None])  # fmt: skip
    second = (None, 1, None, None, NOW, float("inf"), None, None, None, None, None, None, None, None)
    table = pa.Table.from_pylist([dict(zip(EVERY.names, row, strict=True)) for row in (first, second)], schema=EVERY)
    claim = store.begin(view, layout, Version(1, 1))
    store.write(claim, table)
    store.finish(claim, whole=True)
    found = store.read([Lookup(view, first[:4]), Lookup(view, second[:4]), Lookup(view, ("x", 1, True, None))], NOW)
    assert [None if row is None else tuple(row.values.values()) for row in found] == [first[5:], second[5:], None]
    assert {entry.entity[1] for entry in store.entries(view, 10)} == {-(2**62), 1}


@pytest.mark.parametrize("kind", [pa.struct([("x", pa.int32())]), pa.binary(), pa.time64("us")])
def test_types_that_no_store_keeps_are_refused_by_name(kind: pa.DataType) -> None:
    schema = SCHEMA.append(pa.field("estranho", kind))
    with pytest.raises(FeatureError, match=r"gold\.x: feature estranho is of type"):
        layout_of(schema, Layout("gold.x", ("cliente",), "visto_em", ("estranho",), ()))
    with pytest.raises(FeatureError, match=r"gold\.x: entity column gasto is of type double"):
        layout_of(schema, Layout("gold.x", ("gasto",), "visto_em", (), ()))


def test_an_older_version_never_overwrites_a_newer_one(store: OnlineStore, view: str) -> None:
    old = store.begin(view, LAYOUT, Version(1, 1))
    new = store.begin(view, LAYOUT, Version(2, 2))
    assert store.write(new, rows(("ana", 2.0))) == 1
    assert store.write(old, rows(("ana", 1.0), ("bia", 1.0))) == 1
    assert spent(store, view, "ana", "bia") == [2.0, 1.0]
    assert store.write(old, rows(("ana", 1.0))) == 0
    assert store.write(new, rows(("ana", 2.5))) == 1
    assert spent(store, view, "ana") == [2.5]


def test_a_writer_overtaken_by_a_whole_version_is_stopped(store: OnlineStore, view: str) -> None:
    old = store.begin(view, LAYOUT, Version(1, 1))
    put(store, view, 2, rows(("ana", 2.0)))
    for attempt in (lambda: store.write(old, rows(("bia", 1.0))), lambda: store.finish(old, whole=True)):
        with pytest.raises(Superseded):
            attempt()
    with pytest.raises(Superseded):
        store.begin(view, LAYOUT, Version(1, 1))
    assert spent(store, view, "ana", "bia") == [2.0, None]


def test_who_comes_after_an_announced_version_with_an_older_one_is_stopped(store: OnlineStore, view: str) -> None:
    store.begin(view, LAYOUT, Version(5, 5))
    with pytest.raises(Superseded):
        store.begin(view, LAYOUT, Version(4, 4))


def test_entities_that_are_gone_stay_gone_for_late_writers(store: OnlineStore, view: str) -> None:
    put(store, view, 1, rows(("ana", 1.0), ("bia", 1.0)))
    late = store.begin(view, LAYOUT, Version(2, 2))
    claim = store.begin(view, LAYOUT, Version(3, 3))
    store.write(claim, rows(("bia", 3.0)), keys("ana"))
    store.write(late, rows(("ana", 2.0)))
    assert spent(store, view, "ana", "bia") == [None, 3.0]
    store.finish(claim, whole=False)
    assert spent(store, view, "ana", "bia") == [None, 3.0]
    assert [entry.entity for entry in store.entries(view, 9)] == [("bia",)], "nothing of ana is kept"


def test_a_whole_version_forgets_what_it_does_not_name(store: OnlineStore, view: str) -> None:
    put(store, view, 1, rows(("ana", 1.0), ("bia", 1.0)))
    put(store, view, 2, rows(("bia", 2.0), ("caio", 2.0)))
    assert spent(store, view, "ana", "bia", "caio") == [None, 2.0, 2.0]
    assert len(store.entries(view, 9)) == 2
    put(store, view, 3, rows(("caio", 3.0)), whole=False)
    assert spent(store, view, "ana", "bia", "caio") == [None, 2.0, 3.0]


def test_the_position_tells_what_is_whole_and_what_was_begun(store: OnlineStore, view: str) -> None:
    assert store.position(view) == Position()
    claim = store.begin(view, LAYOUT, Version(1, 11))
    assert claim.before == Position()
    assert store.position(view) == Position(None, (Version(1, 11),), None)
    store.finish(claim, whole=True)
    assert store.position(view) == Position(Version(1, 11), (), LAYOUT)
    store.begin(view, LAYOUT, Version(2, 22))
    after = store.begin(view, LAYOUT, Version(3, 33))
    assert after.before == Position(Version(1, 11), (Version(2, 22),), LAYOUT)
    store.finish(after, whole=False)
    assert store.position(view) == Position(Version(3, 33), (), LAYOUT)


def test_rows_of_two_layouts_are_read_side_by_side(store: OnlineStore, place: Open, view: str) -> None:
    put(store, view, 1, rows(("ana", 1.0), ("bia", 1.0)))
    assert spent(store, view, "ana") == [1.0]
    other = Layout("gold.clientes", ("cliente",), "visto_em", ("nome",), ("string",))
    writer = place()
    writer.write(writer.begin(view, other, Version(1, 1000)), rows(("ana", 9.0)))
    writer.close()
    ana, bia = store.read([Lookup(view, ("ana",)), Lookup(view, ("bia",))], NOW)
    assert ana is not None
    assert bia is not None
    assert (ana.values, bia.values) == ({"nome": "nome ana"}, {"gasto": 1.0, "nome": "nome bia"})


def test_a_store_that_was_lost_and_filled_anew_is_read_by_who_knew_the_old_one(
    store: OnlineStore, place: Open, view: str
) -> None:
    """The features changed meanwhile, and the views came in another order."""
    names, swapped = ("gasto", "nome"), ("nome", "gasto")
    writer, other = place(), f"outra_{view}"
    for number, (order, features) in enumerate([((view, other), names), ((other, view), swapped)]):
        forget(writer, view, other)
        for name in order:
            layout = layout_of(SCHEMA, Layout(f"gold.{name}", ("cliente",), "visto_em", features, ()))
            claim = writer.begin(name, layout, Version(1, 1))
            writer.write(claim, rows((name, float(number))))
            writer.finish(claim, whole=True)
        found = store.read([Lookup(name, (name,)) for name in (view, other)], NOW)
        assert [row and (row.table, dict(row.values)) for row in found] == [
            (f"gold.{name}", {"gasto": float(number), "nome": f"nome {name}"}) for name in (view, other)
        ]
    writer.close()


def forget(store: Any, *views: str) -> None:
    """As if the store had been lost, under the eyes of those who have it open."""
    if isinstance(store, SqliteStore):
        with store._transaction() as connection:
            for table in ("features", "layouts", "views"):
                connection.execute(f"DELETE FROM {table}")
        store._ids.clear()
        return
    for view in views:
        store._writes.delete(store._rows(view), store._state(view))


def test_anew_empties_the_view(store: OnlineStore, view: str) -> None:
    put(store, view, 7, rows(("ana", 7.0)))
    claim = store.begin(view, LAYOUT, Version(1, 1), anew=True)
    assert claim.before == Position()
    store.write(claim, rows(("bia", 1.0)))
    store.finish(claim, whole=True)
    assert spent(store, view, "ana", "bia") == [None, 1.0]


def test_other_handles_see_what_was_written(place: Open, store: OnlineStore, view: str) -> None:
    reader = place()
    assert reader.entries(view, 1) == []
    assert spent(reader, view, "ana") == [None]
    put(store, view, 1, rows(("ana", 1.0)))
    assert spent(reader, view, "ana") == [1.0]
    assert reader.position(view) == store.position(view)
    reader.close()
    reader = place()
    assert [entry.entity for entry in reader.entries(view, 1)] == [("ana",)]
    reader.close()


def test_entries_are_a_sample(store: OnlineStore, view: str) -> None:
    put(store, view, 1, rows(*((f"c{number}", float(number)) for number in range(500))))
    some = store.entries(view, 50)
    assert len({entry.entity for entry in some}) == 50
    assert all(entry.stored is not None and entry.order == 1 for entry in some)
    assert {entry.entity for entry in some} != {entry.entity for entry in store.entries(view, 50)}
    assert len(store.entries(view, 1000)) == 500
    assert store.entries("nunca", 3) == []


VERSIONS = st.lists(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 3), max_size=3), min_size=1, max_size=4
)  # one mapping of entity to value per version: the table after each commit


@given(versions=VERSIONS, seed=st.integers(0, 2**32), deliveries=st.integers(1, 3))
@PROPERTY
def test_permuted_and_repeated_writers_end_in_the_newest_version(
    place: Open, store: OnlineStore, versions: list[dict[str, int]], seed: int, deliveries: int
) -> None:
    """Each version is written by several writers, in pieces, all pieces in any order: the newest one stands."""
    view, chance = f"p_{next(_names)}", random.Random(seed)
    claims, pieces = [], []
    for order, table in enumerate(versions, 1):
        claim = store.begin(view, LAYOUT, Version(order, order))
        before = versions[order - 2] if order > 1 else {}
        gone = [name for name in before if name not in table]
        claims.append(claim)
        for _ in range(deliveries):
            pieces += [(claim, rows((name, float(value))), keys()) for name, value in table.items()]
            pieces += [(claim, rows(), keys(name)) for name in gone]
    chance.shuffle(pieces)
    for claim, table, gone_keys in pieces:
        store.write(claim, table, gone_keys)
    store.finish(claims[-1], whole=True)
    wanted = [float(versions[-1][name]) if name in versions[-1] else None for name in "abc"]
    assert spent(store, view, *"abc") == wanted


def test_writers_side_by_side(place: Open, view: str) -> None:
    def work(order: int) -> None:
        own = place()
        try:
            claim = own.begin(view, LAYOUT, Version(order, order))
            for _ in range(5):
                own.write(claim, rows(*((f"c{number}", float(order)) for number in range(300))))
            own.finish(claim, whole=True)
        except Superseded:
            pass
        finally:
            own.close()

    threads = [threading.Thread(target=work, args=(order,)) for order in (3, 1, 2, 5, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = place()
    assert set(spent(last, view, *(f"c{number}" for number in range(300)))) == {5.0}
    assert last.position(view).done == Version(5, 5)
    last.close()


def test_a_file_is_free_again_after_an_error_between_two_lookups(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "online.db")
    put(store, "cliente", 1, rows(("ana", 1.0)))

    def more(_: Sequence[Stored | None]) -> list[Lookup]:
        raise ValueError("planned")

    with pytest.raises(ValueError, match="planned"):
        store.read([Lookup("cliente", ("ana",))], NOW, more)
    put(store, "cliente", 2, rows(("ana", 2.0)))
    assert spent(store, "cliente", "ana") == [2.0]
    store.close()


def test_a_file_that_came_in_place_of_another_is_read_from_then_on(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(sqlite, "_LOOK_SECONDS", 0.0)
    store = SqliteStore(tmp_path / "online.db")
    put(store, "cliente", 1, rows(("ana", 1.0)))
    assert spent(store, "cliente", "ana") == [1.0]
    (tmp_path / "online.db").unlink()
    assert spent(store, "cliente", "ana") == [1.0]
    anew = SqliteStore(tmp_path / "online.db")
    put(anew, "outra", 1, rows(("ana", 7.0)))
    put(anew, "cliente", 1, rows(("ana", 2.0)))
    assert spent(store, "cliente", "ana") == [2.0]
    anew.close()
    store.close()


def test_a_damaged_row_is_an_error_of_the_store(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "online.db")
    put(store, "cliente", 1, rows(("ana", 1.0)))
    for content in ("[1.0", "[1.0]", '{"a": 1}', "[1.0, 2.0, 3.0]"):
        with store._transaction() as connection:
            connection.execute("UPDATE features SET content = ?", (content,))
        with pytest.raises(OnlineStoreError, match="a row of view cliente that is damaged"):
            store.read([Lookup("cliente", ("ana",))], NOW)
    store.close()


@pytest.mark.parametrize("content", ["{", "[]", '{"table": "t"}', b"\xff", 7])
def test_damaged_records_in_a_file_are_errors_of_the_store(tmp_path: Path, content: Any) -> None:
    store = SqliteStore(tmp_path / "online.db")
    put(store, "cliente", 1, rows(("ana", 1.0)))
    with store._transaction() as connection:
        connection.execute("UPDATE layouts SET content = ?", (content,))
        connection.execute("UPDATE views SET position = ?", (content,))
    anew = SqliteStore(tmp_path / "online.db")
    for damaged in (store, anew):
        with pytest.raises(OnlineStoreError, match="holds something that this program did not write"):
            damaged.position("cliente")
    for ask in (lambda: anew.read([Lookup("cliente", ("ana",))], NOW), lambda: anew.entries("cliente", 5)):
        with pytest.raises(OnlineStoreError, match="a layout of view cliente that is damaged"):
            ask()
    with anew._transaction() as connection:
        connection.execute("UPDATE features SET entity = ?", (content,))
    with pytest.raises(OnlineStoreError):
        anew.entries("cliente", 5)
    store.close()
    anew.close()


def test_a_damaged_file_is_said_to_be_one(tmp_path: Path) -> None:
    path = tmp_path / "online.db"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(OnlineStoreError, match=r"online\.db cannot be used: file is not a database"):
        SqliteStore(path).read([Lookup("x", ("y",))], NOW)


def test_a_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state" / "online.db")
    put(store, "cliente", 1, rows(("ana", 1.0)))
    store.close()
    assert (tmp_path / "state" / "online.db").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("key", "field", "content", "told"),
    [
        ("features", "ana", "garbage", "holds something that this program did not write"),
        ("features", "ana", "1|2|3", "holds something that this program did not write"),
        ("features", "ana", "1|2|1782864000000000|LAYOUT|[1.0", "a row of view cliente that is damaged"),
        ("features", "ana", b"1|2|1|LAYOUT|[\xff]", "holds something that this program did not write"),
        ("state", "position", "{", "holds something that this program did not write"),
        ("state", "position", '{"done": null}', "holds something that this program did not write"),
        ("features", "", "", "does not answer: WRONGTYPE"),
    ],
)
def test_damage_on_a_server_is_an_error_of_the_store_and_names_no_entity(
    tmp_path: Path, key: str, field: str, content: str | bytes, told: str
) -> None:
    redis = pytest.importorskip("redis")
    with redis_server(tmp_path) as url:
        (tmp_path / "datalab.yaml").write_text(
            f"name: loja\nonline: {{store: redis, url: '{url}', password: secret:env/SENHA, timeout_ms: 2000}}\n",
            "utf-8",
        )
        store = wire_online_store(load(tmp_path), {"SENHA": PASSWORD})
        put(store, "cliente", 1, rows(("ana", 1.0)))
        with closing(redis.Redis.from_url(url, password=PASSWORD)) as client:
            place = f"datalab:{{loja.cliente}}:{key}"
            layout = next(name for name in client.hkeys("datalab:{loja.cliente}:state") if name.startswith(b"layout:"))
            if field:
                raw = content if isinstance(content, bytes) else content.encode()
                name = key_of(("ana",)) if field == "ana" else field
                client.hset(place, name, raw.replace(b"LAYOUT", layout[7:]))
            else:
                client.set(place, "x")
        asks: list[Callable[[], object]] = [lambda: store.position("cliente")]
        if key == "features":
            asks = [lambda: store.read([Lookup("cliente", ("ana",))], NOW), lambda: store.entries("cliente", 5)]
        for ask in asks:
            with pytest.raises(OnlineStoreError, match=told) as caught:
                ask()
            assert "ana" not in caught.value.message
        store.close()


def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    pytest.importorskip("redis")
    (tmp_path / "datalab.yaml").write_text(
        "name: loja\nonline: {store: redis, url: 'redis://127.0.0.1:1/0', password: secret:env/SENHA}\n", "utf-8"
    )
    store = wire_online_store(load(tmp_path), {"SENHA": "muito-secreta"})
    with pytest.raises(OnlineStoreError, match=r"the online store at redis://127\.0\.0\.1:1/0") as error:
        store.read([Lookup("x", ("y",))], NOW)
    assert "muito-secreta" not in f"{error.value} {error.value.hint}"
    store.close()
