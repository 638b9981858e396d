"""`datalab demo`: the farmers' example from nothing to a traced score, in half a minute and some more of reading."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from datalab.cli import demo_model, output
from datalab.cli.options import options_of
from datalab.cli.progress import progress
from datalab.cli.run import as_record, show_record
from datalab.errors import ConfigError, RunFailed
from datalab.platform.lab import Lab
from datalab.platform.project import create_project, templates
from datalab.platform.settings import load
from datalab.platform.simulate import Shares, simulate_project
from datalab.platform.wish import Wish
from datalab.platform.workshop import open_workshop
from datalab.quality.review import summary

app = typer.Typer()
_MARK = Path(".datalab") / "demo"
_NEXT = (
    "datalab plan",
    "datalab quarantine show",
    "datalab lineage --column gold.proponente_features_agro.serasa_score_medio",
    "datalab keys create eu --role admin && datalab serve   # http://127.0.0.1:8000/docs",
)
_LAYERS = ("bronze", "silver", "gold", "ops")
CHECKS = "SELECT target, `constraint`, action, sum(rows) AS rows, sum(failed) AS failed FROM ops.checks GROUP BY ALL"


@app.command()
def demo(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder for the project; a demo there is made anew.")] = Path("demo"),
    rows: Annotated[int, typer.Option("--rows", min=1000, help="Credit requests to simulate.")] = 20_000,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same farmers.")] = 42,
) -> None:
    """Run the farmers' example: from Avro files to a score that is traced back to them."""
    options, began = options_of(ctx), time.monotonic()
    _prepare(folder)
    configuration, ledger = load(folder), folder / ".datalab" / "demo-ledger.jsonl"
    simulated = simulate_project(configuration, rows, Shares(0.005, 0.02, 0.01), seed, {"ledger": ledger})
    # The model registry takes seconds to open: meanwhile the files are taken in.
    with (
        Lab(configuration, {}) as lab,
        progress(lab.bus, quiet=options.quiet),
        open_workshop(lab, "demo") as shop,
    ):
        started = time.monotonic()
        record = lab.run(Wish())
        taken = round(time.monotonic() - started, 2)
        if record.failed:
            raise RunFailed("the demo's run failed", "datalab demo --debug")
        answer = {"simulated": simulated, "run": as_record(record, []), "seconds": taken, **_gold(lab, folder)}
        answer |= demo_model.from_gold_to_a_score(lab, shop, ledger)
    answer["whole_seconds"] = round(time.monotonic() - began, 1)
    if options.json:
        output.show(answer, as_json=True)
    else:
        _show(folder, answer, lambda: show_record(record))


def _gold(lab: Lab, folder: Path) -> dict[str, Any]:
    return {
        "tables": [_table(lab, str(name)) for name in sorted(lab.tables(), key=_by_layer)],
        "quarantine": _quarantine(lab),
        "checks": lab.query(f"{CHECKS} ORDER BY target, `constraint`").read_all().to_pylist(),
        "questions": [_answered(lab, question) for question in _questions(folder)],
    }


def _prepare(folder: Path) -> None:
    if (folder / _MARK).exists():
        shutil.rmtree(folder)
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} exists and is not a demo", "name another folder: datalab demo FOLDER")
    create_project(templates()["agro"], folder)
    (folder / _MARK).parent.mkdir(mode=0o700, exist_ok=True)
    (folder / _MARK).touch()


def _by_layer(name: Any) -> tuple[int, str]:
    return (_LAYERS.index(name.layer) if name.layer in _LAYERS else len(_LAYERS), name.table)


def _table(lab: Lab, name: str) -> dict[str, Any]:
    layer, _, table = name.partition(".")
    (count,) = lab.query(f"SELECT count(*) AS n FROM {name}").read_all().column("n").to_pylist()
    return {"layer": layer, "table": table, "rows": count}


def _quarantine(lab: Lab) -> list[dict[str, Any]]:
    context = lab.context()
    found = summary(context.lake, context.engine, context.now).select(["target", "reason", "entries", "records"])
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows


def _questions(folder: Path) -> list[dict[str, str]]:
    questions: list[dict[str, str]] = yaml.safe_load((folder / "questions.yaml").read_text(encoding="utf-8"))
    return questions


def _answered(lab: Lab, question: dict[str, str]) -> dict[str, Any]:
    return {"title": question["title"], "rows": lab.query(question["sql"]).read_all().to_pylist()}


def _show(folder: Path, answer: dict[str, Any], show_run: Callable[[], None]) -> None:
    made = answer["simulated"]
    _say(
        f"{made['requests']:,} credit requests of farmers, delivered as {made['records']:,} records in {made['files']} "
        f"Avro files: {made['bad']:,} bad, {made['late']:,} late, {made['duplicate']:,} delivered twice, "
        f"{made['correction']:,} corrected"
    )
    show_run()
    for step in answer["run"]["steps"]:
        _say(_balance(step))
    commas = {"rows": ",", "entries": ",", "records": ",", "failed": ","}
    for title, rows in (
        ("layers", answer["tables"]),
        ("quarantine", answer["quarantine"]),
        ("checks", answer["checks"]),
        *((question["title"], question["rows"]) for question in answer["questions"]),
    ):
        _say("")
        output.show(output.Table.of(rows, title=title, formats=commas), as_json=False)
    _say("")
    demo_model.show(answer)
    _say("")
    _say(
        f"files to gold in {answer['seconds']} s, all of it in {answer['whole_seconds']} s. The project is in {folder}:"
    )
    for line in _NEXT:
        _say(f"  cd {folder} && {line}")


def _balance(step: dict[str, Any]) -> str:
    """Where the rows of a step are, as a sum that anyone can check."""
    parts = {"written": "in the table", "quarantined": "in quarantine", "superseded": "superseded by a later row"}
    terms = " + ".join(f"{step[name]:,} {words}" for name, words in parts.items() if step[name] or name == "written")
    return f"{step['table']}: {step['read']:,} read = {terms}"


def _say(sentence: str) -> None:
    output.show(sentence, as_json=False)
