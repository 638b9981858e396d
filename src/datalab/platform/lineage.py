"""The map of a project, drawn from its files: contracts, pipelines, features and models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from datalab.lineage.consumers import ModelUse, draw_consumers
from datalab.lineage.map import Map, draw_tables
from datalab.platform.features import wire_features
from datalab.platform.lab import Lab
from datalab.platform.traces import declared_graph


def lineage_map(lab: Lab) -> Map:
    """Tables, feature views, training sets and models with the columns that each comes from. No data is read.

    ContractError, PipelineError, FeatureError.
    """
    graph = declared_graph(lab)
    sources = {feed.target: feed.schema for feed in lab.feeds}
    others = {name: lab.lake.require(name).schema for name in graph.sources if name not in sources}
    drawing = draw_tables(graph, {**sources, **others})
    draw_consumers(drawing, wire_features(lab.configuration), [*declared_models(lab.configuration.folder)])
    return drawing.done()


def declared_models(folder: Path) -> Iterator[ModelUse]:
    """The models of a project's models/*.yaml, as far as columns go; a file that is no model is passed over."""
    for path in sorted(folder.glob("models/*.y*ml")):
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
        if isinstance(record, dict) and record.get("training_set"):
            name = str(record.get("name", path.stem))
            file = path.relative_to(folder).as_posix()
            yield ModelUse(name, str(record["training_set"]), tuple(dict.fromkeys(_columns(record))), file)


def _columns(record: Mapping[str, Any]) -> Iterator[str]:
    """Columns of the training set that a model looks at: its inputs, what stands in for them, label and moment."""
    for name, declared in (record.get("inputs") or {}).items():
        yield name
        for key in ("from", "default"):
            view, dot, feature = str((declared or {}).get(key) or "").partition(".")
            if dot:
                yield f"{view}__{feature}"
    yield from (str(record[key]) for key in ("label", "moment", "known") if record.get(key))
    yield from map(str, record.get("groups") or ())
