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
from vox_cli.transfer_view import transfer_view
from vox_populi.contract.setting import extended
from vox_populi.errors import ConfigError
from vox_populi.operator_messages import serving as say
from vox_populi.pipeline.model_arguments import model_folder
from vox_populi.pipeline.serve import NamedAdapter, ServeRequest, ServerSettings, Serving
from vox_populi.pipeline.serve import serve as run_server

API_KEY_VARIABLE = f"{ENVIRONMENT_PREFIX}_API_KEY"
_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._:/-]{0,127})=(.+)", re.DOTALL)


def serve(
    console: Console,
    server: ServerSettings,
    sources: Annotated[
        list[Path] | None,
        flags.path_argument(
            "Runs or adapters, at most one model folder; none: the embedded base.", "RUN|MODEL"
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
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            help="Origin whose pages may ask from a browser; repeat it for more.",
            metavar="ORIGIN",
            show_default=False,
            show_envvar=False,
        ),
    ] = None,
) -> None:
    """Serve a base and its adapters over HTTP with OpenAI's API, until Ctrl-C or SIGTERM.

    Needs the extra serve. A request's `model` chooses the base or an adapter by name. Listening on
    an address that other machines reach requires a key. With --json, one line is printed when the
    server is ready.
    """
    may_download, watcher = server.allow_download, transfer_view(console)
    request = extended(
        ServeRequest,
        server,
        sources=tuple(
            model_folder(each, may_download=may_download, watcher=watcher) for each in sources or ()
        ),
        adapters=tuple(_named(each) for each in adapter or ()),
        api_key=os.environ.get(API_KEY_VARIABLE) or None,
        allow_origins=tuple(allow_origin or ()),
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
    # The program that started us waits for this line, and nothing else follows.
    STDOUT.flush()
