"""The map of a project, drawn from its files: contracts, pipelines, features and models."""

from __future__ import annotations

from datalab.lineage.consumers import ModelUse, draw_consumers
from datalab.lineage.map import Map, draw_tables
from datalab.ml.declaration import Declaration
from datalab.platform.features import wire_features
from datalab.platform.lab import Lab
from datalab.platform.model_files import declared_models
from datalab.platform.traces import declared_graph


def lineage_map(lab: Lab) -> Map:
    """Tables, feature views, training sets and models with the columns that each comes from. No data is read.

    ContractError, PipelineError, FeatureError, InvalidModel.
    """
    graph = declared_graph(lab)
    sources = {feed.target: feed.schema for feed in lab.feeds}
    others = {name: lab.lake.require(name).schema for name in graph.sources if name not in sources}
    drawing = draw_tables(graph, {**sources, **others})
    models = declared_models(lab.configuration).values()
    draw_consumers(drawing, wire_features(lab.configuration), list(map(model_use, models)))
    return drawing.done()


def model_use(model: Declaration) -> ModelUse:
    """What a declared model looks at in its training set: inputs, what stands in for them, label, moment, groups."""
    sources = [source for each in model.inputs for source in (each.source, each.default) if source is not None]
    inputs = [name for each in model.inputs for name in (each.own_column, each.name)]
    names = [*inputs, *(source.column for source in sources), model.label, model.moment, model.known, *model.groups]
    return ModelUse(model.name, model.training_set, tuple(dict.fromkeys(name for name in names if name)), model.file)
