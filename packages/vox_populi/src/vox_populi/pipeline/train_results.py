"""Results of a finished training run: the last event, facts for the manifest, a report."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from vox_populi.adapters.v3.names import QLORA_ADAPTER_FILE
from vox_populi.errors import ArtifactError
from vox_populi.files.json_fields import FieldError, take, take_number, take_object
from vox_populi.files.json_numbers import JsonObject
from vox_populi.files.known_names import MANIFEST_FILE
from vox_populi.operator_messages import checkpoint as say
from vox_populi.pipeline.resume import StartingPoint
from vox_populi.pipeline.train import HeldoutPoint, PlannedRun, TrainReport
from vox_populi.runs.lane import LANE_OF_KERNEL, lane_of
from vox_populi.runs.manifest import ResultFacts, WrittenFile
from vox_populi.runs.qlora_facts import qlora_facts, skip_counts
from vox_populi.runs.run_dir import ADAPTER_FILE, run_files
from vox_populi.train.outcome import TrainOutcome
from vox_tensor.regular_file import open_regular


def complete_payload(planned: PlannedRun, outcome: TrainOutcome) -> JsonObject:
    """The last line of telemetry."""
    return {
        "ok": True,
        "execution_kernel": planned.plan.kernel.value,
        "training_steps_executed": outcome.steps,
        "pairs_loaded": planned.plan.n_train_rows,
        "seed": planned.plan.seed,
        "supervised_tokens": outcome.supervised_tokens,
        "loss": outcome.train_loss,
        "val_loss_before": outcome.valid_loss_before,
        "val_loss": outcome.valid_loss_after,
        "final_adapter": ADAPTER_FILE if planned.plan.quant is None else QLORA_ADAPTER_FILE,
        "wall_seconds": outcome.seconds,
        "mean_tokens_per_sec": _mean_tokens_per_second(outcome),
        "mean_steps_per_sec": outcome.steps / outcome.seconds if outcome.seconds else None,
        **_qlora_payload(planned),
    }


def _mean_tokens_per_second(outcome: TrainOutcome) -> float | None:
    """Mean rate of this session, as in `TrainReport.tokens_per_second`."""
    if not outcome.seconds:
        return None
    return (outcome.tokens - outcome.tokens_before) / outcome.seconds


def _qlora_payload(planned: PlannedRun) -> JsonObject:
    """Width of the loss and skipped rows, as in the manifest."""
    facts = qlora_facts(planned.plan)
    if not facts:
        return {}
    return {
        "candle_qlora_graph_id": facts["candle_qlora_graph_id"],
        "candle_qlora_ce_last_k": facts["candle_qlora_ce_last_k"],
        **skip_counts(planned.preflight.data_report.dropped),
    }


def result_facts(
    planned: PlannedRun, outcome: TrainOutcome, written: Sequence[Path]
) -> ResultFacts:
    """Facts for the manifest about the outcome and the files of its adapter."""
    adapter, *sidecars = map(_written_file, written)
    return ResultFacts(
        steps=outcome.steps,
        epochs_completed=outcome.epochs_completed,
        tokens=outcome.tokens,
        supervised_tokens=outcome.supervised_tokens,
        saved_tokens=outcome.saved_tokens,
        train_loss=outcome.train_loss,
        evaluations=tuple((each.step, each.loss) for each in outcome.evaluations),
        heldout_loss_after=outcome.valid_loss_after,
        best_step=outcome.best_step,
        stopped_early=outcome.stopped_early,
        adapter_file=adapter.name,
        adapter_sha256=adapter.sha256,
        adapter_bytes=adapter.size,
        sidecars=tuple(sidecars),
        deterministic=planned.plan.device == "cpu",
    )


def train_report(
    planned: PlannedRun,
    outcome: TrainOutcome,
    run: Path,
    start: StartingPoint,
    notes: Sequence[str] = (),
) -> TrainReport:
    """The report of a run that succeeded; `notes` are from loading it."""
    return TrainReport(
        run=run,
        steps=outcome.steps,
        planned_steps=planned.plan.total_steps,
        tokens=outcome.tokens,
        supervised_tokens=outcome.supervised_tokens,
        train_loss=outcome.train_loss,
        heldout_loss_before=outcome.valid_loss_before,
        heldout_loss_after=outcome.valid_loss_after,
        evaluations=tuple(HeldoutPoint(step=e.step, loss=e.loss) for e in outcome.evaluations),
        stopped_early=outcome.stopped_early,
        seconds=outcome.seconds,
        peak_memory_bytes=outcome.peak_memory_bytes or None,
        device=planned.plan.device,
        compute_dtype=planned.plan.compute_dtype,
        lane=LANE_OF_KERNEL[planned.plan.kernel].value,
        graph_id=planned.plan.graph,
        artifacts=run_files(run),
        resumed_from=start.step if start.checkpoint else None,
        tokens_before=outcome.tokens_before,
        saved_tokens=outcome.saved_tokens,
        notes=(*planned.shown_notes, *notes, *start.notes),
    )


def finished_report(planned: PlannedRun, manifest: Mapping[str, object], run: Path) -> TrainReport:
    """The report of a run that was already complete when it was resumed.

    Raises:
        ArtifactError: When the manifest is not valid.
    """
    try:
        results = take_object(manifest, "results")
        return TrainReport(
            run=run,
            steps=take(results, "steps", int),
            planned_steps=planned.plan.total_steps,
            tokens=take(results, "tokens", int),
            supervised_tokens=take(results, "supervised_tokens", int),
            train_loss=take_number(results, "train_loss"),
            heldout_loss_before=_number(results, "heldout_loss_before"),
            heldout_loss_after=_number(results, "heldout_loss_after"),
            stopped_early=take(results, "stopped_early", bool),
            seconds=0.0,
            peak_memory_bytes=None,
            device=planned.plan.device,
            compute_dtype=planned.plan.compute_dtype,
            lane=lane_of(manifest),
            graph_id=planned.plan.graph,
            artifacts=run_files(run),
            resumed_from=take(results, "steps", int),
            tokens_before=take(results, "tokens", int),
            saved_tokens=take(results, "saved_tokens", int) if "saved_tokens" in results else 0,
            notes=(*planned.shown_notes, say.NOTE_RUN_COMPLETE),
        )
    except FieldError as error:
        path = str(run / MANIFEST_FILE)
        raise ArtifactError(say.manifest_invalid(str(error)).at(path)) from error


def _written_file(path: Path) -> WrittenFile:
    with open_regular(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return WrittenFile(path.name, digest, path.stat().st_size)


def _number(values: Mapping[str, object], name: str) -> float | None:
    return None if values.get(name) is None else take_number(values, name)
