"""What happens to a version after its training: registered, promoted, refused, rolled back; all in the history."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datalab.errors import ModelNotFound
from datalab.ml.gate import Verdict
from datalab.ml.history import Action, Entry, entries, live_version, previous_version, remember
from datalab.ml.package import Package, read_package, write_package
from datalab.ml.registry.base import Live, Registry, Training
from datalab.ml.training import Trained
from datalab.pipelines.execute import Context


@dataclass(frozen=True)
class Desk:
    """Where decisions about models are made: the lake's context, the registry, and who decides.

    `key` answers the signing key, or raises ModelRefused: not everything needs one.
    """

    context: Context
    registry: Registry
    key: Callable[[], bytes]
    by: str


@dataclass(frozen=True)
class Registered:
    """A version as it was registered."""

    model: str
    version: int
    run_id: str
    training_set: str
    metrics: Mapping[str, Any]
    package_hash: str


def champion(desk: Desk, model: str) -> Package | None:
    """The live version's package, verified; None where there is none. ModelRefused where it cannot be trusted."""
    live = desk.registry.champion(model)
    return None if live is None else read_package(live.package, desk.key())


def register(desk: Desk, trained: Trained, files: Mapping[str, Path], verdict: Verdict) -> Registered:
    """Give a trained model its version: package, run and files in the registry, the alias `challenger`, the history."""
    model = trained.declaration.name
    packages: list[Package] = []
    with tempfile.TemporaryDirectory(prefix="datalab-model-") as folder:

        def package(number: int) -> Path:
            manifest = {**trained.manifest, "version": number, "created_at": _now().isoformat()}
            packages.append(write_package(Path(folder) / "package", trained.model, manifest, desk.key()))
            return packages[-1].folder

        version, run_id = desk.registry.register(_training(trained, files, verdict), package)
    made = Registered(model, version, run_id, trained.training_set, _figures(trained), packages[-1].hash)
    now = _now()
    desk.registry.point(model, "challenger", version, now)
    remember(desk.context, _entry(desk, made, "registered", now, "trained"), _entry(desk, made, "challenger", now, ""))
    return made


def decide(desk: Desk, made: Registered, verdict: Verdict) -> bool:
    """Promote a registered version, or refuse it, as the gate says; answers whether it is live."""
    if verdict.passed:
        _go_live(desk, made, "promoted", verdict.words)
    else:
        remember(desk.context, _entry(desk, made, "refused", _now(), verdict.words))
    return verdict.passed


def promote(desk: Desk, model: str, version: int, why: str) -> None:
    """Make a version live by hand. ModelNotFound; ModelRefused where its package is not sound."""
    _go_live(desk, _registered(desk, model, version), "promoted", why)


def rollback(desk: Desk, model: str, version: int | None, why: str) -> int:
    """Go back to a version, or to the one that was live before; answers which. ModelNotFound where there is none."""
    reconcile(desk, model)
    found = entries(desk.context, model)
    live = live_version(found)
    if version is None:
        version = None if live is None else previous_version(found, live)
    if version is None:
        raise ModelNotFound(f"{model}: no earlier version was live", f"datalab model history {model}")
    _go_live(desk, _registered(desk, model, version), "rolled_back", why)
    return version


def reconcile(desk: Desk, model: str) -> None:
    """Note in the history where the registry's champion is another than the history says.

    So it is where somebody moved the alias in MLflow, or a promotion was killed between alias and history.
    """
    live, found = desk.registry.champion(model), entries(desk.context, model)
    said = live_version(found)
    if (None if live is None else live.version) == said:
        return
    why = "found so in the registry: moved there, or the promotion was interrupted"
    noted: list[Entry] = []
    if said is not None:
        noted.append(Entry(_now(), model, said, "retired", "registry", why))
    if live is not None:
        noted.append(Entry(_now(), model, live.version, "promoted", "registry", why))
    remember(desk.context, *noted)


def _go_live(desk: Desk, made: Registered, action: Action, why: str) -> None:
    before = desk.registry.champion(made.model)
    now = _now()
    desk.registry.point(made.model, "champion", made.version, now)
    retired = _retired(desk, before, made, now)
    remember(desk.context, *retired, _entry(desk, made, action, now, why))


def _retired(desk: Desk, before: Live | None, made: Registered, now: datetime) -> Sequence[Entry]:
    if before is None or before.version == made.version:
        return ()
    return (Entry(now, made.model, before.version, "retired", desk.by, f"version {made.version} took its place"),)


def _registered(desk: Desk, model: str, version: int) -> Registered:
    found = desk.registry.version(model, version)
    if found is None:
        raise ModelNotFound(f"{model}: the registry has no version {version}", f"datalab model history {model}")
    package = read_package(found.package, desk.key())
    known = [entry for entry in entries(desk.context, model) if entry.version == version and entry.run_id]
    run_id, figures = (known[-1].run_id, known[-1].metrics) if known else ("", {})
    return Registered(model, version, run_id, package.manifest["training_set"], figures, package.hash)


def _figures(trained: Trained) -> dict[str, float]:
    return {name: value for name, value in trained.manifest["metrics"].items() if isinstance(value, int | float)}


def _training(trained: Trained, files: Mapping[str, Path], verdict: Verdict) -> Training:
    model = trained.declaration
    params = {"estimator": model.estimator, "seed": model.seed, "calibration": model.calibration, **model.params}
    tags = {
        "datalab.training_set": trained.training_set,
        "datalab.gate": "passed" if verdict.passed else "failed",
    }
    more = {"onnx_difference": trained.largest_difference, "one_row_ms": trained.one_row_ms}
    return Training(model.name, trained.training_set, params, {**_figures(trained), **more}, tags, files)


def _entry(desk: Desk, made: Registered, action: Action, at: datetime, why: str) -> Entry:
    return Entry(
        at,
        made.model,
        made.version,
        action,
        desk.by,
        why,
        made.training_set,
        made.run_id,
        made.metrics,
        made.package_hash,
    )


def _now() -> datetime:
    return datetime.now(UTC)
