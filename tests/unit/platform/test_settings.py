"""Settings: layers, origins, errors that name the place, secrets that never show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalab.errors import ConfigError, InvalidSetting, ProjectNotFound, SecretNotFound, UnknownSetting
from datalab.lake.table import PartitionField
from datalab.names import TableName
from datalab.platform.project import create_project, find_project, open_project, templates
from datalab.platform.secrets import SecretRef, resolve
from datalab.platform.settings import Configuration, described, flattened, load, plain_credentials
from datalab.platform.settings_fields import documented
from datalab.platform.settings_layers import Branch, from_value, merge
from datalab.platform.settings_schema import Size

AGRO = """\
name: agro
lake: {format: iceberg, warehouse: lake}
engine:
  threads: 4
sources:
  dados_produtores:
    into: bronze.dados_produtores_agro
    contract: contracts/dados_produtores.avsc
    files: landing/dados_produtores/*.avro
    partition_by: [months(ingestion_timestamp), tipo_pessoa]
environments:
  local: {}
  stack:
    lake:
      warehouse: s3://lake/warehouse
      catalog: {uri: secret:env/CATALOG_URI}
"""


def read(folder: Path, text: str, **options: Any) -> Configuration:
    (folder / "datalab.yaml").write_text(text, encoding="utf-8")
    return load(folder, **options)


def test_a_project_is_read_into_typed_values(tmp_path: Path) -> None:
    settings = read(tmp_path, AGRO).settings
    source = settings.sources["dados_produtores"]
    assert settings.name == "agro"
    assert settings.lake.warehouse == str(tmp_path / "lake")
    assert settings.engine.threads == 4
    assert source.into == TableName("bronze", "dados_produtores_agro")
    assert source.contract == tmp_path / "contracts" / "dados_produtores.avsc"
    assert source.partition_by == (PartitionField("ingestion_timestamp", "months"), PartitionField("tipo_pessoa"))
    assert settings.environments == ("local", "stack")


def test_later_layers_win_and_every_value_knows_its_origin(tmp_path: Path) -> None:
    variables = {"DATALAB__ENGINE__THREADS": "2", "DATALAB__RUN__PARALLEL": "1", "PATH": "ignored"}
    given_values = {"run": {"parallel": 5}}
    found = read(tmp_path, AGRO, environment="stack", environ=variables, overrides=given_values)
    assert found.settings.lake.warehouse == "s3://lake/warehouse"
    assert found.settings.lake.format == "iceberg"
    assert found.settings.engine.threads == 2
    assert found.settings.run.parallel == 5
    assert found.origins["name"] == "datalab.yaml:1"
    assert found.origins["lake.format"] == "datalab.yaml:2"
    assert found.origins["lake.warehouse"] == "environments.stack (datalab.yaml:15)"
    assert found.origins["engine.threads"] == "variable DATALAB__ENGINE__THREADS"
    assert found.origins["run.parallel"] == "override"
    assert found.origins["run.retries"] == "default"


def test_the_environment_comes_from_a_variable_unless_it_is_given(tmp_path: Path) -> None:
    variables = {"DATALAB_ENV": "stack"}
    assert read(tmp_path, AGRO, environ=variables).environment == "stack"
    assert load(tmp_path, environment="local", environ=variables).settings.lake.warehouse == str(tmp_path / "lake")
    assert load(tmp_path).environment is None


def test_an_empty_section_and_a_false_value_are_not_confused(tmp_path: Path) -> None:
    found = read(tmp_path, "name: p\nlake:\nsources:\nrun: {retries: 0}\n", environ={"DATALAB__LAKE": ""})
    assert found.settings.lake.format == "iceberg"
    assert found.settings.sources == {}
    assert found.settings.run.retries == 0


def test_variables_hold_yaml_and_merge_key_by_key(tmp_path: Path) -> None:
    variables = {
        "DATALAB__LAKE__CATALOG": "{uri: 'sqlite:///c.db', s3.region: us-east-1}",
        "DATALAB__PIPELINES": "[a.sql, b.sql]",
        "DATALAB__SOURCES__PEDIDOS__FILES": "other/*.csv",
        "DATALAB__SOURCES__PEDIDOS__COMMENT": "2026",
    }
    text = "name: p\nsources: {pedidos: {into: bronze.pedidos, contract: p.avsc, files: landing/*.csv}}\n"
    settings = read(tmp_path, text, environ=variables).settings
    assert settings.lake.catalog == {"uri": "sqlite:///c.db", "s3.region": "us-east-1"}
    assert settings.pipelines == ("a.sql", "b.sql")
    assert settings.sources["pedidos"].files == "other/*.csv"
    assert settings.sources["pedidos"].comment == "2026"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("name: p\nlake: {fromat: delta}\n", "'lake.fromat' is not a setting (datalab.yaml:2)", "'lake.format'"),
        ("name: p\nlaek: {}\n", "'laek' is not a setting (datalab.yaml:2)", "did you mean 'lake'?"),
        (
            "name: p\nenvironments:\n  stack:\n    engine: {treads: 1}\n",
            "'engine.treads' is not a setting (environments.stack (datalab.yaml:4))",
            "'engine.threads'",
        ),
        (
            "name: p\nsources: {x: {file: a}}\n",
            "'sources.x.file' is not a setting (datalab.yaml:2)",
            "'sources.x.files'",
        ),
    ],
)
def test_an_unknown_key_names_the_place_and_the_nearest(tmp_path: Path, text: str, message: str, hint: str) -> None:
    with pytest.raises(UnknownSetting) as raised:
        read(tmp_path, text)
    assert raised.value.message == message
    assert hint in raised.value.hint


def test_an_unknown_variable_is_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(UnknownSetting, match=r"'lake.kind' is not a setting \(variable DATALAB__LAKE__KIND\)"):
        read(tmp_path, "name: p\n", environ={"DATALAB__LAKE__KIND": "x"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("lake: {}\n", "name is missing (datalab.yaml:1)"),
        ("", "name is missing (datalab.yaml)"),
        ("name: [p]\n", "name is ['p'], not a name (datalab.yaml:1)"),
        ("name: Meu Projeto\n", "name: 'Meu Projeto' is not a name (datalab.yaml:1)"),
        ("name: p\nlake: delta\n", "lake is 'delta', not a mapping (datalab.yaml:2)"),
        ("name: p\nlake: {format: parquet}\n", "lake.format is 'parquet', not one of iceberg, delta (datalab.yaml:2)"),
        ("name: p\nengine: {threads: four}\n", "engine.threads is 'four', not a whole number or nothing"),
        ("name: p\nengine: {threads: true}\n", "engine.threads is True, not a whole number or nothing"),
        ("name: p\nengine: {threads: 0}\n", "engine.threads is 0, not at least 1 (datalab.yaml:2)"),
        ("name: p\nserving: {port: 70000}\n", "serving.port is 70000, not at most 65535 (datalab.yaml:2)"),
        ("name: p\nengine: {memory_limit: lots}\n", "engine.memory_limit: 'lots' is not a size (datalab.yaml:2)"),
        ("name: p\npipelines: a.sql\n", "pipelines is 'a.sql', not a list, each text (datalab.yaml:2)"),
        ("name: p\nname: q\n", "datalab.yaml:2: 'name' stands in line 1 already"),
        ("name: p\nlake:\n  catalog: {uri: a, uri: b}\n", "datalab.yaml:3: 'uri' stands in line 3 already"),
        ("name: p\nenvironments: [a]\n", "environments is not a mapping (datalab.yaml:2)"),
        ("name: p\nenvironments: {a: 1}\n", "environments.a is not a mapping of settings (datalab.yaml:2)"),
        ("name: p\nenvironments: {a: {environments: {}}}\n", "environments.a holds environments (datalab.yaml:2)"),
        ("name: p\nlake: {catalog: {uri: 'secret:vault/x'}}\n", "lake.catalog.uri: 'secret:vault/x' is not a secret"),
        (
            "name: p\nsources: {x: {into: pedidos, contract: c, files: f}}\n",
            "sources.x.into: 'pedidos' is not a table name (datalab.yaml:2)",
        ),
        ("name: p\nsources: {Pedidos: {into: b.p, contract: c, files: f}}\n", "sources.Pedidos: 'Pedidos' is not a"),
    ],
)
def test_a_wrong_value_names_key_value_expectation_and_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidSetting) as raised:
        read(tmp_path, text)
    assert raised.value.message.startswith(message)
    assert raised.value.hint


@pytest.mark.parametrize(
    ("text", "place"),
    [("name: {p\n", "datalab.yaml:2:1"), ("a: b: c\n", "datalab.yaml:1:5"), ("- a\n", "datalab.yaml is not a mapping")],
)
def test_broken_yaml_names_line_and_column(tmp_path: Path, text: str, place: str) -> None:
    with pytest.raises(ConfigError) as raised:
        read(tmp_path, text)
    assert raised.value.message.startswith(place)


def test_a_file_that_is_no_text_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "datalab.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigError, match=r"datalab.yaml cannot be read"):
        load(tmp_path)


def test_an_unknown_environment_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownSetting) as raised:
        read(tmp_path, AGRO, environment="stak")
    assert raised.value.message == "no environment 'stak' in datalab.yaml"
    assert raised.value.hint == "did you mean 'stack'?"


def test_secrets_stay_references_until_they_are_used(tmp_path: Path) -> None:
    found = read(tmp_path, AGRO, environment="stack")
    reference = found.settings.lake.catalog["uri"]
    assert reference == SecretRef("env", "CATALOG_URI")
    assert flattened(found)["lake.catalog.uri"] == "secret:env/CATALOG_URI"
    assert resolve(found.settings.lake.catalog, tmp_path, {"CATALOG_URI": "s3cr3t"}) == {"uri": "s3cr3t"}
    with pytest.raises(SecretNotFound, match="CATALOG_URI is not set"):
        resolve(reference, tmp_path, {})


def test_a_secret_file_stands_in_the_project_or_anywhere(tmp_path: Path) -> None:
    folder = tmp_path / ".datalab" / "secrets"
    folder.mkdir(parents=True)
    (folder / "s3_key").write_text("abc\n", encoding="utf-8")
    absolute = SecretRef.parse(f"secret:file/{folder / 's3_key'}")
    assert resolve([SecretRef.parse("secret:file/s3_key"), absolute], tmp_path, {}) == ["abc", "abc"]
    with pytest.raises(SecretNotFound, match="cannot be read"):
        resolve(SecretRef("file", "other"), tmp_path, {})
    with pytest.raises(InvalidSetting):
        SecretRef.parse("secret:file/../../etc/passwd")


def test_a_credential_written_out_is_hidden_and_reported(tmp_path: Path) -> None:
    text = "name: p\nlake: {catalog: {uri: 'postgresql://ana:s3cr3t@db/lake', s3.secret-access-key: s3cr3t}}\n"
    found = read(tmp_path, text)
    assert "s3cr3t" not in str(flattened(found))
    assert "s3cr3t" not in repr(found.origins)
    assert set(plain_credentials(found)) == {"lake.catalog.uri", "lake.catalog.s3.secret-access-key"}


@pytest.mark.parametrize(
    ("text", "amount"), [("2GB", 2_000_000_000), ("1.5GiB", 1_610_612_736), ("512 KB", 512_000), ("7B", 7)]
)
def test_sizes(text: str, amount: int) -> None:
    assert Size.parse(text).bytes == amount
    assert str(Size.parse(text)) == text


def test_the_project_is_found_by_walking_up(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "datalab.yaml").write_text("name: p\n", encoding="utf-8")
    assert find_project(inner) == tmp_path.resolve()
    assert open_project(tmp_path / "datalab.yaml") == tmp_path.resolve()
    with pytest.raises(ProjectNotFound):
        open_project(inner)
    (tmp_path / "datalab.yaml").unlink()
    with pytest.raises(ProjectNotFound) as raised:
        find_project(inner)
    assert raised.value.hint == "datalab init NAME"


@pytest.mark.parametrize("name", ["agro", "minimal", "stocks"])
def test_every_template_becomes_a_project_whose_settings_hold(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "new"
    create_project(templates()[name], folder)
    for environment in (None, *load(folder).settings.environments):
        assert load(folder, environment).settings.sources
    with pytest.raises(ConfigError, match="is not empty"):
        create_project(templates()[name], folder)


def test_every_setting_of_a_project_has_a_description(tmp_path: Path) -> None:
    assert [key for key in read(tmp_path, AGRO, environment="stack").origins if not described(key)] == []
    assert len({item.key for item in documented()}) == len(list(documented()))


LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
TREES = st.recursive(LEAVES, lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3), max_leaves=8)
MAPPINGS = st.dictionaries(st.sampled_from("abc"), TREES, max_size=3)


def branch(value: Any) -> Branch:
    tree = from_value(value, "x")
    assert isinstance(tree, Branch)
    return tree


@given(MAPPINGS, MAPPINGS)
def test_merging_keeps_what_only_one_layer_says(lower: dict[str, Any], upper: dict[str, Any]) -> None:
    merged = merge(branch(lower), branch(upper))
    assert set(merged.items) == set(lower) | set(upper)
    assert merge(merged, branch(upper)) == merged
    for key in set(lower) - set(upper):
        assert merged.items[key] == from_value(lower[key], "x")
