"""From training to live and back: gate, registry and history together, on a real MLflow and a real lake."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests import loans

from datalab.errors import ModelError, ModelNotFound, ModelRefused
from datalab.ml import lifecycle
from datalab.ml.declaration import Declaration
from datalab.ml.history import entries, live_version, previous_version
from datalab.ml.lifecycle import Desk
from datalab.platform.lab import Lab
from datalab.platform.models import Outcome, Workshop, evaluate_model, train_model, watch_model
from datalab.platform.registry import models_key, wire_registry, wire_registry_reader
from datalab.platform.settings import load


class MemorySets:
    """Training sets by name and number; building one is choosing the newest."""

    def __init__(self) -> None:
        self.tables: dict[str, pa.Table] = {}
        self.newest = ""

    def put(self, set_id: str, table: pa.Table) -> None:
        self.tables[set_id], self.newest = table, set_id

    def build(self, name: str) -> tuple[str, pa.Table]:
        return self.newest, self.tables[self.newest]

    def read(self, set_id: str) -> pa.Table:
        return self.tables[set_id]

    def units(self, name: str) -> dict[str, tuple[str, ...]]:
        return {"municipio": ("uf", "tipo_pessoa")}

    def entities(self, model: Declaration) -> dict[str, tuple[str, ...]]:
        return {"proponente": ("proponente_id",), "municipio": ("localizacao_municipio",)}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lifecycle")
    (folder / "datalab.yaml").write_text("name: emprestimos\n", encoding="utf-8")
    return folder


@pytest.fixture
def shop(place: Path, request: pytest.FixtureRequest) -> Iterator[Workshop]:
    """One database for all tests of the module: each has a model of its own name."""
    name = re.sub(r"\W+", "_", request.node.name.removeprefix("test_"))[:40].strip("_")
    configuration = load(place)
    registry = wire_registry(configuration, {})
    with Lab(configuration, {}) as lab:
        desk = Desk(lab.context(), registry, partial(models_key, configuration, create=True), "ana")
        model = loans.declaration(name=name)
        yield Workshop({name: model}, MemorySets(), desk, place / "reports", lab.bus)
    registry.close()


def train(shop: Workshop, set_id: str, table: pa.Table, **changes: Any) -> Outcome:
    name = next(iter(shop.declarations))
    shop.sets.put(set_id, table)  # type: ignore[attr-defined]
    return train_model(shop, loans.declaration(name=name, **changes))


def actions(shop: Workshop, model: str) -> list[tuple[int, str]]:
    return [(entry.version, entry.action) for entry in entries(shop.desk.context, model)]


def test_the_first_version_goes_live_and_everything_is_kept(shop: Workshop, place: Path) -> None:
    outcome = train(shop, "emprestimos@1", loans.table())
    model = outcome.made.model
    assert outcome.live, outcome.verdict.words
    assert actions(shop, model) == [(1, "registered"), (1, "challenger"), (1, "promoted")]
    live = wire_registry_reader(load(place), {}).champion(model)
    assert live is not None
    assert live.version == 1
    package = lifecycle.champion(shop.desk, model)
    assert package is not None
    assert package.manifest["training_set"] == "emprestimos@1"
    (key,) = package.manifest["views"]["proponente"]["entity"]
    assert key == {"request": "id_proponente", "column": "proponente_id"}
    kept = {path.name for path in live.package.parent.iterdir()}
    assert kept >= {"card.md", "evaluation.png", "evaluation.json", "gate.json", "model.yaml", "package"}
    last = entries(shop.desk.context, model)[-1]
    assert (last.by, last.run_id, last.package_hash) == ("ana", outcome.made.run_id, package.hash)
    assert last.metrics["f1"] == outcome.trained.evaluation.figures["f1"]


def test_a_challenger_replaces_the_champion_only_if_it_is_better(shop: Workshop) -> None:
    poor = {"params": "{n_estimators: 2, max_depth: 1}"}
    assert train(shop, "e@1", loans.table(), **poor).live
    better = train(shop, "e@2", loans.table(), params="{n_estimators: 60, min_samples_leaf: 5}")
    assert better.live
    assert better.verdict.gain is not None
    assert better.verdict.gain.value > 0
    worse = train(shop, "e@3", loans.table(), **poor)
    assert not worse.live
    assert "better: f1" in worse.verdict.words
    model = worse.made.model
    champion, challenger = (shop.desk.registry.alias(model, alias) for alias in ("champion", "challenger"))
    assert champion is not None
    assert challenger is not None
    assert (champion.version, challenger.version) == (2, 3)
    assert actions(shop, model)[-2:] == [(3, "challenger"), (3, "refused")]
    same = train(shop, "e@4", loans.table(), params="{n_estimators: 60, min_samples_leaf: 5}")
    assert not same.live  # not higher: the same model again


def test_who_learnt_from_the_holdout_is_judged_on_what_is_left(shop: Workshop) -> None:
    """A champion trained on later rows must not win by having seen the answers."""
    early, whole = loans.table(2000, days=200), loans.table(3000, days=300)
    assert train(shop, "e@1", whole).live
    judged = train(shop, "e@2", early)
    (better,) = [check for check in judged.verdict.checks if check.name == "better"]
    assert not better.passed
    assert "only 0 holdout rows" in better.words


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"gate": "{latency_ms: 0.0001, calibration_error: 0.15}"}, "latency"),
        ({"gate": "{latency_ms: 50, calibration_error: 0.0001}"}, "calibration"),
        ({"gate": "{latency_ms: 50, calibration_error: 0.15, minimum: {auc: 0.99}}"}, "minimum auc"),
    ],
    ids=["latency", "calibration", "minimum"],
)
def test_the_gate_holds_for_a_first_version_too(shop: Workshop, changes: dict[str, str], check: str) -> None:
    outcome = train(shop, "e@1", loans.table(1500), **changes)
    assert not outcome.live
    assert [each.name for each in outcome.verdict.checks if not each.passed] == [check]
    assert shop.desk.registry.champion(outcome.made.model) is None


def test_callers_of_the_champion_must_not_be_refused(shop: Workshop) -> None:
    assert train(shop, "e@1", loans.table(1500)).live
    request = (
        "{id_proponente: {type: string}, uf: {type: string}, valor_solicitado: {type: number}, "
        "autuado: {type: boolean}, renda_liquida_mes: {type: number}, cultura_principal: {type: string}, "
        "cpf: {type: string}}"
    )
    outcome = train(shop, "e@2", loans.table(1500), request=request, params="{n_estimators: 80}")
    (schema,) = [check for check in outcome.verdict.checks if check.name == "schema"]
    assert not outcome.live
    assert "cpf is new, and not optional" in schema.words
    assert "autuado was optional" in schema.words


def test_rolling_back_goes_step_by_step(shop: Workshop) -> None:
    outcome = train(shop, "e@1", loans.table(1500))
    model = outcome.made.model
    for number in (2, 3):
        train(shop, f"e@{number}", loans.table(1500))
        lifecycle.promote(shop.desk, model, number, "by hand")
    assert lifecycle.rollback(shop.desk, model, None, "3 was wrong") == 2
    assert lifecycle.rollback(shop.desk, model, None, "2 as well") == 1
    with pytest.raises(ModelNotFound, match="no earlier version"):
        lifecycle.rollback(shop.desk, model, None, "and 1?")
    assert lifecycle.rollback(shop.desk, model, 3, "after all") == 3
    found = entries(shop.desk.context, model)
    assert live_version(found) == 3
    assert [entry.why for entry in found if entry.action == "rolled_back"] == ["3 was wrong", "2 as well", "after all"]
    assert [entry.version for entry in found if entry.action == "retired"] == [1, 2, 3, 2, 1]
    with pytest.raises(ModelNotFound, match="no version 9"):
        lifecycle.promote(shop.desk, model, 9, "")


def test_what_was_moved_in_the_registry_is_noted(shop: Workshop) -> None:
    """As after a kill between the alias and the history."""
    model = train(shop, "e@1", loans.table(1500)).made.model
    train(shop, "e@2", loans.table(1500))
    live = shop.desk.registry.champion(model)
    assert live is not None
    shop.desk.registry.point(model, "champion", 2, live.since)
    assert live_version(entries(shop.desk.context, model)) == 1
    lifecycle.reconcile(shop.desk, model)
    lifecycle.reconcile(shop.desk, model)
    found = entries(shop.desk.context, model)
    assert live_version(found) == 2
    assert [(entry.action, entry.by) for entry in found[-2:]] == [("retired", "registry"), ("promoted", "registry")]
    assert previous_version(found, 2) == 1


def test_a_damaged_package_is_not_promoted(shop: Workshop) -> None:
    model = train(shop, "e@1", loans.table(1500)).made.model
    second = train(shop, "e@2", loans.table(1500))
    found = shop.desk.registry.version(model, second.made.version)
    assert found is not None
    (found.package / "model.onnx").write_bytes(b"something else")
    with pytest.raises(ModelRefused, match="not the file"):
        lifecycle.promote(shop.desk, model, 2, "")
    champion = shop.desk.registry.champion(model)
    assert champion is not None
    assert champion.version == 1


def test_a_version_is_evaluated_on_rows_that_came_later(shop: Workshop) -> None:
    outcome = train(shop, "e@1", loans.table(3000, days=300))
    later = loans.table(1000, seed=5, days=100, first=loans.START.replace(month=11))
    shop.sets.put("e@2", later)  # type: ignore[attr-defined]
    model = outcome.trained.declaration
    package, found = evaluate_model(shop, model, None)
    assert (package.version, found.rows) == (1, 1000)
    assert abs(found.figures["auc"] - outcome.trained.evaluation.figures["auc"]) < 0.05
    shop.sets.put("e@3", later.drop_columns(["proponente__score"]))  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match="lacks columns of version 1: proponente__score"):
        evaluate_model(shop, model, None)
    shop.sets.put("e@4", loans.table(500, days=20))  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match="only 0 rows came after"):
        evaluate_model(shop, model, 1)


def test_drift_asks_for_a_training_and_calm_does_not(shop: Workshop, place: Path) -> None:
    outcome = train(shop, "e@1", loans.table(3000), drift="{window: 60d, every: 30d}")
    model = outcome.trained.declaration
    calm = watch_model(shop, model)
    assert not calm.retrain
    assert {shift.feature for shift in calm.comparison.shifts} == {"score", *(part.name for part in model.inputs)}
    later = loans.START.replace(month=11)
    shop.sets.put("e@2", loans.table(900, seed=8, days=50, first=later, score=-120))  # type: ignore[attr-defined]
    shifted = watch_model(shop, model)
    assert {shift.feature for shift in shifted.comparison.drifted} == {"score", "proponente__score"}
    assert any("proponente__score has shifted" in reason for reason in shifted.reasons)
    folder = place / "reports" / model.name
    assert (folder / "drift.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads((folder / "drift.json").read_text("utf-8"))["retrain"]
    shop.sets.put("e@3", loans.table(30, seed=8, days=50, first=later))  # type: ignore[attr-defined]
    with pytest.raises(ModelError, match="only 30 rows of the last 60 days"):
        watch_model(shop, model)


def test_a_group_s_average_is_one_observation_however_many_rows_it_stands_in(shop: Workshop) -> None:
    """Three states, two kinds of people: six values each, which differ from those of training as they always do."""

    def with_averages(rows: pa.Table, seed: int) -> pa.Table:
        drawn = np.random.default_rng(seed).normal(0.5, 0.1, 6)
        groups = [("SP", "MT", "PR").index(uf) + 3 * (tipo == "FISICA") for uf, tipo in _pairs(rows)]
        return rows.set_column(rows.column_names.index("municipio__risco"), "municipio__risco", [drawn[groups]])

    outcome = train(shop, "e@1", with_averages(loans.table(3000), 1), drift="{window: 60d}")
    later = loans.table(900, seed=8, days=50, first=loans.START.replace(month=11))
    shop.sets.put("e@2", with_averages(later, 2))  # type: ignore[attr-defined]
    found = watch_model(shop, outcome.trained.declaration)
    (risk,) = [shift for shift in found.comparison.shifts if shift.feature == "municipio__risco"]
    assert risk.psi > 0.1
    assert risk.sizes[1] == 6
    assert not risk.drifted


def _pairs(rows: pa.Table) -> list[tuple[str, str]]:
    return list(zip(rows.column("uf").to_pylist(), rows.column("tipo_pessoa").to_pylist(), strict=True))


def test_the_card_says_how_good_it_is_and_what_it_does_not_know(shop: Workshop) -> None:
    fields = "amount: valor_solicitado, term: renda_liquida_mes, income: renda_liquida_mes"
    policy = f"[{{name: p, text: parcela alta, rule: instalment_share, {fields}, above: 9, decision: NEGADO}}]"
    card = train(shop, "e@1", loans.table(1500), policy=policy).card.read_text("utf-8")
    for words in (
        "# Model card:",
        "F1 has the 95 % bootstrap interval",
        "uf=MT",
        "parcela alta",
        "no input: id_proponente",
    ):
        assert words in card
