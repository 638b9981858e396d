"""Date and time patterns of Spark, as sqlglot notes them, for DuckDB's strftime and strptime."""

from __future__ import annotations

import re

# Per token: strftime's own, and the digits that Spark reads for it.
_TOKENS = {
    "%Y": ("%Y", r"\d{4}"),
    "%mstrict": ("%m", r"\d{2}"),
    "%-m": ("%-m", r"\d{1,2}"),
    "%dstrict": ("%d", r"\d{2}"),
    "%-d": ("%-d", r"\d{1,2}"),
    "%Hstrict": ("%H", r"\d{2}"),
    "%-H": ("%-H", r"\d{1,2}"),
    "%Mstrict": ("%M", r"\d{2}"),
    "%-M": ("%-M", r"\d{1,2}"),
    "%Sstrict": ("%S", r"\d{2}"),
    "%-S": ("%-S", r"\d{1,2}"),
    "%f": ("%f", r"\d{6}"),
}
_PART = re.compile(r"%-?[A-Za-z](?:strict)?|'[^'%]*'|[^A-Za-z%']")


def pattern_of(noted: str) -> tuple[str, str] | None:
    """A pattern for strftime and the regular expression of the texts that it reads; None if it has no equal."""
    parts = _PART.findall(noted)
    if "".join(parts) != noted:
        return None
    known = [_part(part) for part in parts]
    if any(part is None for part in known):
        return None
    return "".join(part[0] for part in known if part), "".join(part[1] for part in known if part)


def _part(part: str) -> tuple[str, str] | None:
    if part.startswith("%"):
        return _TOKENS.get(part)
    text = part.strip("'") or part[:1]
    return text, re.escape(text)
