"""Models of a project: trained, judged, watched, promoted and rolled back, with the parts that the settings name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from datalab.errors import ModelNotFound
from datalab.events import Bus, Progress
from datalab.ml.card import write_card
from datalab.ml.declaration import Declaration
from datalab.ml.evaluation import Evaluation
from datalab.ml.gate import Verdict, judge
from datalab.ml.lifecycle import Desk, Registered, champion, decide, reconcile, register
from datalab.ml.package import Package, read_package
from datalab.ml.pictures import draw_drift, draw_evaluation
from datalab.ml.training import Trained, train
from datalab.ml.watch import Seen, Watch, evaluate_version, watch
from datalab.platform.model_files import chosen_model

_STEPS = ("training set", "train", "judge", "register")


class TrainingSets(Protocol):
    """Where rows to learn from come from."""

    def build(self, name: str) -> tuple[str, pa.Table]:
        """Build a training set from the tables as they are now; answers its id and its rows."""
        ...

    def read(self, set_id: str) -> pa.Table:
        """The rows of one that was built before."""
        ...

    def units(self, name: str) -> Mapping[str, Sequence[str]]:
        """For each view of groups (not accurate to the event), the set's columns that are its entity."""
        ...

    def entities(self, declaration: Declaration) -> Mapping[str, Sequence[str]]:
        """The key columns of each view that a model reads. InvalidModel where they do not fit."""
        ...


@dataclass(frozen=True)
class Workshop:
    """All that work on models needs."""

    declarations: Mapping[str, Declaration]
    sets: TrainingSets
    desk: Desk
    reports: Path
    bus: Bus

    def declaration(self, name: str | None) -> Declaration:
        """A model by name, or the only one. ModelNotFound."""
        return chosen_model(self.declarations, name)


@dataclass(frozen=True)
class Outcome:
    """A training that was done: its version, what the gate said, whether it is live now."""

    trained: Trained
    made: Registered
    verdict: Verdict
    live: bool
    card: Path


def train_model(shop: Workshop, declaration: Declaration, set_id: str = "", *, promote: bool = True) -> Outcome:
    """Train, judge, register; promote where the gate is passed. ModelError, ModelRefused, RegistryUnavailable."""
    entities = shop.sets.entities(declaration)
    _tell(shop, declaration, 0)
    set_id, table = (set_id, shop.sets.read(set_id)) if set_id else shop.sets.build(declaration.training_set)
    _tell(shop, declaration, 1)
    trained = train(declaration, table, set_id, entities)
    _tell(shop, declaration, 2)
    reconcile(shop.desk, declaration.name)
    verdict = judge(trained, champion(shop.desk, declaration.name))
    files = _write_reports(shop.reports / declaration.name, trained, verdict)
    _tell(shop, declaration, 3)
    made = register(shop.desk, trained, files, verdict)
    live = decide(shop.desk, made, verdict) if promote else False
    _tell(shop, declaration, 4)
    return Outcome(trained, made, verdict, live, files["card.md"])


def watch_model(shop: Workshop, declaration: Declaration) -> Watch:
    """The live version's inputs and score in the newest rows beside its training window; draws it, too."""
    live = _live(shop, declaration)
    _, newest = shop.sets.build(declaration.drift.rows_of or declaration.training_set)
    seen = Seen(shop.sets.read(live.manifest["training_set"]), newest, shop.sets.units(declaration.training_set))
    found = watch(declaration, live, seen, datetime.now(UTC))
    folder = _folder(shop.reports / declaration.name)
    draw_drift(folder / "drift.png", found.comparison, declaration.drift.psi)
    (folder / "drift.json").write_text(json.dumps(found.as_json(), indent=1), encoding="utf-8")
    return found


def evaluate_model(
    shop: Workshop, declaration: Declaration, version: int | None, set_id: str = ""
) -> tuple[Package, Evaluation]:
    """A version (the live one, for None) judged on rows that it has not learnt from."""
    package = _live(shop, declaration) if version is None else version_package(shop.desk, declaration.name, version)
    table = shop.sets.read(set_id) if set_id else shop.sets.build(declaration.training_set)[1]
    return package, evaluate_version(declaration, package, table)


def version_package(desk: Desk, model: str, version: int) -> Package:
    """The verified package of a version. ModelNotFound, ModelRefused."""
    found = desk.registry.version(model, version)
    if found is None:
        raise ModelNotFound(f"{model}: the registry has no version {version}", f"datalab model history {model}")
    return read_package(found.package, desk.key())


def _live(shop: Workshop, declaration: Declaration) -> Package:
    live = champion(shop.desk, declaration.name)
    if live is None:
        raise ModelNotFound(f"{declaration.name}: no version is live", f"datalab model train {declaration.name}")
    return live


def _write_reports(folder: Path, trained: Trained, verdict: Verdict) -> dict[str, Path]:
    """Card, picture, figures and declaration: for people here, and for the registry."""
    _folder(folder)
    contents = {
        "card.md": write_card(trained, verdict),
        "evaluation.json": _text({"sent": trained.evaluation.as_json(), "unsent": trained.unsent.as_json()}),
        "gate.json": _text(verdict.as_json()),
        "model.yaml": trained.declaration.text,
    }
    for name, content in contents.items():
        (folder / name).write_text(content, encoding="utf-8")
    picture = folder / "evaluation.png"
    chance, happened = trained.chance, trained.holdout.label
    draw_evaluation(picture, trained.evaluation, chance, happened, trained.declaration.thresholds)
    return {**{name: folder / name for name in contents}, picture.name: picture}


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _text(record: Mapping[str, Any]) -> str:
    return json.dumps(record, indent=1, ensure_ascii=False, default=float)


def _tell(shop: Workshop, declaration: Declaration, done: int) -> None:
    shop.bus.emit(Progress(f"model {declaration.name}", done, len(_STEPS)))
