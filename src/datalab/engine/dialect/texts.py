"""Texts: patterns, padding, joining."""

from __future__ import annotations

import re

from sqlglot import exp

from datalab.engine.dialect.kinds import convert, kind_of
from datalab.engine.dialect.nodes import Rewrite, call, string, text_of
from datalab.engine.dialect.operators import is_bound_otherwise
from datalab.engine.dialect.regexes import (
    LINE_END,
    from_java,
    groups_in,
    matches_nothing_too,
    pattern_text,
    without_end,
)

_MOST_GROUPS = 8
_SHA256 = ("0", "256")


def _concat(node: exp.Concat) -> exp.Expr:
    parts = [convert(part, "text") for part in node.expressions]
    joined = parts[0]
    for part in parts[1:]:
        joined = exp.DPipe(this=joined, expression=part)
    return exp.paren(joined)


def _pipes(node: exp.DPipe) -> exp.Expr | None:
    if is_bound_otherwise(node):
        return None
    return _concat(exp.Concat(expressions=[node.this, node.expression]))


def _concat_ws(node: exp.ConcatWs) -> exp.Expr:
    """Arrays of texts are joined element by element, if the separator is written out as DuckDB wants it."""
    separator, *parts = (convert(part, "text") if kind_of(part) else part for part in node.expressions)
    if not isinstance(separator, exp.Literal):
        return call("concat_ws", *(convert(part, "text") for part in node.expressions))
    joined = [part if kind_of(part) else call("spark_joined", part, separator.copy()) for part in parts]
    return call("concat_ws", separator, *joined)


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


def _pattern(node: exp.Expr, *, found_only: bool = False) -> exp.Expr | None:
    """A pattern for RE2; one that is computed is taken as it is."""
    text = pattern_text(node)
    if text is None:
        return node
    made = from_java(text, found_only=found_only)
    return None if made is None else string(made)


def _ended(node: exp.Expr) -> str | None:
    """A literal pattern that ends in `$` with two groups of its own: what stood before, and a last line end."""
    before = without_end(pattern_text(node) or "")
    made = from_java(before, found_only=False) if before is not None else None
    return None if made is None else rf"({made})({LINE_END})\z"


def _regexp_like(node: exp.RegexpLike) -> exp.Expr | None:
    pattern = _pattern(node.expression, found_only=True)
    return call("regexp_matches", node.this, pattern) if pattern and not node.args.get("flag") else None


def _regexp_extract(node: exp.RegexpExtract) -> exp.Expr | None:
    group = node.args.get("group") or exp.Literal.number(1)
    pattern = _pattern(node.expression)
    if pattern is None or any(node.args.get(name) for name in ("position", "occurrence", "parameters")):
        return None
    if not isinstance(pattern, exp.Literal) or not group.name.isdecimal():
        return call("regexp_extract", node.this, pattern, group)
    groups, number = groups_in(pattern_text(node.expression) or ""), int(group.name)
    if groups is not None and number > groups:
        return None
    if ended := _ended(node.expression):
        pattern, group = string(ended), exp.Literal.number(number + 1)
    return call("regexp_extract", node.this, pattern, group)


def _regexp_replace(node: exp.RegexpReplace) -> exp.Expr | None:
    """Java writes groups as $1, RE2 with a backslash."""
    replacement = text_of(node.args.get("replacement"))
    pattern = _pattern(node.expression)
    if pattern is None or replacement is None or any(node.args.get(name) for name in ("position", "occurrence")):
        return None
    written = pattern_text(node.expression)
    if re.search(r"\\|\$\{", replacement) or (replacement and matches_nothing_too(written or "")):
        return None
    groups = groups_in(written or "")
    if written != "$" and groups is not None and groups < _MOST_GROUPS and (ended := _ended(node.expression)):
        moved = re.sub(r"\$(\d)", lambda match: rf"\{int(match[1]) + 1}", replacement)
        return call("regexp_replace", node.this, string(ended), string(rf"{moved}\{groups + 2}"))
    return call("regexp_replace", node.this, pattern, string(re.sub(r"\$(\d)", r"\\\1", replacement)), string("g"))


def _split(node: exp.RegexpSplit) -> exp.Expr | None:
    pattern = _pattern(node.expression)
    if node.args.get("limit") or pattern is None or not text_of(pattern):
        return None
    if matches_nothing_too(pattern_text(node.expression) or ""):
        return None
    return call("regexp_split_to_array", node.this, pattern)


def _sha2(node: exp.SHA2) -> exp.Expr | None:
    return call("sha256", node.this) if node.text("length") in _SHA256 else None


def _initcap(node: exp.Initcap) -> exp.Expr:
    return call("spark_initcap", node.this)


def _json_text(node: exp.JSONExtractScalar) -> exp.Expr | None:
    """NULL where the text is no JSON."""
    return None if node.expressions else call("spark_json_text", node.this, node.copy())


REWRITES: dict[type[exp.Expr], Rewrite] = {
    exp.Concat: _concat,
    exp.DPipe: _pipes,
    exp.ConcatWs: _concat_ws,
    exp.Pad: _pad,
    exp.Like: _like,
    exp.ILike: _like,
    exp.RegexpExtract: _regexp_extract,
    exp.RegexpLike: _regexp_like,
    exp.RegexpReplace: _regexp_replace,
    exp.RegexpSplit: _split,
    exp.SHA2: _sha2,
    exp.JSONExtractScalar: _json_text,
    exp.Initcap: _initcap,
}
