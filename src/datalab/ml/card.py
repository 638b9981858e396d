"""The model card: what a model is, what it was trained on, how good it is, for whom it is worse. Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from datalab.ml.evaluation import Evaluation
from datalab.ml.gate import Verdict
from datalab.ml.training import Trained

_FIGURES = {
    "auc": "AUC",
    "f1": "F1 at the threshold of denial",
    "ks": "KS",
    "brier": "Brier score",
    "calibration_error": "calibration error (ECE)",
}


def write_card(trained: Trained, verdict: Verdict) -> str:
    """The card of a trained model, before it has a version. The layout follows Mitchell and others (2019)."""
    model, metrics = trained.declaration, trained.manifest["metrics"]
    parts = [
        f"# Model card: {model.name}",
        _purpose(trained),
        "## What it is",
        _bullets(
            f"estimator: `{model.estimator}` with {dict(model.params)}, seed {model.seed}",
            f"calibration: {model.calibration}, learnt on rows later than those of the estimator",
            f"training set: `{trained.training_set}`",
            f"learnt from outcomes up to {metrics['trained_until']}, judged on {metrics['rows']:,} rows from "
            f"{metrics['holdout_from']} to {metrics['holdout_until']}",
            f"ONNX and estimator differ by at most {trained.largest_difference:.1e}; a row takes "
            f"{trained.one_row_ms:.3f} ms",
        ),
        "## How good it is",
        _figures(trained.evaluation, trained.unsent),
        "![evaluation](evaluation.png)",
        "## Decisions on the holdout",
        _confusion(trained.evaluation),
        "## Groups",
        _groups(trained.evaluation),
        "## What it looks at",
        _table(("column", "importance"), ((name, f"{value:.4f}") for name, value in trained.importance.items())),
        "## What it does not know",
        _bullets(*_limits(trained)),
        "## The gate",
        _table(
            ("check", "held", "figures"), ((c.name, "yes" if c.passed else "**no**", c.words) for c in verdict.checks)
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _purpose(trained: Trained) -> str:
    low, high = trained.declaration.thresholds.approve_below, trained.declaration.thresholds.deny_from
    decided = f"approved below {low}, denied from {high}, a person decides in between"
    return f"Predicts the probability of `{trained.declaration.label}`. Thresholds: {decided}."


def _figures(sent: Evaluation, unsent: Evaluation) -> str:
    rows = ((words, f"{sent.figures[key]:.4f}", f"{unsent.figures[key]:.4f}") for key, words in _FIGURES.items())
    low, high = sent.f1_interval[1:]
    note = f"F1 has the 95 % bootstrap interval {low:.4f} … {high:.4f}."
    return _table(("figure", "all fields sent", "optional fields left out"), rows) + f"\n\n{note}"


def _confusion(evaluation: Evaluation) -> str:
    rows = (
        (word, f"{found['did_not']:,}", f"{found['happened']:,}", _share(found["happened"], sum(found.values())))
        for word, found in evaluation.confusion.items()
    )
    return _table(("decision", "did not happen", "happened", "share that happened"), rows)


def _groups(evaluation: Evaluation) -> str:
    if not evaluation.groups:
        return "No groups are declared."
    rows = (
        (
            f"{group.column}={group.value}",
            f"{group.rows:,}",
            "" if group.auc is None else f"{group.auc:.3f}",
            f"{group.chance:.3f}",
            f"{group.happened:.3f}",
            f"{group.approved:.2f}",
            f"{group.denied:.2f}",
            group.worse,
        )
        for group in evaluation.groups
    )
    flagged = len(evaluation.flagged)
    told = f"**{flagged} significantly worse off.**" if flagged else "None is significantly worse off."
    columns = ("group", "rows", "AUC", "said", "happened", "approved", "denied", "worse")
    return f"{told} Groups of fewer than 100 rows are shown and not judged.\n\n{_table(columns, rows)}"


def _limits(trained: Trained) -> Iterable[str]:
    used = {part.source.name for part in trained.declaration.inputs if part.source.view is None}
    unused = [field.name for field in trained.declaration.fields if field.name not in used]
    yield f"request fields that are no input: {', '.join(unused) or 'none'}"
    for rule in trained.declaration.policy:
        yield f"rule `{rule['name']}` acts beside the model: {rule['text']}"
    yield "requests that were never granted have no outcome; the model knows only those that were"


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.3f}" if whole else ""


def _bullets(*lines: str) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
