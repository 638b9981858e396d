"""The example's script and payloads: what an operator sends, and what it says of the answers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.faults.server import ROOT, Server, make_project
from tests.unit.serving.models import REQUEST

from datalab.ml.declaring import read_models
from datalab.serving.request_form import RequestForm

AGRO = ROOT / "examples" / "agro"
CASES = sorted((AGRO / "payloads").glob("*.json"))

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="the script needs curl")


def run(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DATALAB")}
    command = ["bash", AGRO / "test_api.sh", *arguments]
    return subprocess.run(command, env={**environ, **variables}, capture_output=True, text=True, check=False)


def test_the_payloads_fit_the_models_form():
    model = read_models((AGRO / "models" / "credito.yaml",), AGRO)["credito"]
    form = RequestForm([field.as_json() for field in model.fields], 10)
    assert [path.stem for path in CASES] == ["approve_case", "deny_case", "review_case"]
    for path in CASES:
        assert form.read(path.read_bytes())["prazo"] > 0


@needs_curl
@pytest.mark.slow
def test_the_script_sends_and_tells(tmp_path):
    folder = tmp_path / "fazenda"
    key = make_project(folder)
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(REQUEST))
    bad.write_text(json.dumps({**REQUEST, "prazo": "24"}))
    server = Server(folder, key, tmp_path / "errors.txt", "--no-flush")
    there = {"DATALAB_API_URL": f"http://127.0.0.1:{server.port}", "DATALAB_API_KEY": key}
    sent = run(good, **there)
    assert (sent.returncode, sent.stderr) == (0, "")
    for told in ('"id_proponente": "proponente_1"', "< HTTP 200", '"decisao": "REVISAO_MANUAL"', "rótulo de renda"):
        assert told in sent.stdout
    about = run("--model-info", **there)
    assert about.returncode == 0
    assert '"modelo": "credito"' in about.stdout
    refused = run(bad, **there)
    assert refused.returncode == 1
    assert "< HTTP 422" in refused.stdout
    assert run(good, **{**there, "DATALAB_API_KEY": "x"}).returncode == 1
    assert run(tmp_path / "absent.json", **there).returncode == 2
    assert run("--nothing", **there).returncode == 2
    assert run(good, DATALAB_API_URL=there["DATALAB_API_URL"]).returncode == 4
    assert server.stop() == 0
    gone = run(good, **there)
    assert gone.returncode == 3
    assert "datalab serve" in gone.stderr
