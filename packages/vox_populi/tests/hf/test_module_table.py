"""Tables of a class take the names that a folder has."""

from __future__ import annotations

from dataclasses import replace

from vox_populi.hf.module_table import ModuleTable
from vox_populi.hf.tensor_key import TensorKey


def key(name: str) -> TensorKey:
    return TensorKey(name, name, (2, 2), transposed=False, required=True)


TABLE = ModuleTable(
    class_name="AnyForCausalLM",
    version="5.23.0",
    embed="model.embed",
    blocks="model.layers.",
    keys=(key("embed"), key("experts.0.up"), key("experts.1.up")),
    fused_keys=(key("embed"), key("experts.up")),
    joined={"experts.up": ("experts.0.up", "experts.1.up")},
    modules=(),
    layer_kinds=("block",),
)


def test_experts_are_read_one_by_one_or_together() -> None:
    assert TABLE.for_names(["embed", "experts.0.up", "experts.1.up"]) is TABLE
    fused = TABLE.for_names(["embed", "experts.up"])
    assert [each.theirs for each in fused.keys] == ["embed", "experts.up"]
    assert fused.joined == {}


def test_names_of_a_text_model_within_another_are_read_and_written_in_either_spelling() -> None:
    whole = {"language_model.model.embed": "model.language_model.embed", "old.head": "lm_head"}
    keys = (key("model.language_model.embed"), key("lm_head"))
    nested = replace(TABLE, keys=keys, fused_keys=(), joined={}, spellings=whole)
    assert nested.for_names(whole) is nested
    assert nested.spelled_like("lm_head", "language_model.model.embed") == "old.head"
    assert nested.spelled_like("lm_head", "model.language_model.embed") == "lm_head"
    assert nested.spelled_like("model.language_model.norm", "old.head") == (
        "model.language_model.norm"
    )
