"""What a request says of a person is in the log of scores and in the lake, and nowhere else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from tests.faults.server import Server, make_project
from tests.unit.serving.models import REQUEST

CANARIES = ("529.982.247-25", "52998224725", "Zenaide Canário", "zenaide@canario.example", "+55 11 98888-7777")
KEPT = (".datalab/serving/scores/", ".datalab/serving/reviews/", "lake/")


@pytest.mark.slow
def test_canaries_are_nowhere_but_in_the_log(tmp_path):
    folder, errors = tmp_path / "fazenda", tmp_path / "errors.txt"
    server = Server(folder, make_project(folder), errors)
    answers = [answer for canary in CANARIES for answer in _asked(server, canary)]
    answers += [server.ask("GET", "/metrics"), server.ask("GET", "/v1/model-info")]
    assert server.stop() == 0
    assert {200, 201, 400, 401, 404, 405, 409, 413, 415, 422} <= {status for status, _ in answers}
    for status, content in answers:
        assert not _found(content), (status, content)
    assert not _found(errors.read_bytes())
    outside = [path for path in folder.rglob("*") if path.is_file() and not _is_kept(path.relative_to(folder))]
    assert outside
    assert [path for path in outside if _found(path.read_bytes())] == []
    assert (folder / "lake" / "ops" / "scores").is_dir(), "the process beside the server took the log to the lake"


def test_files_of_the_server_are_for_their_owner(tmp_path):
    folder = tmp_path / "fazenda"
    server = Server(folder, make_project(folder), tmp_path / "errors.txt", "--no-flush")
    _asked(server, CANARIES[0])
    assert server.stop() == 0
    state = folder / ".datalab"
    for path in (*(state / "serving").rglob("*"), *(state / "keys").rglob("*"), state / "keys"):
        assert path.stat().st_mode & 0o077 == 0 or _in_closed_folder(path, state), path


def _in_closed_folder(path: Path, state: Path) -> bool:
    return any(parent.stat().st_mode & 0o077 == 0 for parent in path.parents if parent.is_relative_to(state))


def _asked(server: Server, canary: str) -> list[tuple[int, bytes]]:
    score = server.ask("POST", "/v1/credit-score", {**REQUEST, "id_proponente": canary})
    number = json.loads(score[1])["id_score"]
    approved = {**REQUEST, "renda_liquida_mes": 30000, "cultura_principal": "SOJA"}
    other = json.loads(server.ask("POST", "/v1/credit-score", approved)[1])["id_score"]
    review = {"resultado": "NEGADO", "revisor": canary, "nota": canary}
    part, query = re.sub(r"[^0-9A-Za-z.-]", "_", canary), "?nome=52998224725"
    return [
        score,
        server.ask("POST", "/v1/credit-score/batch", {"propostas": [{**REQUEST, "id_proponente": canary}]}),
        server.ask("POST", "/v1/credit-score", {**REQUEST, "uf": canary}),
        server.ask("POST", "/v1/credit-score", {**REQUEST, "prazo": canary}),
        server.ask("POST", "/v1/credit-score", {**REQUEST, "a mais": canary}),
        server.ask("POST", "/v1/credit-score/batch", {"propostas": [{**REQUEST, "renda_liquida_mes": canary}]}),
        server.ask("POST", f"/v1/scores/{number}/review", review),
        server.ask("POST", f"/v1/scores/{other}/review", review),
        server.ask("POST", f"/v1/scores/{number}/review", {**review, "resultado": canary}),
        server.ask("GET", f"/v1/pessoas/{part}{query}"),
        server.ask("DELETE", f"/v1/scores/{part}/review{query}"),
        server.ask("POST", "/v1/credit-score", {"x": [[[[[[[[[canary]]]]]]]]]}),
        server.ask("POST", "/v1/credit-score", {"x": canary * 10_000}),
        _raw(server, canary, server.key, "application/json"),
        _raw(server, canary, server.key, canary.encode("ascii", "replace").decode()),
        _raw(server, canary, f"{server.key}-52998224725", "application/json"),
    ]


def _raw(server: Server, canary: str, key: str, media: str) -> tuple[int, bytes]:
    connection = server.connect()
    headers = {"authorization": f"Bearer {key}", "content-type": media, "x-nome": "52998224725"}
    connection.request("POST", "/v1/credit-score", f'{{"nome": "{canary}"'.encode(), headers)
    with connection.getresponse() as answer:
        found = answer.status, answer.read()
    connection.close()
    return found


def _found(content: bytes) -> list[str]:
    escaped = [json.dumps(canary)[1:-1] for canary in CANARIES]
    return [canary for canary in (*CANARIES, *escaped) if canary.encode() in content]


def _is_kept(path: Path) -> bool:
    return path.as_posix().startswith(KEPT)
