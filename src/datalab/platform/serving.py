"""The server of a project, wired from its settings. Nothing that only training or the lake needs is imported."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from datalab.errors import InvalidSetting, NoModel
from datalab.events import Bus
from datalab.features.online.base import OnlineStore
from datalab.ingest.push.log import PushLog
from datalab.ml.package import signing_key
from datalab.platform.model_files import declared_models
from datalab.platform.online import wire_online_store
from datalab.platform.project import PUSHED
from datalab.platform.registry import wire_registry_reader
from datalab.platform.settings import Configuration
from datalab.platform.state import log_folders, state_folder
from datalab.serving.app import Extension, build_app
from datalab.serving.feature_reader import FeatureReader
from datalab.serving.guard import Gate, Guard
from datalab.serving.keeper import ModelKeeper
from datalab.serving.keys import KeyStore
from datalab.serving.limits import Limits
from datalab.serving.log import RecordLog
from datalab.serving.log_reader import backlog
from datalab.serving.policy import policies
from datalab.serving.push import push_routes
from datalab.serving.reviews import Reviewer
from datalab.serving.score_id import ScoreIds
from datalab.serving.scoring import Scorer
from datalab.serving.server import Address, Beside, require_safe, run_server
from datalab.serving.service import Service
from datalab.serving.trace import TraceProcess, trace_routes
from datalab.serving.verification import Demands


@dataclass(frozen=True)
class Parts:
    """A service with what has to be closed, or kept going, beside it."""

    service: Service
    keeper: ModelKeeper
    store: OnlineStore
    reader: FeatureReader
    logs: tuple[RecordLog, RecordLog]

    async def warm(self) -> None:
        """Make ready what the live model's first look-up needs."""
        if self.keeper.live is not None:
            await self.reader.warm(self.keeper.live.plan)

    def close(self) -> None:
        """Close the logs and the store."""
        for log in self.logs:
            log.close()
        self.reader.close()
        self.store.close()


def wire_keys(configuration: Configuration) -> KeyStore:
    """The project's API keys. ApiKeyError."""
    return KeyStore(state_folder(configuration))


def wire_push_logs(configuration: Configuration) -> dict[str, PushLog]:
    """The logs of the sources that take pushed records, by the source's name."""
    names = [str(name) for name, source in configuration.settings.sources.items() if source.push]
    return {name: PushLog(configuration.folder / PUSHED / name) for name in names}


def served_model(configuration: Configuration) -> str:
    """The model that the settings name, or the only one of the project. InvalidSetting, NoModel, InvalidModel."""
    chosen = configuration.settings.serving.model
    if chosen is not None:
        return str(chosen)
    names = sorted(declared_models(configuration))
    if not names:
        where = ", ".join(configuration.settings.models)
        raise NoModel(f"the project has no model: no file in {where}", "write models/NAME.yaml, or set serving.model")
    if len(names) > 1:
        raise InvalidSetting(f"serving.model is not set, and there are {', '.join(names)}", "serving: {model: NAME}")
    return names[0]


def _model_or_none(configuration: Configuration) -> str | None:
    """None: the project has no model, and its server only takes records. NoModel where it takes none either."""
    try:
        return served_model(configuration)
    except NoModel:
        if not any(source.push for source in configuration.settings.sources.values()):
            raise
        return None


def _may_have_packages(configuration: Configuration) -> bool:
    """Whether a model may have been trained, and signed with a key that another one must not take the place of."""
    chosen = configuration.settings.registry
    return bool(chosen.url) or (chosen.path / "artifacts").exists()


