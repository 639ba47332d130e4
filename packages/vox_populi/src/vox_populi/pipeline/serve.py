"""Serving models over HTTP: request, what is served, and the function. No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from vox_populi import extras, number_ranges
from vox_populi.contract.download_choice import download_setting
from vox_populi.contract.setting import require_settings, setting
from vox_populi.contract.setting_groups import ComputeSettings
from vox_populi.errors import ArtifactError, ConfigError
from vox_populi.files.json_report import HIDDEN, JsonReport
from vox_populi.hf.model_place import foreign_place_problem
from vox_populi.merge.merged_file import MERGED_FILE
from vox_populi.number_ranges import NumberRange
from vox_populi.operator_messages import serving as say
from vox_populi.pipeline.early_refusals import require_model
from vox_populi.pipeline.runners import load_runner
from vox_populi.runs.adapter_place import adapter_at
from vox_populi.runs.run_dir import run_files
from vox_populi.serve.address_text import is_loopback, is_origin

_BATCH = NumberRange(lowest=1, highest=1024)
_PORT = NumberRange(lowest=0, highest=65535)
_BODY_BYTES = NumberRange(lowest=1024, highest=2**30)
_CACHE_MIB = NumberRange(lowest=1, highest=2**20)
_CHUNK_TOKENS = NumberRange(lowest=1, highest=2**20)
_QUEUE = NumberRange(lowest=0, highest=2**16)
_SECONDS = NumberRange(lowest=1, highest=86400)


@dataclass(frozen=True, slots=True)
class NamedAdapter:
    """An adapter under the name that requests choose."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """The address of a server, and how much it does at once."""

    host: str = setting("127.0.0.1", "Address to listen on.", metavar="HOST")
    port: int = setting(8000, "Port; 0 takes a free one.", allowed=_PORT)
    api_key_file: Path | None = setting(
        None, "File with the key that clients must send.", metavar="FILE"
    )
    max_batch: int = setting(16, "Texts computed together.", allowed=_BATCH)
    max_queue: int = setting(64, "Texts that wait; more are answered with 429.", allowed=_QUEUE)
    max_new_tokens: int = setting(
        1024, "Largest number of new tokens of an answer.", allowed=number_ranges.NEW_TOKENS
    )
    max_body_bytes: int = setting(4 * 2**20, "Largest body of a request.", allowed=_BODY_BYTES)
    timeout_secs: int = setting(600, "Time for a whole answer.", allowed=_SECONDS)
    grace_secs: int = setting(
        10, "Time for running answers when the server stops.", allowed=_SECONDS
    )
    cache_mib: int = setting(2048, "Memory for the texts being computed.", allowed=_CACHE_MIB)
    chunk_tokens: int = setting(
        256, "Tokens of prompts read between two steps.", allowed=_CHUNK_TOKENS
    )
    is_exact: bool = setting(
        False,
        "Compute each text alone, bit for bit as `vox mens generate` does; slower.",
        name="exact",
    )
    page: bool = setting(True, "Show a chat page at `/`.")
    allow_download: bool = download_setting()
    compute: ComputeSettings = field(default_factory=ComputeSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeRequest(ServerSettings):
    """What to serve, where, and how much at once."""

    sources: tuple[Path, ...] = ()
    """Runs, adapters, and at most one model folder; none: the embedded base."""
    adapters: tuple[NamedAdapter, ...] = ()
    """More adapters, by name."""
    api_key: str | None = field(default=None, repr=False)
    """The key itself, if it does not come from a file."""
    allow_origins: tuple[str, ...] = ()
    """Origins whose pages may ask from a browser."""

    def __post_init__(self) -> None:
        require_settings(self)
        problems = [say.origin_unusable(each) for each in self.allow_origins if not is_origin(each)]
        has_key = self.api_key_file is not None or self.api_key is not None
        if not has_key and not is_loopback(self.host):
            problems.append(say.key_required(self.host))
        if problems:
            raise ConfigError(*problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving(JsonReport):
    """A server that listens."""

    url: str
    models: tuple[str, ...]
    """Names that requests choose."""
    needs_key: bool
    notes: tuple[str, ...] = field(default=(), metadata=HIDDEN)


def serve(
    request: ServeRequest,
    on_ready: Callable[[Serving], None],
    acknowledge: Callable[[str], None],
    should_stop: Callable[[], bool] | None = None,
) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP.

    Args:
        request: What, where, how much.
        on_ready: Called once, when requests are answered.
        acknowledge: Called at once, in another thread, when a signal asks the server to stop.
        should_stop: Asked ten times a second; true stops the server as a signal does.

    Raises:
        VoxError: For unusable weights, key or address.
    """
    extras.require("starlette", "uvicorn", "prometheus_client")
    runner = load_runner("serve_run", *(partial(_require_served, path) for path in request.sources))
    runner.serve(request, on_ready, acknowledge, should_stop)


def is_adapter(path: Path) -> bool:
    """Whether a path to serve is a run or an adapter; otherwise it is a base.

    Raises:
        ArtifactError: For a path that does not exist.
        ModelError: For a GGUF file.
    """
    if _is_merged(path):
        return False
    if path.is_dir():
        return bool(run_files(path)) or adapter_at(path) is not None
    if not path.exists():
        raise ArtifactError(foreign_place_problem(path) or say.NOT_A_MODEL.at(str(path)))
    return adapter_at(path) is not None


def _is_merged(path: Path) -> bool:
    return path.name == MERGED_FILE or (path / MERGED_FILE).is_file()


def _require_served(path: Path) -> None:
    if not _is_merged(path) and not is_adapter(path):
        require_model(path)
