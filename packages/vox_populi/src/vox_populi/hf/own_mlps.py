"""The MLPs in the blocks of a class in transformers. No torch here."""

from __future__ import annotations

from vox_populi.hf.module_roles import is_in_mlp
from vox_populi.hf.module_table import ModuleTable


def mlp_paths(table: ModuleTable) -> tuple[str, ...]:
    """Paths of the MLPs, one for each block; nothing if some block has none of its own.

    Args:
        table: What the class consists of.
    """
    found: dict[str, str] = {}
    for path in (*(m.theirs for m in table.modules), *(each.theirs for each in table.frozen)):
        number, _, within = path.removeprefix(table.blocks).partition(".")
        if path.startswith(table.blocks) and is_in_mlp(within):
            found[number] = f"{table.blocks}{number}.{within.partition('.')[0]}"
    return tuple(found.values()) if len(found) == len(table.layer_kinds) else ()
