"""The final adapter of a run: one file for LoRA, a set of files for QLoRA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from vox_populi.adapters.header import AdapterHeader
from vox_populi.adapters.lora_bin import write_adapter_bin
from vox_populi.adapters.v3.facts import Provenance
from vox_populi.adapters.v3.files import write_qlora_adapter
from vox_populi.adapters.v3.manifest import V3Facts
from vox_populi.contract.setting_groups import ProvenanceSettings
from vox_populi.pipeline.train import PlannedRun
from vox_populi.runs.run_dir import ADAPTER_FILE


def write_final_adapter(
    folder: Path,
    planned: PlannedRun,
    header: AdapterHeader,
    tensors: Mapping[str, Tensor],
) -> tuple[Path, ...]:
    """Write it into an existing folder; the first file is the one with the numbers.

    Raises:
        EnvironmentFailure: When the system refuses; no partial file is left.
    """
    plan = planned.plan
    if plan.quant is None:
        path = folder / ADAPTER_FILE
        write_adapter_bin(path, header, tensors)
        return (path,)
    facts = V3Facts.of_base(plan.config, is_head_tied=plan.config.tie_word_embeddings)
    facts = replace(
        facts,
        training_objective_note=plan.objective_note,
        provenance=_provenance(planned.contract.provenance),
    )
    return write_qlora_adapter(folder, header, tensors, facts)


def _provenance(stated: ProvenanceSettings) -> Provenance | None:
    if stated == ProvenanceSettings():
        return None
    return Provenance(
        base_family=stated.base_model_family,
        upstream_model_id=stated.upstream_model_id,
        license_class=stated.license_class,
        attribution_required=stated.attribution_required,
    )
