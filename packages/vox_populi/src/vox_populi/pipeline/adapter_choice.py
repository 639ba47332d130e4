"""Which adapter file a run or a checkpoint means, and where its run says the base is."""

from __future__ import annotations

from pathlib import Path

from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_populi.runs.base_location import find_base
from vox_populi.runs.checkpoint_dir import CHECKPOINTS_FOLDER, check_checkpoint, checkpoint_at
from vox_populi.runs.checkpoint_state import ADAPTER_FILE as CHECKPOINT_ADAPTER
from vox_populi.runs.run_dir import required_adapter


def adapter_path(choice: WeightsChoice) -> Path | None:
    """The adapter file that `--run` or `--checkpoint` names, or `None` without either.

    Raises:
        ArtifactError: For a run without one, a folder that is no run, a damaged checkpoint.
    """
    if choice.run is None:
        return None if choice.checkpoint is None else _checkpoint_adapter(choice.checkpoint)
    return required_adapter(choice.run)


def _checkpoint_adapter(path: Path) -> Path:
    """The adapter file that `--checkpoint` names, itself or as the folder of a checkpoint."""
    checkpoint = checkpoint_at(path) if path.is_dir() else None
    if checkpoint is None:
        return path
    check_checkpoint(checkpoint)
    return checkpoint.file(CHECKPOINT_ADAPTER)


def hint_of_run(path: Path) -> Path | None:
    """Where the base of a checkpoint's adapter is: its run knows, two folders further up."""
    checkpoints = path.absolute().parent.parent
    return find_base(checkpoints.parent) if checkpoints.name == CHECKPOINTS_FOLDER else None
