"""A process parses pipeline files of the same text once; whatever may have changed is read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from datalab.errors import PipelineError
from datalab.names import TableName
from datalab.pipelines.graph import Graph
from datalab.platform.graphs import wire_graph
from datalab.platform.settings import load

KNOWN = {TableName("bronze", "a")}
VIEW = "CREATE MATERIALIZED VIEW gold.x AS SELECT k, count(*) AS n FROM bronze.a GROUP BY k"
COUNTED = """
from pathlib import Path

from datalab import pipelines as dp

times = Path({path!r})
times.write_text(times.read_text() + "x")


@dp.materialized_view(name="gold.y")
def y():
    return "SELECT count(*) AS n" + str(len(times.read_text())) + " FROM bronze.a"
"""


def graph(folder: Path, known: set[TableName] = KNOWN) -> Graph:
    return wire_graph(load(folder, environ={}), known)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "datalab.yaml").write_text("name: graphs\n")
    (tmp_path / "pipelines" / "x.sql").write_text(VIEW)
    return tmp_path


def test_the_same_text_is_parsed_once(project: Path) -> None:
    assert graph(project) is graph(project)


def test_another_text_another_name_or_other_tables_are_another_graph(project: Path) -> None:
    first, file = graph(project), project / "pipelines" / "x.sql"
    assert graph(project, {*KNOWN, TableName("bronze", "b")}) is not first
    file.write_text(VIEW.replace("count(*)", "max(k)"))
    assert [node.code for node in graph(project).flows] != [node.code for node in first.flows]
    file.write_text(VIEW)
    file.rename(project / "pipelines" / "z.sql")
    assert graph(project).flows[0].flow.origin.file == "pipelines/z.sql"
    with pytest.raises(PipelineError):
        graph(project, set())


def test_python_files_are_run_each_time(project: Path) -> None:
    times = project / "times"
    times.write_text("")
    (project / "pipelines" / "y.py").write_text(COUNTED.format(path=str(times)))
    first, second = graph(project), graph(project)
    assert times.read_text() == "xx"
    assert [node.code for node in first.flows] != [node.code for node in second.flows]
