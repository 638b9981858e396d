"""Tokens of pipeline SQL with their place in the file: enough to find statements; queries go on to sqlglot."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from datalab.errors import PipelineSyntaxError, UnsupportedStatement
from datalab.pipelines.model import Origin

Kind = Literal["word", "quoted", "string", "number", "symbol", "end"]

_TOKEN = re.compile(
    r"""
      (?P<blank>\s+)
    | (?P<comment>--[^\n]*|/\*)
    | (?P<string>[rR](?:'[^']*'|"[^"]*")|'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*")
    | (?P<quoted>`(?:[^`]|``)+`)
    | (?P<word>[^\W\d]\w*)
    | (?P<number>\d\w*(?:\.\w*)?)
    | (?P<unclosed>['"`])
    | (?P<symbol>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_NOT_NEWLINE = re.compile(r"[^\n]")
_COMMENT_MARK = re.compile(r"/\*|\*/")
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "0": "\0", "Z": "\x1a", "%": "\\%", "_": "\\_"}


@dataclass(frozen=True)
class Source:
    """The text of one pipeline file; `file` is its path as messages show it."""

    file: str
    text: str

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(match.end() for match in re.finditer("\n", self.text))]

    @cached_property
    def code(self) -> str:
        """The text with a blank for each character of a comment: sqlglot does not know GROUP /* … */ BY."""
        pieces = ((kind, self.text[start:end]) for kind, start, end in _scan(self))
        return "".join(_NOT_NEWLINE.sub(" ", text) if kind == "comment" else text for kind, text in pieces)

    def origin(self, offset: int) -> Origin:
        """Line and column of a character, from 1."""
        line = bisect_right(self._line_starts, offset)
        return Origin(self.file, line, offset - self._line_starts[line - 1] + 1)

    def syntax_error(self, offset: int, message: str, hint: str) -> PipelineSyntaxError:
        """An error that shows the offending line with a caret below the character."""
        return PipelineSyntaxError(self.show(offset, message), hint)

    def unsupported(self, offset: int, what: str, hint: str) -> UnsupportedStatement:
        """An error for grammar that exists elsewhere and that DataLab does not run."""
        return UnsupportedStatement(self.show(offset, f"{what} is not supported"), hint)

    def show(self, offset: int, message: str) -> str:
        """The message with its place in front and the line, with a caret, behind."""
        origin = self.origin(offset)
        line = self.text.splitlines()[origin.line - 1] if offset < len(self.text) or not self._ends_in_newline else ""
        caret = " " * (origin.column - 1) + "^"
        return f"{origin}: {message}\n    {line.expandtabs(1)}\n    {caret}" if line else f"{origin}: {message}"

    @property
    def _ends_in_newline(self) -> bool:
        return self.text[-1:] in ("", "\n")


@dataclass(frozen=True, slots=True)
class Token:
    """One token. `text` is as written, but strings and backquoted names stand without quotes and escapes."""

    kind: Kind
    text: str
    start: int
    end: int

    def matches(self, word: str) -> bool:
        """Whether this is the unquoted word (in any case) or the symbol."""
        return self.kind in ("word", "symbol") and self.text.upper() == word


def tokenize(source: Source) -> tuple[Token, ...]:
    """All tokens without comments, closed by one of kind `end`; PipelineSyntaxError for what never closes."""
    tokens = [_token(source, *piece) for piece in _scan(source) if piece[0] not in ("blank", "comment")]
    return (*tokens, Token("end", "the end of the file", len(source.text), len(source.text)))


def _scan(source: Source) -> Iterator[tuple[str, int, int]]:
    """Every piece of the text: what it is, and the range of offsets that it takes."""
    position = 0
    while match := _TOKEN.match(source.text, position):
        kind, start = match.lastgroup or "", match.start()
        if kind == "unclosed":
            raise _unclosed(source, start)
        position = _comment_end(source, start) if match.group() == "/*" else match.end()
        yield kind, start, position


def _token(source: Source, kind: str, start: int, end: int) -> Token:
    text = source.text[start:end]
    if kind == "string":
        return Token("string", _unquote_string(text), start, end)
    if kind == "quoted":
        return Token("quoted", text[1:-1].replace("``", "`"), start, end)
    plain: Kind = "word" if kind == "word" else "number" if kind == "number" else "symbol"
    return Token(plain, text, start, end)


def _unquote_string(text: str) -> str:
    if text[0] in "rR":
        return text[2:-1]
    quote = text[0]
    return _ESCAPE.sub(_unescape, text[1:-1].replace(quote * 2, quote))


def _unescape(match: re.Match[str]) -> str:
    code = match.group(1)
    return chr(int(code[1:], 16)) if len(code) > 1 else _ESCAPED.get(code, code)


def _comment_end(source: Source, start: int) -> int:
    depth = 0
    for mark in _COMMENT_MARK.finditer(source.text, start):
        depth += 1 if mark.group() == "/*" else -1
        if depth == 0:
            return mark.end()
    raise source.syntax_error(start, "a comment that never ends", "close it with */; comments nest")


def _unclosed(source: Source, start: int) -> PipelineSyntaxError:
    quote = source.text[start]
    what = "a quoted name" if quote == "`" else "a string"
    return source.syntax_error(start, f"{what} that never ends", f"close it with {quote}")
