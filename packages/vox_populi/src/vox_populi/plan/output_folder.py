"""Whether a run folder can be made and filled; looks only, and writes nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.data.asked_rows import asked_places
from vox_populi.errors import PreflightError
from vox_populi.files.known_names import REQUEST_FILE
from vox_populi.files.output_guard import (
    IfOccupied,
    Reads,
    is_occupied,
    names_in,
    nearest_folder,
    require_apart,
    require_movable,
    require_room,
)
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.operator_messages import checkpoint as say_checkpoint
from vox_populi.operator_messages import environment as say_environment
from vox_populi.operator_messages import quantize as say_qlora
from vox_populi.plan.findings import Findings
from vox_populi.plan.memory_estimate import AdapterSize
from vox_tensor.errors import cause

_BESIDES_ADAPTER = 16 * 2**20
"""Room for telemetry, manifests and the model card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderUse:
    """What a run will do with its output folder."""

    if_occupied: IfOccupied = IfOccupied.REFUSE
    most_checkpoints: int = 0
    """How many are on disk at the same time."""
    reads: tuple[Path, ...] = ()
    """Files that are read besides the inputs of the contract, such as a config file."""
    resumed: Path | None = None
    """The run or checkpoint to resume from, if it is not the output folder."""


AS_NEW_FOLDER = FolderUse()


def reads_of(contract: FinetuneContract, use: FolderUse) -> Reads:
    """What a run reads, and what must therefore stay where it is."""
    base = contract.model_dir or embedded_model_dir()
    kept = contract.row_keeping.row_cache_dir
    optional = (contract.init_from, contract.qlora.cache_dir, kept)
    single = tuple(path for path in optional if path is not None)
    return Reads(whole=(base, *single, *use.reads), kept=asked_places(contract.data_paths))


def check_output_folder(
    contract: FinetuneContract, size: AdapterSize, found: Findings, use: FolderUse = AS_NEW_FOLDER
) -> None:
    """Report a folder that overlaps an input, is used, locked, a link, not writable or too small.

    Args:
        contract: The request; the folder to be and its parents may not exist yet.
        size: Of the adapter. Twice that must be free, since a file is written beside the one it
            replaces, and for each checkpoint the adapter, with early stopping the best adapter,
            and what the optimizer keeps.
        found: Takes the problems.
        use: What the run will do with it.
    """
    path = contract.output_dir
    checkpoint = 2 * size.values + size.optimizer
    needed = 2 * size.values + use.most_checkpoints * checkpoint + _BESIDES_ADAPTER
    if found.attempt(lambda: _check_place(contract, use)):
        found.attempt(lambda: require_room(path, needed, say_environment.disk_too_small))


def check_cache_folder(path: Path, found: Findings) -> None:
    """Report a place where no folder of quantised bases is or can be made.

    One that is there but read-only may hold what is needed; that is seen when it is used.
    """
    try:
        folder = nearest_folder(path)
    except NotADirectoryError:
        found.blame_environment(
            [say_qlora.nf4_cache_unusable("a file is in the way").at(str(path))]
        )
        return
    except OSError as error:
        found.blame_environment([say_qlora.nf4_cache_unusable(cause(error)).at(str(path))])
        return
    if folder != path and not os.access(folder, os.W_OK | os.X_OK):
        reason = f"{folder} is read-only for this user"
        found.blame_environment([say_qlora.nf4_cache_unusable(reason).at(str(path))])


def _check_place(contract: FinetuneContract, use: FolderUse) -> bool:
    """Look at the folder and what is around it; `True` where nothing stands against it.

    Raises:
        PreflightError: For one that overlaps an input, or holds something else than it may.
        EnvironmentFailure: For a link, no folder, or one that another process holds.
    """
    path, where = contract.output_dir, str(contract.output_dir)
    require_apart(path, reads_of(contract, use))
    if use.resumed is not None and use.resumed.resolve() in path.resolve().parents:
        raise PreflightError(say_environment.output_overlaps(str(use.resumed)).at(where))
    names = names_in(path)
    if not is_occupied(names):
        return True
    if use.if_occupied is IfOccupied.REFUSE:
        raise PreflightError(
            say_environment.output_folder_occupied(where, is_run=REQUEST_FILE in names)
        )
    if use.if_occupied is IfOccupied.MOVE_ASIDE:
        require_movable(path)
    elif REQUEST_FILE not in names:
        raise PreflightError(say_checkpoint.OUTPUT_FOLDER_IS_NO_RUN.at(where))
    return True
