"""What a model must show before it goes live: form, answers to its probe, numbers that are probabilities, speed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from datalab.errors import ModelRefused, ModelUnproven
from datalab.ml.package import Package
from datalab.serving.model import OUTPUT, LiveModel, ModelFailed, assemble, bounded

_RUNS = 15
_LONGEST_PROBE = 10.0
_ADVICE = "train the model again (datalab model train NAME), or roll back"
_TYPES = {"number": "tensor(float)", "boolean": "tensor(float)", "category": "tensor(string)"}


@dataclass(frozen=True)
class Demands:
    """What the server asks of a model. `latency_ms` bounds one row with its reasons, without the feature look-up."""

    latency_ms: float = 10.0
    batch_rows: int = 10_000
    most_reasons: int = 5


def verified(package: Package, since: datetime, demands: Demands) -> LiveModel:
    """The package as a model that may go live; ModelRefused, with the first thing that does not hold.

    ModelUnproven where it did not answer in time, for which a busy machine may be to blame.
    """
    model = assemble(package, since, demands.batch_rows, demands.most_reasons)
    _require_form(model)
    _require_probe(model)
    _require_speed(model, demands.latency_ms)
    return model


def _require_form(model: LiveModel) -> None:
    found = {part.name: (part.type, list(part.shape)) for part in model.session.get_inputs()}
    for part in model.vector.inputs:
        kind, shape = found.pop(part.name, ("none", []))
        if kind != _TYPES[part.kind] or len(shape) != 2 or shape[1] != 1:
            raise _refused(model, f"its graph has no column of {part.kind} called '{part.name}'")
    if found:
        raise _refused(model, f"its graph wants '{next(iter(found))}', which the manifest does not name")
    outputs = {part.name: part.type for part in model.session.get_outputs()}
    if outputs.get(OUTPUT) != "tensor(float)":
        raise _refused(model, f"its graph has no output '{OUTPUT}' of floats")


def _require_probe(model: LiveModel) -> None:
    probe = model.package.manifest["probe"]
    expected = np.asarray(probe["probabilities"], dtype=np.float64)
    answers = np.asarray(_probe_answers(model, probe["rows"]), dtype=np.float64)
    if answers.shape != expected.shape:
        raise _refused(model, f"it answers {answers.size} numbers to {expected.size} rows")
    if not np.all(np.isfinite(answers)) or np.any((answers < 0) | (answers > 1)):
        raise _refused(model, "its answers to the probe are no probabilities")
    worst = float(np.max(np.abs(answers - expected)))
    if worst > float(probe["tolerance"]):
        raise _refused(model, f"its answers to the probe differ by {worst:.2g} from the manifest's")


def _probe_answers(model: LiveModel, rows: list[list[Any]]) -> Any:
    started = time.perf_counter()
    try:
        with bounded(_LONGEST_PROBE) as options:
            feeds = model.vector.feeds(*model.vector.arrays(rows))
            return model.session.run([OUTPUT], feeds, options)[0].reshape(-1)
    except Exception as error:
        if time.perf_counter() - started >= _LONGEST_PROBE:
            raise _unproven(model, f"it did not answer its probe within {_LONGEST_PROBE:g} s") from error
        raise _refused(model, f"it failed at its probe: {type(error).__name__}") from error


def _require_speed(model: LiveModel, latency_ms: float) -> None:
    rows = model.package.manifest["probe"]["rows"]
    took = []
    for number in range(_RUNS):
        started = time.perf_counter()
        try:
            model.judge(rows[number % len(rows)])
        except ModelFailed as error:
            raise _refused(model, f"a row of its probe, varied for reasons: {error}") from error
        took.append((time.perf_counter() - started) * 1000)
        if took[-1] > _LONGEST_PROBE * 1000:
            break
    best = sorted(took)[len(took) // 4]  # a busy machine slows some calls, a slow model all of them
    if best > latency_ms:
        raise _unproven(model, f"it takes {best:.1f} ms for a row and its reasons, {latency_ms:g} ms are allowed")


def _refused(model: LiveModel, why: str) -> ModelRefused:
    return ModelRefused(f"{model.name} {model.version}: {why}", _ADVICE)


def _unproven(model: LiveModel, why: str) -> ModelUnproven:
    return ModelUnproven(f"{model.name} {model.version}: {why}", _ADVICE)
