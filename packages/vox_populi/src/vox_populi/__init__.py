"""The fine-tuning system; what is exported here is public and imported when it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vox_tensor.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from vox_populi.api import (
        TrainingEvents,
        evaluate_model,
        load_model,
        plan_training,
        train_adapter,
        training_events,
    )
    from vox_populi.contract.training_settings import TrainingSettings
    from vox_populi.events import Event, EventName
    from vox_populi.pipeline.evaluate import EvalReport
    from vox_populi.pipeline.export import ExportReport
    from vox_populi.pipeline.generate import GenerateResult, LoadedModel
    from vox_populi.pipeline.merge import MergeReport
    from vox_populi.pipeline.push import PushReport
    from vox_populi.pipeline.stopped_run import RunInterruptedError
    from vox_populi.pipeline.train import PlannedRun, TrainReport
    from vox_populi.sharing_api import export_adapter, merge_adapter, push_to_hub
    from vox_tensor.errors import VoxError

__all__ = [
    "EvalReport",
    "Event",
    "EventName",
    "ExportReport",
    "GenerateResult",
    "LoadedModel",
    "MergeReport",
    "PlannedRun",
    "PushReport",
    "RunInterruptedError",
    "TrainReport",
    "TrainingEvents",
    "TrainingSettings",
    "VoxError",
    "evaluate_model",
    "export_adapter",
    "load_model",
    "merge_adapter",
    "plan_training",
    "push_to_hub",
    "train_adapter",
    "training_events",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "vox_populi.api": (
            "TrainingEvents",
            "evaluate_model",
            "load_model",
            "plan_training",
            "train_adapter",
            "training_events",
        ),
        "vox_populi.contract.training_settings": ("TrainingSettings",),
        "vox_populi.events": ("Event", "EventName"),
        "vox_populi.pipeline.evaluate": ("EvalReport",),
        "vox_populi.pipeline.export": ("ExportReport",),
        "vox_populi.pipeline.generate": ("GenerateResult", "LoadedModel"),
        "vox_populi.pipeline.stopped_run": ("RunInterruptedError",),
        "vox_populi.pipeline.merge": ("MergeReport",),
        "vox_populi.pipeline.push": ("PushReport",),
        "vox_populi.pipeline.train": ("PlannedRun", "TrainReport"),
        "vox_populi.sharing_api": ("export_adapter", "merge_adapter", "push_to_hub"),
        "vox_tensor.errors": ("VoxError",),
    },
)
