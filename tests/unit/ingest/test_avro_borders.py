"""Borders of records that are guessed: proved by decoding, and given up where they are not to be had."""

from __future__ import annotations

import io
import json
from random import Random
from typing import Any

import fastavro
import numpy as np
import pytest
from tests.faults.mutants import mutants

from datalab.ingest.contracts import parse_contract
from datalab.ingest.decode import avro_run
from datalab.ingest.decode.avro import decode_avro
from datalab.ingest.decode.avro_borders import Borders, padded
from datalab.ingest.decode.avro_form import form_of
from datalab.ingest.limits import Limits

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "pedido",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "quando", "type": "long"},
        {"name": "valor", "type": ["null", "double"]},
        {"name": "texto", "type": "string"},
    ],
}
PARSED = fastavro.parse_schema(SCHEMA)
CONTRACT = parse_contract(json.dumps(SCHEMA))
Taken = tuple[list[Any], list[int], list[tuple[int, str, int, bytes]]]


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATALAB_NATIVE", "off")  # which needs no borders
    form_of.cache_clear()


def records(count: int, first: int = 0) -> list[dict[str, Any]]:
    random = Random(first)
    return [
        {
            "id": f"pedido-{number:08}",
            "quando": 1_767_225_600_000 + number * 1_000,
            "valor": None if number % 3 else number / 4,
            "texto": "x" * random.randrange(40),
        }
        for number in range(first, first + count)
    ]


def container(rows: list[dict[str, Any]], interval: int = 4_000) -> bytes:
    out = io.BytesIO()
    fastavro.writer(out, PARSED, rows, codec="null", sync_interval=interval, sync_marker=b"sixteen bytes ok")
    return out.getvalue()


def taken(data: bytes) -> Taken:
    parts = list(decode_avro(memoryview(data), CONTRACT, Limits()))
    good = [record for part in parts if part.records is not None for record in part.records.to_pylist()]
    rows = [row for part in parts if part.rows is not None for row in part.rows.tolist()]
    return good, rows, [(each.row, each.reason, each.records, each.raw) for part in parts for each in part.rejects]


@pytest.fixture
def without_polars(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_args: object) -> None:
        raise AssertionError("read in another way")

    monkeypatch.setattr(avro_run, "_decoded", read)


@pytest.mark.usefixtures("without_polars")
def test_records_with_something_in_common_are_read_field_by_field() -> None:
    """What the first 300 have in common, the later ones have not all."""
    for first, count in ((0, 3_000), (150, 3_000), (99_999_000, 3_000), (7, 1), (7, 2)):
        rows = records(count, first)
        assert taken(container(rows)) == (rows, list(range(count)), [])


def test_records_that_contain_what_marks_a_border() -> None:
    inside = container(records(2))[-90:-16].decode("latin-1")
    rows = [{**each, "texto": inside} if number % 50 == 7 else each for number, each in enumerate(records(2_000))]
    assert taken(container(rows)) == (rows, list(range(2_000)), [])


def test_records_with_nothing_in_common() -> None:
    random = Random(5)
    rows = [
        {
            "id": random.randbytes(random.randrange(9)).hex(),
            "quando": random.choice((-1, 1)) * random.getrandbits(random.randrange(1, 63)),
            "valor": random.choice((None, random.random())),
            "texto": random.randbytes(random.randrange(9)).hex(),
        }
        for _ in range(2_000)
    ]
    for _ in range(5):
        assert taken(container(rows)) == (rows, list(range(2_000)), [])


@pytest.mark.parametrize("seed", range(4))
def test_damage_is_judged_as_without_guesses(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    good = container(records(400), 1_500)
    for data in mutants(good, 60, seed):
        taken(good)
        guessed = taken(data)
        with monkeypatch.context() as patched:
            patched.setattr(Borders, "guess", lambda *_: None)
            assert guessed == taken(data)


def test_a_wrong_guess_is_no_guess_and_several_end_it() -> None:
    plain = b"".join(b"id-%d;" % at for at in range(200))
    borders = Borders()
    data = padded([plain])
    sizes = np.array([len(b"id-%d;" % at) for at in range(200)], dtype=np.int64)
    borders.learn(data, sizes)
    starts = borders.guess(data, 200)
    assert starts is not None
    assert starts.tolist() == [16, *(16 + np.cumsum(sizes)).tolist()]
    for _ in range(3):
        assert borders.wanted
        assert borders.guess(data, 150) is None
    assert not borders.wanted
    assert borders.guess(data, 200) is None
