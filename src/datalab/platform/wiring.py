"""Settings to parts: the only place where a setting chooses an adapter."""

from __future__ import annotations

from collections.abc import Mapping

from datalab.engine.base import Engine
from datalab.engine.deferred import DeferredEngine
from datalab.events import Bus
from datalab.lake.lake import Lake, open_lake
from datalab.platform.secrets import resolve
from datalab.platform.settings import Configuration
from datalab.plugins import Adapter, adapter

ENGINES = {"duckdb": Adapter("datalab.engine.duckdb:DuckDBEngine")}


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