def wire_service(
    configuration: Configuration, environ: Mapping[str, str], bus: Bus, store: OnlineStore | None = None
) -> Parts:
    """Everything that answers scores, from the settings' online store or another. ModelRefused: no signing key."""
    chosen, state = configuration.settings.serving, state_folder(configuration)
    model = _model_or_none(configuration)
    key = signing_key(state, create=model is None or not _may_have_packages(configuration))
    store = wire_online_store(configuration, environ) if store is None else store
    demands = Demands(chosen.model_latency_ms, chosen.batch_rows, chosen.reasons)
    registry, kept = wire_registry_reader(configuration, environ), state / "serving" / "models"
    keeper = ModelKeeper(model or "", registry, kept, key, demands, bus)
    scores, reviews = (
        RecordLog(folder, chosen.log_size.bytes, chosen.log_sync) for folder in log_folders(configuration)
    )
    reader, ids = FeatureReader(store, chosen.deadline_ms / 1000), ScoreIds(key)
    service = Service(
        keeper,
        Scorer(reader, ids, scores),
        Reviewer(ids, reviews),
        backlog=lambda: sum(map(backlog, log_folders(configuration))),
    )
    return Parts(service, keeper, store, reader, (scores, reviews))


def wire_app(
    configuration: Configuration,
    parts: Parts,
    bus: Bus,
    *,
    flusher: Sequence[str] = (),
    extensions: Sequence[Extension] = (),
) -> Guard:
    """The application; its lifespan keeps the model fresh and the flusher running, and closes the parts."""
    chosen, keys = configuration.settings.serving, wire_keys(configuration)
    limits, address = wire_limits(configuration), wire_address(configuration)
    gate = Gate(policies(chosen.route), keys, limits, parts.service.metrics, bus, address.loopback)
    pushed = wire_push_logs(configuration)
    beside = Beside(
        parts.keeper,
        keys,
        parts.logs,
        bus,
        chosen.poll_seconds,
        flusher,
        parts.close,
        tuple(pushed.values()),
        parts.warm,
    )
    routes = [*extensions, wire_trace(configuration), *([push_routes(pushed)] if pushed else [])]
    return build_app(parts.service, gate, chosen.route, lifespan=beside.lifespan(), extensions=routes)


def wire_trace(configuration: Configuration) -> Extension:
    """The route that tells where a score came from; the command line looks, in a process of its own."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "datalab",
        "trace",
        "--json",
        "--quiet",
        "--project",
        str(configuration.folder),
    ]
    command += ["--env", configuration.environment] if configuration.environment else []
    ids = ScoreIds(signing_key(state_folder(configuration)))
    seconds = 0.8 * configuration.settings.serving.request_seconds  # the answer has to go out within the rest
    return trace_routes(ids, TraceProcess(command, seconds))


def serve(
    configuration: Configuration,
    environ: Mapping[str, str],
    bus: Bus,
    *,
    listening: Callable[[str], None],
    flusher: Sequence[str] = (),
) -> None:
    """Serve until told to end; `listening` is called with the address once requests are taken.

    ServingError and its kinds.
    """
    address = wire_address(configuration)
    require_safe(address, wire_keys(configuration))
    parts = wire_service(configuration, environ, bus)
    app = wire_app(configuration, parts, bus, flusher=flusher)
    run_server(app, address, wire_limits(configuration), lambda: listening(address.url))


def flush_command(configuration: Configuration) -> list[str]:
    """The command of the process that takes the logs to the lake until its standard input ends."""
    command = [sys.executable, "-P", "-m", "datalab", "flush", "--follow", "--until-eof", "--quiet"]
    command += ["--project", str(configuration.folder)]
    return [*command, "--env", configuration.environment] if configuration.environment else command


def wire_limits(configuration: Configuration) -> Limits:
    """What a caller may ask of the server."""
    chosen = configuration.settings.serving
    return Limits(
        body_bytes=chosen.body_size.bytes,
        batch_bytes=chosen.batch_size.bytes,
        batch_rows=chosen.batch_rows,
        depth=chosen.depth,
        header_seconds=chosen.header_seconds,
        receive_seconds=chosen.receive_seconds,
        request_seconds=chosen.request_seconds,
        idle_seconds=chosen.idle_seconds,
        connections=chosen.connections,
        rate=chosen.rate,
        burst=chosen.burst,
    )


def wire_address(configuration: Configuration) -> Address:
    """Where to listen. InvalidSetting where a certificate lacks its key."""
    chosen = configuration.settings.serving
    if (chosen.certificate is None) != (chosen.private_key is None):
        raise InvalidSetting("serving.certificate and serving.private_key belong together", "set both, or neither")
    return Address(chosen.host, chosen.port, chosen.certificate, chosen.private_key, chosen.plain_http)
