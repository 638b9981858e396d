"""What a project may say of Kafka: what nobody could work with is refused at once, and never waited for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import Answer

KAFKA = {"bootstrap": "127.0.0.1:9", "registry": "http://127.0.0.1:9", "patience": 1}
SOURCE = {"into": "bronze.a", "contract": "a.avsc", "topic": "a"}
FIELD = {"name": "id", "type": "string"}


@pytest.fixture
def ingest(tmp_path: Path, datalab: Callable[..., Answer]) -> Callable[..., Answer]:
    """Takes in once, or follows, with changes of `kafka` and of the source."""
    (tmp_path / "a.avsc").write_text(json.dumps({"type": "record", "name": "a", "fields": [FIELD]}), encoding="utf-8")

    def run(way: str, kafka: Mapping[str, Any], source: Mapping[str, Any] | None = None) -> Answer:
        settings = {"name": "p", "kafka": {**KAFKA, **kafka}, "sources": {"a": {**SOURCE, **(source or {})}}}
        (tmp_path / "datalab.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        return datalab("ingest", way, "--json", "--project", tmp_path)

    return run


@pytest.mark.parametrize("way", ["--once", "--follow"])
@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("auto.offset.reset", "earliest", "rests on it"),
        ("enable.auto.commit", True, "rests on it"),
        ("isolation.level", "read_uncommitted", "rests on it"),
        ("group.id", "g", "there is kafka.group"),
    ],
)
def test_options_that_the_promise_rests_on(
    ingest: Callable[..., Answer], way: str, option: str, value: Any, words: str
) -> None:
    answer = ingest(way, {"options": {option: value}})
    assert (answer.code, words in answer.err) == (3, True), answer.err


@pytest.mark.parametrize(("way", "code"), [("--once", 6), ("--follow", 3)])
@pytest.mark.parametrize("options", [{"no.option": 1}, {"security.protocol": "NOTHING"}])
def test_options_that_there_are_not(
    ingest: Callable[..., Answer], way: str, code: int, options: Mapping[str, Any]
) -> None:
    answer = ingest(way, {"options": options})
    assert (answer.code, "kafka.options are refused" in answer.err) == (code, True), answer.err


@pytest.mark.parametrize("name", ["", "a b", "a/b", "..", "x" * 250, "é"])
@pytest.mark.parametrize("key", ["topic", "dead_letter"])
def test_names_that_no_topic_can_have(ingest: Callable[..., Answer], key: str, name: str) -> None:
    answer = ingest("--once", {}, {key: name})
    assert (answer.code, f"sources.a.{key}: '{name}' is no name of a topic" in answer.err) == (3, True), answer.err


@pytest.mark.parametrize("address", ["127.0.0.1:8081", "ftp://127.0.0.1/", "file:///etc", "http:///x"])
def test_addresses_that_no_registry_can_have(ingest: Callable[..., Answer], address: str) -> None:
    answer = ingest("--once", {"registry": address})
    assert (answer.code, f"kafka.registry is {address}, no address of HTTP" in answer.err) == (3, True), answer.err


@pytest.mark.parametrize("port", ["70000", "-1", "0"])
def test_ports_that_there_are_not(datalab: Callable[..., Answer], port: str) -> None:
    assert datalab("ingest", "--follow", "--metrics-port", port).code == 2
    assert datalab("serve", "--port", port).code == 2


def test_metrics_of_what_ends_at_once_are_none(datalab: Callable[..., Answer]) -> None:
    answer = datalab("ingest", "--metrics-port", "9464")
    assert (answer.code, "--metrics-port goes with --follow" in answer.err) == (3, True)


@pytest.mark.parametrize(
    ("services", "words"),
    [
        ({"kafka": {"ports": {"broker": 70000}}}, "services.kafka.ports.broker is 70000, not a port"),
        ({"kafka": {"ports": {"broker": "abc"}}}, "services.kafka.ports.broker is 'abc', not a port"),
        ({"kafka": {"ports": {"http": 1}}}, "services.kafka.ports.http: kafka has no such port"),
        ({"kafak": {"ports": {}}}, "no service 'kafak'"),
    ],
)
def test_ports_of_services(
    tmp_path: Path, datalab: Callable[..., Answer], services: Mapping[str, Any], words: str
) -> None:
    (tmp_path / "datalab.yaml").write_text(yaml.safe_dump({"name": "p", "services": services}), encoding="utf-8")
    answer = datalab("services", "list", "--project", tmp_path)
    assert (answer.code, words in answer.err) == (3, True), answer.err
