"""Features for requests: which entities of which views to read, in as few round trips as their order allows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from datalab.errors import ModelRefused
from datalab.features.online.base import Lookup, OnlineStore, Stored
from datalab.serving.inputs import Found, Input, Origin

Request = Mapping[str, Any]
Known = dict[str, dict[tuple[Any, ...], Stored | None]]  # by view and entity


@dataclass(frozen=True)
class Degradation:
    """Why some features are missing: `unknown_entity`, `lookup_failed` or `lookup_slow`, and of which views."""

    reason: str
    views: tuple[str, ...]


class Features(NamedTuple):
    """What was found for one request: the stored features of each view, their values, and the entity asked for."""

    stored: Mapping[str, Stored | None]
    values: Mapping[str, Mapping[str, Any] | None]
    entities: Mapping[str, tuple[Any, ...]]
    degraded: Degradation | None = None


class View:
    """A view that the model reads: where its entity comes from, the names of the entity's columns, what is used."""

    def __init__(self, name: str, entity: Sequence[Origin], columns: Sequence[str], used: Sequence[str]) -> None:
        self.name = name
        self.origins = tuple(entity)
        self.columns = tuple(columns)
        self.used = tuple(used)
        self._getters = tuple(origin.getter() for origin in entity)

    def entity(self, request: Request, found: Found) -> tuple[Any, ...] | None:
        """The entity that a request means; None where a part of it is not known."""
        if len(self._getters) == 1:
            only = self._getters[0](request, found)
            return None if only is None else (only,)
        entity = tuple([get(request, found) for get in self._getters])
        return None if None in entity else entity


class LookupPlan:
    """The views of a model in stages: those whose entities the request names, then those named by features."""

    def __init__(self, stages: Sequence[Sequence[View]]) -> None:
        self.stages = tuple(tuple(stage) for stage in stages)
        self.views = {view.name: view for stage in self.stages for view in stage}

    def nothing(self, reason: str) -> Features:
        """What a request has when the store gave no answer."""
        return Features(dict.fromkeys(self.views), {}, {}, Degradation(reason, tuple(self.views)))

    def read(
        self, store: OnlineStore, requests: Sequence[Request], now: datetime, known: Known | None = None
    ) -> list[Features]:
        """The features of each request; each entity is read once, and not at all where `known` has it, which grows.

        OnlineStoreError.
        """
        if len(requests) == 1:
            return [self._read_one(store, requests[0], now)]
        known = {} if known is None else known
        stored: list[dict[str, Stored | None]] = [dict.fromkeys(self.views) for _ in requests]
        entities: list[dict[str, tuple[Any, ...]]] = [{} for _ in requests]
        values: list[dict[str, Mapping[str, Any] | None]] = [{} for _ in requests]
        for stage in self.stages:
            asked = {view.name: _rows_by_entity(view, requests, values) for view in stage}
            wanted = []
            for name, rows_of in asked.items():
                have = known.setdefault(name, {})
                wanted += [Lookup(name, entity) for entity in rows_of if entity not in have]
            for lookup, answer in zip(wanted, store.read(wanted, now) if wanted else (), strict=True):
                known[lookup.view][lookup.entity] = answer
            for name, rows_of in asked.items():
                for entity, rows in rows_of.items():
                    answer = known[name][entity]
                    for row in rows:
                        entities[row][name] = entity
                        if answer is not None:
                            stored[row][name], values[row][name] = answer, answer.values
        return [Features(*each, _missing(each[0])) for each in zip(stored, values, entities, strict=True)]

    def _read_one(self, store: OnlineStore, request: Request, now: datetime) -> Features:
        """The same for one request, which is the case that must be quick."""
        stored: dict[str, Stored | None] = dict.fromkeys(self.views)
        entities: dict[str, tuple[Any, ...]] = {}
        values: dict[str, Mapping[str, Any] | None] = {}
        stages = iter(self.stages)

        def take(found: Sequence[Stored | None]) -> list[Lookup]:
            """Note the answers so far; what the next stage asks."""
            for name, answer in zip(entities, found, strict=True):
                if answer is not None:
                    stored[name], values[name] = answer, answer.values
            for stage in stages:
                wanted = []
                for view in stage:
                    entity = view.entity(request, values)
                    if entity is not None:
                        entities[view.name] = entity
                        wanted.append(Lookup(view.name, entity))
                if wanted:
                    return wanted
            return []

        first = take(())
        if first:
            store.read(first, now, take)
        return Features(stored, values, entities, _missing(stored))


def lookup_plan(manifest: Mapping[str, Any], inputs: Iterable[Input]) -> LookupPlan:
    """The plan for a manifest: only views that inputs need. ModelRefused where views name each other in a circle."""
    declared: Mapping[str, Any] = manifest["views"]
    entity = {view: tuple(map(Origin.of, how["entity"])) for view, how in declared.items()}
    used: dict[str, set[str]] = {}
    pending = [pair for part in inputs for pair in part.origin.views]
    while pending:
        view, feature = pending.pop()
        if view not in used:
            used[view] = set()
            pending += [pair for origin in entity[view] for pair in origin.views]
        used[view].add(feature)
    views = {
        view: View(view, entity[view], _columns(declared[view]["entity"]), tuple(sorted(used[view])))
        for view in declared
        if view in used
    }
    return LookupPlan(_stages(views))


def _rows_by_entity(
    view: View, requests: Sequence[Request], values: Sequence[Found]
) -> dict[tuple[Any, ...], list[int]]:
    """Which of the requests mean which entity of a view."""
    rows_of: dict[tuple[Any, ...], list[int]] = {}
    for row, entity in enumerate(map(view.entity, requests, values)):
        if entity is not None:
            rows_of.setdefault(entity, []).append(row)
    return rows_of


def _stages(views: Mapping[str, View]) -> list[list[View]]:
    stages: list[list[View]] = []
    done: set[str] = set()
    while len(done) < len(views):
        ready = [
            view
            for name, view in views.items()
            if name not in done and done.issuperset(other for origin in view.origins for other, _ in origin.views)
        ]
        if not ready:
            circle = ", ".join(sorted(set(views) - done))
            raise ModelRefused(f"the entities of {circle} are named by each other in a circle", "correct the model")
        stages.append(ready)
        done |= {view.name for view in ready}
    return stages


def _columns(entity: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(str(part.get("column") or part.get("feature") or part.get("request")) for part in entity)


def _missing(stored: Mapping[str, Stored | None]) -> Degradation | None:
    if None not in stored.values():
        return None
    return Degradation("unknown_entity", tuple(view for view, found in stored.items() if found is None))
