"""`datalab model`: train, judge, watch, promote and roll back; who decided what, and when."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from datalab.cli import output
from datalab.cli.opened import lab_of
from datalab.cli.options import options_of
from datalab.ml import lifecycle
from datalab.ml.history import Entry, entries
from datalab.platform.models import (
    Outcome,
    Workshop,
    evaluate_model,
    train_model,
    watch_model,
)
from datalab.platform.workshop import open_workshop, read_history

app = typer.Typer(help="Train, judge, promote and roll back models.")

NAME = Annotated[str | None, typer.Argument(help="Name of the model; the only one where there is one.")]
SET = Annotated[str, typer.Option("--training-set", help="Id of a training set that was built before: NAME@SNAPSHOT.")]
WHY = Annotated[str, typer.Option("--why", help="Reason, kept in the history.")]
BY = Annotated[str, typer.Option("--by", help="Who decides, kept in the history; the user's name where left out.")]
_FIGURES = ("auc", "f1", "ks", "brier", "calibration_error")
_FOUR = dict.fromkeys((*_FIGURES, "psi", "critical", "ks", "chance", "happened"), ".4f")


@app.command()
def train(
    ctx: typer.Context,
    name: NAME = None,
    training_set: SET = "",
    if_drifted: Annotated[bool, typer.Option("--if-drifted", help="Only where drift or schedule ask for it.")] = False,
    promote: Annotated[bool, typer.Option("--promote/--no-promote", help="Promote where the gate is passed.")] = True,
    by: BY = "",
) -> None:
    """Train a model on a new training set, judge it, register it, and promote it where the gate is passed."""
    with _workshop(ctx, by, writes=True) as shop:
        declaration = shop.declaration(name)
        reasons = _reasons(shop, declaration.name) if if_drifted else ()
        if if_drifted and not reasons:
            output.show(_untouched(declaration.name, ctx), as_json=options_of(ctx).json)
            return
        outcome = train_model(shop, declaration, training_set, promote=promote)
    record = {**_record(outcome), "reasons": list(reasons)}
    if options_of(ctx).json:
        output.show(record, as_json=True)
    else:
        _show_outcome(outcome)


@app.command()
def evaluate(
    ctx: typer.Context,
    name: NAME = None,
    version: Annotated[
        int | None, typer.Option("--version", help="Version to judge; the live one where left out.")
    ] = None,
    training_set: SET = "",
) -> None:
    """Judge a version on rows that it has not learnt from: overall, at its thresholds, group by group."""
    with _workshop(ctx) as shop:
        package, found = evaluate_model(shop, shop.declaration(name), version, training_set)
    if options_of(ctx).json:
        output.show({"model": package.name, "version": package.version, **found.as_json()}, as_json=True)
        return
    output.show(
        f"{package.name} version {package.version} on {found.rows:,} rows that it has not learnt from", as_json=False
    )
    output.show(output.Table.of([dict(found.figures)], _FIGURES, formats=_FOUR), as_json=False)
    rows = [vars(group) for group in found.groups]
    columns = ("column", "value", "rows", "auc", "chance", "happened", "approved", "denied", "worse")
    formats = {**_FOUR, "rows": ",", "approved": ".2f", "denied": ".2f"}
    output.show(output.Table.of(rows, columns, title="groups", formats=formats), as_json=False)


@app.command()
def drift(ctx: typer.Context, name: NAME = None) -> None:
    """Compare the newest rows with the live version's training window; exit code 1 where it should be retrained."""
    with _workshop(ctx) as shop:
        found = watch_model(shop, shop.declaration(name))
    if options_of(ctx).json:
        output.show(found.as_json(), as_json=True)
    else:
        figures = found.as_json()
        output.show(
            f"{found.model} version {found.version}: {figures['reference_rows']:,} rows of its training window beside "
            f"{figures['newest_rows']:,} from {found.newest[0]} to {found.newest[1]}",
            as_json=False,
        )
        columns = ("feature", "values", "psi", "critical", "ks", "p", "drifted")
        output.show(
            output.Table.of(figures["features"], columns, formats={**_FOUR, "p": ".1e", "values": ","}), as_json=False
        )
        for reason in found.reasons or ("nothing has shifted: no reason to train again",):
            output.show(reason, as_json=False)
    if found.retrain:
        raise typer.Exit(1)


@app.command()
def promote(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the model.")],
    version: Annotated[int, typer.Argument(help="Version that goes live.")],
    why: WHY = "by hand",
    by: BY = "",
) -> None:
    """Make a version live by hand, whatever the gate said of it."""
    with _workshop(ctx, by, writes=True) as shop:
        lifecycle.reconcile(shop.desk, name)
        lifecycle.promote(shop.desk, name, version, why)
    _tell_live(ctx, name, version)


