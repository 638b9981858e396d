"""Models that come and go while requests run: swapped whole, refused where bad, kept through restarts."""

from __future__ import annotations

import asyncio
import errno
import shutil
from dataclasses import replace

import pytest
from tests.unit.serving.models import FIELDS, REQUEST, Registry, package, probability
from tests.unit.serving.test_scoring import KNOWN

from datalab.errors import ModelRefused, ModelUnproven, RegistryUnavailable
from datalab.events import ModelLive, ModelMissing, ModelStale, ModelTurnedDown
from datalab.serving import keeper

BAD = {
    "signature": "signature",
    "unsigned": "cannot be read",
    "corrupt": "is not the file",
    "truncated": "is not the file",
    "missing": "cannot be read",
    "manifest": "signature",
    "not_onnx": "cannot be loaded",
    "nan": "no probabilities",
    "out_of_range": "no probabilities",
    "other_answer": "differ by",
    "other_output": "no output",
    "other_input": "no column of number",
    "fails_on_reference": "varied for reasons",
    "slow": "ms are allowed",
}
CHANGED = {
    "rule_unknown": ({"policy": [{"name": "x", "rule": "magic", "amount": "a", "term": "b", "income": "c", "above": 1,
                                  "decision": "NEGADO"}]}, "does not know"),
    "target_missing": ({"request": {"fields": [{"name": "x"}, *FIELDS]}}, "cannot be used"),
    "score_broken": ({"score": {"from": "a"}}, "cannot be read"),
    "rule_broken": ({"policy": [{"name": "x"}]}, "cannot be read"),
    "rule_of_nothing": ({"policy": [{"name": "x", "rule": "instalment_share", "amount": "uf", "term": "prazo",
                                     "income": "renda_liquida_mes", "above": 1, "decision": "NEGADO"}]}, "no numeric"),
    "needs_more": ({"request": {"fields": [*FIELDS, {"name": "canal", "type": "string"}]}}, "it needs the field canal"),
    "knows_less": ({"request": {"fields": [*FIELDS[:-1], {**FIELDS[-1], "maxLength": 3}]}}, "lower upper bound"),
    "bad_field": ({"request": {"fields": [*FIELDS, {"name": "y", "type": "string", "pattern": "(", "optional": True}]}},
                  "cannot be used"),
}  # fmt: skip


def info(served):
    async def get():
        async with served.client("read") as client:
            metrics = (await client.get("/metrics")).text
            return (await client.get("/v1/model-info")).json(), metrics

    return asyncio.run(get())


@pytest.mark.parametrize("defect", [*BAD, *CHANGED])
def test_a_bad_champion_does_not_go_live(served, defect):
    changes, words = CHANGED.get(defect, ({}, BAD.get(defect, "")))
    folder = package(served.state, 2, defect=defect if defect in BAD else "", **changes)
    served.registry.champion(2, folder)
    for _ in range(3):
        served.parts.keeper.refresh()
    refused = [event for event in served.events if isinstance(event, ModelTurnedDown)]
    assert len(refused) == 1, "once, not at every poll"
    assert words in refused[0].reason
    assert asyncio.run(served.score())["modelo"] == {"nome": "credito", "versao": 1, "desatualizado": True}
    about, metrics = info(served)
    assert about["versao"] == 1
    assert about["recusado"]["versao"] == 2
    assert words in about["recusado"]["motivo"]
    assert "datalab_model_refused_total 1\n" in metrics
    served.registry.champion(3, package(served.state, 3, bias=-2.0))
    served.parts.keeper.refresh()
    about, metrics = info(served)
    assert (about["versao"], about["recusado"], about["desatualizado"]) == (3, None, False)
    assert "datalab_model_version 3\n" in metrics


def test_a_champion_whose_package_was_mended_goes_live(served):
    folder = package(served.state, 2, defect="corrupt")
    served.registry.champion(2, folder)
    served.parts.keeper.refresh()
    assert info(served)[0]["recusado"]["versao"] == 2
    shutil.rmtree(folder)
    package(served.state, 2)
    served.parts.keeper.refresh()
    about = info(served)[0]
    assert (about["versao"], about["recusado"], about["desatualizado"]) == (2, None, False)


