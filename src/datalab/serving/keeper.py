"""Keeps one model live: asks the registry, verifies, swaps; a bad model is refused and the last good one stays."""

from __future__ import annotations

import math
import re
import secrets
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datalab.errors import DataLabError, ModelRefused
from datalab.events import Bus, ModelLive, ModelMissing, ModelStale, ModelTurnedDown
from datalab.lake.local import flush
from datalab.ml.package import MANIFEST, MODEL, SIGNATURE, read_package
from datalab.ml.registry.base import Live, RegistryReader
from datalab.serving.model import LiveModel
from datalab.serving.request_form import narrower
from datalab.serving.verification import Demands, verified

_REMEMBERED = 20
_FIRST_WAIT, _LONGEST_WAIT = 2.0, 300.0  # seconds until a package is tried again whose refusal may pass
_POINTER = "last-good"
_NAME = re.compile(r"[0-9a-f]{32}\Z")
Mark = tuple[int, bytes]  # version and signature


@dataclass(frozen=True)
class Refusal:
    """A version that was not taken."""

    version: int
    why: str
    at: datetime


@dataclass(frozen=True)
class TurnedDown:
    """What is not tried again while it stays as it is; until `due`, where the cause may pass. Seconds, by the clock."""

    mark: Mark
    state: tuple[Any, ...]
    due: float = math.inf
    wait: float = _FIRST_WAIT


