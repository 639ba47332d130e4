"""`vox mens serve`: models over HTTP, with OpenAI's API."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated

import typer

from vox_cli import flags
from vox_cli.command_table import ENVIRONMENT_PREFIX
from vox_cli.console import Console
from vox_cli.terminal import STDERR, STDOUT
from vox_cli.weights_flags import DeviceFlag, DtypeFlag, ThreadsFlag
from vox_populi.contract.choices import ComputeDtype, DeviceKind
from vox_populi.contract.setting_groups import ComputeSettings
from vox_populi.errors import ConfigError
from vox_populi.number_ranges import NEW_TOKENS
from vox_populi.operator_messages import serving as say
from vox_populi.pipeline.serve import (
    BODY_BYTES,
    CACHE_MIB,
    CHUNK_TOKENS,
    MAX_BATCH,
    PORT,
    QUEUE,
    SECONDS,
    NamedAdapter,
    ServeRequest,
    Serving,
)
from vox_populi.pipeline.serve import serve as run_server

API_KEY_VARIABLE = f"{ENVIRONMENT_PREFIX}_API_KEY"
_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._:/-]{0,127})=(.+)", re.DOTALL)


def serve(
    context: typer.Context,
    console: Console,
    sources: Annotated[
        list[Path] | None,
        flags.path_argument(
            "Runs or adapters, at most one model folder; none: the embedded base.", "[RUN|MODEL]..."
        ),
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            help="Adapter under a name that requests choose; repeat it for more.",
            metavar="NAME=RUN",
            show_default=False,
            show_envvar=False,
        ),
    ] = None,
    host: Annotated[
        str, flags.text("Address to listen on.", metavar="HOST", default="127.0.0.1")
    ] = "127.0.0.1",
    port: Annotated[int, flags.whole("Port; 0 takes a free one.", PORT, default=8000)] = 8000,
    api_key_file: Annotated[
        Path | None,
        flags.path("File with the key that clients must send.", "FILE"),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            help="Origin whose pages may ask from a browser; repeat it for more.",
            metavar="ORIGIN",
            show_default=False,
            show_envvar=False,
        ),
    ] = None,
    max_batch: Annotated[int, flags.whole("Texts computed together.", MAX_BATCH, default=16)] = 16,
    max_queue: Annotated[
        int, flags.whole("Texts that wait; more are answered with 429.", QUEUE, default=64)
    ] = 64,
    max_new_tokens: Annotated[
        int, flags.whole("Largest number of new tokens of an answer.", NEW_TOKENS, default=1024)
    ] = 1024,
    max_body_bytes: Annotated[
        int, flags.whole("Largest body of a request.", BODY_BYTES, default=4 * 2**20)
    ] = 4 * 2**20,
    timeout_secs: Annotated[
        int, flags.whole("Time for a whole answer.", SECONDS, default=600)
    ] = 600,
    grace_secs: Annotated[
        int, flags.whole("Time for running answers when the server stops.", SECONDS, default=10)
    ] = 10,
    cache_mib: Annotated[
        int, flags.whole("Memory for the texts being computed.", CACHE_MIB, default=2048)
    ] = 2048,
    chunk_tokens: Annotated[
        int, flags.whole("Tokens of prompts read between two steps.", CHUNK_TOKENS, default=256)
    ] = 256,
    exact: Annotated[
        bool,
        flags.switch(
            "Compute each text alone, bit for bit as `vox mens generate` does; slower.", "--exact"
        ),
    ] = False,
    device: DeviceFlag = DeviceKind.BEST,
    dtype: DtypeFlag = ComputeDtype.AUTO,
    threads: ThreadsFlag = None,
) -> None:
    """Serve a base and its adapters over HTTP with OpenAI's API, until Ctrl-C or SIGTERM.

    Needs the extra serve. A request's `model` chooses the base or an adapter by name. Listening on
    an address that other machines reach requires a key. With --json, one line is printed when the
    server is ready.
    """
    request = ServeRequest(
        sources=tuple(sources or ()),
        adapters=tuple(_named(each) for each in adapter or ()),
        compute=ComputeSettings(device=device, dtype=dtype, threads=threads),
        host=host,
        port=port,
        api_key_file=api_key_file,
        api_key=os.environ.get(API_KEY_VARIABLE) or None,
        allow_origins=tuple(allow_origin or ()),
        max_batch=max_batch,
        max_queue=max_queue,
        max_new_tokens=max_new_tokens,
        max_body_bytes=max_body_bytes,
        timeout_secs=timeout_secs,
        grace_secs=grace_secs,
        cache_mib=cache_mib,
        chunk_tokens=chunk_tokens,
        is_exact=exact,
    )
    run_server(request, lambda serving: _show(console, serving), STDERR.at_once)


def _named(text: str) -> NamedAdapter:
    found = _NAMED.fullmatch(text)
    if found is None:
        raise ConfigError(say.adapter_unnamed(text))
    return NamedAdapter(found.group(1), Path(found.group(2)))


def _show(console: Console, serving: Serving) -> None:
    console.notes(serving.notes)
    if console.as_json:
        console.document(serving.as_json())
    else:
        models = ", ".join(serving.models)
        key = " (with a key)" if serving.needs_key else ""
        console.result(f"{serving.url}/v1{key}\nmodels: {models}")
    # Whoever started us waits for this line, and nothing else follows.
    STDOUT.flush()
