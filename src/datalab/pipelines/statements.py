"""The statements of a pipeline file, by recursive descent: Spark's pipeline SQL and Databricks' expectations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches

from datalab.pipelines.cursor import Cursor
from datalab.pipelines.lex import Source
from datalab.pipelines.model import Dataset, DatasetKind, Flow, FlowKind, Origin
from datalab.pipelines.query import parse_query
from datalab.pipelines.statements_flow import parse_apply_changes, parse_create_flow, parse_inline_cdc
from datalab.pipelines.statements_table import parse_clauses, parse_elements


@dataclass(frozen=True)
class Setting:
    """SET key = value."""

    key: str
    value: str
    origin: Origin


Statement = Dataset | Flow | Setting

_CREATE_HINT = (
    "pipelines declare CREATE STREAMING TABLE, CREATE MATERIALIZED VIEW, CREATE TEMPORARY VIEW, CREATE FLOW, and SET"
)
_OTHER_VERBS = {
    "INSERT": "write CREATE FLOW name AS INSERT INTO table BY NAME query",
    "MERGE": "write CREATE FLOW name AS AUTO CDC INTO table …",
    "UPDATE": "declare the table by its query; AUTO CDC updates rows by key",
    "DELETE": "use AUTO CDC … APPLY AS DELETE WHEN",
    "SELECT": "give the query a table: CREATE MATERIALIZED VIEW layer.table AS SELECT …; or use datalab query",
    "WITH": "give the query a table: CREATE MATERIALIZED VIEW layer.table AS WITH …",
}
_VERBS = (  # noqa: SIM905
    "ALTER ANALYZE CACHE CALL COMMENT DECLARE DELETE DESCRIBE DROP EXECUTE GRANT INSERT MERGE OPTIMIZE REFRESH "
    "REPLACE REVOKE SELECT SHOW TRUNCATE UNDROP UPDATE USE VACUUM WITH"
).split()
_UNSUPPORTED_CREATE = {
    ("OR", "REPLACE"): "write CREATE OR REFRESH, or plain CREATE: declarations always replace each other",
    ("PRIVATE",): "leave PRIVATE out; a TEMPORARY VIEW is never stored",
    ("LIVE",): "write CREATE MATERIALIZED VIEW instead of LIVE TABLE",
    ("STREAMING", "LIVE"): "write CREATE STREAMING TABLE",
    ("TEMPORARY", "LIVE"): "write CREATE TEMPORARY VIEW",
    ("TEMP", "LIVE"): "write CREATE TEMPORARY VIEW",
    ("TEMPORARY", "STREAMING"): "write CREATE STREAMING TABLE, or CREATE TEMPORARY VIEW … AS SELECT … FROM STREAM t",
    ("TEMPORARY", "TABLE"): "write CREATE TEMPORARY VIEW",
    ("GLOBAL",): "write CREATE TEMPORARY VIEW",
    ("VIEW",): "write CREATE TEMPORARY VIEW (never stored) or CREATE MATERIALIZED VIEW (stored)",
    ("TABLE",): "write CREATE STREAMING TABLE or CREATE MATERIALIZED VIEW",
    ("EXTERNAL",): "declare the files as a source in datalab.yaml",
    ("SINK",): "write a table; exports read tables",
    ("FUNCTION",): "write the expression out",
    ("SCHEMA",): "leave it out: layers come into being with their first table",
    ("DATABASE",): "leave it out: layers come into being with their first table",
    ("CATALOG",): "leave it out: a project has one catalog, set in datalab.yaml",
}  # fmt: skip


def parse_statements(source: Source) -> Iterator[Statement]:
    """The declarations of one file, in order."""
    cursor = Cursor(source)
    while not cursor.ended():
        if cursor.accept(";"):
            continue
        yield from _statement(cursor)
        if not cursor.ended() and not cursor.accept(";"):
            raise cursor.unexpected("the end of the statement", "a clause of Spark's grammar, AS query, or ;")


def _statement(cursor: Cursor) -> tuple[Statement, ...]:
    origin = cursor.origin
    if cursor.accept("SET"):
        return (_setting(cursor, origin),)
    if cursor.at("APPLY", "CHANGES"):
        return (parse_apply_changes(cursor),)
    if not cursor.at("CREATE"):
        raise _not_a_declaration(cursor)
    return _create(cursor, origin)


def _create(cursor: Cursor, origin: Origin) -> tuple[Statement, ...]:
    cursor.expect("CREATE")
    refresh = cursor.accept("OR", "REFRESH")
    _refuse_unsupported_create(cursor)
    if cursor.accept("STREAMING", "TABLE"):
        return _table(cursor, "streaming_table", origin)
    if cursor.accept("MATERIALIZED", "VIEW"):
        return _table(cursor, "materialized_view", origin)
    if not refresh:
        if cursor.accept("TEMPORARY", "VIEW") or cursor.accept("TEMP", "VIEW"):
            return (_temporary_view(cursor, origin),)
        if cursor.accept("FLOW"):
            return (parse_create_flow(cursor, origin),)
    raise cursor.unexpected("STREAMING TABLE, MATERIALIZED VIEW, TEMPORARY VIEW or FLOW", _CREATE_HINT)


def _refuse_unsupported_create(cursor: Cursor) -> None:
    for words, hint in _UNSUPPORTED_CREATE.items():
        if cursor.at(*words):
            raise cursor.unsupported(f"CREATE {' '.join(words)}", hint)


def _table(cursor: Cursor, kind: DatasetKind, origin: Origin) -> tuple[Statement, ...]:
    _if_not_exists(cursor)
    name = cursor.table()
    columns, constraints = parse_elements(cursor)
    clauses = parse_clauses(cursor, kind)
    dataset = Dataset(kind, origin, name, columns=columns, constraints=constraints, **clauses)
    if kind == "streaming_table" and cursor.at("FLOW"):
        return dataset, parse_inline_cdc(cursor, name)
    if kind == "streaming_table" and not cursor.at("AS"):
        return (dataset,)
    cursor.expect("AS", hint=f"a {kind.replace('_', ' ')} is declared by its query: AS SELECT …")
    query = parse_query(cursor.source, *cursor.until())
    flow_kind: FlowKind = "append" if kind == "streaming_table" else "materialize"
    return dataset, Flow(str(name), name, flow_kind, query, origin, by_name=True, comment=dataset.comment)


def _temporary_view(cursor: Cursor, origin: Origin) -> Dataset:
    _if_not_exists(cursor)
    name = cursor.name("the view's name")
    if cursor.at("."):
        raise cursor.error("a temporary view has a name of one part", "leave the layer out: it is never stored")
    if cursor.at("("):
        raise cursor.unsupported("a column list of a temporary view", "name the columns in its query: expr AS name")
    clauses = parse_clauses(cursor, "temporary_view")
    cursor.expect("AS", hint="a view is declared by its query: AS SELECT …")
    query = parse_query(cursor.source, *cursor.until())
    return Dataset("temporary_view", origin, view=name.lower(), query=query, **clauses)


def _if_not_exists(cursor: Cursor) -> None:
    if cursor.accept("IF"):
        cursor.expect("NOT", "EXISTS")


def _setting(cursor: Cursor, origin: Origin) -> Setting:
    key = cursor.dotted("the setting's name")
    cursor.expect("=", hint="write SET name = value")
    if cursor.token.kind == "string":
        return Setting(key, cursor.string("the value"), origin)
    start, end = cursor.until()
    if start == end:
        raise cursor.unexpected("a value", "write SET name = value")
    return Setting(key, cursor.source.text[start:end], origin)


def _not_a_declaration(cursor: Cursor) -> Exception:
    verb = cursor.token.text.upper()
    if cursor.token.kind == "word" and verb in _VERBS:
        return cursor.unsupported(f"{verb} in a pipeline file", _OTHER_VERBS.get(verb, _CREATE_HINT))
    near = get_close_matches(verb, ["CREATE", "SET"], n=1)
    return cursor.unexpected("a statement", f"did you mean {near[0]}?" if near else _CREATE_HINT)
