"""Tier A: classes around a text model that transformers computes: names, positions, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests_integration.foreign_nested import nested_settings, write_foreign_nested
from tests_integration.tiny_models import VOCAB
from tests_integration.tolerances import F32_LOGITS, assert_parity, differs
from vox_populi.errors import ModelError
from vox_populi.hf.graph_source import GraphSource
from vox_populi.hf.inventory import read_inventory
from vox_populi.hf.model_config import parse_model_config
from vox_populi.model.hf_load import load_base
from vox_populi.model.packing_proof import measure_packing
from vox_populi.model.transformers_graph import TransformersGraph
from vox_populi.plan.packing_proof_facts import TOLERANCE
from vox_tensor.collate import collate_window
from vox_tensor.records import EncodedRow

LENGTHS = (9, 3, 13)


def rows() -> list[EncodedRow]:
    stream = torch.Generator().manual_seed(5)
    drawn = [tuple(torch.randint(3, VOCAB, (n,), generator=stream).tolist()) for n in LENGTHS]
    return [EncodedRow(ids, ids, line) for line, ids in enumerate(drawn, start=1)]


# Rotary positions in time, height and width are the same three times over for text.
@pytest.mark.parametrize("model_type", ["qwen3_vl", "qwen2_vl", "glm4v"])
@torch.no_grad()
def test_packed_text_has_the_logits_of_the_whole_class_on_each_row(
    model_type: str, tmp_path: Path
) -> None:
    theirs: Any = write_foreign_nested(tmp_path, model_type, tokenizer=False)
    model = load_base(read_inventory(tmp_path), torch.float32)
    assert isinstance(model, TransformersGraph)
    model.packs = True
    expected = torch.cat([theirs(input_ids=torch.tensor([row.ids])).logits[0] for row in rows()])
    found = model.logits(collate_window(rows()))
    assert_parity(found, expected, F32_LOGITS)
    assert differs(found[: LENGTHS[0]], found[-LENGTHS[0] :], F32_LOGITS), "rows are not alike"
    is_text = [name for name, _ in model.inner.named_parameters() if "vision" not in name]
    assert len(is_text) == len(list(model.parameters())), "nothing but the text model is built"


@pytest.mark.parametrize("older_names", [True, False])
def test_names_are_written_as_the_folder_has_them(older_names: bool, tmp_path: Path) -> None:
    write_foreign_nested(tmp_path, "llava_next", older_names=older_names, tokenizer=False)
    found = read_inventory(tmp_path)
    start = "language_model.model" if older_names else "model.language_model"
    name = "model.language_model.layers.0.self_attn.q_proj.weight"
    assert found.published_name(name) == f"{start}.layers.0.self_attn.q_proj.weight"
    head = "language_model.lm_head.weight" if older_names else "lm_head.weight"
    assert found.published_name("lm_head.weight") == found.tensors["lm_head.weight"].name == head
    assert any(each.endswith("image_newline") for each in found.others)


def test_a_config_without_a_section_of_its_own_is_understood(tmp_path: Path) -> None:
    write_foreign_nested(tmp_path, "qwen2_5_vl", tokenizer=False)
    path = tmp_path / "config.json"
    nested = json.loads(path.read_text(encoding="utf-8"))
    # As Qwen publishes them.
    flat = {**nested.pop("text_config"), **nested, "rope_scaling": None, "text_config": None}
    path.write_text(json.dumps(flat), encoding="utf-8")
    found = read_inventory(tmp_path)
    assert found.config.hidden_size == 64
    assert found.others
    assert all(name.startswith("visual.") for name in found.others)
    assert measure_packing(flat, "config.json").alone < TOLERANCE


def test_what_a_class_does_otherwise_with_text_is_found() -> None:
    proofs = {
        name: measure_packing(nested_settings(name), "config.json")
        for name in ("paligemma", "mllama", "cohere2_vision")
    }
    marked = {name: proof.marked > TOLERANCE for name, proof in proofs.items()}
    assert marked == {"paligemma": True, "mllama": False, "cohere2_vision": False}
    assert [proof.blocks_passed for proof in proofs.values()] == [0, 1, 0]
    assert proofs["cohere2_vision"].alone > TOLERANCE, "the whole class leaves the factor out"
    with pytest.raises(ModelError, match="MENS-H205"):
        measure_packing(nested_settings("llama4"), "config.json")


def test_a_text_model_alone_stays_what_it_was() -> None:
    nested = parse_model_config(nested_settings("qwen3_5"), "config.json", GraphSource.AUTO)
    text = nested_settings("qwen3_5")["text_config"]
    alone = parse_model_config(
        {**text, "architectures": ["Qwen3_5ForCausalLM"]}, "config.json", GraphSource.AUTO
    )
    assert (nested.outer is None, alone.outer is None) == (False, True)
    assert nested.modules is not None
    assert alone.modules is not None
    assert {m.ours for m in nested.modules.modules} == {m.ours for m in alone.modules.modules}
