"""The statements that feed tables: CREATE FLOW … AS INSERT INTO, and AUTO CDC in its three spellings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypedDict, cast

from sqlglot import exp

from datalab.names import TableName
from datalab.pipelines.cursor import Cursor, Words
from datalab.pipelines.model import AutoCdc, Flow, Origin
from datalab.pipelines.query import parse_condition, parse_query, parse_stream

_ONCE_HINT = "write the rows with FROM STREAM: each row is read once"
_EXPRESSION_END: tuple[Words, ...] = (
    ("KEYS", "("), ("SEQUENCE", "BY"), ("APPLY", "AS"), ("COLUMNS", "("), ("COLUMNS", "*"), ("STORED", "AS"),
    ("TRACK", "HISTORY"), ("IGNORE", "NULL"),
)  # fmt: skip
_UNSUPPORTED = {
    ("APPLY", "AS", "TRUNCATE"): "rebuild the table with datalab run --full-refresh",
    ("IGNORE", "NULL"): "write coalesce(…) in the source query",
}


_SEQUENCE_BY = ("SEQUENCE", "BY")


class _CdcFields(TypedDict, total=False):
    delete_when: exp.Expression
    columns: tuple[str, ...]
    except_columns: tuple[str, ...]
    scd_type: Literal[1, 2]
    track_history: tuple[str, ...]
    track_history_except: tuple[str, ...]


def parse_create_flow(cursor: Cursor, origin: Origin) -> Flow:
    """The rest of CREATE FLOW, from its name on."""
    name = cursor.dotted("the flow's name").lower()
    comment = cursor.string("the comment") if cursor.accept("COMMENT") else ""
    cursor.expect("AS", hint="write CREATE FLOW name AS INSERT INTO …, or AS AUTO CDC INTO …")
    if cursor.accept("AUTO", "CDC"):
        cursor.expect("INTO", hint="write AS AUTO CDC INTO table FROM STREAM …")
        return _auto_cdc(cursor, name, cursor.table(), origin, comment)
    if cursor.at("INSERT", "OVERWRITE"):
        raise cursor.unsupported("INSERT OVERWRITE", "declare a MATERIALIZED VIEW: it equals its query")
    cursor.expect("INSERT", hint="a flow is INSERT INTO table query, or AUTO CDC INTO table …")
    cursor.expect("INTO")
    return _insert(cursor, name, origin, comment)


def parse_inline_cdc(cursor: Cursor, target: TableName) -> Flow:
    """FLOW AUTO CDC … behind CREATE STREAMING TABLE; the flow has the table's name."""
    origin = cursor.origin
    cursor.expect("FLOW", "AUTO", "CDC")
    if cursor.at("INTO"):
        raise cursor.unexpected("FROM", "inside CREATE STREAMING TABLE leave INTO out: FLOW AUTO CDC FROM STREAM …")
    return _auto_cdc(cursor, str(target), target, origin, "")


def parse_apply_changes(cursor: Cursor) -> Flow:
    """APPLY CHANGES INTO …: the old name of AUTO CDC INTO; the flow has the table's name."""
    origin = cursor.origin
    cursor.expect("APPLY", "CHANGES", "INTO", hint="APPLY CHANGES INTO is the old name of AUTO CDC INTO")
    target = cursor.table()
    return _auto_cdc(cursor, str(target), target, origin, "")


def _insert(cursor: Cursor, name: str, origin: Origin, comment: str) -> Flow:
    if cursor.at("ONCE"):
        raise cursor.unsupported("INSERT INTO ONCE", _ONCE_HINT)
    target = cursor.table()
    if cursor.at("ONCE"):
        raise cursor.unsupported("INSERT INTO … ONCE", _ONCE_HINT)
    by_name = cursor.accept("BY", "NAME")
    if cursor.at("("):
        raise cursor.unsupported("a column list of INSERT INTO", "write BY NAME and name the columns in the query")
    query = parse_query(cursor.source, *cursor.until())
    return Flow(name, target, "append", query, origin, by_name=by_name, comment=comment)


