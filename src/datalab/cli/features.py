"""`datalab features`: feature views in the online store, and training sets."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from datalab.cli import output
from datalab.cli.opened import lab_of
from datalab.cli.options import options_of
from datalab.features.online.base import OnlineStore
from datalab.features.parity import Difference, Parity
from datalab.features.training import Rebuilt, TrainingSet, find
from datalab.features.views import FeatureView
from datalab.platform.feature_work import (
    build_training_set,
    chosen_views,
    compare_views,
    look_up,
    materialize_views,
    online_store,
    rebuild_training_set,
)
from datalab.platform.features import wire_features
from datalab.platform.lab import Lab
from datalab.platform.masking import mask_value

app = typer.Typer(help="Bring features online, look them up, compare them, make training sets.")
VIEWS = Annotated[list[str] | None, typer.Argument(help="Feature views; none: all of them.")]


@app.command("list")
def list_views(ctx: typer.Context) -> None:
    """List feature views and training sets, and how they stand."""
    with lab_of(ctx) as lab, online_store(lab) as store:
        views = [_standing(lab, store, view) for view in chosen_views(lab, ())]
        sets = [_built(lab, name) for name in wire_features(lab.configuration).sets]
    if options_of(ctx).json:
        output.show({"views": views, "training_sets": sets}, as_json=True)
        return
    output.show(output.Table.of(views, title="feature views"), as_json=False)
    output.show(output.Table.of(sets, title="training sets", formats={"rows": ","}), as_json=False)


@app.command()
def materialize(
    ctx: typer.Context,
    views: VIEWS = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Empty the views first and write them whole.")] = False,
) -> None:
    """Bring the online store to the newest gold: only what changed since what it holds."""
    with lab_of(ctx) as lab, online_store(lab) as store:
        done = [vars(made) for made in materialize_views(lab, store, views or (), rebuild=rebuild)]
    columns = ("view", "table", "kind", "written", "gone", "snapshot")
    formats = {"written": ",", "gone": ","}
    output.show(output.Table.of(done, columns, formats=formats), as_json=options_of(ctx).json)


@app.command()
def get(
    ctx: typer.Context,
    view: Annotated[str, typer.Argument(help="A feature view.")],
    entity: Annotated[list[str], typer.Argument(help="The entity: a value for each of its columns, in order.")],
) -> None:
    """Look up an entity in the online store as the server does, personal data masked; exit code 1 for none."""
    with lab_of(ctx) as lab, online_store(lab) as store:
        wanted, found = look_up(lab, store, view, entity)
        (declared,) = chosen_views(lab, [view])
        hidden = lab.personal_fields
    named = dict(zip(declared.entity, wanted.entity, strict=True))
    answer: dict[str, Any] = {"view": view, "entity": mask_value(named, hidden), "found": found is not None}
    if found is not None:
        origin = {"table": found.table, "snapshot": found.snapshot, "timestamp": found.timestamp}
        answer |= {**origin, "values": mask_value(dict(found.values), hidden)}
    if options_of(ctx).json:
        output.show(answer, as_json=True)
    elif found is None:
        output.show("the online store serves nothing of this entity: unknown, gone, or too old", as_json=False)
    else:
        output.show({**answer.pop("entity"), **answer.pop("values")}, as_json=False)
        output.note(f"{found.table} at {found.snapshot}, {found.timestamp}", quiet=options_of(ctx).quiet)
    if found is None:
        raise typer.Exit(1)


@app.command("training-set")
def training_set(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="A training set of the project.")],
    set_id: Annotated[
        str | None, typer.Option("--id", help="Make the set of this id again and compare; nothing is written.")
    ] = None,
) -> None:
    """Make a training set: labels with the features of their moments; exit code 1 where --id finds another content."""
    with lab_of(ctx) as lab:
        if set_id is None:
            answer, same = _made(build_training_set(lab, name)), True
        else:
            wanted = set_id if "@" in set_id else f"{name}@{set_id}"
            rebuilt = rebuild_training_set(lab, wanted)
            answer, same = _again(rebuilt), rebuilt.same
    output.show(answer, as_json=options_of(ctx).json)
    if not same:
        raise typer.Exit(1)


@app.command()
def parity(
    ctx: typer.Context,
    views: VIEWS = None,
    sample: Annotated[int, typer.Option("--sample", min=1, help="Entities to compare of each view.")] = 1000,
) -> None:
    """Compare a sample of the online store with the lake and show every difference; exit code 1 for one."""
    with lab_of(ctx) as lab, online_store(lab) as store:
        found = compare_views(lab, store, views or (), sample)
        hidden = lab.personal_fields
    differences = [_difference(one, hidden) for part in found for one in part.differences]
    summary = [_summary(part) for part in found]
    if options_of(ctx).json:
        output.show({"views": summary, "differences": differences}, as_json=True)
    else:
        columns = ("view", "table", "compared", "recomputed", "differences", "note")
        output.show(output.Table.of(summary, columns, formats={"compared": ",", "recomputed": ","}), as_json=False)
        if differences:
            output.show(output.Table.of(differences, title="differences"), as_json=False)
    if differences:
        raise typer.Exit(1)


def _standing(lab: Lab, store: OnlineStore, view: FeatureView) -> dict[str, Any]:
    done, state = store.position(view.name).done, lab.lake.state(view.table)
    behind = state is not None and done is not None and state.snapshot != done.snapshot
    standing = "nothing" if done is None else ("behind" if behind else "newest")
    features = view.features or (view.layout(state.schema.names).features if state is not None else ())
    return {
        "view": view.name,
        "table": str(view.table),
        "entity": list(view.entity),
        "features": len(features),
        "accuracy": view.accuracy,
        "ttl": view.ttl,
        "online": standing,
    }


def _built(lab: Lab, name: str) -> dict[str, Any]:
    newest = find(lab.lake, name)
    record: dict[str, Any] = {"training_set": name, "newest": None, "rows": None, "content_hash": None}
    if newest is not None:
        record |= {"newest": newest.id, "rows": newest.rows, "content_hash": newest.content_hash}
    return record


def _made(made: TrainingSet) -> dict[str, Any]:
    record = {"id": made.id, "rows": made.rows, "columns": len(made.columns), "content_hash": made.content_hash}
    return {**record, "code": made.code, "seed": made.recipe.seed, "inputs": made.inputs}


def _again(rebuilt: Rebuilt) -> dict[str, Any]:
    hashes = {"recorded": rebuilt.training_set.content_hash, "stored": rebuilt.stored_hash}
    record = {"id": rebuilt.training_set.id, "same": rebuilt.same, "rows": rebuilt.rows}
    return {**record, "rebuilt": rebuilt.content_hash, **hashes}


def _summary(part: Parity) -> dict[str, Any]:
    return {
        "view": part.view,
        "table": part.table,
        "snapshot": part.snapshot,
        "compared": part.compared,
        "recomputed": part.recomputed,
        "differences": len(part.differences),
        "note": part.note,
    }


def _difference(one: Difference, hidden: tuple[str, ...]) -> dict[str, Any]:
    values = mask_value({one.feature: {"online": one.online, "lake": one.lake}}, hidden)[one.feature]
    online, lake = (values["online"], values["lake"]) if isinstance(values, dict) else (values, values)
    entity = mask_value(dict(one.entity), hidden)
    record = {"view": one.view, "entity": entity, "feature": one.feature, "beside": one.beside}
    return {**record, "online": mask_value(online, hidden), "lake": mask_value(lake, hidden), "snapshot": one.snapshot}
