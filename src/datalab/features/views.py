"""Feature views and training sets as features/*.yaml declare them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

import yaml

from datalab.errors import FeatureError, InvalidName
from datalab.features.online.base import Layout
from datalab.names import TableName, is_internal

Accuracy = Literal["event", "day", "week", "month"]
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
_DURATION = re.compile(r"(\d+)\s*([smhd])\Z")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_VIEW_KEYS = frozenset({"name", "view", "entity", "timestamp", "features", "ttl", "accuracy", "arrived"})
_SET_KEYS = frozenset({"name", "labels", "moment", "label", "views", "seed"})


@dataclass(frozen=True)
class FeatureView:
    """Columns of a gold table that describe an entity.

    `features` empty: every column but entity and timestamp. `ttl` None: rows do not age. `arrived` names a column of
    the gold query's input: rows that came later than a moment do not count for it, even where they happened before.
    """

    name: str
    table: TableName
    entity: tuple[str, ...]
    timestamp: str
    features: tuple[str, ...] = ()
    ttl: timedelta | None = None
    accuracy: Accuracy = "event"
    arrived: str = ""
    file: str = ""

    def layout(self, columns: Iterable[str]) -> Layout:
        """What the store keeps of a table with these columns, without the types. FeatureError for one missing."""
        known = list(columns)
        missing = [name for name in (*self.entity, self.timestamp, *self.features) if name not in known]
        if missing:
            raise FeatureError(
                f"{self.file}: {self.table} has no column {missing[0]}", f"its columns: {', '.join(known)}"
            )
        others = tuple(name for name in known if name not in {*self.entity, self.timestamp} and not is_internal(name))
        ttl = None if self.ttl is None else self.ttl.total_seconds()
        return Layout(str(self.table), self.entity, self.timestamp, self.features or others, (), ttl)


@dataclass(frozen=True)
class TrainingSetSpec:
    """Labels, and the views whose features of the label's moment belong to it.

    `labels` is a SELECT with one row per label. `views` names for each view the label columns that are its entity, in
    the view's order.
    """

    name: str
    labels: str
    moment: str
    label: str
    views: Mapping[str, tuple[str, ...]]
    seed: int = 0
    file: str = ""


@dataclass(frozen=True)
class Definitions:
    """Everything that a project's feature files declare, by name."""

    views: Mapping[str, FeatureView] = field(default_factory=dict)
    sets: Mapping[str, TrainingSetSpec] = field(default_factory=dict)

    def view(self, name: str) -> FeatureView:
        """A view by name. FeatureError with the names there are."""
        if name not in self.views:
            raise FeatureError(f"there is no feature view {name}", _known("views", self.views))
        return self.views[name]

    def training_set(self, name: str) -> TrainingSetSpec:
        """A training set by name. FeatureError with the names there are."""
        if name not in self.sets:
            raise FeatureError(f"there is no training set {name}", _known("training sets", self.sets))
        return self.sets[name]


def read_definitions(files: Iterable[Path], folder: Path) -> Definitions:
    """Read feature files; names in messages are relative to `folder`. FeatureError."""
    views: dict[str, FeatureView] = {}
    sets: dict[str, TrainingSetSpec] = {}
    for path in sorted(files):
        file = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
        declared = _read(path, file)
        if isinstance(declared, FeatureView):
            _add(views, declared)
        else:
            _add(sets, declared)
    for each in sets.values():
        _check_views(each, views)
    return Definitions(views, sets)


def _add(known: dict[str, Any], declared: FeatureView | TrainingSetSpec) -> None:
    if declared.name in known:
        other = known[declared.name].file
        raise FeatureError(f"{declared.file}: the name {declared.name} is taken by {other}", "give it another `name`")
    known[declared.name] = declared


