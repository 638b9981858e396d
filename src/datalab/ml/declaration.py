"""A model as declared in models/*.yaml: frozen values, nothing read or computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

Kind = Literal["number", "category", "boolean"]


@dataclass(frozen=True)
class Source:
    """Where a value comes from: a field of the request, or a feature of a view."""

    view: str | None
    name: str

    def as_json(self) -> dict[str, str]:
        """The form of the manifest."""
        return {"request": self.name} if self.view is None else {"view": self.view, "feature": self.name}

    @property
    def column(self) -> str:
        """The training set's column of it."""
        return self.name if self.view is None else f"{self.view}__{self.name}"


@dataclass(frozen=True)
class Input:
    """One input of the model. `column` is the training set's column of a request field.

    `default` is taken where the request does not bring the field. Inputs of one `group` say the same thing.
    `label`, `up` and `down` are the words that reasons are given in.
    """

    name: str
    kind: Kind
    source: Source
    default: Source | None = None
    column: str = ""
    group: str = ""
    label: str = ""
    up: str = ""
    down: str = ""

    @property
    def own_column(self) -> str:
        """The training set's column of the value itself."""
        return self.column or self.source.column


@dataclass(frozen=True)
class Field:
    """A field of the request: JSON type, limits, and whether it may be left out."""

    name: str
    type: Literal["string", "number", "integer", "boolean"]
    optional: bool = False
    limits: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The form of the manifest."""
        return {"name": self.name, "type": self.type, **self.limits, **({"optional": True} if self.optional else {})}


@dataclass(frozen=True)
class Split:
    """Shares of the rows, by time: first training, then calibration, then the holdout."""

    calibration: float = 0.15
    holdout: float = 0.25


@dataclass(frozen=True)
class Thresholds:
    """Probabilities of default: approved below the one, denied from the other, a person decides in between."""

    approve_below: float
    deny_from: float


@dataclass(frozen=True)
class Gate:
    """What a challenger must hold to replace the champion.

    `gain`: by how much its metric must be higher. `calibration_error`: the largest expected calibration error.
    `latency_ms`: the slowest median answer to one row. `minimum`: the least of a metric, for a first version, too.
    """

    gain: float = 0.0
    calibration_error: float = 0.05
    latency_ms: float = 5.0
    minimum: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class DriftRule:
    """When drift is worth a training: significant at `alpha` over all features together, and at least `psi` large.

    `window`: how much of the newest rows is compared. `every`: retrain after so long without any drift.
    `rows_of`: the training set whose newest rows are compared, where it is not the model's own.
    """

    window: timedelta = timedelta(days=30)
    alpha: float = 0.01
    psi: float = 0.1
    every: timedelta | None = None
    rows_of: str = ""


@dataclass(frozen=True)
class Declaration:
    """A model. `derived` are numeric expressions over inputs, computed inside the model.

    `known`: the column that says when the outcome became known: what was not known when the holdout begins is not
    learnt from. `unsent`: the share of training rows in which optional request fields count as not sent, as callers
    often do.
    """

    name: str
    file: str
    training_set: str
    label: str
    moment: str
    estimator: str
    inputs: tuple[Input, ...]
    fields: tuple[Field, ...]
    views: Mapping[str, tuple[Source, ...]]
    thresholds: Thresholds
    params: Mapping[str, Any] = field(default_factory=dict)
    derived: Mapping[str, str] = field(default_factory=dict)
    known: str = ""
    window: timedelta | None = None
    split: Split = Split()
    calibration: Literal["sigmoid", "isotonic", "none"] = "sigmoid"
    scale: bool = False
    unsent: float = 0.0
    metric: Literal["f1", "auc", "ks"] = "f1"
    gate: Gate = Gate()
    drift: DriftRule = DriftRule()
    groups: tuple[str, ...] = ()
    policy: tuple[Mapping[str, Any], ...] = ()
    seed: int = 0
    text: str = ""

    @property
    def optional(self) -> frozenset[str]:
        """Names of request fields that may be left out."""
        return frozenset(field.name for field in self.fields if field.optional)
