"""Features of the farmers' project: online they equal the lake, training sets can be made again after it moved on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.contracts.redis_server import PASSWORD, redis_server

from datalab.cli.app import execute
from datalab.features import training
from datalab.features.materialize import Gold, materialize
from datalab.features.online.base import OnlineStore, Version
from datalab.platform.feature_work import chosen_views, compare_views, online_store
from datalab.platform.lab import Lab
from datalab.platform.settings import load

VIEWS = ("municipio", "perfil", "proponente", "segmento", "uf")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with three states of gold, by three batches of requests."""
    folder = tmp_path_factory.mktemp("agro") / "fazenda"
    assert execute(["init", str(folder), "--template", "agro"]) == 0
    for rows in (400, 60, 40):
        arguments = ["--rows", str(rows), "--files", "2", "--bad", "3%", "--duplicates", "5%", "--quiet"]
        assert execute(["data", "simulate", "--project", str(folder), *arguments]) == 0
        assert execute(["run", "--project", str(folder), "--quiet"]) == 0
    return folder


@pytest.fixture(autouse=True)
def _warm(warm: None) -> None:
    """Decoding processes are shared."""


@pytest.fixture(params=["sqlite", "redis"])
def settings_of_store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, str]]:
    """The variables that name an empty store of each kind."""
    if request.param == "sqlite":
        monkeypatch.setenv("DATALAB__ONLINE__PATH", str(tmp_path / "online.db"))
        yield {"DATALAB__ONLINE__PATH": str(tmp_path / "online.db")}
        return
    with redis_server(tmp_path) as url:
        variables = {"STORE": "redis", "URL": url, "PASSWORD": "secret:env/SENHA", "TIMEOUT_MS": "2000"}
        named = {f"DATALAB__ONLINE__{name}": value for name, value in variables.items()} | {"SENHA": PASSWORD}
        for name, value in named.items():
            monkeypatch.setenv(name, value)
        yield named


def open_lab(folder: Path) -> Lab:
    return Lab(load(folder, environ=os.environ))


def heads(lab: Lab, view: Any) -> list[Gold]:
    """Every state of a view's table that still exists, oldest first."""
    state = lab.lake.require(view.table)
    return [
        Gold(lab.lake, lab.engine, state, Version(entry.sequence, entry.id), datetime.now(UTC))
        for entry in lab.lake.history(state)
    ]


def differences(lab: Lab, store: OnlineStore) -> list[Any]:
    found = compare_views(lab, store, (), 10_000)
    assert all(part.compared == part.recomputed > 0 for part in found), found
    return [one for part in found for one in part.differences]


def test_only_what_changed_is_moved_and_the_store_equals_the_lake(made: Path, settings_of_store: Any) -> None:
    with open_lab(made) as lab, online_store(lab) as store:
        for view in chosen_views(lab, ()):
            first, second, third = heads(lab, view)
            whole = materialize(first, store, view)
            assert (whole.kind, whole.gone) == ("whole", 0)
            changed = materialize(third, store, view)
            assert changed.kind == "changed"
            assert 0 < changed.written < whole.written or view.name in {"segmento", "uf"}
            assert materialize(third, store, view).kind == "nothing"
            assert materialize(second, store, view).kind == "superseded"
        assert differences(lab, store) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from datalab.platform.lab import Lab
from datalab.platform.settings import load
from datalab.platform.feature_work import materialize_views, online_store

with Lab(load(Path(sys.argv[1]), environ=os.environ)) as lab, online_store(lab) as store:
    module = sys.modules[type(store).__module__]
    module._BATCH = 40
    left, write = int(sys.argv[2]), store._set
    def counted(*arguments):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return write(*arguments)
    store._set = counted
    materialize_views(lab, store)
