"""What must hold between the parts of a declaration: nothing reads what is not there."""

from __future__ import annotations

from collections.abc import Iterator

from datalab.ml.declaration import Declaration, Source
from datalab.ml.declared_values import Values, near
from datalab.ml.expressions import parse_expression


def check(values: Values, model: Declaration) -> None:
    """InvalidModel for the first thing that does not hold."""
    _check_sources(values, model)
    _check_derived(values, model)
    if model.split.calibration + model.split.holdout >= 0.9:
        values.fail("split", "leaves less than a tenth of the rows for training")
    numbers = {field.name for field in model.fields if field.type in ("number", "integer")}
    for rule in model.policy:
        if missing := sorted({rule[word] for word in ("amount", "term", "income")} - numbers):
            words = f"reads '{missing[0]}', which is no number among request"
            values.fail("policy", words, near(missing[0], numbers))


def _check_sources(values: Values, model: Declaration) -> None:
    fields = {field.name for field in model.fields}
    for key, source in _sources(model):
        if source.view is None and source.name not in fields:
            words = f"reads the request field '{source.name}', which is not among request"
            values.fail(key, words, near(source.name, fields))
        if source.view is not None and source.view not in model.views:
            values.fail(
                key, f"reads the view '{source.view}', which is not among views", near(source.view, model.views)
            )


def _sources(model: Declaration) -> Iterator[tuple[str, Source]]:
    for part in model.inputs:
        yield f"inputs.{part.name}", part.source
        if part.default is not None:
            yield f"inputs.{part.name}.default", part.default
    for view, parts in model.views.items():
        for source in parts:
            yield f"views.{view}.entity", source


def _check_derived(values: Values, model: Declaration) -> None:
    numeric = {part.name for part in model.inputs if part.kind != "category"}
    for name, expression in model.derived.items():
        key = f"derived.{name}"
        try:
            names = parse_expression(expression).names
        except ValueError as error:
            values.fail(key, str(error))
        if unknown := sorted(names - numeric):
            values.fail(key, f"reads '{unknown[0]}', which is no numeric input", near(unknown[0], numeric))
        if not names:
            values.fail(key, "reads no input")
        if name in {part.name for part in model.inputs}:
            values.fail(key, "has the name of an input")
