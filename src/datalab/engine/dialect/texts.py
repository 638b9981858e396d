"""Texts: patterns, padding, joining."""

from __future__ import annotations

import re

from sqlglot import exp

from datalab.engine.dialect.kinds import convert
from datalab.engine.dialect.nodes import Rewrite, call, string, text_of

_SHA256 = ("0", "256")


def _concat(node: exp.Concat) -> exp.Expr:
    parts = [convert(part, "text") for part in node.expressions]
    joined = parts[0]
    for part in parts[1:]:
        joined = exp.DPipe(this=joined, expression=part)
    return exp.paren(joined)


def _pipes(node: exp.DPipe) -> exp.Expr:
    return _concat(exp.Concat(expressions=[node.this, node.expression]))


def _concat_ws(node: exp.ConcatWs) -> exp.Expr:
    parts = [convert(part, "text") for part in node.expressions]
    return call("concat_ws", *parts)


def _pad(node: exp.Pad) -> exp.Expr:
    fill = node.args.get("fill_pattern") or string(" ")
    return call("lpad" if node.args.get("is_left") else "rpad", node.this, node.expression, fill)


def _like(node: exp.Like | exp.ILike) -> exp.Expr | None:
    """Spark's LIKE has the backslash as escape; DuckDB's has none unless told."""
    pattern = text_of(node.expression)
    if isinstance(node.expression, exp.All | exp.Any):
        return None
    if isinstance(node.parent, exp.Escape) or (pattern is not None and "\\" not in pattern):
        return node
    return exp.Escape(this=node.copy(), expression=string("\\"))


def _regexp_extract(node: exp.RegexpExtract) -> exp.Expr | None:
    group = node.args.get("group")
    if any(node.args.get(name) for name in ("position", "occurrence", "parameters")):
        return None
    return call("regexp_extract", node.this, node.expression, group or exp.Literal.number(1))


def _regexp_replace(node: exp.RegexpReplace) -> exp.Expr | None:
    """Java writes groups as $1, RE2 with a backslash."""
    replacement = text_of(node.args.get("replacement"))
    if replacement is None or "\\" in replacement or any(node.args.get(name) for name in ("position", "occurrence")):
        return None
    return call(
        "regexp_replace", node.this, node.expression, string(re.sub(r"\$(\d)", r"\\\1", replacement)), string("g")
    )


def _split(node: exp.RegexpSplit) -> exp.Expr | None:
    if node.args.get("limit") or not text_of(node.expression):
        return None
    return call("regexp_split_to_array", node.this, node.expression)


def _sha2(node: exp.SHA2) -> exp.Expr | None:
    return call("sha256", node.this) if node.text("length") in _SHA256 else None


def _initcap(node: exp.Initcap) -> exp.Expr:
    return call("spark_initcap", node.this)


def _json_text(node: exp.JSONExtractScalar) -> exp.Expr | None:
    return None if node.expressions else node


REWRITES: dict[type[exp.Expr], Rewrite] = {
    exp.Concat: _concat,
    exp.DPipe: _pipes,
    exp.ConcatWs: _concat_ws,
    exp.Pad: _pad,
    exp.Like: _like,
    exp.ILike: _like,
    exp.RegexpExtract: _regexp_extract,
    exp.RegexpReplace: _regexp_replace,
    exp.RegexpSplit: _split,
    exp.SHA2: _sha2,
    exp.JSONExtractScalar: _json_text,
    exp.Initcap: _initcap,
}
