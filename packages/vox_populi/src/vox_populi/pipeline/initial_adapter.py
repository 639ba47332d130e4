"""`--init-from`: a run that starts from an adapter's values instead of fresh ones. Needs torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from vox_populi import operator_messages as say
from vox_populi.artifacts.adapter_header import AdaptedModule, AdapterHeader
from vox_populi.artifacts.checkpoint_file import read_adapter_bin
from vox_populi.artifacts.training_manifest import InputFacts
from vox_populi.errors import ArtifactError
from vox_populi.pipeline.reports import PlannedRun


def read_initial_adapter(planned: PlannedRun, inputs: InputFacts) -> Mapping[str, Tensor] | None:
    """The values to start from, or `None` for fresh ones.

    Raises:
        ArtifactError: For a file that is no adapter, and for one of another base, rank, scale
            or set of modules.
    """
    path = planned.contract.init_from
    if path is None:
        return None
    adapter = read_adapter_bin(path)
    problems = [
        say.init_adapter_unfit(str(path), *each)
        for each in _differences(planned, inputs, adapter.header)
    ]
    if problems:
        raise ArtifactError(*problems)
    return adapter.tensors


def _differences(
    planned: PlannedRun, inputs: InputFacts, header: AdapterHeader
) -> Iterator[tuple[str, object, object]]:
    """What, the adapter's, and this run's, for everything that must be the same."""
    plan = planned.plan
    modules = tuple(AdaptedModule.of(module) for module in plan.adapters)
    if header.base_digest != inputs.base_digest:
        yield (
            "base",
            _named(header.base_name, header.base_digest),
            _named(inputs.base_name, inputs.base_digest),
        )
    if header.lora.rank != plan.lora.rank:
        yield "rank", header.lora.rank, plan.lora.rank
    elif header.lora.scale != plan.lora.scale:
        # The same values under another scale are another function.
        yield "scale", header.lora.scale, plan.lora.scale
    if header.modules != modules:
        yield "set of modules", _roles(header.modules), _roles(modules)


def _named(name: str, digest: str) -> str:
    return f"{name} ({digest[:19]}…)"


def _roles(modules: tuple[AdaptedModule, ...]) -> str:
    roles = ",".join(sorted({role for module in modules for role in module.roles}))
    return f"{roles} ({len(modules)} modules)"
