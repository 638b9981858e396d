"""Spark's SQL turned into DuckDB's, on parsed trees: what has an equal is translated, all else is refused by name."""

from datalab.engine.dialect.clauses import write_out_all
from datalab.engine.dialect.translation import is_repeatable, name_results, sql_of, translate

__all__ = ["is_repeatable", "name_results", "sql_of", "translate", "write_out_all"]
