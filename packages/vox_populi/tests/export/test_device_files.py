"""Graphs in the formats of other programs compute what ours compute, where those are installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs vox-tensor[gpu]")

import torch

from vox_populi.export.device_model import DeviceModel, RunGraph
from vox_populi.export.executorch_file import run_executorch, write_executorch
from vox_populi.export.litert_file import run_litert, write_litert
from vox_populi.export.mobile_graph import MobileGraph
from vox_populi.hf.family_registry import FAMILIES
from vox_populi.hf.model_config import parse_model_config
from vox_populi.hf.model_family import ModelFamily
from vox_populi.model.transformer import Transformer

LENGTH = 8
IDS = (3, 1, 4, 1, 5)
ROUNDING = 1e-4
"""Relative to the largest score: XNNPACK approximates exp and tanh, 2.4e-5 apart in GPT-2."""
PLAIN = [family for family in FAMILIES if family.tensors.experts is None]
"""Shapes inside a mixture of experts depend on the text."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", PLAIN, ids=lambda family: family.name)
@pytest.mark.parametrize(
    ("module", "write", "run"),
    [
        ("executorch.runtime", write_executorch, run_executorch),
        ("litert_torch", write_litert, run_litert),
    ],
    ids=["executorch", "litert"],
)
def test_a_written_graph_gives_our_scores_and_answers(
    family: ModelFamily,
    module: str,
    write: Callable[..., None],
    run: Callable[[Path], RunGraph],
    tmp_path: Path,
) -> None:
    pytest.importorskip(module, reason="an extra that no job installs: other programs' compilers")
    config = parse_model_config({**family.tiny, "vocab_size": 24}, "t")
    generator = torch.Generator().manual_seed(1)
    model = Transformer(config).eval().requires_grad_(requires_grad=False)
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    graph = MobileGraph(model, {})
    write(graph, tmp_path / "graph", LENGTH, is_fixed=True)
    theirs = DeviceModel(run(tmp_path / "graph"), LENGTH, is_fixed=True)
    ours = DeviceModel(graph, LENGTH, is_fixed=True)
    with torch.no_grad():
        expected = ours.scores(IDS)
        assert float((theirs.scores(IDS) - expected).abs().max()) <= ROUNDING * float(
            expected.abs().max()
        )
        assert theirs.answer(IDS, 3, ()) == ours.answer(IDS, 3, ())