@app.command()
def rollback(
    ctx: typer.Context,
    name: NAME = None,
    to: Annotated[
        int | None, typer.Option("--to", help="Version; the one that was live before where left out.")
    ] = None,
    why: WHY = "by hand",
    by: BY = "",
) -> None:
    """Go back to the version that was live before, or to a named one."""
    with _workshop(ctx, by, writes=True) as shop:
        model = shop.declaration(name).name
        version = lifecycle.rollback(shop.desk, model, to, why)
    _tell_live(ctx, model, version)


@app.command()
def history(ctx: typer.Context, name: NAME = None) -> None:
    """Show which version was live when, by whom, why."""
    with lab_of(ctx) as lab:
        rows = [_shown(entry) for entry in read_history(lab, name or "")]
    columns = ("at", "model", "version", "action", "by", "why", "training_set", "f1", "auc")
    output.show(output.Table.of(rows, columns, formats=_FOUR), as_json=options_of(ctx).json)


@app.command("list")
def list_models(ctx: typer.Context) -> None:
    """List the models of the project, the version of each that is live, and the newest one."""
    with _workshop(ctx) as shop:
        rows = [_listed(shop, model) for model in shop.declarations]
    columns = ("model", "estimator", "training_set", "live", "since", "newest", "declared")
    output.show(output.Table.of(rows, columns), as_json=options_of(ctx).json)


@contextmanager
def _workshop(ctx: typer.Context, by: str = "", *, writes: bool = False) -> Iterator[Workshop]:
    with lab_of(ctx) as lab, open_workshop(lab, by or _user(), writes=writes) as shop:
        yield shop


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def _reasons(shop: Workshop, model: str) -> tuple[str, ...]:
    if shop.desk.registry.champion(model) is None:
        return ("no version is live",)
    return watch_model(shop, shop.declaration(model)).reasons


def _untouched(model: str, ctx: typer.Context) -> Any:
    sentence = f"{model}: nothing has shifted, and the schedule asks for nothing: not trained"
    return {"model": model, "trained": False, "reasons": []} if options_of(ctx).json else sentence


def _record(outcome: Outcome) -> dict[str, Any]:
    trained = outcome.trained
    return {
        "model": outcome.made.model,
        "trained": True,
        "version": outcome.made.version,
        "live": outcome.live,
        "run_id": outcome.made.run_id,
        "training_set": outcome.made.training_set,
        "gate": outcome.verdict.as_json(),
        "sent": trained.evaluation.as_json(),
        "unsent": trained.unsent.as_json(),
        "onnx_difference": trained.largest_difference,
        "one_row_ms": trained.one_row_ms,
        "seconds": dict(trained.seconds),
        "card": str(outcome.card),
    }


def _show_outcome(outcome: Outcome) -> None:
    made, trained = outcome.made, outcome.trained
    output.show(
        f"{made.model} version {made.version} from {made.training_set}, "
        f"judged on {trained.evaluation.rows:,} later rows",
        as_json=False,
    )
    rows = [
        {"request": "all fields", **trained.evaluation.figures},
        {"request": "optional ones left out", **trained.unsent.figures},
    ]
    output.show(output.Table.of(rows, ("request", *_FIGURES), formats=_FOUR), as_json=False)
    checks = [
        {"check": c.name, "held": "yes" if c.passed else "NO", "figures": c.words} for c in outcome.verdict.checks
    ]
    output.show(output.Table.of(checks, title="gate"), as_json=False)
    state = "it is live" if outcome.live else "it is a challenger, not live"
    output.show(f"{state}. Card and picture: {outcome.card.parent}", as_json=False)


def _tell_live(ctx: typer.Context, model: str, version: int) -> None:
    as_json = options_of(ctx).json
    output.show(
        {"model": model, "live": version} if as_json else f"{model}: version {version} is live", as_json=as_json
    )


def _shown(entry: Entry) -> dict[str, Any]:
    return {**vars(entry), **{name: entry.metrics.get(name) for name in ("f1", "auc")}}


def _listed(shop: Workshop, model: str) -> dict[str, Any]:
    declaration, live = shop.declarations[model], shop.desk.registry.champion(model)
    versions = [entry.version for entry in entries(shop.desk.context, model)]
    return {
        "model": model,
        "estimator": declaration.estimator,
        "training_set": declaration.training_set,
        "live": None if live is None else live.version,
        "since": None if live is None else live.since,
        "newest": max(versions, default=None),
        "declared": declaration.file,
    }
