"""A reader over the tokens of one file: what the statement grammar is written with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from datalab.errors import InvalidName, PipelineSyntaxError, UnsupportedStatement
from datalab.names import TableName
from datalab.pipelines.lex import Source, Token, tokenize
from datalab.pipelines.model import Origin

T = TypeVar("T")
Words = tuple[str, ...]

_OPEN, _CLOSE = frozenset("([{"), frozenset(")]}")


class Cursor:
    """Walks over tokens; every reading method either advances past what it read or raises."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._tokens = tokenize(source)
        self._index = 0

    @property
    def token(self) -> Token:
        """The next token, not yet read."""
        return self._tokens[self._index]

    @property
    def origin(self) -> Origin:
        """Where the next token stands."""
        return self.source.origin(self.token.start)

    def ended(self) -> bool:
        """Whether the file is over."""
        return self.token.kind == "end"

    def error(self, message: str, hint: str) -> PipelineSyntaxError:
        """A syntax error at the next token."""
        return self.source.syntax_error(self.token.start, message, hint)

    def unexpected(self, wanted: str, hint: str = "") -> PipelineSyntaxError:
        """A syntax error: something else than `wanted` stands here."""
        return self.error(f"expected {wanted}, found {_shown(self.token)}", hint or f"write {wanted} here")

    def unsupported(self, what: str, hint: str) -> UnsupportedStatement:
        """An error at the next token for grammar that DataLab does not run."""
        return self.source.unsupported(self.token.start, what, hint)

    def at(self, *words: str) -> bool:
        """Whether the next tokens are these words or symbols."""
        ahead = self._tokens[self._index : self._index + len(words)]
        return len(ahead) == len(words) and all(map(Token.matches, ahead, words))

    def at_any(self, phrases: Collection[Words]) -> bool:
        """Whether one of the phrases stands here."""
        return any(self.at(*phrase) for phrase in phrases)

    def advance(self) -> Token:
        """Read the next token, whatever it is."""
        token = self.token
        self._index = min(self._index + 1, len(self._tokens) - 1)
        return token

    def accept(self, *words: str) -> bool:
        """Read these words if they stand here."""
        if found := self.at(*words):
            self._index += len(words)
        return found

    def expect(self, *words: str, hint: str = "") -> None:
        """Read these words, which must stand here."""
        for word in words:
            if not self.accept(word):
                raise self.unexpected(" ".join(words), hint)

    def name(self, what: str) -> str:
        """Read one identifier, plain or in backquotes."""
        if self.token.kind not in ("word", "quoted"):
            raise self.unexpected(what)
        return self.advance().text

    def dotted(self, what: str) -> str:
        """Read identifiers joined by dots."""
        parts = [self.name(what)]
        while self.accept("."):
            parts.append(self.name(what))
        return ".".join(parts)

    def table(self) -> TableName:
        """Read a table name `layer.table`, in any case."""
        start = self.token.start
        text = self.dotted("a table name")
        try:
            return TableName.parse(text.lower())
        except InvalidName as error:
            raise self.source.syntax_error(start, error.message, error.hint) from error

    def string(self, what: str) -> str:
        """Read a string literal."""
        if self.token.kind != "string":
            raise self.unexpected(f"{what} as a string")
        return self.advance().text

    def listed(self, read: Callable[[], T]) -> tuple[T, ...]:
        """Read `( item, item … )`, at least one item."""
        self.expect("(")
        items = [read()]
        while self.accept(","):
            items.append(read())
        self.expect(")")
        return tuple(items)

    def columns(self) -> tuple[str, ...]:
        """Read `( column, … )`, top-level columns only, each once."""
        names: list[str] = []

        def column() -> None:
            if self.token.text.lower() in (name.lower() for name in names):
                raise self.error(f"column {self.token.text} is named twice", "remove one of the two")
            names.append(self.name("a column"))
            if self.at("."):
                raise self.unsupported("a field of a struct here", "select it under a name of its own in the query")

        self.listed(column)
        return tuple(names)

    def parenthesised(self) -> tuple[int, int]:
        """Read `( anything )` with balanced brackets; the answer is the range of offsets between them."""
        opening = self.token
        self.expect("(")
        start, end = self.until((")",))
        if not self.accept(")"):
            raise self.source.syntax_error(opening.start, "a bracket that is never closed", "close it with )")
        return start, end

    def until(self, *phrases: Words | Sequence[str]) -> tuple[int, int]:
        """Read up to one of the phrases outside brackets, to `;` or the end; answers the range of offsets read."""
        start = end = self.token.start
        depth = 0
        while not self.ended() and not self.at(";"):
            if depth == 0 and self.at_any([tuple(phrase) for phrase in phrases]):
                break
            token = self.advance()
            if token.kind == "symbol":
                depth += (token.text in _OPEN) - (token.text in _CLOSE)
            end = token.end
        return start, end


def _shown(token: Token) -> str:
    return token.text if token.kind == "end" else f"'{token.text}'"
