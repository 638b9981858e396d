"""Features: a training set at the moments of its labels, and rows into and out of the online stores."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.inside.project import SILVER, opened
from datalab.errors import OnlineStoreError
from datalab.features.online.base import Layout, Lookup, OnlineStore, Version
from datalab.features.online.redis import RedisStore
from datalab.features.online.sqlite import SqliteStore
from datalab.platform.feature_work import build_training_set

KINDS = ("double",) * 8
LOOK_UPS, TOGETHER = 2_000, 5
MOMENT = datetime(2026, 11, 1, tzinfo=UTC)
_SET = """labels: |
  SELECT proponente_id, data_solicitacao AS momento, serasa_score > 500 AS inadimplente, localizacao_uf AS uf,
    localizacao_municipio, faixa_risco_credito, cultura_principal
  FROM {silver} WHERE {chosen}
moment: momento
label: inadimplente
views:
  proponente: [proponente_id]
  municipio: [uf, localizacao_municipio]
  segmento: [faixa_risco_credito, cultura_principal]
seed: 7
"""


def training_set(project: str, table_format: str, rows: int, labels: int) -> dict[str, Any]:
    """So many labels, each with the farmer's view by event and the municipality's and the segment's by month."""
    every = max(rows // labels, 1)
    chosen = f"pmod(unix_millis(data_solicitacao), {every}) = 0"
    path = Path(project) / "features" / "medida.yaml"
    path.write_text(_SET.format(silver=SILVER, chosen=chosen), encoding="utf-8")
    try:
        with opened(project, table_format) as lab:
            started = time.monotonic()
            made = build_training_set(lab, "medida")
            return {"work": time.monotonic() - started, "rows": made.rows, "hash": made.content_hash}
    finally:
        path.unlink()


def online(folder: str, rows: int, redis: str = "") -> dict[str, Any]:
    """Rows written into a store and read from it, five entities at a time; SQLite where no Redis is named.

    Then read every millisecond while another process writes all rows again.
    """
    store = _store(folder, redis)
    work = _write(store, rows, 1)
    alone = [_read(store, number) for number in _places(rows, LOOK_UPS)]
    writer = get_context("spawn").Process(target=_write_again, args=(folder, rows, redis))
    writer.start()
    beside = []
    for number in _places(rows, rows):
        beside.append(_read(store, number))
        time.sleep(0.001)
        if not writer.is_alive():
            break
    writer.join()
    store.close()
    return {
        "work": work,
        "rows": rows,
        "p50 ms": median(alone) * 1e3,
        "p99 ms": sorted(alone)[-LOOK_UPS // 100] * 1e3,
        "beside p99 ms": sorted(beside)[-len(beside) // 100] * 1e3,
    }


def _store(folder: str, redis: str) -> OnlineStore:
    return RedisStore(redis, None, "benchmark") if redis else SqliteStore(Path(folder) / "online.db")


def _write(store: OnlineStore, rows: int, version: int) -> float:
    """The seconds of writing."""
    features = tuple(f"f{number}" for number in range(len(KINDS)))
    values = np.random.default_rng(version).random((len(features), rows))
    columns = {
        "id": [f"proponente_{number}" for number in range(rows)],
        "at": pa.array([MOMENT] * rows, pa.timestamp("us", tz="UTC")),
        **dict(zip(features, values, strict=True)),
    }
    claim = store.begin("v", Layout("gold.t", ("id",), "at", features, KINDS), Version(version, version))
    started = time.monotonic()
    store.write(claim, pa.table(columns))
    store.finish(claim, whole=True)
    return time.monotonic() - started


def _write_again(folder: str, rows: int, redis: str) -> None:
    store = _store(folder, redis)
    _write(store, rows, 2)
    store.close()


def _places(rows: int, count: int) -> list[int]:
    places: list[int] = np.random.default_rng(2).integers(0, rows - TOGETHER, count).tolist()
    return places


def _read(store: OnlineStore, number: int) -> float:
    """The seconds of a read; one that a writer held up too long counts as well."""
    wanted = [Lookup("v", (f"proponente_{number + each}",)) for each in range(TOGETHER)]
    before = time.perf_counter()
    with suppress(OnlineStoreError):
        assert all(each is not None for each in store.read(wanted, MOMENT))
    return time.perf_counter() - before