def broken_disk(monkeypatch, served):
    def read(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(keeper, "read_package", read)
    return monkeypatch.undo


def busy_machine(monkeypatch, served):
    demands = served.parts.keeper._demands
    served.parts.keeper._demands = replace(demands, latency_ms=1e-6)
    return lambda: setattr(served.parts.keeper, "_demands", demands)


@pytest.mark.parametrize(("trouble", "words"), [(broken_disk, "OSError"), (busy_machine, "ms are allowed")])
def test_a_champion_refused_for_what_passes_is_tried_again_ever_later(served, monkeypatch, trouble, words):
    now, tried = [0.0], []
    served.parts.keeper._clock = lambda: now[0]
    over = trouble(monkeypatch, served)
    whole = served.parts.keeper._try
    served.parts.keeper._try = lambda *given, **named: (tried.append(now[0]), whole(*given, **named))
    served.registry.champion(2, package(served.state, 2))
    for second in range(40):
        now[0] = float(second)
        served.parts.keeper.refresh()
    assert tried == [0, 2, 6, 14, 30], "after 2, 4, 8, 16 seconds"
    about, metrics = info(served)
    assert words in about["recusado"]["motivo"]
    assert (about["versao"], len(about["recusas"])) == (1, 1)
    assert "datalab_model_refused_total 1\n" in metrics
    over()
    now[0] = 62.0
    served.parts.keeper.refresh()
    about = info(served)[0]
    assert (about["versao"], about["recusado"], about["desatualizado"]) == (2, None, False)
    assert len([event for event in served.events if isinstance(event, ModelTurnedDown)]) == 1


def test_what_passes_may_give_way_to_what_stays(served, monkeypatch):
    now = [0.0]
    served.parts.keeper._clock = lambda: now[0]
    over = broken_disk(monkeypatch, served)
    served.registry.champion(2, package(served.state, 2, defect="nan"))
    served.parts.keeper.refresh()
    over()
    for second in (3.0, 1e6, 2e6):
        now[0] = second
        served.parts.keeper.refresh()
    refused = [event.reason for event in served.events if isinstance(event, ModelTurnedDown)]
    assert len(refused) == 2
    assert "no probabilities" in refused[1]
    assert "datalab_model_refused_total 1\n" in info(served)[1]


def test_a_server_that_was_too_busy_at_its_start_takes_the_model_later(serve, monkeypatch):
    """The kept copy, too: no model is live until one of them is quick enough."""
    now = [0.0]
    serve()
    with monkeypatch.context() as busy:
        busy.setattr("datalab.serving.verification._require_speed", too_busy)
        served = serve()
        served.parts.keeper._clock = lambda: now[0]
        for _ in range(3):
            served.parts.keeper.refresh()
        assert served.parts.keeper.live is None
        assert [each.version for each in served.parts.keeper.refusals] == [0, 1]
    served.parts.keeper.refresh()
    assert served.parts.keeper.live.version == 1


def too_busy(model, latency_ms):
    raise ModelUnproven("busy", "")


def test_a_package_of_another_version_does_not_go_live(served):
    served.registry.champion(2, package(served.state, 3))
    served.parts.keeper.refresh()
    assert "the package of credito 2 is that of credito 3" in info(served)[0]["recusado"]["motivo"]


def test_a_form_that_callers_do_not_know_is_taken_at_a_restart(served, serve):
    fields = [*FIELDS, {"name": "canal", "type": "string"}]
    served.registry.champion(2, package(served.state, 2, request={"fields": fields}))
    assert serve().parts.keeper.live.version == 2


@pytest.mark.slow
@pytest.mark.parametrize("swaps", [20, pytest.param(200, marks=pytest.mark.full)])
def test_swaps_under_load_fail_nothing_and_mix_nothing(serve, swaps):
    """Each version has its own bias, so an answer says by itself which version gave it."""
    served = serve(deadline_ms=10_000)  # a look-up that is late on a busy machine would change the answer
    versions = range(2, swaps + 2)
    expected = {version: probability(KNOWN, -1.0 - version / 100) for version in versions}
    expected[1] = probability(KNOWN)
    folders = {version: package(served.state, version, -1.0 - version / 100) for version in versions}

    async def client_work(answers, done):
        async with served.client() as client:
            while not done.is_set():
                answers.append(await client.post("/v1/credit-score", json=REQUEST))
                batch = await client.post("/v1/credit-score/batch", json={"propostas": [REQUEST] * 7})
                assert batch.status_code == 200
                assert len({row["modelo"]["versao"] for row in batch.json()["resultados"]}) == 1
                answers.append(batch)

    async def promote_all():
        answers, done = [], asyncio.Event()
        clients = [asyncio.create_task(client_work(answers, done)) for _ in range(4)]
        for version, folder in folders.items():
            served.registry.champion(version, folder)
            await asyncio.to_thread(served.parts.keeper.refresh)
            await asyncio.sleep(0.01)
        done.set()
        await asyncio.gather(*clients)
        return answers

    answers = asyncio.run(promote_all())
    assert {answer.status_code for answer in answers} == {200}
    rows = [row for answer in answers for row in answer.json().get("resultados", [answer.json()])]
    seen = {row["modelo"]["versao"] for row in rows}
    for row in rows:
        known = expected[row["modelo"]["versao"]]
        assert row["probabilidade_inadimplencia"] == pytest.approx(known, abs=1e-6)
    assert len(seen) >= 0.75 * swaps
    assert [event.version for event in served.events if isinstance(event, ModelLive)] == [1, *versions]


def test_without_the_alias_the_last_good_model_serves_and_says_so(served, serve):
    served.registry.champion(2, package(served.state, 2, bias=-2.0))
    served.parts.keeper.refresh()
    served.registry.champion(None)
    again = serve()
    answer = asyncio.run(again.score())
    assert answer["modelo"] == {"nome": "credito", "versao": 2, "desatualizado": True}
    assert answer["probabilidade_inadimplencia"] == pytest.approx(probability(KNOWN, -2.0), abs=1e-6)
    about, metrics = info(again)
    assert about["motivo"] == "the registry names no champion"
    assert "datalab_model_stale 1\n" in metrics
    assert any(isinstance(event, ModelStale) for event in again.events)


def test_the_last_good_model_outlives_the_registry_and_its_artifacts(served, serve):
    shutil.rmtree(served.state / "mlflow")
    assert asyncio.run(serve().score())["modelo"]["versao"] == 1


def test_a_damaged_copy_is_not_served(served, serve):
    served.registry.champion(None)
    (kept,) = [path for path in (served.state / "serving" / "models").iterdir() if path.is_dir()]
    damaged = bytearray((kept / "model.onnx").read_bytes())
    damaged[100] ^= 1
    (kept / "model.onnx").write_bytes(damaged)
    again = serve()
    assert again.parts.keeper.live is None

    async def ask():
        async with again.client() as client:
            return (
                await client.post("/v1/credit-score", json=REQUEST),
                await client.get("/ready"),
                await client.get("/health"),
            )

    score, ready, health = asyncio.run(ask())
    assert (score.status_code, ready.status_code, health.status_code) == (503, 503, 200)
    assert score.json()["type"] == "/docs#no_model"


def asked(served, *paths):
    async def ask():
        async with served.client("admin") as client:
            score = await client.post("/v1/credit-score", json=REQUEST)
            return [score, *[await client.get(path) for path in paths]]

    return asyncio.run(ask())


def test_before_the_first_training_the_server_runs_and_says_why_it_is_not_ready(serving_project, serve):
    shutil.rmtree(serving_project / ".datalab")
    served = serve()
    score, ready, health, info = asked(served, "/ready", "/health", "/v1/model-info")
    assert (score.status_code, ready.status_code, health.status_code) == (503, 503, 200)
    why = "the registry names no champion"
    for problem in (score.json(), ready.json()):
        assert (problem["type"], problem["detail"]) == ("/docs#no_model", f"{why}: datalab model train credito")
    assert (info.json()["modelo"], info.json()["versao"], info.json()["motivo"]) == ("credito", None, why)
    served.parts.keeper.refresh()
    assert [event.reason for event in served.events if isinstance(event, ModelMissing)] == [why]
    Registry(served.state).champion(1, package(served.state, 1))
    served.parts.keeper.refresh()
    score, ready = asked(served, "/ready")
    assert (score.status_code, ready.json()["versao"]) == (200, 1)


def test_a_key_that_is_gone_is_not_made_anew_where_packages_were_signed_with_it(serving_project, serve):
    (serving_project / ".datalab" / "keys" / "signing.key").unlink()
    with pytest.raises(ModelRefused, match="signing key"):
        serve()


@pytest.mark.parametrize("error", [RegistryUnavailable("it is down", "wait"), ValueError("no JSON")])
def test_a_registry_that_fails_changes_nothing(served, monkeypatch, error):
    def fails(_):
        raise error

    monkeypatch.setattr(served.parts.keeper._registry, "champion", fails)
    served.parts.keeper.refresh()
    assert asyncio.run(served.score())["modelo"] == {"nome": "credito", "versao": 1, "desatualizado": True}
    monkeypatch.undo()
    served.parts.keeper.refresh()
    assert asyncio.run(served.score())["modelo"]["desatualizado"] is False


def test_a_rollback_is_taken_like_a_promotion(served):
    first = served.state / "mlflow" / "artifacts" / "credito-1"
    served.registry.champion(2, package(served.state, 2, bias=-2.0))
    served.parts.keeper.refresh()
    served.registry.champion(1, first)
    served.parts.keeper.refresh()
    assert asyncio.run(served.score())["modelo"]["versao"] == 1
