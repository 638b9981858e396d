"""Values of a declaration's file, one by one: what is not as it should be is an InvalidModel naming file and key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, NoReturn, TypeVar

from datalab.errors import InvalidModel

T = TypeVar("T")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
_SPAN = re.compile(r"(\d+)\s*(d|h)\Z")


class Values:
    """Checks values of one file; every complaint names it."""

    def __init__(self, file: str) -> None:
        self.file = file

    def fail(self, key: str, words: str, hint: str = "") -> NoReturn:
        """InvalidModel about a key."""
        raise InvalidModel(f"{self.file}: {key} {words}", hint or "docs/models.md says what each key may hold")

    def numbers(self, top: Mapping[str, Any], key: str, kind: Any) -> dict[str, float]:
        """The numbers of a section whose keys are the fields of `kind`."""
        tree = self.mapping(top.get(key, {}), key)
        self.known(tree, frozenset(field.name for field in fields(kind)), f"{key}.")
        return {name: self.number(value, f"{key}.{name}") for name, value in tree.items()}

    def known(self, tree: Mapping[str, Any], known: frozenset[str], prefix: str) -> None:
        """Nothing in `tree` but known keys."""
        for name in tree:
            if name not in known:
                self.fail(f"{prefix}{name}", "is not known", near(str(name), known))

    def mapping(self, tree: Any, key: str) -> Mapping[str, Any]:
        """A mapping."""
        if not isinstance(tree, Mapping):
            self.fail(key, "is missing" if tree is None else "is not a mapping")
        return tree

    def only(self, kind: type[T], value: Any, key: str) -> T:
        """A value of exactly this type."""
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            self.fail(key, f"is {value!r}, not of type {kind.__name__}")
        return value

    def number(self, value: Any, key: str) -> float:
        """A number of at least 0."""
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            self.fail(key, f"is {value!r}, not a number of at least 0")
        return float(value)

    def share(self, value: Any, key: str) -> float:
        """A number from 0 to 1."""
        return number if (number := self.number(value, key)) <= 1 else self.fail(key, "is more than 1")

    def text(self, value: Any, key: str) -> str:
        """A text that is not empty."""
        if value is None or value == "":
            self.fail(key, "is missing")
        return self.only(str, value, key)

    def texts(self, value: Any, key: str) -> list[str]:
        """A list of such texts."""
        return [self.text(part, key) for part in self.only(list, value, key)]

    def name(self, value: Any, key: str) -> str:
        """A name of a-z, 0-9 and _."""
        if not isinstance(value, str) or not _NAME.match(value):
            self.fail(key, f"'{value}' is not a name", "use a-z, 0-9 and _, starting with a letter")
        return value

    def one_of(self, value: Any, known: tuple[str, ...], key: str) -> Any:
        """One of a few words."""
        if value not in known:
            self.fail(key, f"is {value!r}, not one of {', '.join(known)}")
        return value

    def span(self, value: Any, key: str) -> timedelta:
        """A span of time: 30d, 12h."""
        match = _SPAN.match(value) if isinstance(value, str) else None
        if not match:
            self.fail(key, f"is {value!r}, not a span of time such as 30d or 12h")
        return timedelta(days=int(match[1])) if match[2] == "d" else timedelta(hours=int(match[1]))


def near(name: str, known: Iterable[str]) -> str:
    """A hint: the name that was probably meant, or all that there are."""
    close = get_close_matches(name, list(known), n=1)
    return f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(sorted(known))}"
