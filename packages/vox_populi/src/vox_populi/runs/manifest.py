"""Writer and reader of `training_manifest.json`: what was trained, on what, with what. No torch.

Keys are the source system's if it has one. Nothing in it depends on the clock, the folder or the
user: the same run twice gives the same bytes.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

from vox_populi.contract.choices import DeploymentTarget
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.setting import record_of
from vox_populi.data.control_text import ControlText
from vox_populi.data.data_report import DataReport
from vox_populi.data.row_files.row_file import FileDigest
from vox_populi.data.trained_layout import TrainedLayout
from vox_populi.errors import ArtifactError, ModelError
from vox_populi.files.json_fields import FieldError, take, take_count, take_object, take_positive
from vox_populi.files.strict_json import read_json_object
from vox_populi.files.whole_file import OWN_DIGEST, fits_own_digest, with_own_digest
from vox_populi.operator_messages import checkpoint as say_checkpoint
from vox_populi.operator_messages import environment as say_environment
from vox_populi.plan.execution_planner import ExecutionPlan
from vox_populi.plan.plan_report import activation_values, source_values
from vox_populi.plan.rank_plan import rank_values
from vox_populi.runs.lane import LANE_OF_KERNEL
from vox_populi.runs.qlora_facts import qlora_facts, skip_counts

MANIFEST_SCHEMA_VERSION = 6
"""1 to 5 are the source system's; 6 adds digests, versions, optimizer, results and the plan."""
QLORA_MANIFEST_SCHEMA_VERSION = 7
"""Version for a run on a 4-bit base: 6 plus the source system's keys for QLoRA."""