class ModelKeeper:
    """Holds the live model of one name. `live` is replaced as a whole: whoever took it keeps what it took.

    A verified package is copied to `folder`, so that a restart serves it even where the registry is gone, empty or
    points to something bad; it is `stale` then, with the reason. `missing` is why no model is live.
    """

    def __init__(
        self, model: str, registry: RegistryReader, folder: Path, key: bytes, demands: Demands, bus: Bus,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.model = model
        self.live: LiveModel | None = None
        self.stale = ""
        self.missing = ""
        self.swaps = 0
        self.refused_total = 0
        self.refusals: deque[Refusal] = deque(maxlen=_REMEMBERED)
        self._registry = registry
        self._kept = Kept(folder)
        self._key = key
        self._demands = demands
        self._bus = bus
        self._clock = clock
        self._turned_down: TurnedDown | None = None
        self._live_mark: Mark | None = None
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Ask the registry once, and take what it names if that is new and good. Never raises.

        Without a model's name there is nothing to ask for.
        """
        if not self.model:
            return
        with self._lock:
            starting = self.live is None
            if starting:
                self._restore()
            try:
                champion = self._registry.champion(self.model)
            except Exception as error:  # noqa: BLE001 - asking goes on, whatever a registry does
                self._note(f"the registry cannot be asked: {_said(error)}")
                return
            if champion is None:
                self._note("the registry names no champion")
            else:
                self._consider(champion, starting=starting)

    @property
    def refusal(self) -> Refusal | None:
        """Why the registry's present champion is not live; None where it is, or nothing is known of it."""
        return self.refusals[-1] if self._turned_down is not None else None

    def _consider(self, champion: Live, *, starting: bool) -> None:
        mark = (champion.version, _signature(champion.package))
        if mark == self._live_mark:
            self._turned_down = None
            self._note("")
        elif self._is_settled(mark, _state(champion.package)):
            self._note(f"the champion, version {champion.version}, was refused")
        else:
            self._try(champion, mark, starting=starting)

    def _is_settled(self, mark: Mark, state: tuple[Any, ...]) -> bool:
        """Whether there is no sense in trying it now."""
        last = self._turned_down
        return last is not None and (last.mark, last.state) == (mark, state) and self._clock() < last.due

    def _try(self, champion: Live, mark: Mark, *, starting: bool) -> None:
        state = _state(champion.package)
        try:
            found = verified(read_package(champion.package, self._key), champion.since, self._demands)
            self._require_fit(found, champion, starting=starting)
        except Exception as error:  # noqa: BLE001 - whatever a package does to us, the model before it stays
            self._refuse(champion.version, error, TurnedDown(mark, state))
            return
        with suppress(OSError):  # a full disk costs the copy, not the model
            self._kept.keep(champion.package, found.package.hash)
        self._turned_down, self._live_mark = None, mark
        self._go_live(found)
        self._note("")

    def _require_fit(self, found: LiveModel, champion: Live, *, starting: bool) -> None:
        if (found.name, found.version) != (self.model, champion.version):
            raise ModelRefused(
                f"the package of {self.model} {champion.version} is that of {found.name} {found.version}",
                "promote a version with its own package",
            )
        before = None if starting else self.live
        problem = narrower(before.form.fields, found.form.fields) if before is not None else ""
        if problem:
            raise ModelRefused(
                f"{found.name} {found.version} would refuse what callers send now: {problem}",
                "start the server anew to take it, once callers are ready",
            )

    def _go_live(self, found: LiveModel) -> None:
        before = self.live.version if self.live is not None else None
        self.live = found
        self.swaps += 1
        self._bus.emit(ModelLive(found.name, found.version, before))

    def _refuse(self, version: int, error: Exception, what: TurnedDown) -> None:
        """Told once for each package as it is, and once more where a passing cause gives way to one that stays."""
        last, passing = self._turned_down, _may_pass(error)
        again = last is not None and (last.mark, last.state) == (what.mark, what.state)
        wait = min(2 * last.wait, _LONGEST_WAIT) if last is not None and again else _FIRST_WAIT
        self._turned_down = replace(what, due=self._clock() + wait, wait=wait) if passing else what
        refusal = Refusal(version, _said(error), datetime.now(UTC))
        if again and passing:
            self.refusals[-1] = refusal
        else:
            self.refused_total += not again
            self.refusals.append(refusal)
            self._bus.emit(ModelTurnedDown(self.model, version, refusal.why))
        self._note(f"the champion, version {version}, was refused")

    def _note(self, why: str) -> None:
        """Why the live model is stale, or why none is live; empty where all is well."""
        stale, missing = (why, "") if self.live is not None else ("", why)
        if stale and stale != self.stale:
            self._bus.emit(ModelStale(self.model, stale))
        if missing and missing != self.missing:
            self._bus.emit(ModelMissing(self.model, missing))
        self.stale, self.missing = stale, missing

    def _restore(self) -> None:
        """Go live with what was good before the restart."""
        package = self._kept.newest()
        if package is None:
            return
        try:
            since = datetime.fromtimestamp((package / MANIFEST).stat().st_mtime, UTC)
            found = verified(read_package(package, self._key), since, self._demands)
        except Exception as error:  # noqa: BLE001 - as above
            if not any(each.version == 0 for each in self.refusals):
                self.refusals.append(Refusal(0, f"the kept copy: {_said(error)}", datetime.now(UTC)))
            return
        self._live_mark = (found.version, _signature(package))
        self._go_live(found)


class Kept:
    """Copies of verified packages in a folder; the file `last-good` names the newest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def newest(self) -> Path | None:
        """The folder of the last good package, None where there is none."""
        try:
            name = (self._folder / _POINTER).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return self._folder / name if _NAME.match(name) else None

    def keep(self, package: Path, content: str) -> None:
        """Copy a package, let the pointer name it, then remove what it named before. OSError."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        kept = self._folder / content[:32]
        if not kept.exists():
            draft = self._folder / f".{kept.name}-{secrets.token_hex(4)}"
            draft.mkdir(mode=0o700)
            for name in (MODEL, MANIFEST, SIGNATURE):
                shutil.copyfile(package / name, draft / name)
            flush(str(draft / name) for name in (MODEL, MANIFEST, SIGNATURE))
            draft.rename(kept)
        pointer = self._folder / f".{_POINTER}-{secrets.token_hex(4)}"
        pointer.write_text(kept.name, encoding="ascii")
        flush([str(pointer)])
        pointer.rename(self._folder / _POINTER)
        for other in self._folder.iterdir():
            if other.is_dir() and other != kept:
                shutil.rmtree(other, ignore_errors=True)


def _said(error: Exception) -> str:
    return error.message if isinstance(error, DataLabError) else f"cannot be read: {type(error).__name__}"


def _may_pass(error: Exception) -> bool:
    """Whether the cause need not be in the package: a disk, memory, a busy machine."""
    return isinstance(error, OSError | MemoryError) or (isinstance(error, DataLabError) and error.retryable)


def _state(package: Path) -> tuple[Any, ...]:
    """What changes where the files of a package are mended."""
    found: list[tuple[int, int, int] | None] = []
    for name in (MODEL, MANIFEST, SIGNATURE):
        try:
            status = (package / name).stat()
            found.append((status.st_mtime_ns, status.st_size, status.st_ino))
        except OSError:
            found.append(None)
    return tuple(found)


def _signature(package: Path) -> bytes:
    try:
        return (package / SIGNATURE).read_bytes()[:1024]
    except OSError:
        return b""


def info(keeper: ModelKeeper) -> Mapping[str, Any]:
    """What there is to know of the live model and of what was refused, for `/v1/model-info`."""
    live, refusal = keeper.live, keeper.refusal
    if live is None:
        about: dict[str, Any] = {"versao": None, "desde": None, "manifesto": None}
    else:
        shown = ("created_at", "training_set", "target", "thresholds", "policy", "metrics", "score", "schema_hash")
        manifest = live.package.manifest
        about = {
            "versao": live.version,
            "desde": live.since,
            "manifesto": {name: manifest.get(name) for name in shown},
        }
    return {
        "modelo": keeper.model or None,
        **about,
        "desatualizado": bool(keeper.stale),
        "motivo": keeper.stale or keeper.missing or None,
        "trocas": keeper.swaps,
        "recusado": None if refusal is None else _shown(refusal),
        "recusas": [_shown(each) for each in keeper.refusals],
    }


def _shown(refusal: Refusal) -> dict[str, Any]:
    return {"versao": refusal.version, "motivo": refusal.why, "momento": refusal.at}
