"""What a query may do with a stream: only what treats each row on its own, so that no result depends on batches."""

from __future__ import annotations

from sqlglot import exp
from sqlglot.errors import OptimizeError
from sqlglot.optimizer.scope import Scope, build_scope

from datalab.engine.aggregates import is_aggregate
from datalab.errors import PipelineError, UnsupportedStatement
from datalab.pipelines.model import Flow
from datalab.pipelines.query import is_stream, origin_of

_VIEW_HINT = "declare it as a MATERIALIZED VIEW without STREAM, or do this in a view over the table"
_KEPT_ROWS = {"LEFT": "left", "RIGHT": "right", "FULL": "both"}


def check_streams(flow: Flow, query: exp.Query) -> None:
    """UnsupportedStatement where the answer for new rows alone is not the new rows of the answer."""
    try:
        scope = build_scope(query)
    except OptimizeError as error:
        raise PipelineError(f"{flow.origin}: {error}", "give each table of a FROM its own alias") from error
    for part in scope.traverse() if scope else ():
        if _streams(part):
            _check_scope(flow, part)


def _check_scope(flow: Flow, scope: Scope) -> None:
    tree = scope.expression
    if isinstance(tree, exp.SetOperation):
        if not isinstance(tree, exp.Union) or tree.args.get("distinct"):
            raise _unsupported(flow, tree, f"{tree.key.upper()} over a stream", "write UNION ALL")
        return
    if any(map(_streams, scope.subquery_scopes)):
        raise _unsupported(flow, tree, "a stream in a subquery", "read the table there without STREAM")
    names = [name for name, _ in scope.references]
    if len(names) > len({*names}):
        raise PipelineError(f"{flow.origin}: two tables share an alias", "give each table of a FROM its own alias")
    if isinstance(tree, exp.Select) and any(map(_is_streaming, _sources(scope))):
        _check_select(flow, tree)
        _check_joins(flow, tree, scope)


def _check_select(flow: Flow, tree: exp.Select) -> None:
    for clause, word in (("group", "GROUP BY"), ("distinct", "DISTINCT"), ("limit", "LIMIT"), ("offset", "OFFSET")):
        if tree.args.get(clause):
            raise _unsupported(flow, tree.args[clause], f"{word} over a stream", _VIEW_HINT)
    for node in tree.walk(prune=lambda node: isinstance(node, exp.Query) and node is not tree):
        if is_aggregate(node) or isinstance(node, exp.Window):
            raise _unsupported(flow, node, f"{node.sql('spark')} over a stream", _VIEW_HINT)


def _check_joins(flow: Flow, tree: exp.Select, scope: Scope) -> None:
    first = tree.args.get("from_")
    joins = tree.args.get("joins") or []
    for source in (*([first] if first else []), *joins):
        if isinstance(source.this, exp.Subquery) and isinstance(source.this.this, exp.Table):
            raise _unsupported(flow, source, "a join in brackets beside a stream", "write the joins one after another")
    left = _reads_stream(scope, first.this) if first else False
    for join in joins:
        right = _reads_stream(scope, join.this)
        _check_join(flow, join, left=left, right=right)
        left = left or right


def _check_join(flow: Flow, join: exp.Join, *, left: bool, right: bool) -> None:
    if left and right:
        raise _unsupported(flow, join, "a join of two streams", "read one of the two without STREAM")
    semi = join.kind.upper() in ("SEMI", "ANTI")
    kept = "" if semi else _KEPT_ROWS.get(join.side.upper(), "")
    if kept and ((left and kept != "left") or (right and kept != "right")):
        what = f"{join.side} JOIN that keeps rows of a table beside a stream"
        raise _unsupported(flow, join, what, "keep the rows of the stream only")
    if right and semi:
        raise _unsupported(flow, join, f"{join.kind} JOIN with a stream", "put the stream on the left")


def _sources(scope: Scope) -> list[exp.Expr | Scope]:
    """What the FROM and the JOINs of a SELECT name."""
    return [scope.sources[name] for name, _ in scope.references if name in scope.sources]


def _reads_stream(scope: Scope, source: exp.Expr) -> bool:
    found = scope.sources.get(source.alias_or_name)
    return found is not None and _is_streaming(found)


def _is_streaming(source: exp.Expr | Scope) -> bool:
    return _streams(source) if isinstance(source, Scope) else isinstance(source, exp.Table) and is_stream(source)


def _streams(scope: Scope) -> bool:
    """Whether rows of a stream come out of a query or decide what comes out."""
    inner = (*scope.set_operation_scopes, *scope.subquery_scopes)
    return any(map(_is_streaming, _sources(scope))) or any(map(_streams, inner))


def _unsupported(flow: Flow, node: object, what: str, hint: str) -> UnsupportedStatement:
    origin = origin_of(node, flow.origin) if isinstance(node, exp.Expr) else flow.origin
    return UnsupportedStatement(f"{origin}: {what} is not supported", hint)
