"""Settings to parts: the only place where a setting chooses an adapter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa

from datalab.engine.base import Engine
from datalab.engine.deferred import DeferredEngine
from datalab.events import Bus
from datalab.lake.lake import Lake, open_lake
from datalab.lake.recent import Recent
from datalab.names import TableName
from datalab.pipelines.graph import Graph, build_graph
from datalab.pipelines.lex import Source
from datalab.pipelines.parse import is_text, parse_sources, read_source
from datalab.pipelines.typecheck import check_types
from datalab.pipelines.types_key import types_key
from datalab.platform.checked import checking_code, remembered
from datalab.platform.secrets import resolve
from datalab.platform.settings import Configuration
from datalab.platform.state import state_folder
from datalab.plugins import Adapter, adapter

ENGINES = {"duckdb": Adapter("datalab.engine.duckdb:DuckDBEngine")}
_GRAPHS = Recent[tuple[tuple[Source, ...], frozenset[TableName]], Graph](8)


def wire_engine(configuration: Configuration) -> Engine:
    """The engine that the settings name, its memory limit and a folder for what it spills; ours is opened when used."""
    chosen = configuration.settings.engine

    def opened() -> Engine:
        chosen.temp.mkdir(parents=True, exist_ok=True, mode=0o700)
        engine: Engine = adapter("engine", chosen.kind, ENGINES)(str(chosen.memory_limit), chosen.threads, chosen.temp)
        return engine

    return DeferredEngine(opened) if chosen.kind in ENGINES else opened()


def wire_lake(configuration: Configuration, environ: Mapping[str, str], bus: Bus) -> Lake:
    """The lake that the settings name; secrets of its catalog are resolved here."""
    chosen = configuration.settings.lake
    catalog = resolve(chosen.catalog, configuration.folder, environ)
    return open_lake(chosen.format, str(chosen.warehouse), catalog, bus)


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
