"""What the kernels hold is what the plan says, whichever way the base is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs vox-tensor[gpu]")

from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.qlora_spec import QloraGraph
from vox_populi.kernel.adapted_objective import AdaptedObjective
from vox_populi.pipeline.engine_setup import load_objective
from vox_populi.pipeline.train import plan_training
from vox_tensor.nf4_weight import Nf4Weight

MakeContract = Callable[..., FinetuneContract]


def quantised(contract: FinetuneContract) -> list[Nf4Weight]:
    """The weights in four bits of a run's kernel."""
    planned = plan_training(contract)
    objective = load_objective(planned, planned.preflight.base_digest()).objective
    assert isinstance(objective, AdaptedObjective)
    weights = [getattr(module, "weight", None) for module in objective.model.modules()]
    return [weight for weight in weights if isinstance(weight, Nf4Weight)]


@pytest.mark.parametrize("double_quant", [True, False])
@pytest.mark.parametrize("is_cached", [True, False], ids=["cached", "read"])
@pytest.mark.parametrize("graph", list(QloraGraph))
def test_block_magnitudes_are_held_as_asked_for(
    make_qlora: MakeContract,
    tmp_path: Path,
    graph: QloraGraph,
    *,
    is_cached: bool,
    double_quant: bool,
) -> None:
    cache = tmp_path / "cache" if is_cached else None
    contract = make_qlora(graph, spec={"double_quant": double_quant, "cache_dir": cache})
    for _ in ("making the cache entry", "using it"):
        weights = quantised(contract)
        assert weights
        assert {weight.quantized.double_quant for weight in weights} == {double_quant}


@pytest.mark.parametrize("is_cached", [True, False], ids=["cached", "read"])
@pytest.mark.parametrize("graph", list(QloraGraph))
@pytest.mark.parametrize("block_size", [64, 128])
def test_blocks_are_as_long_as_asked_for(
    make_qlora: MakeContract, tmp_path: Path, graph: QloraGraph, block_size: int, *, is_cached: bool
) -> None:
    cache = tmp_path / "cache" if is_cached else None
    weights = quantised(make_qlora(graph, spec={"block_size": block_size, "cache_dir": cache}))
    assert weights
    assert {weight.quantized.block_size for weight in weights} == {block_size}
