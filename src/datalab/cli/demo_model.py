"""The second half of the demo: features online, a model, three scores from a server of its own, one of them traced."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from datalab.cli import output
from datalab.cli.traced import score_tree
from datalab.cli.trees import lines
from datalab.errors import ServingError
from datalab.ml.metrics import auc
from datalab.platform.feature_work import materialize_views, online_store
from datalab.platform.lab import Lab
from datalab.platform.models import Outcome, Workshop, train_model
from datalab.platform.score_log import flush_logs
from datalab.platform.serving import wire_keys
from datalab.platform.settings import Configuration
from datalab.platform.traces import trace_score_of

_CASES = ("approve_case.json", "review_case.json", "deny_case.json")
_OUTCOMES = "SELECT proponente_id, data_solicitacao, inadimplente FROM silver.desfechos_credito"
_PATIENCE = 60.0
_MOST_ROWS = 3


def from_gold_to_a_score(lab: Lab, shop: Workshop, ledger: Path) -> dict[str, Any]:
    """Features online, a model on all outcomes and, where it goes live, three scores and the trace of one of them.

    `ledger` is the simulator's: it knows the best that any model could do.
    """
    with online_store(lab) as store:
        features = [vars(made) for made in materialize_views(lab, store)]
    outcome = train_model(shop, shop.declaration(None))
    model = {**_figures(outcome), "best_auc": _best(lab, ledger, outcome)}
    scores = _scores(lab.configuration) if outcome.live else []
    return {"features": features, "model": model, "scores": scores, "trace": _trace(lab, scores)}


def _scores(configuration: Configuration) -> list[dict[str, Any]]:
    """The three cases of the project, sent to a server that is started for them."""
    keys = wire_keys(configuration)
    key, text = keys.create("demo", "score")
    try:
        with _server(configuration) as url:
            return [_asked(url, text, configuration.folder / "payloads" / case) for case in _CASES]
    finally:
        keys.revoke(key.id)


def _trace(lab: Lab, scores: Sequence[Mapping[str, Any]]) -> list[str]:
    """The first score down to the files and rows of its records, as lines of a tree."""
    if not scores:
        return []
    flush_logs(lab)
    return list(lines(score_tree(trace_score_of(lab, scores[0]["id_score"], _MOST_ROWS))))


def show(answer: Mapping[str, Any]) -> None:
    """The model beside the best possible, the decisions with their reasons, the trace."""
    model = answer["model"]
    output.show(
        f"model {model['model']} version {model['version']}: trained on {model['training_set']}, judged on "
        f"{model['rows']:,} later requests: AUC {model['auc']:.3f}, the best possible is {model['best_auc']:.3f}; "
        f"F1 {model['f1']:.3f}, KS {model['ks']:.3f}, Brier {model['brier']:.3f}",
        as_json=False,
    )
    if not answer["scores"]:
        output.show("it did not pass its gate, so nothing is served: simulate more requests", as_json=False)
        return
    output.show("", as_json=False)
    rows = [_decision(each) for each in answer["scores"]]
    output.show(output.Table.of(rows, title="three farmers ask for credit"), as_json=False)
    output.show("", as_json=False)
    output.show(f"datalab trace {answer['scores'][0]['id_score']}", as_json=False)
    output.show_lines(answer["trace"])


def _figures(outcome: Outcome) -> dict[str, Any]:
    evaluation = outcome.trained.evaluation
    figures = {name: evaluation.figures[name] for name in ("auc", "f1", "ks", "brier")}
    made = {"model": outcome.trained.declaration.name, "version": outcome.made.version, "live": outcome.live}
    return {**made, "training_set": outcome.trained.training_set, "rows": evaluation.rows, **figures}


def _best(lab: Lab, ledger: Path, outcome: Outcome) -> float:
    """The AUC of the hidden chances themselves, on the requests that the model was judged on."""
    with ledger.open(encoding="utf-8") as file:
        found = [line for line in map(json.loads, file) if "chance" in line]
    chances = {(line["proponente_id"], line["data_solicitacao"]): line["chance"] for line in found}
    spans = outcome.trained.manifest["metrics"]
    first, last = (datetime.fromisoformat(spans[name]) for name in ("holdout_from", "holdout_until"))
    held = [row for row in lab.query(_OUTCOMES).read_all().to_pylist() if first <= row["data_solicitacao"] <= last]
    known = [chances[row["proponente_id"], round(row["data_solicitacao"].timestamp() * 1000)] for row in held]
    return float(auc(np.array(known), np.array([row["inadimplente"] for row in held])))


def _decision(answer: Mapping[str, Any]) -> dict[str, Any]:
    reason = answer["razoes"][0] if answer["razoes"] else None
    return {
        "payload": answer["payload"],
        "decisao": answer["decisao"],
        "score": answer["score"],
        "P(inadimplencia)": round(answer["probabilidade_inadimplencia"], 3),
        "razao principal": f"{reason['texto']} ({reason['efeito']:+.3f})" if reason else "",
        "id_score": answer["id_score"],
    }


@contextmanager
def _server(configuration: Configuration) -> Iterator[str]:
    port = _free_port()
    command = [sys.executable, "-P", "-m", "datalab", "serve", "--port", str(port), "--no-flush", "--quiet"]
    log = configuration.folder / ".datalab" / "demo-server.log"
    with log.open("wb") as file:
        server = subprocess.Popen([*command, "--project", str(configuration.folder)], stdout=file, stderr=file)
        try:
            _await(server, f"http://127.0.0.1:{port}", log)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/ready", timeout=1).close()  # noqa: S310 - our own server
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
        else:
            return
    said = log.read_text(encoding="utf-8", errors="replace")[-1000:]
    raise ServingError(f"the server did not come up: {said}", "datalab serve")


def _asked(url: str, key: str, payload: Path) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/v1/credit-score", payload.read_bytes(), headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        found: dict[str, Any] = json.load(answer)
    return {"payload": payload.name, **found}
