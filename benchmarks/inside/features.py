"""Features: a training set at the moments of its labels, and rows into and out of the online stores."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.inside.project import SILVER, opened
from datalab.features.online.base import Layout, Lookup, OnlineStore, Version
from datalab.features.online.redis import RedisStore
from datalab.features.online.sqlite import SqliteStore
from datalab.platform.feature_work import build_training_set

KINDS = ("double",) * 8
LOOK_UPS, TOGETHER = 2_000, 5
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
    """Rows written into a store and read from it, five entities at a time; SQLite where no Redis is named."""
    store: OnlineStore = RedisStore(redis, None, "benchmark") if redis else SqliteStore(Path(folder) / "online.db")
    features = tuple(f"f{number}" for number in range(len(KINDS)))
    layout = Layout("gold.t", ("id",), "at", features, KINDS)
    moment = datetime(2026, 11, 1, tzinfo=UTC)
    values = np.random.default_rng(1).random((len(features), rows))
    columns = {
        "id": [f"proponente_{number}" for number in range(rows)],
        "at": pa.array([moment] * rows, pa.timestamp("us", tz="UTC")),
        **dict(zip(features, values, strict=True)),
    }
    claim = store.begin("v", layout, Version(1, 1))
    started = time.monotonic()
    store.write(claim, pa.table(columns))
    store.finish(claim, whole=True)
    work = time.monotonic() - started
    seconds = []
    for number in np.random.default_rng(2).integers(0, rows - TOGETHER, LOOK_UPS).tolist():
        wanted = [Lookup("v", (f"proponente_{number + each}",)) for each in range(TOGETHER)]
        before = time.perf_counter()
        found = store.read(wanted, moment)
        seconds.append(time.perf_counter() - before)
        assert all(each is not None for each in found)
    store.close()
    return {
        "work": work,
        "rows": rows,
        "p50 ms": median(seconds) * 1e3,
        "p99 ms": sorted(seconds)[-LOOK_UPS // 100] * 1e3,
    }