def _read(path: Path, file: str) -> FeatureView | TrainingSetSpec:
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise FeatureError(f"{file}: it is not YAML: {str(error).splitlines()[0]}", "correct the file") from error
    if not isinstance(record, dict) or ("view" in record) == ("labels" in record):
        _refuse(file, "it is neither a feature view nor a training set", "write `view:` or `labels:`")
    keys = _VIEW_KEYS if "view" in record else _SET_KEYS
    surplus = sorted(str(key) for key in record.keys() - keys)
    if surplus:
        _refuse(file, f"'{surplus[0]}' is no key here", f"known: {', '.join(sorted(keys))}")
    name = record.get("name", path.stem)
    if not isinstance(name, str) or not _NAME.match(name):
        _refuse(file, f"'{name}' is not a name", "use a-z, 0-9 and _, starting with a letter")
    return _view(name, record, file) if "view" in record else _training_set(name, record, file)


def _view(name: str, record: Mapping[str, Any], file: str) -> FeatureView:
    accuracy = record.get("accuracy", "event")
    if accuracy not in get_args(Accuracy):
        _refuse(file, f"accuracy is '{accuracy}'", f"one of {', '.join(get_args(Accuracy))}")
    view = FeatureView(
        name,
        _table(record["view"], file),
        _names(record, "entity", file),
        _text(record, "timestamp", file),
        _names(record, "features", file) if record.get("features") else (),
        _duration(record.get("ttl"), file),
        accuracy,
        _text(record, "arrived", file) if record.get("arrived") else "",
        file,
    )
    named = [*view.entity, view.timestamp, *view.features]
    twice = next((column for column in named if named.count(column) > 1), None)
    if twice:
        _refuse(file, f"column {twice} is named twice", "a column is entity, timestamp or feature")
    return view


def _training_set(name: str, record: Mapping[str, Any], file: str) -> TrainingSetSpec:
    views, seed = record.get("views"), record.get("seed", 0)
    if not isinstance(views, dict) or not views:
        _refuse(file, "`views` is missing", "write views: {name: [label columns that are its entity]}")
    if not isinstance(seed, int) or isinstance(seed, bool):
        _refuse(file, f"seed is '{seed}'", "write a whole number")
    entities = {str(view): _names(views, view, file) for view in views}
    labels = _text(record, "labels", file)
    return TrainingSetSpec(
        name, labels, _text(record, "moment", file), _text(record, "label", file), entities, seed, file
    )


def _check_views(training_set: TrainingSetSpec, views: Mapping[str, FeatureView]) -> None:
    for name, columns in training_set.views.items():
        if name not in views:
            _refuse(training_set.file, f"there is no feature view {name}", _known("views", views))
        entity = views[name].entity
        if len(columns) != len(entity):
            _refuse(
                training_set.file,
                f"view {name} has {len(entity)} entity columns, and {len(columns)} label columns are named",
                f"name one for each of {', '.join(entity)}",
            )


def _table(text: Any, file: str) -> TableName:
    try:
        return TableName.parse(text if isinstance(text, str) else str(text))
    except InvalidName as error:
        raise FeatureError(f"{file}: {error.message}", error.hint) from error


def _text(record: Mapping[str, Any], key: str, file: str) -> str:
    value = record.get(key)
    if not isinstance(value, str) or not value.strip():
        _refuse(file, f"`{key}` is missing", f"write {key}: …")
    return value


def _names(record: Mapping[Any, Any], key: Any, file: str) -> tuple[str, ...]:
    value = record.get(key)
    if not isinstance(value, list) or not value or not all(isinstance(part, str) for part in value):
        _refuse(file, f"`{key}` is not a list of columns", f"write {key}: [column, …]")
    return tuple(value)


def _duration(text: Any, file: str) -> timedelta | None:
    if text is None:
        return None
    match = _DURATION.match(str(text))
    if match is None or int(match[1]) == 0:
        _refuse(file, f"ttl is '{text}'", "write a number and a unit: 90d, 12h, 30m, 45s")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def _known(what: str, names: Iterable[str]) -> str:
    return f"{what} there are: {', '.join(sorted(names)) or 'none'}"


def _refuse(file: str, problem: str, hint: str) -> NoReturn:
    raise FeatureError(f"{file}: {problem}", hint)
