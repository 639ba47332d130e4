"""Folding adapters into their bases: requests, reports and functions. No torch."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from vox_populi.adapters.v3.burn_bin import refuse_burn_bin
from vox_populi.adapters.v3.names import LORA_ADAPTER_FILE
from vox_populi.contract.choices import Backend
from vox_populi.contract.download_choice import download_setting
from vox_populi.contract.setting import setting, setting_metadata
from vox_populi.errors import ArtifactError
from vox_populi.files.known_names import REQUEST_FILE
from vox_populi.files.output_guard import require_new_folder
from vox_populi.hf.hub_name import ModelParts
from vox_populi.merge.choices import MergeFormat, MergeOutput, Onto
from vox_populi.merge.receipt import RECEIPT_FILE, MergeReceipt
from vox_populi.operator_messages import adapter as say
from vox_populi.pipeline.early_refusals import (
    reads_of,
    require_adapter,
    require_model,
    require_present,
)
from vox_populi.pipeline.runners import load_runner
from vox_populi.runs.adapter_place import AdapterForm, adapter_at
from vox_populi.runs.request import read_run_request


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeRequest(MergeOutput):
    """An adapter to fold into its base."""

    checkpoint: Path = field(
        metadata=setting_metadata(
            "Adapter file, or the folder of a run or checkpoint.",
            argument="RUN",
            flags=("--checkpoint",),
            metavar="PATH",
        )
    )
    model_dir: Path | None = setting(
        None,
        "Base folder, if it has moved since training.",
        name="model",
        model=ModelParts.ALL,
    )
    allow_download: bool = download_setting()


@dataclass(frozen=True, slots=True, kw_only=True)
class QloraMergeRequest(MergeOutput):
    """A QLoRA adapter to fold into its base."""

    adapter: Path = field(
        metadata=setting_metadata(
            "Adapter file, or the folder of a run or checkpoint.",
            argument="RUN",
            flags=("--adapter",),
            metavar="PATH",
        )
    )
    base: Path | None = setting(
        None, "Base folder, if it has moved since training.", model=ModelParts.ALL
    )
    allow_download: bool = download_setting()
    meta: Path | None = setting(
        None, "Sidecar of the adapter, if it is in another place.", metavar="FILE"
    )
    onto: Onto | None = setting(
        None, "Weights to merge into.", default_text="dequant; with --subset, original"
    )
    subset: bool = setting(False, "Write only the merged tensors, in float32.")
    """Write the merged tensors alone, in float32, as the source system does."""
    output_format: MergeFormat = setting(MergeFormat.HF, "What to write.", name="format")


@dataclass(frozen=True, slots=True, kw_only=True)
class AnyMergeRequest(MergeOutput):
    """An adapter to fold into its base, whichever backend trained it."""

    source: Path = field(
        metadata=setting_metadata("Run or checkpoint folder, or adapter file.", argument="RUN")
    )
    model_dir: Path | None = setting(
        None,
        "Base folder, if it has moved since training.",
        name="model",
        flags=("--model", "--base"),
        model=ModelParts.ALL,
    )
    allow_download: bool = download_setting()
    onto: Onto | None = setting(None, "For QLoRA: weights to merge into.", default_text="dequant")
    output_format: MergeFormat = setting(MergeFormat.HF, "What to write.", name="format")


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeReport:
    """A published merge."""

    output: Path
    receipt: MergeReceipt
    notes: tuple[str, ...]
    seconds: float

    def as_json(self) -> dict[str, object]:
        """The receipt, its path, and the time it took."""
        return {
            "output": str(self.output),
            "receipt": str(self.output / RECEIPT_FILE),
            "seconds": round(self.seconds, 3),
            **self.receipt.as_json(),
            "notes": list(self.notes),
        }


def merge_adapter(request: AnyMergeRequest) -> MergeReport:
    """Fold an adapter into its base with the merge that it needs.

    Raises:
        VoxError: As `merge_weights` and `merge_qlora`.
    """
    output: dict[str, Any] = {
        each.name: getattr(request, each.name) for each in fields(MergeOutput)
    }
    if request.onto is None and not _is_qlora(request.source):
        lora = MergeRequest(checkpoint=request.source, model_dir=request.model_dir, **output)
        return merge_weights(lora)
    base, onto = request.model_dir, request.onto
    return merge_qlora(QloraMergeRequest(adapter=request.source, base=base, onto=onto, **output))


def merge_weights(request: MergeRequest) -> MergeReport:
    """Fold an adapter into its base, check that the result computes the same, and publish it.

    Raises:
        ArtifactError: For an adapter that cannot be read, changes nothing or belongs to a different
            base; for an output that overlaps an input.
        ModelError: For a base folder that cannot be used.
        PreflightError: For an output folder that is not empty.
        MergeMismatchError: When the result differs from base and adapter by more than rounding.
        EnvironmentFailure: For a full disk, a locked or unwritable folder.
    """
    reads = reads_of(request.checkpoint, request.model_dir)
    module = load_runner(
        "merge_run",
        lambda: require_adapter(request.checkpoint),
        lambda: require_model(request.model_dir),
        lambda: require_new_folder(request.output, reads, force=request.force),
    )
    report: MergeReport = module.merge(request)
    return report


def merge_qlora(request: QloraMergeRequest) -> MergeReport:
    """Fold a QLoRA adapter into the chosen weights, check the result and publish it.

    Raises:
        PreflightError: For an output folder that is not empty.
        ArtifactError: For a `.bin`, an adapter of the LoRA backend, one that changes nothing or
            does not fit its base, and for missing original weights.
        ModelError: For a base that cannot be used, or a result that is not finite.
        MergeMismatchError: When the written model does not compute the same as the unmerged
            adapter on the same weights.
        EnvironmentFailure: For a full disk, a locked or unwritable folder.
    """
    reads = reads_of(request.adapter, request.meta, request.base)
    module = load_runner(
        "merge_run",
        lambda: _require_qlora_adapter(request.adapter),
        lambda: require_present(request.meta, say.NO_SIDECAR_THERE.at),
        lambda: _require_model_or_shard(request),
        lambda: require_new_folder(request.output, reads, force=request.force),
    )
    report: MergeReport = module.merge(request)
    return report


def _is_qlora(path: Path) -> bool:
    """Whether the QLoRA backend trained an adapter; a checkpoint's run has the request."""
    place = adapter_at(path) if path.exists() else None
    if place is None or place.checkpoint is None:
        is_v3 = place is not None and place.form is AdapterForm.V3
        return is_v3 and path.name != LORA_ADAPTER_FILE
    with suppress(ArtifactError):
        request = read_run_request(place.run / REQUEST_FILE)
        return request.contract.get("backend") == Backend.QLORA
    return False


def _require_qlora_adapter(path: Path) -> None:
    if not path.is_dir():
        refuse_burn_bin(path)  # By its name alone, if need be.
    require_present(path, say.NO_ADAPTER_THERE.at)


def _require_model_or_shard(request: QloraMergeRequest) -> None:
    """Refuse a path that is neither a model folder nor a file, which is enough for a subset."""
    is_shard = request.subset and request.base is not None and request.base.is_file()
    if not is_shard:
        require_model(request.base)
