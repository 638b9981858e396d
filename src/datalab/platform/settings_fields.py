"""What the settings classes say of themselves: fields, kinds of values in words, descriptions."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from datalab.lake.table import PartitionField
from datalab.names import TableName
from datalab.platform.settings_schema import AtLeast, Duration, Identifier, Location, Section, Settings, Size

UNION = frozenset({Union, types.UnionType})
_WORDS: Mapping[Any, str] = {
    Any: "anything",
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "nothing",
    Path: "a path",
    Location: "a folder or URL",
    Identifier: "a name",
    Size: "a size such as 2GB",
    Duration: "a duration such as 6h",
    TableName: "a table name (layer.table)",
    PartitionField: "a column or months(column)",
}


@dataclass(frozen=True)
class SettingField:
    """One field of a settings class. `default` is MISSING where the setting is required."""

    name: str
    kind: Any
    doc: str
    default: Any
    bounds: AtLeast | None

    @property
    def section(self) -> type[Section] | None:
        """The settings class in this field: its kind, or the kind of the values where users choose the names."""
        inner = get_args(self.kind)[1] if self.is_mapping else self.kind
        return inner if isinstance(inner, type) and issubclass(inner, Section) else None

    @property
    def is_mapping(self) -> bool:
        """Whether users choose the names of its entries."""
        return get_origin(self.kind) is Mapping


@dataclass(frozen=True)
class SettingDoc:
    """What is known of a setting without a project; `<name>` stands for a name that the user chooses."""

    key: str
    type: str
    default: Any
    doc: str


def fields_of(schema: type[Section]) -> Iterator[SettingField]:
    """The fields of a settings class with what their annotations say."""
    hints = get_type_hints(schema, include_extras=True)
    for item in fields(schema):  # type: ignore[arg-type] # every section is a dataclass
        kind, *notes = get_args(hints[item.name]) if get_origin(hints[item.name]) is Annotated else [hints[item.name]]
        default = item.default if item.default_factory is MISSING else item.default_factory()
        bounds = next((note for note in notes if isinstance(note, AtLeast)), None)
        doc = next((note for note in notes if isinstance(note, str)), "")
        yield SettingField(item.name, kind, doc, default, bounds)


def documented(schema: type[Section] = Settings, prefix: str = "") -> Iterator[SettingDoc]:
    """Every setting there is, in the order of the file."""
    for item in fields_of(schema):
        key = f"{prefix}{item.name}"
        if item.section is None:
            default = "required" if item.default is MISSING else item.default
            yield SettingDoc(f"{key}.<key>" if item.is_mapping else key, words_for(item.kind), default, item.doc)
        else:
            yield from documented(item.section, f"{key}.<name>." if item.is_mapping else f"{key}.")


def words_for(kind: Any) -> str:
    """What a kind of value is called in messages and documents."""
    shape, parts = get_origin(kind), get_args(kind)
    if shape is Literal:
        return "one of " + ", ".join(map(str, parts))
    if shape in UNION:
        return " or ".join(words_for(part) for part in parts)
    if shape is tuple:
        return f"a list, each {words_for(parts[0])}"
    if shape is Mapping:
        return words_for(parts[1])
    return _WORDS.get(kind, "a mapping")
