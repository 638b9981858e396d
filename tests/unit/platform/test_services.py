"""Servers run from their descriptions: a small web server of Python stands in for the large ones."""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from tests.conftest import Answer
from tests.ports import free_port

from datalab.errors import ConfigError, ServiceError
from datalab.platform.services.control import Control
from datalab.platform.services.describe import filled, find_service, known_services, read_service
from datalab.platform.services.fetch import files_folder, require_programs
from datalab.platform.services.processes import birth, last_lines, present

WEB = {
    "title": "a web server",
    "run": [sys.executable, "-u", "-m", "http.server", "@port.http@", "--bind", "127.0.0.1", "--directory", "@state@"],
    "ports": {"http": 0},
    "secrets": {"password": "password", "id": "cluster id"},
    "files": {"hello.txt": "at @port.http@, @secret.password@"},
    "environment": {"PASSWORD": "@secret.password@"},
    "health": {"http": "http://127.0.0.1:@port.http@/hello.txt", "tcp": "127.0.0.1:@port.http@"},
    "addresses": {"url": "http://127.0.0.1:@port.http@/"},
    "start_seconds": 20,
    "stop_seconds": 5,
}


def control(folder: Path, **changes: object) -> Control:
    description = folder / "web.yaml"
    description.write_text(yaml.safe_dump({**WEB, **changes}), encoding="utf-8")
    environ = {**os.environ, "DATALAB_CACHE": str(folder / "cache")}
    return Control(read_service(description), folder, {"http": free_port()}, environ)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Control]:
    made = control(tmp_path)
    yield made
    made.stop()


def test_a_server_is_started_once_answers_and_is_ended_by_its_own_id(web: Control) -> None:
    first = web.start()
    again = web.start()
    assert first.running
    assert first.problem == ""
    assert again.pid == first.pid
    assert os.getsid(first.pid or 0) == first.pid  # a session of its own: it outlives the command
    assert web.stop()
    assert not web.status().running
    assert not web.stop()


