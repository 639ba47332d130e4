"""`vox schola merge-qlora`: the same as `vox mens merge-qlora`."""

from __future__ import annotations

from vox_cli.commands.mens_merge_qlora import merge_qlora

__all__ = ["merge_qlora"]