"""


@pytest.mark.slow
def test_killed_while_materializing_parity_is_zero(made: Path, settings_of_store: dict[str, str]) -> None:
    with open_lab(made) as lab, online_store(lab) as store:
        for view in chosen_views(lab, ()):
            materialize(heads(lab, view)[0], store, view)
        for batches in (1, 3):
            environ = {**os.environ, **settings_of_store, "PYTHONPATH": str(ROOT / "src")}
            command = [sys.executable, "-c", KILLED, str(made), str(batches)]
            assert subprocess.run(command, env=environ, check=False).returncode == -9
            found = compare_views(lab, store, (), 10_000)
            assert [one for part in found for one in part.differences] == []
        assert any(store.position(name).pending for name in VIEWS)
        for view in chosen_views(lab, ()):
            materialize(heads(lab, view)[-1], store, view)
        assert differences(lab, store) == []


def test_parity_tells_every_planted_difference(made: Path, datalab: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("DATALAB__ONLINE__PATH", str(tmp_path / "online.db"))
    assert datalab("features", "materialize", "--project", made).code == 0
    with open_lab(made) as lab, online_store(lab) as store:
        (view,) = chosen_views(lab, ["uf"])
        gold = heads(lab, view)[-1]
        table = lab.query(f"SELECT * FROM {view.table} ORDER BY localizacao_uf").read_all()
        claim = store.begin("uf", store.position("uf").layout, gold.version)
        wrong = table.slice(0, 1).set_column(1, table.schema.field(1), [[-5]])
        store.write(claim, wrong, table.slice(1, 1).select(["localizacao_uf"]))
        store.finish(claim, whole=False)
    answer = datalab("features", "parity", "uf", "municipio", "--project", made, "--json")
    assert answer.code == 1
    told = {(one["entity"]["localizacao_uf"], one["feature"], one["beside"]) for one in answer.json["differences"]}
    first, second = table.column("localizacao_uf").to_pylist()[:2]
    assert told == {
        (first, "total_solicitacoes", "table"), (first, "total_solicitacoes", "query"),
        (second, "", "table"), (second, "", "query"),
    }  # fmt: skip
    assert [part["differences"] for part in answer.json["views"]] == [4, 0]


def test_a_training_set_is_made_again_after_the_lake_moved_on(made: Path, datalab: Any, tmp_path: Path) -> None:
    folder = tmp_path / "fazenda"
    assert datalab("init", folder, "--template", "agro").code == 0
    for rows in (300, 40):
        assert datalab("data", "simulate", "--rows", rows, "--files", "2", "--project", folder).code == 0
        assert datalab("run", "--project", folder, "--quiet").code == 0
        built = datalab("features", "training-set", "credito", "--project", folder, "--json").json
        if rows == 300:
            first = built
    assert built["id"] != first["id"]
    assert datalab("features", "training-set", "credito", "--project", folder, "--json").json == built
    with (folder / "pipelines" / "gold.sql").open("a", encoding="utf-8") as file:
        file.write("-- a comment\n")
    again = datalab("features", "training-set", "credito", "--id", first["id"], "--project", folder, "--json")
    assert (again.code, again.json["same"], again.json["rebuilt"]) == (0, True, first["content_hash"])
    with open_lab(folder) as lab:
        found = training.require(lab.lake, first["id"])
        entry = next(e for e in lab.lake.history(lab.lake.require(found.table)) if e.id == found.snapshot)
        assert entry.provenance is not None
        assert entry.provenance.details["keeps"] == dict(found.inputs) == first["inputs"]
        rows = training.read(lab.lake, lab.engine, first["id"])
        assert (rows.num_rows, tuple(rows.column_names)) == (first["rows"], found.columns)
        moments = rows.column("momento").to_pylist()
        assert moments == sorted(moments)
        _check_by_hand(lab, rows.to_pylist()[-40:])


def _check_by_hand(lab: Lab, rows: list[dict[str, Any]]) -> None:
    """The farmer's features in plain Python, over the silver rows before each moment."""
    silver = lab.query("SELECT * FROM silver.silver_dados_produtores_agro").read_all().to_pylist()
    for row in rows:
        earlier = [
            one
            for one in silver
            if one["proponente_id"] == row["proponente_id"] and one["data_solicitacao"] < row["momento"]
        ]
        assert row["proponente__total_solicitacoes"] == (len(earlier) or None)
        newest = max(earlier, key=lambda one: one["data_solicitacao"], default=None)
        assert row["perfil__serasa_score"] == (newest["serasa_score"] if newest else None)
        month = row["momento"].replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        place = [one for one in silver if one["localizacao_uf"] == row["uf"] and one["data_solicitacao"] < month]
        assert row["uf__total_solicitacoes"] == (len(place) or None)


