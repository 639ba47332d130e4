"""Names of experts in version 3 sets, beside those of an ordinary MLP."""

from __future__ import annotations

from vox_populi.adapters.header import AdaptedModule
from vox_populi.adapters.v3.names import graph_of_names, logical_names, ours_of_full
from vox_populi.contract.choices import GraphId
from vox_populi.hf.family_registry import family_of
from vox_populi.hf.keymap import adapter_modules
from vox_populi.hf.model_config import parse_model_config


def test_every_module_of_a_mixture_has_a_name_that_is_read_back() -> None:
    family = family_of("qwen3_moe")
    assert family is not None
    config = parse_model_config({**family.tiny, "mlp_only_layers": [1]}, "test")
    modules = [AdaptedModule.of(module) for module in adapter_modules(config)]
    names = logical_names(GraphId.FULL, modules)
    assert names["blocks.0.mlp.experts.3.up"] == "l0.mlp.experts.3.up"
    assert names["blocks.1.mlp.up"] == "l1.up"
    assert all(ours_of_full(name) == ours for ours, name in names.items())
    assert graph_of_names(list(names.values())) is GraphId.FULL
