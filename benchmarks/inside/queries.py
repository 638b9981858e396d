"""The peer's questions: the project's own pipelines, as SQL for a DuckDB that knows nothing of us."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlglot import exp

from benchmarks.inside.project import BRONZE, SILVER, VIEWS, opened
from datalab.engine.dialect import sql_of, translate
from datalab.engine.dialect.macros import MACROS, with_needed
from datalab.pipelines.cdc import cdc_query
from datalab.pipelines.graph import FlowNode
from datalab.platform.lab import Lab


def peer_queries(project: str, table_format: str) -> dict[str, Any]:
    """Bronze data files, the silver query with its constraints, keys and sequence, the gold queries, and macros."""
    with opened(project, table_format) as lab:
        silver, *gold = [node for node in lab.graph.flows if _is_measured(node)]
        assert silver.flow.cdc is not None
        return {
            "files": _files(lab, BRONZE),
            "select": _translated(cdc_query(silver.query, silver.flow.cdc)),
            "where": [f"({_translated(c.condition)})" for c in silver.dataset.constraints if c.action == "drop"],
            "keys": list(silver.flow.cdc.keys),
            "gold": {node.flow.target.table: _translated(node.query) for node in gold},
            "macros": [MACROS[name] for name in with_needed(MACROS)],
        }


def spark_queries(project: str, table_format: str) -> dict[str, Any]:
    """The same for Spark: in the dialect that they are declared in."""
    with opened(project, table_format) as lab:
        silver, *gold = [node for node in lab.graph.flows if _is_measured(node)]
        assert silver.flow.cdc is not None
        return {
            "files": _files(lab, BRONZE),
            "select": cdc_query(silver.query, silver.flow.cdc).sql("spark"),
            "where": [f"({c.condition.sql('spark')})" for c in silver.dataset.constraints if c.action == "drop"],
            "keys": list(silver.flow.cdc.keys),
            "gold": {node.flow.target.table: node.query.sql("spark") for node in gold},
        }


def silver_files(project: str, table_format: str) -> dict[str, Any]:
    """Silver data files, the queries of the three views, and macros."""
    with opened(project, table_format) as lab:
        nodes = [node for node in lab.graph.flows if str(node.flow.target) in VIEWS]
        return {
            "files": _files(lab, SILVER),
            "gold": {node.flow.target.table: _translated(node.query) for node in nodes},
            "macros": [MACROS[name] for name in with_needed(MACROS)],
        }


def _is_measured(node: FlowNode) -> bool:
    return str(node.flow.target) == SILVER or any(str(read.table) == SILVER for read in node.inputs)


def _translated(tree: exp.Expr) -> str:
    return sql_of(translate(tree, datetime.now(UTC), "benchmark"))


def _files(lab: Lab, table: str) -> list[str]:
    state = next(state for name in lab.lake.names() if str(name) == table and (state := lab.lake.state(name)))
    return [file.path for file in lab.lake.files(state).files]
