"""`vox mens merge-adapter`: the source system's other name of `vox mens merge-qlora`."""

from __future__ import annotations

from vox_cli.commands.mens_merge_qlora import merge_qlora as merge_adapter

__all__ = ["merge_adapter"]
