"""A whole training run: stages in order, files as each stage ends. Needs torch."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from vox_populi import operator_messages as say
from vox_populi.artifacts.adapter_header import AdaptedModule, AdapterHeader
from vox_populi.artifacts.base_location import base_location
from vox_populi.artifacts.checkpoint_file import write_adapter_bin
from vox_populi.artifacts.model_card import model_card
from vox_populi.artifacts.run_dir import (
    ADAPTER_FILE,
    BASE_LOCATION_FILE,
    KNOWN_FILES,
    MANIFEST_FILE,
    MODEL_CARD_FILE,
    PREFLIGHT_FILE,
    TELEMETRY_FILE,
    TIMES_FILE,
    RunDir,
)
from vox_populi.artifacts.telemetry_file import TelemetryFile
from vox_populi.artifacts.training_manifest import InputFacts, ResultFacts, manifest_values
from vox_populi.errors import EnvironmentFailure, RunFailedError
from vox_populi.events import TELEMETRY_SCHEMA_VERSION, Event, EventName, Sink
from vox_populi.kernel.lora_full import LoraFullObjective, build_lora_full
from vox_populi.pipeline.interruption import RunInterruptedError, StopRequest, stop_on_signals
from vox_populi.pipeline.reports import HeldoutPoint, PlannedRun, TrainReport
from vox_populi.pipeline.requests import RunOptions
from vox_populi.pipeline.run_sinks import EveryNthStep, SinkGroup
from vox_populi.plan.execution_planner import ExecutionPlan, require_memory
from vox_populi.plan.preflight import TRAIN_FILE, VALID_FILE
from vox_populi.train.engine import Engine
from vox_populi.train.outcome import EngineSettings, TrainOutcome
from vox_tensor.errors import VoxError

PREFLIGHT_SCHEMA = "vox.mens.preflight.v0"


def train(planned: PlannedRun, options: RunOptions, sinks: Sequence[Sink]) -> TrainReport:
    """Do what a plan says and leave a run folder.

    Raises:
        VoxError: As `pipeline.dispatch.run_training` says.
    """
    require_memory(planned.plan)
    inputs = input_facts(planned)
    with stop_on_signals() as stop, RunDir.create(
        planned.contract.output_dir, force=options.force
    ) as run:
        _write_preflight(run, planned, inputs)
        telemetry = TelemetryFile(run.file(TELEMETRY_FILE))
        sink = SinkGroup((EveryNthStep(telemetry, options.log_every), *sinks))
        try:
            return _Run(planned, inputs, run, sink, stop).train()
        finally:
            telemetry.close()
