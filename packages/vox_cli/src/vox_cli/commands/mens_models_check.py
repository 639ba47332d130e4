"""`vox mens models check`: whether a base can be trained, and how."""

from __future__ import annotations

from vox_cli.console import Console
from vox_cli.model_check_text import model_check_text
from vox_populi.pipeline.model_check import ModelCheckRequest, check_model


def check(console: Console, request: ModelCheckRequest) -> None:
    """Check from its config whether a base can be trained: graph, packing, adapters, memory.

    A graph of transformers is proven on a toy of the config, as before training. Exits with code 6
    if the base fails, or with the code of the reason if its config cannot be used at all. No
    weights are read; their headers are, where they are there.
    """
    console.gated(check_model(request), model_check_text)
