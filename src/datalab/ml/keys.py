"""Whether what a model names as a view's entity can be a key of that view: other types are other keys of the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from datalab.errors import InvalidModel
from datalab.ml.declaration import Declaration, Source

_FITS: Mapping[str, frozenset[str]] = {
    "integer": frozenset({"whole"}),
    "number": frozenset(),  # 7.0 is no key of an entity 7
    "boolean": frozenset({"boolean"}),
    "string": frozenset({"text", "date", "moment"}),
}
_HINTS = {"whole": "integer", "boolean": "boolean"}


def require_keys(
    declaration: Declaration, entities: Mapping[str, Sequence[str]], columns: Mapping[str, pa.Schema]
) -> None:
    """InvalidModel where a view could never be found under the values that the model names.

    `entities` names the key columns of each view, `columns` has those of its gold table; of a view that has no table
    yet nothing is said.
    """
    for view, parts in declaration.views.items():
        for part, name in zip(parts, entities[view], strict=True):
            if view in columns:
                _require(declaration, view, part, columns[view].field(name), columns)


def _require(
    declaration: Declaration, view: str, part: Source, key: pa.Field[Any], columns: Mapping[str, pa.Schema]
) -> None:
    wanted, place = _family(key.type), f"{declaration.file}: views.{view}.entity"
    if part.view is None:
        given = next(field.type for field in declaration.fields if field.name == part.name)
        if wanted not in _FITS[given]:
            raise InvalidModel(
                f"{place}: request.{part.name} is of type {given}, and {key.name} of the view is {key.type}",
                f"request.{part.name}: {{type: {_HINTS.get(wanted, 'string')}}}",
            )
    elif part.view in columns and part.name in columns[part.view].names:
        kind = columns[part.view].field(part.name).type
        if _family(kind) != wanted:
            raise InvalidModel(
                f"{place}: {part.view}.{part.name} is {kind}, and {key.name} of the view is {key.type}",
                "let both be of one type in the gold views",
            )


def _family(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return "whole"
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_timestamp(kind):
        return "moment"
    if pa.types.is_date(kind):
        return "date"
    return "text" if pa.types.is_string(kind) else str(kind)
