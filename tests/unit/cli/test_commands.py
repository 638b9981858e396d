"""The command line's frame: options, answers, errors and exit codes, as a person and a program meet them."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datalab import __version__, errors
from datalab.cli.app import execute
from datalab.cli.commands import COMMANDS
from datalab.cli.failures import exit_code, report

Run = Callable[..., Any]


def test_help_lists_every_command_with_its_line(datalab: Run) -> None:
    answer = datalab("--help")
    assert answer.code == 0
    for entry in COMMANDS:
        assert entry.name in answer.out
        assert entry.summary.split()[0] in answer.out
    assert datalab().out == answer.out


def test_version(datalab: Run) -> None:
    assert datalab("--version").out == f"datalab {__version__}\n"


def test_python_m_is_the_same_command() -> None:
    answer = subprocess.run([sys.executable, "-m", "datalab", "--version"], capture_output=True, text=True, check=True)
    assert answer.stdout == f"datalab {__version__}\n"


def test_an_unknown_command_or_option_is_a_usage_error_with_the_nearest(datalab: Run) -> None:
    answer = datalab("confg")
    assert answer.code == 2
    assert "Did you mean 'config'?" in answer.err
    assert datalab("config", "show", "--orign").code == 2
    assert datalab("config").code == 2


def test_options_stand_anywhere(datalab: Run, project: Path) -> None:
    expected = [{"key": "name", "value": "pedidos"}]
    assert datalab("config", "show", "name", "--json").json == expected
    assert datalab("--json", "config", "show", "name").json == expected
    assert datalab("config", "--json", "show", "name").json == expected


def test_a_project_is_named_or_found(datalab: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = project / "pipelines"
    inner.mkdir()
    monkeypatch.chdir(inner)
    assert datalab("config", "show", "name").code == 0
    missing = datalab("config", "show", "--project", inner)
    assert missing.code == 4
    assert "no datalab.yaml in" in missing.err
    assert "hint:  datalab init" in missing.err


def test_errors_are_words_for_people_and_json_for_programs(datalab: Run, project: Path) -> None:
    (project / "datalab.yaml").write_text("name: p\nlaek: {}\n", encoding="utf-8")
    people, program = datalab("config", "show"), datalab("config", "show", "--json")
    assert people.code == program.code == 3
    assert people.err == "error: 'laek' is not a setting (datalab.yaml:2)\nhint:  did you mean 'lake'?\n"
    assert people.out == program.out == ""
    assert json.loads(program.err) == {
        "error": {
            "type": "UnknownSetting",
            "message": "'laek' is not a setting (datalab.yaml:2)",
            "hint": "did you mean 'lake'?",
        }
    }


def test_a_traceback_is_shown_with_debug_only(datalab: Run, project: Path) -> None:
    (project / "datalab.yaml").write_text("laek: {}\n", encoding="utf-8")
    assert "Traceback" not in datalab("config", "show").err
    assert "Traceback" in datalab("config", "show", "--debug").err


def test_an_unexpected_error_is_one_line_and_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(ZeroDivisionError("division by zero"), as_json=False, debug=False) == 1
    text = capsys.readouterr().err
    assert text.startswith("error: ZeroDivisionError: division by zero\n")
    assert "--debug" in text


@pytest.mark.parametrize(
    ("error", "words", "hint"),
    [
        (
            OSError(errno.EROFS, "Read-only file system", "/p/.datalab"),
            "/p/.datalab: Read-only file system",
            "writable",
        ),
        (OSError(errno.ENOSPC, "No space left on device", "/p/x"), "/p/x: No space left on device", "free space"),
        (OSError(errno.ENOENT, "No such file or directory"), "No such file or directory", "current folder"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/p/x"), "/p/x: Not a directory", "--debug"),
    ],
)
def test_what_the_system_refuses_is_no_defect(
    error: OSError, words: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(error, as_json=False, debug=False) == 8
    told, advice = capsys.readouterr().err.splitlines()
    assert told == f"error: {words}"
    assert hint in advice


def test_a_folder_where_a_file_is_in_the_way(datalab: Run, project: Path) -> None:
    project.joinpath(".datalab").mkdir(exist_ok=True)
    project.joinpath(".datalab/keys").write_text("")
    answer = datalab("keys", "create", "app")
    assert (answer.code, "a defect" in answer.err) == (8, False)
    assert ".datalab/keys" in answer.err


def test_what_only_reads_the_models_makes_no_folder(datalab: Run, project: Path) -> None:
    assert datalab("model", "list").code == 0
    assert not project.joinpath(".datalab/mlflow").exists()


def test_messages_are_never_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    report(errors.ConfigError("a [bold]list[/bold] [x", "[red]hint[/red]"), as_json=False, debug=False)
    assert "a [bold]list[/bold] [x" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.InvalidName("x"), 2),
        (errors.SecretNotFound("x"), 3),
        (errors.MissingExtra("lake format 'delta'", "delta"), 3),
        (errors.TableNotFound("x"), 4),
        (errors.PipelineCycle("x"), 5),
        (errors.RunFailed("x"), 6),
        (errors.Fenced("x"), 7),
        (errors.CommitUnknown("x"), 8),
        (errors.OutOfMemory("x"), 8),
        (OSError(errno.EROFS, "Read-only file system", "/p"), 8),
        (ValueError("x"), 1),
    ],
)
def test_exit_codes(error: Exception, code: int) -> None:
    assert exit_code(error) == code


def test_config_show_answers_values_origins_and_meanings(datalab: Run, project: Path) -> None:
    rows = datalab("config", "show", "engine", "--origin", "--describe", "--json").json
    assert rows[1] == {
        "key": "engine.memory_limit",
        "value": "2GB",
        "origin": "default",
        "description": "Memory of the engine; what does not fit is spilled to disk.",
    }
    lines = datalab("config", "show", "--origin").out.splitlines()
    assert lines[0].split() == ["key", "value", "origin"]
    assert lines[1].split() == ["name", "pedidos", "datalab.yaml:1"]
    assert datalab("config", "show", "nothing").code == 3


def test_config_check_reads_every_environment(datalab: Run, project: Path) -> None:
    path = project / "datalab.yaml"
    assert datalab("config", "check").code == 0
    path.write_text("name: p\nenvironments: {stack: {engine: {threads: x}}}\n", encoding="utf-8")
    assert datalab("config", "show").code == 0
    assert datalab("config", "check").code == 3
    path.write_text("name: p\nenvironments: {stack: {lake: {catalog: {password: s3cr3t}}}}\n", encoding="utf-8")
    answer = datalab("config", "check", "--json")
    assert answer.code == 1
    assert answer.json["plain_credentials"] == [
        {"environment": "stack", "key": "lake.catalog.password", "origin": "environments.stack (datalab.yaml:2)"}
    ]
    assert "s3cr3t" not in answer.out + datalab("config", "show", "--env", "stack").out


def test_init_makes_a_project_that_the_next_command_finds(datalab: Run, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    answer = datalab("init", folder, "--template", "agro")
    assert answer.code == 0
    assert "cd " in answer.err
    assert datalab("config", "show", "name", "--project", folder, "--json").json == [{"key": "name", "value": "agro"}]
    again = datalab("init", folder)
    assert again.code == 3
    assert "is not empty" in again.err
    assert datalab("init", tmp_path / "y", "--template", "agr").code == 3


def test_a_reader_that_goes_away_ends_the_command_quietly(project: Path) -> None:
    script = "import sys; from datalab.cli.app import main; sys.argv = ['datalab', 'config', 'show']; main()"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 128 + signal.SIGPIPE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_without_a_traceback(number: signal.Signals, project: Path) -> None:
    script = f"""
import os, signal
from datalab.cli import app, config
config.configuration_of = lambda ctx: os.kill(os.getpid(), {int(number)}) or signal.pause()
import sys; sys.argv = ['datalab', 'config', 'show']; app.main()
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert answer.returncode == 128 + number
    assert "Traceback" not in answer.stderr


def test_completion_knows_commands_and_options() -> None:
    words = {"_DATALAB_COMPLETE": "complete_bash", "COMP_WORDS": "datalab config sh", "COMP_CWORD": "2"}
    command = [sys.executable, "-m", "datalab"]
    answer = subprocess.run(command, env={**os.environ, **words}, capture_output=True, text=True, check=False)
    assert answer.stdout.split() == ["show"]


def test_execute_answers_the_code_and_raises_nothing(project: Path) -> None:
    assert execute(["config", "show", "name", "--quiet"]) == 0
