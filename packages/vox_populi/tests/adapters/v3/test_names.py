"""Logical names: one for every module of every graph, back again where a graph names layers."""

from __future__ import annotations

import pytest

from vox_populi.adapters.header import (
    AdaptedModule,
)
from vox_populi.adapters.v3.names import features_of, graph_of_names, logical_names, ours_of_full
from vox_populi.contract.choices import GraphId
from vox_populi.hf.keymap import adapter_modules
from vox_populi.hf.model_config import ModelConfig


def modules_of(config: ModelConfig) -> tuple[AdaptedModule, ...]:
    return tuple(AdaptedModule.of(module) for module in adapter_modules(config))


def test_full_graphs_name_layer_and_projection(
    llama_config: ModelConfig, gpt2_config: ModelConfig
) -> None:
    llama = logical_names(GraphId.FULL, modules_of(llama_config))
    parts = ("q", "k", "v", "o", "gate", "up", "down")
    expected = [f"l{layer}.{part}" for layer in range(2) for part in parts]
    assert list(llama.values()) == [*expected, "lm_head"]
    gpt2 = logical_names(GraphId.FULL, modules_of(gpt2_config))
    assert list(gpt2.values())[:4] == ["l0.qkv", "l0.o", "l0.up", "l0.down"]
    for names in (llama, gpt2):
        assert {ours_of_full(theirs): theirs for theirs in names.values()} == names


def test_the_proxy_graph_counts_what_it_has(llama_config: ModelConfig) -> None:
    outputs = [module for module in modules_of(llama_config) if module.roles == ("o",)]
    head = modules_of(llama_config)[-1]
    names = logical_names(GraphId.PROXY_STACK, [*outputs, head])
    assert names == {
        "blocks.0.attn.o": "mid0",
        "blocks.1.attn.o": "mid1",
        "lm_head": "lm_head",
    }
    assert logical_names(GraphId.PROXY_STACK, [outputs[1], head])["blocks.1.attn.o"] == "mid0"
    assert logical_names(GraphId.HEAD_ONLY, [head]) == {"lm_head": "lm_head"}


def test_modules_without_a_logical_name_are_refused(llama_config: ModelConfig) -> None:
    modules = modules_of(llama_config)
    for graph, chosen in (
        (GraphId.HEAD_ONLY, modules[:1]),
        (GraphId.FULL, (modules[-1], modules[0])),
    ):
        with pytest.raises(ValueError, match=r"no name|last"):
            logical_names(graph, chosen)


@pytest.mark.parametrize(
    ("names", "graph"),
    [
        (("mid0", "mid1", "lm_head"), GraphId.PROXY_STACK),
        (("mid0",), GraphId.PROXY_STACK),
        (("lm_head",), GraphId.HEAD_ONLY),
        (("l0.q", "l10.lin_qkv", "lm_head"), GraphId.FULL),
        (("l0.q", "mid0"), None),
        (("l00.q",), None),
        (("layer0",), None),
        ((), None),
    ],
)
def test_the_graph_follows_from_the_layer_names(names: tuple[str, ...], graph: str | None) -> None:
    assert graph_of_names(names) == graph


def test_layer_sizes_follow_from_their_names() -> None:
    sizes = {name: features_of(name, vocab=7, d_model=4) for name in ("lm_head", "mid3")}
    assert sizes == {"lm_head": (4, 7), "mid3": (4, 4)}
    assert features_of("l0.down", vocab=7, d_model=4) == (None, 4)
    assert features_of("l0.gate", vocab=7, d_model=4) == (4, None)
    assert features_of("anything", vocab=7, d_model=4) == (None, None)
    assert ours_of_full("l0.lin_qkv") is None
    assert ours_of_full("mid0") is None
