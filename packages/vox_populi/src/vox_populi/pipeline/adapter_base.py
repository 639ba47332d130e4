"""The base of an adapter: finding it, checking that it is the right one, matching its layers."""

from __future__ import annotations

from pathlib import Path

from vox_populi.adapters.header import AdaptedModule, AdapterHeader
from vox_populi.errors import ArtifactError
from vox_populi.hf.embedded import EMBEDDED_NAME
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.keymap import AdapterModule, adapter_modules
from vox_populi.operator_messages import adapter as say
from vox_populi.runs.base_location import find_base
from vox_populi.runs.check_rows import CHECK_ROWS_FILE, CheckRows, read_check_rows
from vox_populi.runs.checkpoint_dir import checkpoint_at


def run_of(adapter: Path) -> Path:
    """The run folder of an adapter file; a checkpoint's file is two folders below its run."""
    if checkpoint_at(adapter.parent) is None:
        return adapter.parent
    return adapter.resolve().parent.parent.parent


def check_rows_of(
    adapter: Path, header: AdapterHeader, inventory: ModelInventory
) -> CheckRows | None:
    """The check rows of an adapter's run; `None` if there are none."""
    path = run_of(adapter) / CHECK_ROWS_FILE
    return read_check_rows(path, header.contract_digest, inventory.config.vocab_size)


def base_folder(model_dir: Path | None, adapter: Path, header: AdapterHeader) -> Path | None:
    """The folder of an adapter's base; `None` for the embedded one.

    Args:
        model_dir: The operator's choice; its digest is checked later.
        adapter: The adapter file of a run or of one of its checkpoints.
        header: The adapter's header.

    Raises:
        ArtifactError: When it cannot be found.
    """
    if model_dir is not None:
        return model_dir
    folder = find_base(run_of(adapter))
    if folder is None and header.base_name != EMBEDDED_NAME:
        raise ArtifactError(say.adapter_base_unknown(str(adapter), header.base_name))
    return folder


def require_base(inventory: ModelInventory, digest: str, header: AdapterHeader, where: str) -> None:
    """Refuse a base that is not the one the adapter was trained on.

    Raises:
        ArtifactError: Naming both.
    """
    if digest == header.base_digest:
        _require_facts(inventory, header, where)
        return
    folder = str(inventory.model_dir)
    raise ArtifactError(
        say.adapter_not_for_base(where, header.base_name, header.base_digest, folder)
    )


def _require_facts(inventory: ModelInventory, header: AdapterHeader, where: str) -> None:
    """Refuse an adapter that has the base's digest but wrong facts about it."""
    config = inventory.config
    facts: list[tuple[str, object, object]] = [("model_type", header.model_type, config.model_type)]
    if header.base_sizes is not None:
        vocab, d_model = header.base_sizes
        facts += [("vocab", vocab, config.vocab_size), ("d_model", d_model, config.hidden_size)]
    problems = [
        say.adapter_says_otherwise(where, name, theirs, ours)
        for name, theirs, ours in facts
        if theirs != ours
    ]
    if problems:
        raise ArtifactError(*problems)


def fitting_modules(
    inventory: ModelInventory, header: AdapterHeader, where: str
) -> tuple[AdapterModule, ...]:
    """The base's modules that the adapter adapts, which must match exactly.

    Raises:
        ArtifactError: With the modules that the base does not have.
    """
    known = {module.ours: module for module in adapter_modules(inventory.config)}
    unknown = [
        module.ours
        for module in header.modules
        if module.ours not in known or module != AdaptedModule.of(known[module.ours])
    ]
    if unknown:
        raise ArtifactError(say.adapter_modules_unknown(where, unknown))
    return tuple(known[module.ours] for module in header.modules)