def test_commands_answer_people_and_programs(made: Path, datalab: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("DATALAB__ONLINE__PATH", str(tmp_path / "online.db"))
    listed = datalab("features", "list", "--project", made, "--json").json
    assert [view["view"] for view in listed["views"]] == list(VIEWS)
    assert {view["online"] for view in listed["views"]} == {"nothing"}
    assert datalab("features", "parity", "uf", "--project", made).out.rstrip().endswith("never materialized")
    assert datalab("features", "get", "uf", "SP", "--project", made).code == 1
    done = datalab("features", "materialize", "--project", made, "--json").json
    assert {record["kind"] for record in done} == {"whole"}
    found = datalab("features", "get", "uf", "SP", "--project", made, "--json").json
    assert found["entity"] == {"localizacao_uf": "SP"}
    assert found["values"]["total_solicitacoes"] > 0
    assert "total_solicitacoes" in datalab("features", "get", "uf", "SP", "--project", made).out
    wrong = datalab("features", "get", "municipio", "SP", "--project", made)
    assert (wrong.code, "2 entity columns, and 1 values" in wrong.err) == (5, True)
    assert datalab("features", "materialize", "nada", "--project", made).code == 5
    assert datalab("features", "training-set", "credito", "--id", "1", "--project", made).code in {4, 5}


def test_a_table_made_anew_is_noticed(made: Path, tmp_path: Path, datalab: Any, monkeypatch: Any) -> None:
    folder = tmp_path / "fazenda"
    monkeypatch.setenv("DATALAB__ONLINE__PATH", str(tmp_path / "online.db"))
    assert datalab("init", folder, "--template", "agro").code == 0
    for rows in (60, 20):
        assert datalab("data", "simulate", "--rows", rows, "--files", "2", "--project", folder).code == 0
        assert datalab("run", "--project", folder, "--quiet").code == 0
    assert datalab("features", "materialize", "--project", folder).code == 0
    shutil.rmtree(folder / "lake")
    assert datalab("run", "--project", folder, "--quiet").code == 0
    answer = datalab("features", "materialize", "uf", "--project", folder)
    assert (answer.code, "the table was made anew" in answer.err, "--rebuild" in answer.err) == (5, True, True)
    rebuilt = datalab("features", "materialize", "--rebuild", "--project", folder, "--json").json
    assert {record["kind"] for record in rebuilt} == {"whole"}
    assert datalab("features", "parity", "--project", folder).code == 0


def test_personal_data_is_masked(made: Path, datalab: Any, tmp_path: Path, monkeypatch: Any) -> None:
    folder = tmp_path / "fazenda"
    monkeypatch.setenv("DATALAB__ONLINE__PATH", str(tmp_path / "online.db"))
    assert datalab("init", folder, "--template", "agro").code == 0
    with (folder / "pipelines" / "gold.sql").open("a", encoding="utf-8") as file:
        file.write(
            "\nCREATE MATERIALIZED VIEW gold.documentos AS SELECT proponente_id, max(cpf_cnpj) AS documento, "
            "max(data_solicitacao) AS feature_timestamp FROM silver.silver_dados_produtores_agro "
            "GROUP BY proponente_id;\n"
        )
    text = "view: gold.documentos\nentity: [proponente_id]\ntimestamp: feature_timestamp\n"
    (folder / "features" / "documento.yaml").write_text(text, encoding="utf-8")
    assert datalab("data", "simulate", "--rows", 60, "--files", "1", "--project", folder).code == 0
    assert datalab("run", "--project", folder, "--quiet").code == 0
    assert datalab("features", "materialize", "documento", "--project", folder).code == 0
    with open_lab(folder) as lab:
        (row,) = lab.query("SELECT * FROM gold.documentos LIMIT 1").read_all().to_pylist()
    shown = datalab("features", "get", "documento", row["proponente_id"], "--project", folder, "--json")
    assert json.loads(shown.out)["values"]["documento"] == "•••"
    assert row["documento"] not in shown.out
