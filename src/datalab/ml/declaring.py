"""From a file of models/ to a declaration: each wrong key is an InvalidModel that names file and key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml

from datalab.errors import InvalidModel
from datalab.ml.declaration import Declaration, DriftRule, Field, Gate, Input, Kind, Source, Split, Thresholds
from datalab.ml.declared_checks import check
from datalab.ml.declared_values import Values

_LIMITS = {"minimum", "maximum", "enum", "minLength", "maxLength", "pattern", "description", "example"}
_TOP = {"name", "description", "training_set", "label", "moment", "known", "window", "split", "seed"}
_TOP |= {"estimator", "params", "calibration", "scale", "unsent", "metric", "thresholds", "gate", "drift", "groups"}
_KEYS = frozenset(_TOP | {"request", "views", "inputs", "derived", "policy"})
_POLICY = frozenset({"name", "text", "rule", "amount", "term", "income", "above", "decision"})


def read_models(files: tuple[Path, ...], root: Path) -> dict[str, Declaration]:
    """The models of a project by name; InvalidModel, also where two files declare one name."""
    found: dict[str, Declaration] = {}
    for path in files:
        model = parse_model(path.read_text(encoding="utf-8"), str(path.relative_to(root)))
        if model.name in found:
            raise InvalidModel(
                f"{model.file}: the model '{model.name}' is in {found[model.name].file}, too", "rename it"
            )
        found[model.name] = model
    return found


def parse_model(text: str, file: str) -> Declaration:
    """One model from the text of its file. InvalidModel names the file and the key."""
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidModel(f"{file}: not YAML: {' '.join(str(error).split())}", "correct the file") from error
    return _Reader(file).declaration(tree, text)


class _Reader(Values):
    """Reads one file, section by section."""

    def declaration(self, tree: Any, text: str) -> Declaration:
        top = self.mapping(tree, "the file")
        self.known(top, _KEYS, "")
        fields = self._fields(top)
        views = {name: self._entity(name, part) for name, part in self.mapping(top.get("views", {}), "views").items()}
        inputs = tuple(
            self._input(name, part or {}) for name, part in self.mapping(top.get("inputs"), "inputs").items()
        )
        window = top.get("window")
        model = Declaration(
            name=self.name(top.get("name", Path(self.file).stem), "name"),
            file=self.file,
            training_set=self.text(top.get("training_set"), "training_set"),
            label=self.text(top.get("label"), "label"),
            moment=self.text(top.get("moment"), "moment"),
            estimator=self.text(top.get("estimator"), "estimator"),
            params=self.mapping(top.get("params", {}), "params"),
            inputs=inputs,
            derived={
                name: self.text(part, f"derived.{name}")
                for name, part in self.mapping(top.get("derived", {}), "derived").items()
            },
            fields=fields,
            views=views,
            thresholds=self._thresholds(top),
            known=self.only(str, top.get("known", ""), "known"),
            window=None if window is None else self.span(window, "window"),
            split=Split(**self.numbers(top, "split", Split)),
            calibration=self.one_of(top.get("calibration", "sigmoid"), ("sigmoid", "isotonic", "none"), "calibration"),
            scale=self.only(bool, top.get("scale", False), "scale"),
            unsent=self.share(top.get("unsent", 0.0), "unsent"),
            metric=self.one_of(top.get("metric", "f1"), ("f1", "auc", "ks"), "metric"),
            gate=self._gate(top),
            drift=self._drift(top),
            groups=tuple(self.texts(top.get("groups", []), "groups")),
            policy=tuple(self._policy(part) for part in self.only(list, top.get("policy", []), "policy")),
            seed=self.only(int, top.get("seed", 0), "seed"),
            text=text,
        )
        check(self, model)
        return model

    def _input(self, name: str, part: Any) -> Input:
        key = f"inputs.{name}"
        tree = self.mapping(part, key)
        self.known(tree, frozenset({"kind", "from", "default", "column", "group", "label", "up", "down"}), f"{key}.")
        words = {
            word: self.only(str, tree.get(word, ""), f"{key}.{word}")
            for word in ("column", "group", "label", "up", "down")
        }
        label = words["label"] or name.replace("_", " ")
        words |= {
            "label": label,
            "up": words["up"] or f"{label} aumenta o risco",
            "down": words["down"] or f"{label} reduz o risco",
        }
        default = tree.get("default")
        return Input(
            self.name(name, key),
            self.one_of(tree.get("kind", "number"), get_args(Kind), f"{key}.kind"),
            self._source(tree.get("from", f"request.{name}"), f"{key}.from"),
            None if default is None else self._source(default, f"{key}.default"),
            **words,
        )

    def _fields(self, top: Mapping[str, Any]) -> tuple[Field, ...]:
        found = []
        for name, part in self.mapping(top.get("request"), "request").items():
            key = f"request.{name}"
            tree = dict(self.mapping(part, key))
            self.known(tree, frozenset(_LIMITS | {"type", "optional"}), f"{key}.")
            kind = self.one_of(tree.pop("type", None), ("string", "number", "integer", "boolean"), f"{key}.type")
            optional = self.only(bool, tree.pop("optional", False), f"{key}.optional")
            found.append(Field(self.name(name, key), kind, optional, tree))
        return tuple(found)

    def _entity(self, name: str, part: Any) -> tuple[Source, ...]:
        tree = self.mapping(part, f"views.{name}")
        self.known(tree, frozenset({"entity"}), f"views.{name}.")
        texts = self.texts(tree.get("entity"), f"views.{name}.entity")
        return tuple(self._source(text, f"views.{name}.entity") for text in texts)

    def _source(self, text: Any, key: str) -> Source:
        where, dot, name = self.text(text, key).partition(".")
        if not dot or not name or not where:
            self.fail(key, f"is '{text}', not request.FIELD or VIEW.FEATURE")
        return Source(None if where == "request" else where, name)

    def _thresholds(self, top: Mapping[str, Any]) -> Thresholds:
        found = self.numbers(top, "thresholds", Thresholds)
        for word in ("approve_below", "deny_from"):
            if word not in found:
                self.fail(f"thresholds.{word}", "is missing")
        if not 0 <= found["approve_below"] <= found["deny_from"] <= 1:
            self.fail("thresholds", "are not 0 ≤ approve_below ≤ deny_from ≤ 1")
        return Thresholds(**found)

    def _gate(self, top: Mapping[str, Any]) -> Gate:
        tree = dict(self.mapping(top.get("gate", {}), "gate"))
        minimum = self.mapping(tree.pop("minimum", {}), "gate.minimum")
        self.known(minimum, frozenset({"auc", "f1", "ks"}), "gate.minimum.")
        numbers = {name: self.number(value, f"gate.minimum.{name}") for name, value in minimum.items()}
        return Gate(**self.numbers({"gate": tree}, "gate", Gate), minimum=numbers)

    def _drift(self, top: Mapping[str, Any]) -> DriftRule:
        tree = dict(self.mapping(top.get("drift", {}), "drift"))
        spans: dict[str, Any] = {
            word: self.span(tree.pop(word), f"drift.{word}") for word in ("window", "every") if word in tree
        }
        rows_of = self.only(str, tree.pop("rows_of", ""), "drift.rows_of")
        numbers: dict[str, Any] = {**self.numbers({"drift": tree}, "drift", DriftRule)}
        return DriftRule(**numbers, **spans, rows_of=rows_of)

    def _policy(self, part: Any) -> Mapping[str, Any]:
        tree = self.mapping(part, "policy")
        self.known(tree, _POLICY, "policy.")
        name = self.text(tree.get("name"), "policy.name")
        return {
            "name": name,
            "text": self.only(str, tree.get("text", name), "policy.text"),
            "rule": self.one_of(tree.get("rule"), ("instalment_share",), "policy.rule"),
            **{word: self.text(tree.get(word), f"policy.{word}") for word in ("amount", "term", "income")},
            "above": self.number(tree.get("above"), "policy.above"),
            "decision": self.one_of(tree.get("decision"), ("REVISAO_MANUAL", "NEGADO"), "policy.decision"),
        }
