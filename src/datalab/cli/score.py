"""`datalab score`: one request at a time, through the server's own code, without a server."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic_core import from_json

from datalab.cli import output
from datalab.cli.configured import configuration_of
from datalab.cli.opened import lab_of
from datalab.cli.options import options_of
from datalab.errors import InvalidRequest, NoModel, ServingError
from datalab.events import Bus
from datalab.platform.score_log import flush_logs
from datalab.platform.serving import Parts, wire_service
from datalab.serving.problems import Problem
from datalab.serving.writing import Caller

app = typer.Typer()
_CALLER = "command line"


@app.command()
def score(
    ctx: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="Files with a request each, as JSON; -: standard input.")],
    flush: Annotated[bool, typer.Option("--flush/--no-flush", help="Take the log to the lake afterwards.")] = True,
) -> None:
    """Score requests from files with the live model and its features; recorded like the server's answers."""
    configuration = configuration_of(ctx)
    parts = wire_service(configuration, os.environ, Bus())
    try:
        parts.keeper.refresh()
        answers = [asyncio.run(_scored(parts, file)) for file in files]
    finally:
        parts.close()
    if flush:
        with lab_of(ctx) as lab:
            flush_logs(lab)
    if options_of(ctx).json:
        output.show(answers[0] if len(answers) == 1 else answers, as_json=True)
        return
    for answer in answers:
        _show(answer)


async def _scored(parts: Parts, file: Path) -> Any:
    model = parts.keeper.live
    if model is None:
        refusal = parts.keeper.refusal
        why = f": version {refusal.version} was refused: {refusal.why}" if refusal else ""
        name = parts.keeper.model
        raise NoModel(f"no model{f' {name}' if name else ''} is live{why}", f"datalab model train {name or 'NAME'}")
    body = _read(file)
    try:
        row = model.form.read(body)
        written = await parts.service.scorer.score(
            model, row, Caller(_CALLER, time.perf_counter(), bool(parts.keeper.stale))
        )
    except Problem as problem:
        raise _error(problem, file) from problem
    return from_json(written.answer)


def _read(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read()
    try:
        return file.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be read: {error.strerror}", "name a file with one request") from error


def _error(problem: Problem, file: Path) -> ServingError:
    if problem.status >= 500:
        return ServingError(f"{file}: {problem.kind} {problem.detail}".rstrip(), "datalab score --debug FILE")
    wrong = "; ".join(f"{part['field']}: {part['reason']}" for part in problem.errors) or problem.detail
    return InvalidRequest(f"{file}: {wrong}", "correct the request: GET /docs of the server shows its fields")


def _show(answer: Any) -> None:
    version = f"{answer['modelo']['nome']} {answer['modelo']['versao']}"
    output.show(
        {
            "id_score": answer["id_score"],
            "decisao": answer["decisao"],
            "score": answer["score"],
            "probabilidade_inadimplencia": answer["probabilidade_inadimplencia"],
            "modelo": version + (" (desatualizado)" if answer["modelo"]["desatualizado"] else ""),
            **{f"razao {n}": f"{r['texto']} ({r['efeito']:+.3f})" for n, r in enumerate(answer["razoes"], 1)},
            **{f"regra {n}": rule["texto"] for n, rule in enumerate(answer["regras"], 1)},
            **({"degradacao": answer["degradacao"]["texto"]} if answer["degradacao"] else {}),
        },
        as_json=False,
    )
    output.show("", as_json=False)
