"""A training set's recipe: all that decides its rows, as plain values that are kept in its commit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlglot import exp

from datalab.errors import FeatureError, InvalidName
from datalab.features.derivation import Definition, define, definition_of
from datalab.features.views import Definitions, TrainingSetSpec
from datalab.names import TableName
from datalab.pipelines.graph import Graph
from datalab.pipelines.grouping import nondeterministic
from datalab.pipelines.lex import Source
from datalab.pipelines.query import parse_query
from datalab.pipelines.views import tables_of

_VERSION = 2


@dataclass(frozen=True)
class Recipe:
    """Labels, and the definition of each view with the label columns that are its entity."""

    name: str
    labels: str
    moment: str
    label: str
    seed: int
    views: tuple[tuple[Definition, tuple[str, ...]], ...]
    file: str

    @property
    def code(self) -> str:
        """16 hexadecimal digits over everything that decides the rows but for the tables' snapshots."""
        text = json.dumps([_VERSION, self.record()], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        views = [{"definition": dict(view.record()), "entity": list(columns)} for view, columns in self.views]
        names = ("name", "labels", "moment", "label", "seed", "file")
        return {**{name: getattr(self, name) for name in names}, "views": views}

    def tree(self) -> exp.Query:
        """The labels' query, parsed. PipelineSyntaxError, FeatureError."""
        tree = parse_query(Source(f"{self.file} (labels)", self.labels), 0, len(self.labels))
        if unstable := nondeterministic(tree):
            raise FeatureError(
                f"{self.file}: {unstable[0]} in the labels changes by itself",
                "a training set can be made again: take moments from the rows",
            )
        return tree

    def tables(self) -> frozenset[TableName]:
        """The tables that labels and views read."""
        return frozenset((*self._label_tables(), *(view.source for view, _ in self.views)))

    def _label_tables(self) -> Iterable[TableName]:
        for table in tables_of(self.tree()):
            try:
                yield TableName.parse(f"{table.db}.{table.name}".lower())
            except InvalidName as error:
                raise FeatureError(f"{self.file}: {error.message} in the labels", error.hint) from error


def recipe(spec: TrainingSetSpec, definitions: Definitions, graph: Graph) -> Recipe:
    """The recipe of a training set by the project's present files. FeatureError."""
    views = tuple((define(definitions.view(name), graph), columns) for name, columns in spec.views.items())
    return Recipe(spec.name, spec.labels, spec.moment, spec.label, spec.seed, views, spec.file)


def recipe_of(record: Mapping[str, Any]) -> Recipe:
    """A recipe from what `record` made of it."""
    views = tuple((definition_of(view["definition"]), tuple(view["entity"])) for view in record["views"])
    names = ("name", "labels", "moment", "label", "seed", "file")
    return Recipe(**{name: record[name] for name in names}, views=views)
