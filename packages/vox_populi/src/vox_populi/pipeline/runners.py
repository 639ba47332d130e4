"""Load what needs torch, after everything that can be refused without it."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

from vox_populi import extras

NEEDED_TO_RUN = ("torch", "safetensors", "tokenizers")
"""What the extra `mens-gpu` brings; asked for before anything is read."""


def load_runner(name: str, refuse_early: Callable[[], None] | None = None) -> ModuleType:
    """A module that needs torch, after everything that can be refused without it."""
    extras.require(*NEEDED_TO_RUN)
    if refuse_early is not None:
        refuse_early()
    return extras.load(f"vox_populi.pipeline.{name}")
