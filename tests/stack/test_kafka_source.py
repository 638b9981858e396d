"""The source `kafka` on a real broker and registry: each message once in bronze or in quarantine, whatever happens."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.stack.topics import SCHEMA, TARGET, Filled, World, encoded, opened, record, table_of, world

from datalab.engine.base import Staged
from datalab.errors import CommitFailed, Fenced, SourceUnavailable
from datalab.events import OffsetsLost, PartitionAdded, TopicRecreated
from datalab.ingest.ingest import ingest
from datalab.ingest.sources import kafka_topic
from datalab.ingest.sources.base import Run
from datalab.ingest.sources.kafka import Pace
from datalab.ingest.workers import Workers
from datalab.platform import feeds
from datalab.platform.services.control import Control
from datalab.quality.publish import Publication, publish
from datalab.quality.quarantine import QUARANTINE_SCHEMA

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
WIDER = {**SCHEMA, "fields": [*SCHEMA["fields"], {"name": "cor", "type": ["null", "string"], "default": None}]}
OTHER = {**SCHEMA, "fields": [*SCHEMA["fields"], {"name": "cor", "type": "string"}]}


@pytest.fixture
def iceberg(topic: Filled, tmp_path: Path, workers: Workers) -> Iterator[World]:
    with world(topic, tmp_path, workers) as made:
        yield made


def good(topic: Filled, first: int, count: int, schema: dict[str, Any] = SCHEMA, **more: Any) -> list[bytes | None]:
    schema_id = topic.register(schema)
    return [encoded({**record(at), **more}, schema, schema_id) for at in range(first, first + count)]


def whole(made: World) -> None:
    """The ledger is bronze and quarantine, each place once; offsets and group agree with it."""
    assert made.places() == Counter(list(made.topic.ledger))
    state = made.lake.require(TARGET)
    partitions = {int(key): value for key, value in state.positions["pedidos"].offsets["partitions"].items()}
    ends = Counter[int]()
    for partition, offset in made.topic.ledger:
        ends[partition] = max(ends[partition], offset + 1)
    assert {key: value for key, value in partitions.items() if value} == dict(ends)
    told = made.topic.group_offsets(f"group-{made.topic.name}")
    assert all(offset <= partitions[partition] for partition, offset in told.items())


def test_each_message_is_once_in_bronze_or_in_quarantine(place: World) -> None:
    topic = place.topic
    values = good(topic, 0, 600)
    bad = {5: b"", 77: values[77][:-2], 300: b"\0\0\0\xff\xff" + values[300][5:], 301: None, 444: values[444] + b"!"}  # type: ignore[index,operator]
    values = [bad.get(at, value) for at, value in enumerate(values)]
    topic.send(values, key=b"k", headers=[("origem", b"teste")])
    outcome = place.run()
    assert (outcome.read, outcome.written, outcome.quarantined) == (600, 595, 5)
    whole(place)
    rows = place.query("SELECT * FROM t ORDER BY CAST(substring(id, 2) AS INT)")
    assert [{name: row[name] for name in record(0)} for row in rows] == [
        record(at) for at in range(600) if at not in bad
    ]
    assert {row["source_key"] for row in rows} == {b"k"}
    assert rows[0]["source_headers"] == [{"name": "origem", "value": b"teste"}]
    assert rows[0]["source_timestamp"] <= rows[0]["ingestion_timestamp"]
    quarantined = place.quarantine()
    assert Counter(row["reason"] for row in quarantined) == {"corrupt_record": 3, "unknown_schema": 1, "tombstone": 1}
    for row in quarantined:
        assert row["raw"] == (topic.ledger[row["source_partition"], row["source_offset"]] or b"")
    assert place.run().read == 0


def test_a_commit_after_so_many_messages_and_no_order_is_lost(iceberg: World) -> None:
    iceberg.feed.source.pace = Pace(messages=10_000)  # type: ignore[attr-defined]
    iceberg.topic.send(good(iceberg.topic, 0, 45_000))
    assert iceberg.run().read == 45_000
    whole(iceberg)
    commits = iceberg.lake.history(iceberg.lake.require(TARGET))
    assert 2 <= len(commits) <= 6
    rows = iceberg.query("SELECT source_partition AS p, source_offset AS o, id FROM t ORDER BY p, o")
    assert [row["id"] for row in rows] == [f"p{at}" for first in range(3) for at in range(first, 45_000, 3)]


def test_another_process_goes_on_where_the_table_stands(iceberg: World) -> None:
    iceberg.topic.send(good(iceberg.topic, 0, 100))
    iceberg.run()
    iceberg.topic.send(good(iceberg.topic, 100, 50))
    other = iceberg.again()
    assert other.run().read == 50
    other.feed.close()
    whole(iceberg)


def test_who_was_overtaken_lands_nothing(iceberg: World) -> None:
    topic = iceberg.topic
    values = good(topic, 0, 200)
    values[7], values[150] = b"bad", b"worse"
    topic.send(values)
    slow, quick = iceberg, iceberg.again()
    context = slow.context()
    state = slow.feed.ready()
    (batch,) = slow.feed._pending(state, context).batches
    assert quick.run().read == 200
    with pytest.raises(Fenced):
        from_old(slow, state, batch)
    whole(slow)
    topic.send(good(topic, 200, 10))
    assert slow.run().read == 10
    whole(slow)
    quick.feed.close()


def from_old(made: World, state: Any, batch: Any) -> None:
    """What a process does that was paused between reading the table and committing."""
    context = made.context()
    staged = ingest(made.feed.source, batch, state, Run(context.run_id, context.now))
    publication = Publication(state, staged.provenance, staged.rejected, Staged(staged.add), staged.onto)
    publish(made.lake, made.engine, publication, context.now)


def test_killed_between_quarantine_and_table(iceberg: World, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = iceberg.topic
    values = good(topic, 0, 90)
    values[3] = values[80] = b"bad"
    topic.send(values)
    iceberg.feed.ready()

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(type(iceberg.lake), "commit", killed)
        with pytest.raises(KeyboardInterrupt):
            iceberg.run()
    assert len(iceberg.quarantine()) == 2
    topic.send([b"bad", *good(topic, 90, 5)])
    other = iceberg.again()
    assert other.run().read == 96
    other.feed.close()
    whole(iceberg)


def test_new_partitions_and_deleted_messages_are_told(iceberg: World) -> None:
    topic = iceberg.topic
    topic.send(good(topic, 0, 30))
    iceberg.run()
    topic.widen(4)
    topic.send(good(topic, 30, 40), partition=0)
    topic.send(good(topic, 70, 5), partition=3)
    topic.truncate(0, 25)
    with pytest.raises(AssertionError):
        whole(iceberg)
    iceberg.run()
    told = [event for event in iceberg.events if isinstance(event, OffsetsLost | PartitionAdded)]
    assert {type(event) for event in told} == {OffsetsLost, PartitionAdded}
    lost = next(event for event in told if isinstance(event, OffsetsLost))
    assert (lost.partition, lost.first, lost.stop) == (0, 10, 25)
    newest = iceberg.lake.history(iceberg.lake.require(TARGET))[-1]
    assert newest.provenance is not None
    assert newest.provenance.details["lost"] == {"0": [10, 25]}
    assert set(topic.ledger) <= set(iceberg.places())
    assert iceberg.run().read == 0


def test_a_topic_made_again_is_told_and_read_from_its_beginning(iceberg: World) -> None:
    topic = iceberg.topic
    topic.send([*good(topic, 0, 29), b"bad"])
    iceberg.run()
    topic.drop()
    topic.make(2)
    topic.send([*good(topic, 100, 9), b"bad"])
    assert iceberg.run().read == 10
    assert [type(event) for event in iceberg.events if isinstance(event, TopicRecreated)] == [TopicRecreated]
    assert len(iceberg.query("SELECT id FROM t")) == 38
    assert len(iceberg.quarantine()) == 2
    assert iceberg.run().read == 0


def test_a_source_that_goes_back_to_a_topic_takes_what_is_new_there(iceberg: World) -> None:
    first, second = iceberg.topic, Filled(iceberg.topic.bootstrap, iceberg.topic.registry, f"{iceberg.topic.name}b")
    second.make(2)
    first.send([*good(first, 0, 30), b"bad"], 0)
    second.send(good(second, 100, 20), 1)
    assert iceberg.run().read == 31
    elsewhere = opened(second, iceberg.lake, iceberg.engine, iceberg.feed.source.workers)  # type: ignore[attr-defined]
    assert elsewhere.run().read == 20
    first.send(good(first, 30, 5), 0)
    assert iceberg.run().read == 5
    assert elsewhere.run().read == 0
    elsewhere.feed.close()
    rows = iceberg.query("SELECT id FROM t")
    assert sorted(row["id"] for row in rows) == sorted(f"p{at}" for at in [*range(35), *range(100, 120)])
    assert [row["raw"] for row in iceberg.quarantine()] == [b"bad"]


def test_what_was_set_aside_of_a_topic_outlives_it(iceberg: World) -> None:
    topic = iceberg.topic
    topic.send([*good(topic, 0, 3), b"old", b"older"], 0)
    iceberg.run()
    topic.drop()
    topic.make(3)
    topic.send([*good(topic, 100, 3), b"new"], 0)
    records = table_of(iceberg.quarantine(), QUARANTINE_SCHEMA)
    iceberg.feed.pending(iceberg.context())
    assert iceberg.feed.ahead(iceberg.context(), iceberg.lake.require(TARGET), records) == frozenset()
    assert iceberg.run().read == 4
    assert sorted(row["raw"] for row in iceberg.quarantine()) == [b"new", b"old", b"older"]
    records = table_of(iceberg.quarantine(), QUARANTINE_SCHEMA)
    assert iceberg.feed.ahead(iceberg.context(), iceberg.lake.require(TARGET), records) == frozenset()


def test_newer_writers_widen_the_table_and_older_ones_go_on(place: World) -> None:
    topic = place.topic
    topic.send(good(topic, 0, 60))
    place.run()
    topic.send([*good(topic, 60, 60, WIDER, cor="azul"), *good(topic, 120, 60)])
    assert place.run().written == 120
    topic.send(good(topic, 180, 3))
    other = place.again()
    assert other.run().written == 3
    other.feed.close()
    rows = place.query("SELECT cor, count(*) AS n FROM t GROUP BY cor ORDER BY n")
    assert rows == [{"cor": "azul", "n": 60}, {"cor": None, "n": 123}]
    whole(place)


def test_a_schema_that_does_not_fit_waits_and_comes_back_once(iceberg: World) -> None:
    topic = iceberg.topic
    topic.send([*good(topic, 0, 30), *good(topic, 30, 6, OTHER, cor="azul")])
    assert (iceberg.run().written, len(iceberg.quarantine())) == (30, 6)
    bad = iceberg.quarantine()
    assert {row["reason"] for row in bad} == {"schema_mismatch"}
    assert "cor: not in the contract" in bad[0]["detail"]
    records = table_of(bad, QUARANTINE_SCHEMA)
    assert iceberg.feed.ahead(iceberg.context(), iceberg.lake.require(TARGET), records) == frozenset()
    fixed = iceberg.again(schema=OTHER | {"fields": [*SCHEMA["fields"], {**OTHER["fields"][-1], "default": ""}]})
    state = fixed.feed.ready()
    again = fixed.feed.restage(fixed.context(), state, records)
    assert (len(again.accepted), again.staged.written) == (6, 6)
    fixed.feed.close()


def test_subjects_by_record_and_references_make_no_difference(iceberg: World) -> None:
    topic = iceberg.topic
    by_record = topic.register(SCHEMA, f"br.{topic.name}.pedido")
    by_both = topic.register(SCHEMA, f"{topic.name}-pedido")
    topic.send([encoded(record(0), SCHEMA, by_record), encoded(record(1), SCHEMA, by_both)])
    assert iceberg.run().written == 2


def test_a_registry_that_is_down_quarantines_nothing(iceberg: World, topic: Filled) -> None:
    topic.send(good(topic, 0, 30))
    other = opened(
        topic, iceberg.lake, iceberg.engine, iceberg.feed.source.workers, registry="http://127.0.0.1:9", patience=3
    )  # type: ignore[attr-defined]
    with pytest.raises(SourceUnavailable, match="registry"):
        other.run()
    assert not other.quarantine()
    other.feed.close()
    assert iceberg.run().written == 30
    whole(iceberg)


def test_a_broker_that_is_down_is_an_error_that_may_pass(tmp_path: Path, registry: Control, workers: Workers) -> None:
    nobody = Filled("127.0.0.1:9", registry.addresses["url"], "t")
    with (
        world(nobody, tmp_path, workers, patience=2) as made,
        pytest.raises(SourceUnavailable, match="does not answer"),
    ):
        made.run()


def test_ingest_until_lag_zero(topic: Filled, tmp_path: Path, datalab: Callable[..., Any]) -> None:
    topic.send([*good(topic, 0, 300), b"bad"])
    (tmp_path / "c.avsc").write_text(json.dumps(SCHEMA))
    (tmp_path / "datalab.yaml").write_text(
        "name: p\n"
        f'kafka: {{bootstrap: "{topic.bootstrap}", registry: "{topic.registry}", commit_seconds: 1}}\n'
        f"sources: {{pedidos: {{into: bronze.pedidos, contract: c.avsc, topic: {topic.name}}}}}\n"
    )
    answer = datalab("ingest", "--until-lag-zero", "--json", "--project", tmp_path)
    assert answer.code == 0, answer.err
    (row,) = answer.json
    assert (row["source"], row["read"], row["written"], row["quarantined"]) == ("pedidos", 301, 300, 1)
    assert datalab("ingest", "--once", "--json", "--project", tmp_path).json["status"] == "nothing_to_do"
    assert datalab("ingest", "--once", "--follow", "--project", tmp_path).code == 3


def test_large_messages_are_decoded_in_several_pieces(iceberg: World) -> None:
    topic = iceberg.topic
    schema_id = topic.register(SCHEMA)
    topic.send([encoded({**record(at), "id": str(at) * 300_000}, SCHEMA, schema_id) for at in range(100, 180)])
    iceberg.run()
    whole(iceberg)
    state = iceberg.lake.require(TARGET)
    assert len(iceberg.lake.files(state).files) >= 2  # 72 MB, of which 32 MB are a piece


def test_what_was_read_behind_a_commit_that_fails_is_read_again(
    topic: Filled, tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_topic, "_AT_ONCE", 100)
    values = good(topic, 0, 3_000)
    topic.send([value if at % 200 != 7 else b"bad" for at, value in enumerate(values)])
    with world(topic, tmp_path, workers, pace=Pace(messages=300)) as made:
        commit, asked = made.lake.commit, list[Any]()

        def refused(state: Any, change: Any) -> Any:
            if state.name == TARGET:
                asked.append(change)
                if len(asked) in (2, 5):
                    raise CommitFailed("storage refused it")
            return commit(state, change)

        monkeypatch.setattr(made.lake, "commit", refused)
        for _ in range(2):
            with pytest.raises(CommitFailed):
                made.run()
            stands = made.lake.require(TARGET).positions["pedidos"].offsets["partitions"]
            told = topic.group_offsets(f"group-{topic.name}")
            assert 0 < sum(told.values()) <= sum(stands.values()) < 3_000
        made.run()
        whole(made)
        found = {str(path) for path in tmp_path.rglob("dl-*.parquet") if "pedidos" in str(path)}
        state = made.lake.require(TARGET)
        assert found == {each.path.removeprefix("file://") for each in made.lake.files(state).files}


def test_a_stop_while_one_batch_is_committed_and_the_next_is_read(
    topic: Filled, tmp_path: Path, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_topic, "_AT_ONCE", 100)
    topic.send(good(topic, 0, 3_000))
    with world(topic, tmp_path, workers, pace=Pace(messages=300)) as made:
        source: Any = made.feed.source
        really = feeds.publish

        def slowly(*arguments: Any) -> Any:
            source.stop.set()
            return really(*arguments)

        monkeypatch.setattr(feeds, "publish", slowly)
        read = made.run().read
        assert 0 < read < 3_000
        assert sum(made.lake.require(TARGET).positions["pedidos"].offsets["partitions"].values()) == read
        assert sum(topic.group_offsets(f"group-{topic.name}").values()) == read
        source.stop.clear()
        assert made.run().read > 0
        source.stop.clear()
        monkeypatch.undo()
        made.run()
        whole(made)
