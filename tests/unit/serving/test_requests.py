"""What a request may be: strict types, limits, problems that name the field and never the value."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.unit.serving.models import FIELDS, REQUEST

from datalab.serving.limits import Limits, Rate, too_deep
from datalab.serving.problems import Problem
from datalab.serving.request_form import RequestForm, narrower

JSON = {"content-type": "application/json"}


def send(served, content, headers=JSON, path="/v1/credit-score", role="score"):
    async def post():
        async with served.client(role) as client:
            return await client.post(path, content=content, headers=headers)

    return asyncio.run(post())


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"prazo": 24.5}, "prazo"),
        ({"prazo": "24"}, "prazo"),
        ({"prazo": True}, "prazo"),
        ({"prazo": 0}, "prazo"),
        ({"prazo": 361}, "prazo"),
        ({"uf": "XX"}, "uf"),
        ({"uf": None}, "uf"),
        ({"id_proponente": ""}, "id_proponente"),
        ({"id_proponente": "x" * 65}, "id_proponente"),
        ({"id_proponente": 7}, "id_proponente"),
        ({"renda_liquida_mes": "15000"}, "renda_liquida_mes"),
        ({"renda_liquida_mes": -1}, "renda_liquida_mes"),
        ({"renda_liquida_mes": [1]}, "renda_liquida_mes"),
        ({"valor_solicitado": 0}, "valor_solicitado"),
        ({"cultura_principal": 3}, "cultura_principal"),
        ({"desconhecido": 1}, "desconhecido"),
    ],
)
def test_a_wrong_field_is_refused_by_name(served, changes, field):
    answer = send(served, json.dumps({**REQUEST, **changes}))
    assert answer.status_code == 422
    document = answer.json()
    assert [error["field"] for error in document["errors"]] == [field]
    assert document["type"] == "/docs#invalid"
    rows = {"propostas": [REQUEST, {**REQUEST, **changes}]}
    batch = send(served, json.dumps(rows), path="/v1/credit-score/batch")
    assert batch.status_code == 422
    assert batch.json()["errors"][0]["field"] == f"propostas.1.{field}"


def test_a_missing_field_is_named_and_an_optional_one_may_be_null(served):
    assert send(served, b"{}").json()["errors"][0]["field"] == "id_proponente"
    assert send(served, json.dumps({**REQUEST, "cultura_principal": None})).status_code == 200


def test_a_whole_number_that_nothing_could_keep_is_refused():
    form = RequestForm([{"name": "n", "type": "integer"}], 1)
    assert form.read(b'{"n": -9223372036854775808}') == {"n": -(2**63)}
    for text in ("9223372036854775808", "1e30", "1" + "0" * 400):
        with pytest.raises(Problem):
            form.read(b'{"n": %s}' % text.encode())
    assert form.schema()["properties"]["n"] == {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}


def test_a_whole_number_may_be_written_with_a_point(served):
    assert send(served, json.dumps({**REQUEST, "prazo": 24.0})).status_code == 200
    assert send(served, json.dumps({**REQUEST, "prazo": 24.0000001})).status_code == 422


ONE, DOUBLE = json.dumps(REQUEST), json.dumps(REQUEST)[:-1] + ', "uf": "SP"}'


@pytest.mark.parametrize(
    ("content", "path", "fields"),
    [
        (DOUBLE, "/v1/credit-score", ["uf"]),
        (DOUBLE.replace('"uf": "SP"}', '"\\u0075f": "SP"}'), "/v1/credit-score", ["uf"]),
        (DOUBLE.replace('"proponente_1"', '"a:b\\":"'), "/v1/credit-score", ["uf"]),
        (f'{{"propostas": [{ONE}, {DOUBLE}]}}', "/v1/credit-score/batch", ["propostas.1.uf"]),
        (f'{{"propostas": [{ONE}], "propostas": [{ONE}]}}', "/v1/credit-score/batch", ["propostas"]),
    ],
)
def test_a_key_that_stands_twice_is_refused_by_name(served, content, path, fields):
    answer = send(served, content, path=path)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == fields


@pytest.mark.parametrize("text", ["a:b", '"uf":"SP"', "\\:", ":" * 30])
def test_colons_in_texts_are_no_keys(served, text):
    one = {**REQUEST, "id_proponente": text}
    assert send(served, json.dumps(one)).status_code == 200
    batch = json.dumps({"propostas": [one, REQUEST]})
    assert send(served, batch, path="/v1/credit-score/batch").status_code == 200


def test_a_number_that_no_model_could_hold_is_refused():
    largest = 3.4028234663852886e38
    form = RequestForm([{"name": "n", "type": "number"}, {"name": "p", "type": "number", "exclusiveMinimum": 0,
                                                          "maximum": 1e300, "optional": True}], 1)  # fmt: skip
    for text in (
        b'{"n": 3.4028234663852886e38}',
        b'{"n": -3.4028234663852886e38, "p": 3.4e38}',
        b'{"n": 1, "p": null}',
    ):
        assert form.read(text)
    for text in (b'{"n": 3.5e38}', b'{"n": -1e39}', b'{"n": 1e400}', b'{"n": 1, "p": 1e39}', b'{"n": 1, "p": 0}'):
        with pytest.raises(Problem):
            form.read(text)
    fields = form.schema()["properties"]
    assert fields["n"] == {"type": "number", "minimum": -largest, "maximum": largest}
    assert fields["p"]["maximum"] == largest


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"nil", b'{"uf": "\\ud800"}'])
def test_what_is_no_json_is_a_400(served, content):
    answer = send(served, content)
    assert answer.status_code == 400
    assert answer.json()["type"] == "/docs#not_json"


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999", b"-1e999", b"123456789012345678901234567890"])
def test_numbers_without_end_are_refused(served, number):
    body = json.dumps(REQUEST).encode().replace(b"15000", number)
    assert send(served, body).status_code in (400, 422)


def test_another_media_type_is_a_415(served):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        assert send(served, json.dumps(REQUEST), {"content-type": kind}).status_code == 415
    accepted = {"content-type": "Application/JSON; charset=utf-8"}
    assert send(served, json.dumps(REQUEST), accepted).status_code == 200


def test_a_large_body_is_a_413(serve):
    served = serve(body_size="1KiB", batch_size="2KiB")
    assert send(served, b" " * 1025).status_code == 413
    assert send(served, json.dumps(REQUEST).encode().ljust(1024)).status_code == 200
    assert send(served, b" " * 2049, path="/v1/credit-score/batch").status_code == 413

    async def parts():
        for _ in range(100):
            yield b" " * 100

    assert send(served, parts()).status_code == 413


def test_a_deep_body_is_a_400(served):
    for content in (b"[" * 5000, b'{"a":' * 9 + b"1" + b"}" * 9, b'{"a":[' * 20000):
        answer = send(served, content)
        assert (answer.status_code, answer.json()["type"]) in ((400, "/docs#too_deep"), (413, "/docs#too_large"))


def test_depth_counts_levels_outside_texts():
    assert not too_deep(b'{"a": "[[[[[[[[[["}', 2)
    assert not too_deep(b'{"a": "\\"[[[[[[[[[["}', 2)
    assert not too_deep(b"[[],[],[],[],[]]", 2)
    assert too_deep(b"[[[]]]", 2)
    assert too_deep(b'{"a": "x", "b": [[1]]}', 2)
    assert too_deep(b'["unfinished [[ text', 0)
    assert not too_deep(b'{"a": "\\\\", "b": "[[["}', 2)
    assert too_deep(b'{"a": "\\\\", "b": [[]]}', 2)
    assert too_deep(b'{"a": "\\"", "b": [[]]}', 2)


def test_an_empty_batch_and_a_long_one_are_refused(serve):
    served = serve(batch_rows=3)
    for count, status in ((0, 422), (3, 200), (4, 422)):
        content = json.dumps({"propostas": [REQUEST] * count})
        assert send(served, content, path="/v1/credit-score/batch").status_code == status


def test_the_rate_of_a_key_is_its_own(serve):
    served = serve(rate=1, burst=3)

    async def burst():
        async with served.client("score") as client:
            statuses = [(await client.post("/v1/credit-score", json=REQUEST)) for _ in range(5)]
        async with served.client("admin") as client:
            other = await client.post("/v1/credit-score", json=REQUEST)
        return statuses, other

    answers, other = asyncio.run(burst())
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert other.status_code == 200


def test_a_bucket_fills_with_time():
    now = [0.0]
    rate = Rate(2, 4, lambda: now[0])
    assert [rate.wait("a") for _ in range(4)] == [0.0] * 4
    assert rate.wait("a") == pytest.approx(0.5)
    now[0] = 0.5
    assert rate.wait("a") == 0.0
    assert rate.wait("a") > 0
    assert rate.wait("b") == 0.0


def test_limits_have_sane_defaults():
    assert Limits().body_bytes < Limits().batch_bytes


@pytest.mark.parametrize(
    ("field", "change", "problem"),
    [
        ("prazo", {"maximum": 12}, "its field prazo has a lower upper bound"),
        ("prazo", {"minimum": 6}, "its field prazo has a higher lower bound"),
        ("prazo", {"type": "number"}, "its field prazo is of type number"),
        ("uf", {"enum": ["SP"]}, "its field uf takes fewer values"),
        ("cultura_principal", {"optional": False}, "its field cultura_principal is required"),
        ("id_proponente", {"pattern": "^p"}, "its field id_proponente has another pattern"),
        ("prazo", {"maximum": 480}, ""),
        ("uf", {"enum": ["SP", "PR", "MT", "RS"]}, ""),
    ],
)
def test_a_narrower_form_is_seen(field, change, problem):
    changed = [{**each, **change} if each["name"] == field else each for each in FIELDS]
    assert narrower(FIELDS, changed) == problem


def test_a_field_that_is_gone_or_new_is_seen():
    assert narrower(FIELDS, FIELDS[1:]) == "it does not know the field id_proponente"
    added = {"name": "canal", "type": "string"}
    assert narrower(FIELDS, [*FIELDS, added]) == "it needs the field canal"
    assert narrower(FIELDS, [*FIELDS, {**added, "optional": True}]) == ""
    assert narrower(FIELDS, FIELDS) == ""


def test_the_example_of_a_form_is_taken_by_it():
    form = RequestForm(FIELDS, 10)
    assert form.read(json.dumps(form.example()).encode())