def test_a_restart_keeps_what_was_generated(web: Control) -> None:
    web.start()
    before = (web.folder / "secrets.json").read_text()
    web.stop()
    web.start()
    assert (web.folder / "secrets.json").read_text() == before
    private = [web.folder / name for name in ("secrets.json", "hello.txt", "service.log", "process.json")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    assert stat.S_IMODE(web.folder.stat().st_mode) == 0o700


def test_a_process_that_got_the_old_ones_id_is_left_alone(web: Control, tmp_path: Path) -> None:
    web.start()
    state = web.folder / "process.json"
    told = state.read_text()
    web.stop()
    stranger = os.getpid()
    state.write_text(told.replace(told.split('"pid": ')[1].split(",")[0], str(stranger)))
    assert not web.status().running
    assert not web.stop()
    assert birth(stranger)


def test_a_killed_server_is_seen_and_started_again(web: Control) -> None:
    pid = web.start().pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while web.status().running and time.monotonic() < deadline:
        time.sleep(0.02)
    found = web.status()
    assert (found.problem, found.lost) == ("ended by itself", True)
    assert web.start().pid != pid
    web.stop()
    found = web.status()
    assert (found.problem, found.lost) == ("not running", False)


def test_a_server_that_ended_by_itself_is_missed_until_it_is_stopped(
    tmp_path: Path, datalab: Callable[..., Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datalab.yaml").write_text("name: p\n", encoding="utf-8")
    gone = control(tmp_path, run=["sleep", "60"], health={})
    gone.start()
    real = tmp_path / ".datalab" / "services" / "kafka"
    gone.folder.rename(real)
    process = present(real)
    assert process is not None
    assert datalab("services", "list", "--json").json[0]["pid"] == process.pid
    os.kill(process.pid, signal.SIGKILL)
    while process.alive():
        time.sleep(0.02)
    assert [each["state"] for each in datalab("services", "list", "--json").json] == ["ended", "stopped"]
    asked = datalab("services", "health", "--json")
    assert (asked.code, asked.json) == (1, [{"service": "kafka", "healthy": False, "problem": "ended by itself"}])
    assert datalab("services", "stop").code == 0
    assert datalab("services", "health").code == 0


def test_a_server_that_ends_while_it_starts_shows_its_last_words(tmp_path: Path) -> None:
    broken = control(tmp_path, run=[sys.executable, "-c", "raise SystemExit('no such data folder')"])
    with pytest.raises(ServiceError, match="no such data folder") as caught:
        broken.start()
    assert caught.value.hint == "datalab services logs web"
    assert last_lines(broken.folder, 1) == ["no such data folder"]


def test_a_server_whose_start_is_broken_off_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    silent = control(tmp_path, run=[sys.executable, "-c", "import time; time.sleep(60)"])

    def interrupted(checks: object) -> str:
        assert present(silent.folder)
        raise KeyboardInterrupt

    monkeypatch.setattr("datalab.platform.services.control.unwell", interrupted)
    with pytest.raises(KeyboardInterrupt):
        silent.start()
    assert present(silent.folder) is None


def test_a_server_that_never_answers_is_ended(tmp_path: Path) -> None:
    silent = control(tmp_path, run=[sys.executable, "-c", "import time; time.sleep(60)"], start_seconds=1)
    with pytest.raises(ServiceError, match="did not come up"):
        silent.start()
    assert not silent.status().running


def test_a_taken_port_is_named_before_anything_starts(web: Control) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", web.ports["http"]))
        other.listen()
        with pytest.raises(ServiceError, match=r"port \d+ \(http\) is taken") as caught:
            web.start()
    assert "services: {web: {ports: {http: …}}}" in caught.value.hint


def test_missing_programs_are_named_with_their_packages(tmp_path: Path) -> None:
    wanting = control(tmp_path, programs={"no-such-program": "its-package"})
    with pytest.raises(ServiceError, match="needs no-such-program") as caught:
        require_programs(wanting.service)
    assert caught.value.hint == "apt-get install its-package"


def test_a_preparation_that_fails_says_why(tmp_path: Path) -> None:
    prepare = {"unless": "data/ready", "run": [sys.executable, "-c", "raise SystemExit('disk is read-only')"]}
    with pytest.raises(ServiceError, match="disk is read-only"):
        control(tmp_path, prepare=prepare).start()


def test_descriptions_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text("title: odd\nrun: [true]\nport: 1\n")
    with pytest.raises(ConfigError, match="'port' means nothing here"):
        read_service(path)
    with pytest.raises(ConfigError, match=r"@port\.htp@ has no value"):
        filled("@port.htp@", {"port.http": "1"})
    with pytest.raises(ConfigError, match="no service 'kafak'") as caught:
        find_service("kafak")
    assert caught.value.hint == "did you mean kafka?"


def test_every_word_of_the_shipped_descriptions_has_a_value(tmp_path: Path) -> None:
    assert {"kafka", "registry"} <= set(known_services())
    for service in known_services().values():
        words = {"state", "files", *(f"port.{p}" for p in service.ports), *(f"secret.{s}" for s in service.secrets)}
        prepare = service.prepare.run if service.prepare else ()
        texts = [*service.run, *prepare, *service.files.values(), *service.environment.values()]
        for text in (*texts, *service.health.values(), *service.addresses.values()):
            filled(text, dict.fromkeys(words, "x"))
        assert "127.0.0.1" in " ".join((*service.run, *service.files.values()))
        assert files_folder(service, {"DATALAB_CACHE": str(tmp_path)}).is_relative_to(tmp_path)


def test_the_commands_say_what_there_is(datalab: Callable[..., Answer], project: Path) -> None:
    listed = datalab("services", "list", "--json")
    assert {row["service"]: row["state"] for row in listed.json} == {"kafka": "stopped", "registry": "stopped"}
    assert datalab("services", "health", "kafka").code == 1
    assert datalab("services", "health").code == 0
    assert datalab("services", "stop", "--json").json == []
    assert datalab("services", "start", "kafak").code == 3
    (project / "datalab.yaml").write_text("name: x\nservices: {kafka: {ports: {broker: 19092}}}\n")
    listed = datalab("services", "list", "--json")
    assert listed.json[0]["address"] == "127.0.0.1:19092"
