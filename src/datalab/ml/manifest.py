"""What a model's package says of itself: the manifest's bytes, the hash of its schema, and what makes it sound."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from datalab.errors import ModelRefused

FORMAT = 1
KINDS = ("number", "category", "boolean")
_SHAPE: Mapping[str, type | tuple[type, ...]] = {
    "format": int,
    "model": str,
    "version": int,
    "created_at": str,
    "files": dict,
    "training_set": str,
    "target": dict,
    "inputs": list,
    "views": dict,
    "request": dict,
    "thresholds": dict,
    "score": dict,
    "policy": list,
    "probe": dict,
    "latency_ms": (int, float),
    "metrics": dict,
    "schema_hash": str,
}

Manifest = Mapping[str, Any]


def canonical(record: Any) -> bytes:
    """The one JSON text of a value: keys sorted, no spaces, UTF-8, no NaN. ValueError for what JSON cannot hold."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def schema_hash(manifest: Manifest) -> str:
    """SHA-256 of what a caller and the feature store must know of a model: inputs, views and request."""
    inputs = [{key: part.get(key) for key in ("name", "kind", "from")} for part in manifest["inputs"]]
    known = {"inputs": inputs, "views": manifest["views"], "request": manifest["request"]}
    return hashlib.sha256(canonical(known)).hexdigest()


def check(manifest: Any, name: str) -> Manifest:
    """The manifest, sound in itself; ModelRefused with the first thing that is wrong. `name` is for the message."""
    for problem in _problems(manifest):
        raise ModelRefused(f"{name}: {problem}", "train the model again: datalab model train NAME")
    return manifest  # type: ignore[no-any-return] # nothing was wrong: it is a mapping


def _problems(manifest: Any) -> Iterable[str]:
    if not isinstance(manifest, Mapping):
        yield "the manifest is not a JSON object"
        return
    wrong = [key for key, kind in _SHAPE.items() if not isinstance(manifest.get(key), kind)]
    if wrong:
        yield f"the manifest has no proper '{wrong[0]}'"
        return
    if manifest["format"] != FORMAT:
        yield f"the manifest is of format {manifest['format']}, this server reads {FORMAT}"
        return
    yield from _problems_of_inputs(manifest)
    yield from _problems_of_figures(manifest)
    if schema_hash(manifest) != manifest["schema_hash"]:
        yield "the schema's hash does not fit inputs, views and request"


def _problems_of_inputs(manifest: Manifest) -> Iterable[str]:
    fields = {field.get("name") for field in manifest["request"].get("fields", ())}
    names = [part.get("name") for part in manifest["inputs"]]
    if not names or len(set(names)) < len(names):
        yield "there are no inputs, or two of one name"
    for part in manifest["inputs"]:
        if part.get("kind") not in KINDS:
            yield f"input '{part.get('name')}' is of no known kind"
        yield from _problems_of_source(str(part.get("name")), part.get("from"), fields, manifest["views"])
    for view, how in manifest["views"].items():
        for source in how.get("entity", ()):
            yield from _problems_of_source(f"entity of {view}", source, fields, manifest["views"])


def _problems_of_source(name: str, source: Any, fields: set[Any], views: Manifest) -> Iterable[str]:
    if not isinstance(source, Mapping) or not {"view", "request"} & set(source):
        yield f"'{name}' comes from nowhere"
    elif "view" in source and (source["view"] not in views or not source.get("feature")):
        yield f"'{name}' comes from a view that is not listed"
    elif "request" in source:
        if source["request"] not in fields:
            yield f"'{name}' comes from a request field that is not listed"
        if source.get("default") is not None:
            yield from _problems_of_source(f"default of {name}", source["default"], set(), views)


def _problems_of_figures(manifest: Manifest) -> Iterable[str]:
    low, high = (manifest["thresholds"].get(key) for key in ("approve_below", "deny_from"))
    if not (_is_number(low) and _is_number(high) and 0 <= low <= high <= 1):
        yield "the thresholds are not 0 ≤ approve_below ≤ deny_from ≤ 1"
    rows, answers = (manifest["probe"].get(key) for key in ("rows", "probabilities"))
    if not (isinstance(rows, list) and isinstance(answers, list) and rows and len(rows) == len(answers)):
        yield "the probe has no rows, or not an answer for each"
    elif any(not isinstance(row, list) or len(row) != len(manifest["inputs"]) for row in rows):
        yield "a row of the probe does not have one value for each input"
    elif not all(_is_number(answer) and 0 <= answer <= 1 for answer in answers):
        yield "an answer of the probe is no probability"
    if not _is_number(manifest["probe"].get("tolerance")):
        yield "the probe has no tolerance"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