def _auto_cdc(cursor: Cursor, name: str, target: TableName, origin: Origin, comment: str) -> Flow:
    if cursor.at("ONCE"):
        raise cursor.unsupported("AUTO CDC ONCE", _ONCE_HINT)
    cursor.expect("FROM", hint="write FROM STREAM table, or FROM (SELECT … FROM STREAM table)")
    query = _cdc_source(cursor)
    cursor.expect("KEYS", hint="AUTO CDC needs KEYS (column, …), right behind its source")
    keys = cursor.columns()
    sequence_by, fields = _cdc_clauses(cursor)
    if sequence_by is None:
        raise cursor.unexpected("SEQUENCE BY", "say which row of a key is the newest: SEQUENCE BY column")
    if fields.get("scd_type") != 2 and (fields.keys() & {"track_history", "track_history_except"}):
        raise cursor.error("TRACK HISTORY ON needs history", "add STORED AS SCD TYPE 2")
    cdc = AutoCdc(keys, sequence_by, **fields)
    return Flow(name, target, "auto_cdc", query, origin, by_name=True, cdc=cdc, comment=comment)


def _cdc_source(cursor: Cursor) -> exp.Query:
    if cursor.at("("):
        return parse_query(cursor.source, *cursor.parenthesised())
    return parse_stream(cursor.source, *cursor.until(*_EXPRESSION_END, ("KEYS",)))


def _cdc_clauses(cursor: Cursor) -> tuple[exp.Expression | None, _CdcFields]:
    sequence_by = None
    fields = _CdcFields()
    seen: set[Words] = set()
    while True:
        for unsupported, hint in _UNSUPPORTED.items():
            if cursor.at(*unsupported):
                raise cursor.unsupported(" ".join(unsupported), hint)
        words = next((words for words in (_SEQUENCE_BY, *_CDC_CLAUSES) if cursor.at(*words)), None)
        if words is None:
            return sequence_by, fields
        if words in seen:
            raise cursor.error(f"{' '.join(words)} is given twice", "remove one of the two")
        seen.add(words)
        cursor.expect(*words)
        if words == _SEQUENCE_BY:
            sequence_by = _expression(cursor)
        else:
            _CDC_CLAUSES[words](cursor, fields)


def _expression(cursor: Cursor) -> exp.Expression:
    return parse_condition(cursor.source, *cursor.until(*_EXPRESSION_END))


def _delete_when(cursor: Cursor, fields: _CdcFields) -> None:
    fields["delete_when"] = _expression(cursor)


def _columns(cursor: Cursor, fields: _CdcFields) -> None:
    if cursor.accept("*"):
        cursor.expect("EXCEPT")
        fields["except_columns"] = cursor.columns()
    else:
        fields["columns"] = cursor.columns()


def _track_history(cursor: Cursor, fields: _CdcFields) -> None:
    if cursor.accept("*"):
        cursor.expect("EXCEPT")
        fields["track_history_except"] = cursor.columns()
    else:
        fields["track_history"] = cursor.columns()


def _scd_type(cursor: Cursor, fields: _CdcFields) -> None:
    if cursor.token.text not in ("1", "2"):
        raise cursor.unexpected("1 or 2", "write STORED AS SCD TYPE 1 (default) or STORED AS SCD TYPE 2")
    fields["scd_type"] = cast(Literal[1, 2], int(cursor.advance().text))


_CDC_CLAUSES: dict[Words, Callable[[Cursor, _CdcFields], None]] = {
    ("APPLY", "AS", "DELETE", "WHEN"): _delete_when,
    ("COLUMNS",): _columns,
    ("STORED", "AS", "SCD", "TYPE"): _scd_type,
    ("TRACK", "HISTORY", "ON"): _track_history,
}
