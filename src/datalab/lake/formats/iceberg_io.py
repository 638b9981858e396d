"""Iceberg's metadata on the local disk: a file appears whole and flushed, or not at all."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream

from datalab.lake.local import flush, local_path


def _path(location: str) -> Path:
    path = local_path(location)
    if path is None:
        raise ValueError(f"{location} is not on the local disk")
    return path


class LocalInput(InputFile):
    """A file to read."""

    def __len__(self) -> int:
        return _path(self.location).stat().st_size

    def exists(self) -> bool:
        """Whether the file is there."""
        return _path(self.location).exists()

    def open(self, seekable: bool = True) -> InputStream:  # noqa: ARG002 - PyIceberg's signature
        """A stream of the bytes."""
        return _path(self.location).open("rb")


class LocalOutput(OutputFile):
    """A file to write."""

    def __len__(self) -> int:
        return _path(self.location).stat().st_size

    def exists(self) -> bool:
        """Whether the file is there."""
        return _path(self.location).exists()

    def to_input_file(self) -> InputFile:
        """The same file to read."""
        return LocalInput(self.location)

    def create(self, overwrite: bool = False) -> OutputStream:
        """A stream whose bytes get the file's name when it is closed."""
        return _WholeFile(_path(self.location), overwrite)


class _WholeFile:
    """Collects the bytes in memory, writes them beside the final name and takes the name when closed."""

    def __init__(self, path: Path, overwrite: bool) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._overwrite = overwrite
        self._bytes = BytesIO()

    @property
    def closed(self) -> bool:
        return self._bytes.closed

    def write(self, data: bytes) -> int:
        return self._bytes.write(data)

    def flush(self) -> None:
        """Nothing is on the disk before it is all there."""

    def tell(self) -> int:
        return self._bytes.tell()

    def close(self) -> None:
        if self._bytes.closed:
            return
        draft = self._path.with_name(f".{self._path.name}.{uuid4().hex}")
        try:
            _write_flushed(draft, self._bytes.getbuffer())
            if self._overwrite:
                draft.replace(self._path)
            else:
                self._path.hardlink_to(draft)
        finally:
            self._bytes.close()
            draft.unlink(missing_ok=True)
        flush([str(self._path)])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._bytes.close()


def _write_flushed(path: Path, data: memoryview) -> None:
    try:
        with path.open("xb", buffering=0) as stream:
            done = 0
            while done < len(data):
                done += stream.write(data[done:]) or 0
            os.fsync(stream.fileno())
    finally:
        data.release()


class LocalFileIO(FileIO):
    """PyIceberg's file access for a warehouse in a local folder."""

    def new_input(self, location: str) -> InputFile:
        """A file to read."""
        return LocalInput(location)

    def new_output(self, location: str) -> OutputFile:
        """A file to write."""
        return LocalOutput(location)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Remove a file."""
        _path(location if isinstance(location, str) else location.location).unlink()
