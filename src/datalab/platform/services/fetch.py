"""Fetching what a server is made of: from a Maven repository, once for all projects of this user."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from datalab.errors import ServiceError
from datalab.platform.services.describe import Service

CACHE_VARIABLE = "DATALAB_CACHE"
_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>datalab</groupId><artifactId>{name}</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
{dependencies}
  </dependencies>
</project>
"""
_DEPENDENCY = "    <dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"
_TAIL = 15


def require_programs(service: Service) -> None:
    """ServiceError that names the packages of the programs that are not installed, or a Java that is too old."""
    missing = {program: package for program, package in service.programs.items() if shutil.which(program) is None}
    if missing:
        raise ServiceError(
            f"{service.name} needs {', '.join(missing)}, which this machine does not have",
            f"apt-get install {' '.join(sorted(set(missing.values())))}",
        )
    if service.java and (found := _java_version()) < service.java:
        package = service.programs.get("java", "a newer Java")
        raise ServiceError(f"{service.name} needs Java {service.java}, this is {found}", f"apt-get install {package}")


def fetched(service: Service, environ: Mapping[str, str]) -> Path:
    """The folder with the server's files, fetched first where they are not there. ServiceError."""
    folder = files_folder(service, environ)
    if folder.is_dir():
        return folder
    require_programs(service)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f"{service.name}-") as scratch:
        made = Path(scratch) / "files"
        made.mkdir()
        if service.maven.jars:
            _fetch_jars(service, made)
        for archive in service.maven.archives:
            _fetch_archive(service, archive, Path(scratch) / "archives", made)
        if not folder.is_dir():  # somebody else may have been faster
            made.rename(folder)
    return folder


def files_folder(service: Service, environ: Mapping[str, str]) -> Path:
    """Where the files of a server are kept: one folder for each list of artefacts."""
    base = environ.get(CACHE_VARIABLE) or Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "datalab"
    digest = hashlib.sha256(repr(service.maven).encode()).hexdigest()[:12]
    return Path(base) / "stack" / f"{service.name}-{digest}"


def _fetch_jars(service: Service, into: Path) -> None:
    parts = (map(escape, artefact.split(":")) for artefact in service.maven.jars)
    pom = into.parent / "pom.xml"
    pom.write_text(
        _POM.format(name=service.name, dependencies="\n".join(_DEPENDENCY.format(*part) for part in parts)),
        encoding="utf-8",
    )
    goal = ["-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={into}"]
    _maven(service, goal)


def _fetch_archive(service: Service, artefact: str, scratch: Path, into: Path) -> None:
    _maven(service, ["dependency:copy", f"-Dartifact={artefact}", f"-DoutputDirectory={scratch}"])
    for path in scratch.iterdir():
        with tarfile.open(path) as archive:
            archive.extractall(into, filter="data")
        path.unlink()


def _maven(service: Service, arguments: Sequence[str]) -> None:
    """Artefacts whose checksum does not fit are refused."""
    answer = subprocess.run(
        ["mvn", "--batch-mode", "--quiet", "--strict-checksums", *arguments],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if answer.returncode:
        said = "\n".join((answer.stdout + answer.stderr).strip().splitlines()[-_TAIL:])
        raise ServiceError(f"{service.name} cannot be fetched: {said}", "is a Maven repository within reach?")


def _java_version() -> int:
    answer = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False, env=os.environ)
    match = re.search(r'version "(?:1\.)?(\d+)', answer.stderr)
    return int(match[1]) if match else 0
