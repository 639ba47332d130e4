"""Serving models over HTTP: request, what is served, and the function. No torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from vox_populi import extras, number_ranges
from vox_populi.contract.setting_groups import ComputeSettings
from vox_populi.errors import ConfigError
from vox_populi.files.json_numbers import JsonObject
from vox_populi.number_ranges import NumberRange, require_ranges
from vox_populi.operator_messages import serving as say
from vox_populi.pipeline.runners import load_runner
from vox_populi.serve.address_text import is_loopback, is_origin

MAX_BATCH = NumberRange(lowest=1, highest=1024)
PORT = NumberRange(lowest=0, highest=65535)
BODY_BYTES = NumberRange(lowest=1024, highest=2**30)
CACHE_MIB = NumberRange(lowest=1, highest=2**20)
CHUNK_TOKENS = NumberRange(lowest=1, highest=2**20)
QUEUE = NumberRange(lowest=0, highest=2**16)
SECONDS = NumberRange(lowest=1, highest=86400)


@dataclass(frozen=True, slots=True)
class NamedAdapter:
    """An adapter under the name that requests choose."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeRequest:
    """What to serve, where, and how much at once."""

    sources: tuple[Path, ...] = ()
    """Runs, adapters, and at most one model folder; none: the embedded base."""
    adapters: tuple[NamedAdapter, ...] = ()
    """More adapters, by name."""
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes a free one."""
    api_key_file: Path | None = None
    api_key: str | None = field(default=None, repr=False)
    """The key itself, if it does not come from a file."""
    allow_origins: tuple[str, ...] = ()
    """Origins whose pages may ask from a browser."""
    max_batch: int = 16
    max_queue: int = 64
    max_new_tokens: int = 1024
    max_body_bytes: int = 4 * 2**20
    timeout_secs: int = 600
    grace_secs: int = 10
    cache_mib: int = 2048
    chunk_tokens: int = 256
    is_exact: bool = False
    """Compute every text alone: bit for bit what `vox mens generate` computes."""

    def __post_init__(self) -> None:
        require_ranges(
            ("--port", self.port, PORT),
            ("--max-batch", self.max_batch, MAX_BATCH),
            ("--max-queue", self.max_queue, QUEUE),
            ("--max-new-tokens", self.max_new_tokens, number_ranges.NEW_TOKENS),
            ("--max-body-bytes", self.max_body_bytes, BODY_BYTES),
            ("--timeout-secs", self.timeout_secs, SECONDS),
            ("--grace-secs", self.grace_secs, SECONDS),
            ("--cache-mib", self.cache_mib, CACHE_MIB),
            ("--chunk-tokens", self.chunk_tokens, CHUNK_TOKENS),
        )
        problems = [say.origin_unusable(each) for each in self.allow_origins if not is_origin(each)]
        has_key = self.api_key_file is not None or self.api_key is not None
        if not has_key and not is_loopback(self.host):
            problems.append(say.key_required(self.host))
        if problems:
            raise ConfigError(*problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """A server that listens."""

    url: str
    models: tuple[str, ...]
    """Names that requests choose."""
    needs_key: bool
    notes: tuple[str, ...] = ()

    def as_json(self) -> JsonObject:
        """The line of `vox mens serve --json`."""
        return {"url": self.url, "models": list(self.models), "needs_key": self.needs_key}


def serve(
    request: ServeRequest,
    on_ready: Callable[[Serving], None],
    acknowledge: Callable[[str], None],
    should_stop: Callable[[], bool] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        request: What, where, how much.
        on_ready: Called once, when requests are answered.
        acknowledge: Called at once, in another thread, when a signal asks the server to stop.
        should_stop: Asked ten times a second; true stops the server as a signal does.

    Raises:
        VoxError: For unusable weights, key or address.
    """
    extras.require("starlette", "uvicorn", "prometheus_client")
    load_runner("serve_run").serve(request, on_ready, acknowledge, should_stop)
