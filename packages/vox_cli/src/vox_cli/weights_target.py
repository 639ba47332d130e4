"""A run or a model passed without a flag: `RUN|MODEL`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vox_cli import value_parsers
from vox_cli.weights_flags import ADAPTER_SOURCES, weights_from
from vox_populi.errors import ConfigError
from vox_populi.operator_messages import usage as say
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_populi.runs.adapter_place import AdapterForm, adapter_at
from vox_populi.runs.run_dir import run_files

TargetArgument = Annotated[
    Any,
    typer.Argument(
        help="Run folder, model folder, adapter file or PEFT folder; the embedded base if absent.",
        metavar="[RUN|MODEL]",
        parser=value_parsers.path,
        show_default=False,
    ),
]


def weights_of_target(context: typer.Context) -> WeightsChoice:
    """The weights of a command that takes `RUN|MODEL` as well as the flags for weights.

    Raises:
        ConfigError: When both are given.
    """
    target: Path | None = context.params["target"]
    if target is None:
        return weights_from(context)
    given = [name for name in ADAPTER_SOURCES if context.params[name] is not None]
    kind = _kind_of(target)
    if given or context.params.get(kind) is not None:
        raise ConfigError(say.sources_conflict([str(target), *(f"--{name}" for name in given)]))
    context.params[kind] = target
    return weights_from(context)


def _kind_of(target: Path) -> str:
    """The flag that a path would be passed with."""
    if target.is_dir() and run_files(target):
        return "run"
    place = adapter_at(target) if target.exists() else None
    if place is None or (place.form is AdapterForm.V3 and target.is_file()):
        return "model" if place is None else "checkpoint"
    return "adapter" if place.form is AdapterForm.PEFT else "checkpoint"
