"""Declarations: what is wrong in models/*.yaml is told by file and key, before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import loans

from datalab.errors import InvalidModel
from datalab.ml.declaring import parse_model, read_models
from datalab.ml.estimators import make
from datalab.ml.expressions import parse_expression

AGRO = Path(__file__).resolve().parents[3] / "examples" / "agro" / "models" / "credito.yaml"

RULE = "name: x, rule: instalment_share, amount: valor_solicitado, term: prazo, income: renda_liquida_mes, above: 1"


def test_the_example_is_sound() -> None:
    model = read_models((AGRO,), AGRO.parent.parent)["credito"]
    assert model.file == "models/credito.yaml"
    assert model.optional == {
        "serasa_score", "ibama_autuacoes_ativas", "cultura_principal", "area_total_hectares", "anos_experiencia",
    }  # fmt: skip
    assert "tipo_pessoa" not in {part.own_column for part in model.inputs}
    assert make(model).get_params()["random_state"] == model.seed


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("training_set", "", "training_set is missing"),
        ("treshold", "1", "treshold is not known"),
        ("thresholds", "{approve_below: 0.5, deny_from: 0.2}", "approve_below ≤ deny_from"),
        ("thresholds", "{approve_below: 0.5}", "deny_from is missing"),
        ("split", "{holdout: 0.6, calibration: 0.4}", "leaves less than a tenth"),
        ("split", "{holdout: much}", "split.holdout is 'much'"),
        ("unsent", "1.5", "unsent is more than 1"),
        ("window", "a year", "not a span of time"),
        ("metric", "accuracy", "metric is 'accuracy', not one of f1, auc, ks"),
        ("calibration", "magic", "calibration is 'magic'"),
        ("derived", "{peso: valor_solicitado + valor}", "reads 'valor', which is no numeric input"),
        ("derived", "{peso: log(1)}", "reads no input"),
        ("derived", "{peso: __import__('os')}", "is not allowed"),
        ("derived", "{autuado: valor_solicitado * 2}", "has the name of an input"),
        ("inputs", "{a: {from: request.nada}}", "request field 'nada'"),
        ("inputs", "{a: {from: nada.x}}", "view 'nada'"),
        ("inputs", "{a: {from: nada}}", "not request.FIELD or VIEW.FEATURE"),
        ("inputs", "{Ah: {}}", "'Ah' is not a name"),
        ("inputs", "{uf: {kind: text}}", "kind is 'text'"),
        ("policy", f"[{{{RULE}, decision: NEGADO}}]", "reads 'prazo', which is no number"),
        ("policy", f"[{{{RULE}, decision: APROVADO}}]", "not one of REVISAO_MANUAL, NEGADO"),
        ("request", "[a]", "request is not a mapping"),
        ("request", "{uf: {type: text}}", "request.uf.type is 'text'"),
        ("seed", "x", "seed is 'x', not of type int"),
    ],
)
def test_what_is_wrong_is_told_by_key(key: str, value: str, words: str) -> None:
    with pytest.raises(InvalidModel, match=r"models/emprestimos\.yaml: ") as caught:
        loans.declaration(**{key: value})
    assert words in caught.value.message
    assert caught.value.hint


def test_text_that_is_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match=r"m\.yaml: not YAML"):
        parse_model("a: [", "m.yaml")


def test_two_files_of_one_name(tmp_path: Path) -> None:
    files = (tmp_path / "a.yaml", tmp_path / "b.yaml")
    for path in files:
        path.write_text(f"name: credito\n{loans.DECLARED}", encoding="utf-8")
    with pytest.raises(InvalidModel, match=r"is in a\.yaml, too"):
        read_models(files, tmp_path)


@pytest.mark.parametrize("estimator", ["os.system", "sklearn.svm.SVC", "subprocess.Popen"])
def test_an_estimator_that_is_not_on_the_list_is_never_imported(estimator: str) -> None:
    with pytest.raises(InvalidModel, match="is not allowed"):
        make(loans.declaration(estimator=estimator))


def test_an_unknown_parameter() -> None:
    with pytest.raises(InvalidModel, match=r"params\.trees is not known to RandomForestClassifier"):
        make(loans.declaration(params="{trees: 3}"))


@pytest.mark.parametrize(
    "text",
    ["a.b", "a[0]", "a if b else c", "f(a)", "log(a, b)", "min(a)", "'a'", "True", "a ** 2", "lambda: 1", "a +", ""],
)
def test_expressions_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not allowed|not an expression"):
        parse_expression(text)


def test_expressions_know_what_they_read() -> None:
    assert parse_expression("log(a / (b * 12)) - min(c, -1.5)").names == {"a", "b", "c"}
