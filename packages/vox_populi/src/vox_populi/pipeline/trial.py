"""One step, one evaluation and one save, measured and discarded. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from vox_populi import extras
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.files.json_numbers import JsonObject, finite_or_none
from vox_populi.pipeline.runners import NEEDED_TO_RUN, load_runner
from vox_populi.pipeline.train import PlannedRun, planned
from vox_populi.plan.output_folder import AS_NEW_FOLDER, FolderUse
from vox_populi.plan.preflight import preflight


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTrialReport:
    """Measurements of `--dry-run=step`: one step, one evaluation, one save, all discarded."""

    planned: PlannedRun
    step_seconds: float
    evaluation_seconds: float | None
    save_seconds: float
    loss: float
    heldout_loss: float | None
    adapter_bytes: int
    """Size of the adapter file as saved."""
    measured_peak_bytes: int | None
    """Peak of the device's allocator, or of the process on a CPU."""

    def as_json(self) -> JsonObject:
        """The plan plus a `trial` object."""
        return {
            **self.planned.as_json(),
            "trial": {
                "step_seconds": round(self.step_seconds, 3),
                "evaluation_seconds": _rounded(self.evaluation_seconds),
                "save_seconds": round(self.save_seconds, 3),
                "loss": finite_or_none(self.loss),
                "heldout_loss": finite_or_none(self.heldout_loss),
                "adapter_bytes": self.adapter_bytes,
                "measured_peak_bytes": self.measured_peak_bytes,
                "estimated_peak_bytes": self.planned.plan.memory.total,
            },
        }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def try_one_step(contract: FinetuneContract, use: FolderUse = AS_NEW_FOLDER) -> StepTrialReport:
    """Run one step, one evaluation and one save in a scratch folder, and measure them.

    Args:
        contract: The request.
        use: As for `plan_training`.

    Raises:
        VoxError: As `run_training` does.
    """
    extras.require(*NEEDED_TO_RUN)
    found = preflight(contract, use)
    module = load_runner("trial_run")
    report: StepTrialReport = module.try_one_step(planned(contract, found))
    return report
