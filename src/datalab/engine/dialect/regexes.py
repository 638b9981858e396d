"""Java's regular expressions for RE2: what reads the same and means something else is rewritten, or refused."""

from __future__ import annotations

import re

from sqlglot import exp

_LINE_ENDS = r"\n\r\x{85}\x{2028}\x{2029}"
_ANY = f"[^{_LINE_ENDS}]"
LINE_END = rf"(?:\r\n|[{_LINE_ENDS}])?"
_END = rf"{LINE_END}\z"
_SPACES = r"\t\n\x0b\f\r "
_FLAGS = re.compile(r"\(\?(?P<flags>[A-Za-z]+)\)")
_GROUP_NAME = re.compile(r"\(\?<(?=[A-Za-z])")
_UNLIKE = frozenset("vCZ0")
_KNOWN_FLAGS = frozenset("isu")
_TOKEN = re.compile(r"\\Q.*?(?:\\E|\Z)|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?<(?=[A-Za-z])|\(\?[A-Za-z]|.", re.DOTALL)


def pattern_text(node: exp.Expr | None) -> str | None:
    """The text of a literal pattern, plain or raw; None where it is computed."""
    literal = isinstance(node, exp.RawString) or (isinstance(node, exp.Literal) and node.is_string)
    return str(node.this) if literal and node is not None else None


def from_java(pattern: str, *, found_only: bool) -> str | None:
    """A pattern for RE2 that matches what Java's does; None where none is known.

    `found_only` tells that nobody asks where the match ends: then `$` also stands before a last line end, as in Java.
    """
    match = _FLAGS.match(pattern)
    flags = match["flags"] if match else ""
    body = pattern[match.end() :] if match else pattern
    if not _KNOWN_FLAGS.issuperset(flags) or ("i" in flags and "u" not in flags and not body.isascii()):
        return None
    any_character = "." if "s" in flags else _ANY
    simple = {".": any_character, "$": _END if found_only else "$", r"\s": f"[{_SPACES}]", r"\S": f"[^{_SPACES}]"}
    made = [_translated(token, simple) for token in _TOKEN.findall(body)]
    if None in made:
        return None
    kept = "".join(flag for flag in flags if flag != "u")
    return (f"(?{kept})" if kept else "") + "".join(part for part in made if part is not None)


def without_end(pattern: str) -> str | None:
    """What stands before a `$` that ends the whole pattern; None if there is none."""
    before = pattern[:-1]
    escaped = (len(before) - len(before.rstrip("\\"))) % 2
    return before if pattern.endswith("$") and not escaped and "|" not in pattern else None


def groups_in(pattern: str) -> int | None:
    """How many groups a pattern of Java has; None if Python cannot read it."""
    compiled = _compiled(pattern)
    return compiled.groups if compiled else None


def matches_nothing_too(pattern: str) -> bool:
    """Whether a pattern that consumes text also matches the empty text: engines differ in how often, then."""
    compiled = _compiled(pattern)
    return compiled is not None and compiled.search("") is not None and pattern not in ("", "^", "$")


def _translated(token: str, simple: dict[str, str]) -> str | None:
    if token in simple:
        return simple[token]
    if token.startswith("[") and len(token) > 1:
        return _class(token)
    if token.startswith("(?<"):
        return "(?P<"
    flags_inside = token.startswith("(?") and len(token) > 2
    unlike = token.startswith("\\") and token[1:2] in _UNLIKE
    return None if flags_inside or unlike else token


def _class(token: str) -> str | None:
    """A character class; Java's may be cut with && or hold others, RE2's may be named [:alpha:]."""
    body = token[1:-1]
    if "&&" in body or re.search(r"(?<!\\)\[", body) or r"\S" in body or r"\v" in body:
        return None
    return "[" + body.replace(r"\s", _SPACES) + "]"


def _compiled(pattern: str) -> re.Pattern[str] | None:
    try:
        return re.compile(_GROUP_NAME.sub("(?P<", pattern))
    except (re.error, RecursionError, OverflowError):
        return None
