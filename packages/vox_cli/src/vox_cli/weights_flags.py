"""The flags that say which weights to run, shared by `eval` and `generate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vox_cli import flags
from vox_populi import operator_messages as say
from vox_populi.contract.choices import (
    ComputeDtype,
    DeviceKind,
    TokenizerKind,
    parse_device,
    parse_dtype,
)
from vox_populi.data.training_text import ChatTemplate
from vox_populi.errors import ConfigError
from vox_populi.pipeline.requests import WeightsChoice

ModelFlag = Annotated[
    Path | None,
    flags.path("Base model folder; with a run or checkpoint, where its base is.", "DIR"),
]
RunFlag = Annotated[Path | None, flags.path("Run folder: its base and final adapter.", "RUN")]
CheckpointFlag = Annotated[Path | None, flags.path("Adapter file of a run.", "FILE")]
TokenizerFlag = Annotated[
    TokenizerKind | None, flags.choice("Vocabulary.", TokenizerKind, "the run's or model's")
]
TemplateFlag = Annotated[
    ChatTemplate | None, flags.choice("Layout of a row.", ChatTemplate, "the run's, else chatml")
]
SystemPromptFlag = Annotated[
    str | None, flags.text("Opens rows that have no system message.", default="the run's")
]
DeviceFlag = Annotated[
    DeviceKind, flags.word("Where to compute.", parse_device, DeviceKind, "best")
]
DtypeFlag = Annotated[
    ComputeDtype, flags.word("Arithmetic of the base.", parse_dtype, ComputeDtype, "auto")
]
ThreadsFlag = Annotated[int | None, flags.whole("CPU threads.", at_least=1, default="torch's")]


def weights_from(context: typer.Context) -> WeightsChoice:
    """Read these flags from a command's parsed parameters.

    Raises:
        ConfigError: When a run and a checkpoint are both named.
    """
    given = context.params
    if given["run"] is not None and given["checkpoint"] is not None:
        raise ConfigError(say.sources_conflict(("--run", "--checkpoint")))
    return WeightsChoice(
        model_dir=given["model"],
        run=given["run"],
        checkpoint=given["checkpoint"],
        tokenizer=given["tokenizer"],
        template=given["template"],
        system_prompt=given["system_prompt"],
        device=given["device"],
        dtype=given["dtype"],
        threads=given["threads"],
    )
