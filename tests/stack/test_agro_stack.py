"""The farmers' project on a real broker and registry: the same gold as from files, row for row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Answer
from tests.stack.test_simulate_kafka import agro  # noqa: F401 - the fixture

pytestmark = [pytest.mark.stack, pytest.mark.timeout(400)]
GOLD = ("proponente_features_agro", "location_features_agro", "risk_features_agro", "uf_features_agro")
SIMULATE = ("data", "simulate", "--rows", "4000", "--bad", "1%", "--late", "2%", "--duplicates", "2%", "--seed", "7")
SET_ASIDE = (
    "query",
    "SELECT target, count(*) AS entries FROM ops.quarantine WHERE target LIKE 'silver.%' GROUP BY target",
    "--json",
)


def gold(datalab: Callable[..., Answer], *project: str | Path) -> dict[str, Any]:
    found = {}
    for table in GOLD:
        answer = datalab("query", f"SELECT * FROM gold.{table}", "--limit", "0", "--json", *project)
        assert answer.code == 0, answer.err
        found[table] = sorted(answer.json, key=repr)
    return found


def test_gold_is_the_same_as_from_files(
    agro: str,  # noqa: F811 - the fixture
    datalab: Callable[..., Answer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert datalab(*SIMULATE, "--to", "kafka").code == 0
    taken = datalab("ingest", "--until-lag-zero", "--json")
    assert taken.code == 0, taken.err
    assert datalab("run").code == 0
    streamed, aside = gold(datalab), datalab(*SET_ASIDE).json
    assert datalab("run").out.startswith("nothing to do")

    files = tmp_path / "files"
    monkeypatch.setenv("DATALAB_ENV", "local")
    for name in ("DADOS_PRODUTORES", "DESFECHOS_CREDITO"):
        monkeypatch.delenv(f"DATALAB__SOURCES__{name}__TOPIC")
    assert datalab("init", files, "--template", "agro").code == 0
    assert datalab(*SIMULATE, "--project", files).code == 0
    assert datalab("run", "--project", files).code == 0
    embedded = gold(datalab, "--project", files)
    assert {table: len(rows) for table, rows in streamed.items()} == {t: len(rows) for t, rows in embedded.items()}
    assert streamed == embedded
    assert datalab(*SET_ASIDE, "--project", files).json == aside
