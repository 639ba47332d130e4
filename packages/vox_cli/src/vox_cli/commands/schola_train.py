"""`vox schola train`: the source system's other name of `vox mens train`."""

from __future__ import annotations

from vox_cli.commands.mens_train import train

__all__ = ["train"]
