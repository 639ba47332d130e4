"""How many optimizer steps a run has, and how many of them warm up."""

from __future__ import annotations

from dataclasses import dataclass

from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.presets import SMALL_DATA_ROWS, find_preset
from vox_populi.operator_messages import plan as say


@dataclass(frozen=True, slots=True)
class StepCount:
    """Steps of a run; `notes` name every value that differs from the request."""

    epochs: int
    per_epoch: int
    total: int
    warmup: int
    notes: tuple[str, ...]


def count_steps(contract: FinetuneContract, n_train_rows: int) -> StepCount:
    """Count steps; the last one of an epoch may have fewer rows than the others.

    A warm-up that the run does not outlast would never let it learn at the rate asked for, so
    it becomes a tenth of the run.

    Args:
        contract: The request.
        n_train_rows: Rows of an epoch, at least 1.
    """
    epochs, warmup, notes = _adapted_to_small_data(contract, n_train_rows)
    per_epoch = -(-n_train_rows // contract.batching.rows_per_step)
    total = epochs * per_epoch
    if contract.max_steps is not None:
        if contract.max_steps > total:
            notes.append(say.note_max_steps_unused(contract.max_steps, total))
        total = min(total, contract.max_steps)
    if warmup >= total and warmup > 0:
        notes.append(say.note_warmup_clamped(warmup, total // 10, total))
        warmup = total // 10
    return StepCount(epochs, per_epoch, total, warmup, tuple(notes))


def _adapted_to_small_data(
    contract: FinetuneContract, n_train_rows: int
) -> tuple[int, int, list[str]]:
    """Epochs and warm-up; only values that still are the preset's are ever changed."""
    epochs, warmup = contract.epochs, contract.lr_schedule.warmup_steps
    if contract.preset is None or n_train_rows >= SMALL_DATA_ROWS:
        return epochs, warmup, []
    preset = find_preset(contract.preset)
    small_epochs, small_warmup = preset.for_small_data()
    notes: list[str] = []
    if epochs == preset.epochs and epochs != small_epochs:
        notes.append(say.note_small_data("epochs", epochs, small_epochs, SMALL_DATA_ROWS))
        epochs = small_epochs
    if warmup == preset.warmup_steps and warmup != small_warmup:
        notes.append(say.note_small_data("warm-up", warmup, small_warmup, SMALL_DATA_ROWS))
        warmup = small_warmup
    return epochs, warmup, notes
