"""The flags that choose the weights to run, shared by `eval` and `generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vox_cli import flags
from vox_cli.value_parsers import template_word
from vox_populi.contract.choices import (
    DEVICE_WORDS,
    DTYPE_WORDS,
    ComputeDtype,
    DeviceKind,
    TokenizerKind,
)
from vox_populi.contract.template_word import TEMPLATE_METAVAR
from vox_populi.errors import ConfigError
from vox_populi.number_ranges import THREADS
from vox_populi.operator_messages import usage as say
from vox_populi.pipeline.weights_choice import WeightsChoice

ADAPTER_SOURCES = ("run", "checkpoint", "adapter")
"""Flags for an adapter, at most one of which may be passed."""

ModelFlag = Annotated[
    Path | None,
    flags.path("Model folder, merged or not; with an adapter, its base.", "DIR"),
]
RunFlag = Annotated[Path | None, flags.path("Run folder; uses its base and final adapter.", "RUN")]
CheckpointFlag = Annotated[
    Path | None, flags.path("Adapter file of a run, or one of its checkpoint folders.", "FILE|DIR")
]
AdapterFlag = Annotated[
    Path | None, flags.path("PEFT adapter folder, for the base given by --model.", "DIR")
]
TokenizerFlag = Annotated[
    TokenizerKind | None, flags.choice("Vocabulary.", TokenizerKind, "the run's or model's")
]
TemplateFlag = Annotated[
    Any, flags.value("Template of a row.", template_word, TEMPLATE_METAVAR, "the run's, else auto")
]
SystemPromptFlag = Annotated[
    str | None, flags.text("System prompt for rows without one.", default="the run's")
]
ForceTemplateFlag = Annotated[
    bool,
    flags.switch(
        "Allow a template or system prompt that differs from training.", "--force-template"
    ),
]
DeviceFlag = Annotated[
    DeviceKind, flags.choice("Device to compute on.", DeviceKind, "best", DEVICE_WORDS)
]
DtypeFlag = Annotated[
    ComputeDtype, flags.choice("Arithmetic of the base.", ComputeDtype, "auto", DTYPE_WORDS)
]
ThreadsFlag = Annotated[int | None, flags.whole("CPU threads.", THREADS, default="torch's")]


def weights_from(context: typer.Context) -> WeightsChoice:
    """Read these flags from a command's parsed parameters.

    Raises:
        ConfigError: When more than one adapter is given.
    """
    given = context.params
    named = [f"--{name}" for name in ADAPTER_SOURCES if given[name] is not None]
    if len(named) > 1:
        raise ConfigError(say.sources_conflict(named))
    return WeightsChoice(
        model_dir=given["model"],
        run=given["run"],
        checkpoint=given["checkpoint"],
        adapter=given["adapter"],
        tokenizer=given["tokenizer"],
        template=given["template"],
        system_prompt=given["system_prompt"],
        force_template=given["force_template"],
        device=given["device"],
        dtype=given["dtype"],
        threads=given["threads"],
    )