_DISTRIBUTIONS = ("vox-tensor", "vox-populi", "vox-mens-cli", "torch", "tokenizers")
_MAX_MANIFEST_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class InputFacts:
    """The inputs of a run, by name and digest, without paths."""

    base_name: str
    base_digest: str
    base_commit: str | None = None
    """Commit of a base from the hub."""
    tokenizer_digest: str
    template_digest: str
    layout: TrainedLayout | None = None
    """Template and border tokens, with a base's own tokenizer."""
    contract_digest: str
    train_file: str
    train_digest: str
    train_files: tuple[FileDigest, ...] = ()
    """Every file of training rows, in order."""
    train_report: DataReport
    valid_file: str | None
    """File of held-out rows; `None` if they were split off the training file, or there are none."""
    valid_digest: str | None
    valid_files: tuple[FileDigest, ...] = ()
    """The same for held-out rows."""
    valid_report: DataReport | None
    init_from_digest: str | None = None
    """Digest of the adapter that training started from."""

    @property
    def run_id(self) -> str:
        """A short name derived from the request and its inputs."""
        return self.contract_digest.removeprefix("sha256:")[:12]


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file that a run has written."""

    name: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFacts:
    """The results of a run, apart from times."""

    steps: int
    epochs_completed: int
    tokens: int
    supervised_tokens: int
    train_loss: float
    evaluations: tuple[tuple[int, float], ...]
    """Step and held-out loss of each evaluation."""
    heldout_loss_after: float | None
    best_step: int | None
    stopped_early: bool
    adapter_file: str
    adapter_sha256: str
    adapter_bytes: int
    sidecars: tuple[WrittenFile, ...] = ()
    """Files that belong to the adapter."""
    saved_tokens: int = 0
    """The part of `tokens` that was not computed, since other rows of a step have them too."""
    deterministic: bool
    """Whether running again gives the same bytes; not guaranteed on a GPU."""


def manifest_values(
    contract: FinetuneContract, plan: ExecutionPlan, inputs: InputFacts, results: ResultFacts
) -> dict[str, object]:
    """All values of the manifest, in order, and their digest."""
    is_qlora = plan.quant is not None
    document: dict[str, object] = {
        "manifest_schema_version": (
            QLORA_MANIFEST_SCHEMA_VERSION if is_qlora else MANIFEST_SCHEMA_VERSION
        ),
        "execution_kernel": plan.kernel.value,
        "lane": LANE_OF_KERNEL[plan.kernel].value,
        "graph_id": plan.graph,
        "training_objective_note": plan.objective_note,
        **source_values(plan),
        "run_id": inputs.run_id,
        "git_sha": None,
        "device_profile": contract.preset,
        "finetune_contract_digest": inputs.contract_digest,
        **_model_values(contract, plan, inputs),
        **_data_values(contract, plan, inputs),
        **_adapter_values(plan, inputs),
        **_schedule_values(contract, plan),
        **_deployment_values(contract),
        **contract.provenance.as_manifest(),
        **_qlora_values(plan, inputs, results),
        "results": _result_values(results),
        "artifacts": {
            results.adapter_file: {
                "sha256": results.adapter_sha256,
                "bytes": results.adapter_bytes,
            },
            **{each.name: {"sha256": each.sha256, "bytes": each.size} for each in results.sidecars},
        },
        "versions": installed_versions(),
    }
    return with_own_digest(document)


def read_manifest(path: Path) -> dict[str, object]:
    """Read a manifest of this or an older schema; fields that older ones lack are absent.

    Raises:
        ArtifactError: For a file that cannot be read, is not a manifest, is newer than this
            program, or does not match its own digest.
    """
    try:
        values = read_json_object(path, _MAX_MANIFEST_BYTES)
    except ModelError as error:
        # In the words of a manifest: nobody can fetch this file again.
        reasons = "; ".join(problem.what.rstrip(".") for problem in error.problems)
        raise ArtifactError(say_checkpoint.manifest_invalid(reasons).at(str(path))) from error
    try:
        version = (
            take_count(values, "manifest_schema_version", lowest=1) if _has_version(values) else 1
        )
        newest = QLORA_MANIFEST_SCHEMA_VERSION
        if version > newest:
            raise ArtifactError(say_checkpoint.manifest_too_new(version, newest).at(str(path)))
        if version >= MANIFEST_SCHEMA_VERSION:
            take_object(values, "results")
            take(values, "finetune_contract_digest", str)
        take_positive(values, "vocab_size")
    except FieldError as error:
        raise ArtifactError(say_checkpoint.manifest_invalid(str(error)).at(str(path))) from error
    if OWN_DIGEST in values and not fits_own_digest(values):
        raise ArtifactError(say_checkpoint.MANIFEST_CHANGED.at(str(path)))
    return values


def installed_versions() -> dict[str, str]:
    """Versions of Python, torch and our distributions, if installed."""
    versions = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _has_version(values: Mapping[str, object]) -> bool:
    return "manifest_schema_version" in values


def _model_values(
    contract: FinetuneContract, plan: ExecutionPlan, inputs: InputFacts
) -> dict[str, object]:
    config = plan.config
    layout = {} if inputs.layout is None else {"layout": inputs.layout.as_json()}
    return {
        "base_model": inputs.base_name,
        "base_digest": inputs.base_digest,
        **({} if inputs.base_commit is None else {"base_commit": inputs.base_commit}),
        "model_type": config.model_type,
        "vocab_size": config.vocab_size,
        "d_model": config.hidden_size,
        "n_heads": config.n_heads,
        "n_kv_heads": config.n_kv_heads,
        "n_layers": config.n_layers,
        "tokenizer": contract.tokenizer.value,
        "tokenizer_path": "tokenizer.json",
        "tokenizer_digest": inputs.tokenizer_digest,
        "template": contract.text.kind.value,
        "template_digest": inputs.template_digest,
        "system_prompt": contract.text.system_prompt,
        **layout,
    }


def _data_values(
    contract: FinetuneContract, plan: ExecutionPlan, inputs: InputFacts
) -> dict[str, object]:
    values: dict[str, object] = {
        "train_file": inputs.train_file,
        "train_digest": inputs.train_digest,
        **_several("train_files", inputs.train_files),
        "train_counts": _counts(inputs.train_report),
        "valid_file": inputs.valid_file,
        "valid_digest": inputs.valid_digest,
        **_several("valid_files", inputs.valid_files),
        "valid_counts": None if inputs.valid_report is None else _counts(inputs.valid_report),
        "pairs_loaded": plan.n_train_rows,
        "pairs_held_out": plan.n_valid_rows,
        "validation_split_ratio": contract.validation_split_ratio,
        "min_rating": contract.rows.min_rating,
        "on_bad_row": contract.rows.on_bad_row.value,
        "on_long_row": contract.rows.on_long_row.value,
    }
    if contract.rows.context_filter is not None:
        values["context_filter"] = contract.rows.context_filter
    if contract.text.on_control_text is not ControlText.TEXT:
        values["on_control_text"] = contract.text.on_control_text.value
    if contract.curriculum:
        values["curriculum"] = True
    if contract.trajectory.trajectory_weighting_enabled:
        values |= asdict(contract.trajectory)
        values["trajectory_weighted_pairs"] = inputs.train_report.trajectories
    return values


def _several(key: str, files: tuple[FileDigest, ...]) -> dict[str, object]:
    """The files of a split with more than one; nothing for one, which has fields of its own."""
    return {key: [each._asdict() for each in files]} if len(files) > 1 else {}


def _counts(report: DataReport) -> dict[str, object]:
    """The counts of a file, without the messages about skipped rows, which contain paths."""
    values = report.as_json()
    del values["skipped"]
    return values


def _adapter_values(plan: ExecutionPlan, inputs: InputFacts) -> dict[str, object]:
    lora = plan.lora
    start = {} if inputs.init_from_digest is None else {"init_from": inputs.init_from_digest}
    return {
        **start,
        **asdict(lora),
        "scale": lora.scale,
        "targets": sorted({role.value for module in plan.adapters for role in module.roles}),
        "adapted_modules": [f"{module.theirs}.weight" for module in plan.adapters],
        "trainable_parameters": plan.n_trainable,
    }


def _schedule_values(contract: FinetuneContract, plan: ExecutionPlan) -> dict[str, object]:
    schedule, optimization = plan.schedule, record_of(plan.optimization)
    return {
        **record_of(plan.batching),
        "rows_per_step": plan.batching.rows_per_step,
        "window_tokens": plan.batching.window_tokens,
        "epochs": plan.epochs,
        "max_steps": contract.max_steps,
        "planned_steps_per_epoch": plan.steps_per_epoch,
        "planned_steps_total": plan.total_steps,
        "optimizer": {
            "name": plan.optimization.optimizer.value,
            "learning_rate": schedule.peak,
            "schedule": schedule.kind.value,
            "warmup_steps": schedule.warmup_steps,
            **{name: each for name, each in optimization.items() if name != "optimizer"},
        },
        **record_of(plan.evaluation),
        "seed": plan.seed,
        "device": plan.device,
        "compute_dtype": plan.compute_dtype,
        "threads": plan.threads,
        **activation_values(plan),
        **rank_values(plan.ranks),
        "memory_estimate_bytes": plan.memory.total,
        "notes": list(plan.notes),
    }


def _deployment_values(contract: FinetuneContract) -> dict[str, object]:
    if contract.deployment_target is not DeploymentTarget.MOBILE_EDGE:
        return {}
    return {
        "training_deployment_target": contract.deployment_target.value,
        "training_deployment_note": say_environment.MOBILE_EDGE_MANIFEST_NOTE,
    }


def _qlora_values(
    plan: ExecutionPlan, inputs: InputFacts, results: ResultFacts
) -> dict[str, object]:
    """Values of runs on a 4-bit base; rows are skipped, and counted, before the run."""
    if plan.quant is None:
        return {}
    dropped = inputs.train_report.dropped
    return {
        **qlora_facts(plan),
        "candle_qlora_training_steps_executed": results.steps,
        **{f"candle_qlora_{name}": count for name, count in skip_counts(dropped).items()},
    }


def _result_values(results: ResultFacts) -> dict[str, object]:
    evaluations = results.evaluations
    return {
        "steps": results.steps,
        "epochs_completed": results.epochs_completed,
        "tokens": results.tokens,
        "supervised_tokens": results.supervised_tokens,
        **({"saved_tokens": results.saved_tokens} if results.saved_tokens else {}),
        "train_loss": results.train_loss,
        "heldout_loss_before": evaluations[0][1] if evaluations else None,
        "heldout_loss_after": results.heldout_loss_after,
        "evaluations": [{"step": step, "loss": loss} for step, loss in evaluations],
        "best_step": results.best_step,
        "stopped_early": results.stopped_early,
        "deterministic": results.deterministic,
    }
