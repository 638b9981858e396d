"""From a tree of layers to typed settings: unknown keys, wrong types and ranges are errors that name the place."""

from __future__ import annotations

from dataclasses import MISSING
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar, get_args, get_origin

from datalab.errors import DataLabError, InvalidSetting, UnknownSetting
from datalab.platform.secrets import PREFIX, SecretRef
from datalab.platform.settings_fields import UNION, SettingField, fields_of, words_for
from datalab.platform.settings_layers import Branch, Leaf, Tree
from datalab.platform.settings_schema import Location, Section

S = TypeVar("S", bound=Section)


def refuse_unknown_keys(schema: type[Section], tree: Tree, prefix: str = "") -> None:
    """UnknownSetting, with the nearest known key, for the first key that the schema does not have."""
    known = {item.name: item for item in fields_of(schema)}
    for name, part in tree.items.items() if isinstance(tree, Branch) else ():
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean '{prefix}{near[0]}'?" if near else f"known here: {', '.join(sorted(known))}"
            raise UnknownSetting(f"'{prefix}{name}' is not a setting ({part.origin})", hint)
        inner = known[name].section
        if inner is None or not isinstance(part, Branch):
            continue
        if known[name].is_mapping:
            for key, item in part.items.items():
                refuse_unknown_keys(inner, item, f"{prefix}{name}.{key}.")
        else:
            refuse_unknown_keys(inner, part, f"{prefix}{name}.")


class Builder:
    """Builds the settings of one project; notes in `origins` where each leaf came from."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.origins: dict[str, str] = {}

    def build(self, schema: type[S], tree: Tree, prefix: str = "") -> S:
        """The settings class from a tree whose keys are all known; InvalidSetting."""
        if isinstance(tree, Leaf) and tree.value is None:
            tree = Branch({}, tree.origin)
        if isinstance(tree, Leaf):
            _fail(prefix.rstrip("."), tree, "a mapping")
        return schema(**{item.name: self._field(item, tree, f"{prefix}{item.name}") for item in fields_of(schema)})

    def _field(self, item: SettingField, parent: Branch, key: str) -> Any:
        tree = parent.items.get(item.name)
        if item.section is not None and not item.is_mapping:
            return self.build(item.section, Branch({}, "default") if tree is None else tree, f"{key}.")
        if tree is None:
            return self._default(item, parent, key)
        if item.is_mapping:
            return self._mapping(item, tree, key)
        value = self._value(item.kind, tree, key)
        if item.bounds is not None and value is not None:
            if value < item.bounds.minimum:
                _fail(key, tree, f"at least {item.bounds.minimum}")
            if item.bounds.maximum is not None and value > item.bounds.maximum:
                _fail(key, tree, f"at most {item.bounds.maximum}")
        return value

    def _default(self, item: SettingField, parent: Branch, key: str) -> Any:
        if item.default is MISSING:
            raise InvalidSetting(f"{key} is missing ({parent.origin})", f"add {item.name}: {words_for(item.kind)}")
        if not item.is_mapping:
            self.origins[key] = "default"
        return self._placed(item.default)

    def _mapping(self, item: SettingField, tree: Tree, key: str) -> dict[str, Any]:
        if isinstance(tree, Leaf):
            return {} if tree.value is None else _fail(key, tree, "a mapping")
        found: dict[str, Any] = {}
        for name, part in tree.items.items():
            place = f"{key}.{name}"
            checked = _convert_at(get_args(item.kind)[0], Leaf(name, part.origin), place)
            section = item.section
            found[checked] = self._open(part, place) if section is None else self.build(section, part, f"{place}.")
        return found

    def _open(self, tree: Tree, key: str) -> Any:
        """A value that is passed on as it is; only references to secrets are read."""
        if isinstance(tree, Branch):
            return {name: self._open(part, f"{key}.{name}") for name, part in tree.items.items()}
        return self._value(Any, tree, key)

    def _value(self, kind: Any, tree: Tree, key: str) -> Any:
        if isinstance(tree, Branch):
            _fail(key, tree, words_for(kind))
        self.origins[key] = tree.origin
        return self._placed(_convert_at(kind, tree, key))

    def _placed(self, value: Any) -> Any:
        """Relative paths stand in the project."""
        if isinstance(value, Location):
            return value.within(self._folder)
        return self._folder / value.expanduser() if isinstance(value, Path) else value


def _convert_at(kind: Any, leaf: Leaf, key: str) -> Any:
    try:
        return _convert(kind, leaf)
    except DataLabError as error:
        raise InvalidSetting(f"{key}: {error.message} ({leaf.origin})", error.hint) from error
    except TypeError:
        _fail(key, leaf, words_for(kind))


def _convert(kind: Any, leaf: Leaf) -> Any:
    """The value as `kind`; TypeError where it is of another type, DataLabError where it is not well formed."""
    value = leaf.value
    if kind is Any:
        return SecretRef.parse(value) if isinstance(value, str) and value.startswith(PREFIX) else value
    shape, parts = get_origin(kind), get_args(kind)
    if shape in UNION:
        return _first_that_fits(parts, leaf)
    if shape is tuple:
        return tuple(_convert(parts[0], Leaf(part, leaf.origin)) for part in _only(list, value))
    if shape is Literal:
        return _only(str, value if value in parts else None)
    if kind in {str, Path, Location}:
        return kind(_only(str, value if leaf.text is None else leaf.text))
    return kind.parse(_only(str, value)) if hasattr(kind, "parse") else _only(kind, value)


def _first_that_fits(kinds: tuple[Any, ...], leaf: Leaf) -> Any:
    for kind in kinds:
        try:
            return _convert(kind, leaf)
        except TypeError:
            continue
    raise TypeError


def _only(kind: type, value: Any) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError
    return value


def _fail(key: str, tree: Tree, expected: str) -> NoReturn:
    found = repr(tree.value) if isinstance(tree, Leaf) else "a mapping"
    raise InvalidSetting(f"{key} is {found}, not {expected} ({tree.origin})", f"set {key} to {expected}")
