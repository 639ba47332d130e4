"""`--init-from`: a run that starts from an adapter's values instead of fresh ones. Needs torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vox_populi.adapters.header import AdaptedModule, AdapterHeader
from vox_populi.errors import ArtifactError
from vox_populi.operator_messages import checkpoint as say_checkpoint
from vox_populi.operator_messages import run as say_run
from vox_populi.pipeline.train import PlannedRun
from vox_populi.runs.find_adapter import FoundAdapter, find_own_adapter
from vox_populi.runs.manifest import InputFacts


def read_initial_adapter(planned: PlannedRun, inputs: InputFacts) -> FoundAdapter | None:
    """The values to start from, or `None` for fresh ones.

    An adapter of a dense base may start a run on the same base in NF4, and vice versa, since the
    layers are the same. A note says so, because the initial loss will differ.

    Raises:
        ArtifactError: For a file that is not an adapter, and for one with a different base,
            graph, rank, scale or set of modules.
    """
    path = planned.contract.init_from
    if path is None:
        return None
    found = find_own_adapter(path)
    header = found.adapter.header
    problems = [
        say_checkpoint.init_adapter_unfit(*each).at(str(path))
        for each in _differences(planned, inputs, header)
    ]
    if problems:
        raise ArtifactError(*problems)
    return replace(found, notes=tuple(_notes(planned, header, path.name)))


def _notes(planned: PlannedRun, header: AdapterHeader, name: str) -> Iterator[str]:
    if planned.plan.quant is not None and header.quantization is None:
        yield say_run.note_starts_on_nf4(name)
    if planned.plan.quant is None and header.quantization is not None:
        yield say_run.note_starts_on_dense(name)


def _differences(
    planned: PlannedRun, inputs: InputFacts, header: AdapterHeader
) -> Iterator[tuple[str, object, object]]:
    """The name, the adapter's value and the run's value of everything that must be the same."""
    plan = planned.plan
    modules = tuple(AdaptedModule.of(module) for module in plan.adapters)
    if header.base_digest != inputs.base_digest:
        yield (
            "base",
            _named(header.base_name, header.base_digest),
            _named(inputs.base_name, inputs.base_digest),
        )
    if header.graph != plan.graph:
        yield "graph", header.graph, plan.graph
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
