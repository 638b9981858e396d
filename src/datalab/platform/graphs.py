"""A project's pipeline files as a graph, checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from datalab.engine.base import Engine
from datalab.lake.lake import Lake
from datalab.lake.recent import Recent
from datalab.names import TableName
from datalab.pipelines.graph import Graph, build_graph
from datalab.pipelines.lex import Source
from datalab.pipelines.parse import is_text, parse_sources, read_source
from datalab.pipelines.typecheck import check_types
from datalab.pipelines.types_key import types_key
from datalab.platform.checked import checking_code, remembered
from datalab.platform.settings import Configuration
from datalab.platform.state import state_folder
from datalab.platform.wiring import ENGINES

_GRAPHS = Recent[tuple[tuple[Source, ...], frozenset[TableName]], Graph](8)


def wire_graph(configuration: Configuration, known: Iterable[TableName]) -> Graph:
    """The project's pipeline files, parsed and checked for names and circles. PipelineError and its kinds.

    A process that stays parses files of the same text once: nobody changes a graph.
    """
    sources = tuple(read_source(path, configuration.folder) for path in pipeline_files(configuration))
    names = frozenset(known)

    def made() -> Graph:
        return build_graph(parse_sources(sources), names)

    return _GRAPHS.get((sources, names), made) if all(map(is_text, sources)) else made()


def pipeline_files(configuration: Configuration) -> tuple[Path, ...]:
    """The pipeline files of a project, each once, in order of their names."""
    found = {path for pattern in configuration.settings.pipelines for path in configuration.folder.glob(pattern)}
    return tuple(sorted(path for path in found if path.is_file()))


def check_graph(
    configuration: Configuration, graph: Graph, engine: Engine, lake: Lake, sources: Mapping[TableName, pa.Schema]
) -> Mapping[TableName, pa.Schema]:
    """Bind every query of the graph before anything runs; answers the columns of what its flows make.

    What was found sound before, by this code and from the same columns, is not bound again; of an engine that is not
    ours nobody knows what its answers depend on. PipelineTypeError, UntranslatableFunction.
    """
    schemas = {**sources, **{name: lake.require(name).schema for name in graph.sources if name not in sources}}
    kind = configuration.settings.engine.kind
    if kind not in ENGINES:
        return check_types(graph, engine, schemas)
    key = types_key(graph, schemas, {**checking_code(), "engine": kind})
    made = {node.flow.target for node in graph.flows}
    path = state_folder(configuration) / "checked" / "types.json"
    return remembered(path, key, made, lambda: check_types(graph, engine, schemas))
