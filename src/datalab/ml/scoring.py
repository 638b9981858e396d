"""A package's answers to rows of a training set: needs ONNX Runtime and the manifest, and nothing else of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from datalab.ml.declaration import Declaration, Field, Input, Source, Thresholds
from datalab.ml.graph import Array, Session
from datalab.ml.manifest import Manifest
from datalab.ml.package import Package
from datalab.ml.rows import Rows, as_served


def declared(manifest: Manifest) -> Declaration:
    """As much of the declaration as a manifest holds: enough to turn rows into inputs."""
    fields = tuple(
        Field(part["name"], part["type"], bool(part.get("optional"))) for part in manifest["request"]["fields"]
    )
    views = {name: tuple(map(_source, part["entity"])) for name, part in manifest["views"].items()}
    return Declaration(
        name=manifest["model"],
        file="the model's manifest",
        training_set=manifest["training_set"].partition("@")[0],
        label=manifest["target"]["label"],
        moment=manifest["target"].get("moment", ""),
        estimator="",
        inputs=tuple(map(_input, manifest["inputs"])),
        fields=fields,
        views=views,
        thresholds=Thresholds(**manifest["thresholds"]),
    )


def score_rows(package: Package, rows: Rows, *, sent: bool = True) -> Array:
    """The package's probability for each row, [N]."""
    return Session(package.model).probabilities(as_served(rows, declared(package.manifest), sent))


def missing_columns(table: pa.Table, manifest: Manifest) -> list[str]:
    """Columns that a model's inputs need and a table lacks."""
    known = declared(manifest)
    wanted = {part.own_column for part in known.inputs}
    wanted |= {part.default.column for part in known.inputs if part.default is not None}
    wanted |= {part.column for parts in known.views.values() for part in parts if part.view is not None}
    return sorted(wanted - set(table.column_names))


def _input(part: Mapping[str, Any]) -> Input:
    default = part["from"].get("default")
    column = part.get("column", "")
    return Input(part["name"], part["kind"], _source(part["from"]), default and _source(default), column)


def _source(part: Mapping[str, Any]) -> Source:
    return Source(part["view"], part["feature"]) if "view" in part else Source(None, part["request"])
