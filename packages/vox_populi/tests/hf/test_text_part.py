from __future__ import annotations

from typing import Any

import pytest

from vox_populi.errors import ModelError
from vox_populi.hf.families import gemma3, granite, llama
from vox_populi.hf.keymap import canonical_name, is_derived, spelled_like, tensor_keys
from vox_populi.hf.model_config import ModelConfig, parse_model_config
from vox_populi.hf.text_part import OUTER_CLASSES, changed_config, text_part, text_section

LLAMA = {name: value for name, value in llama.FAMILY.tiny.items() if name != "dtype"}


def folder(outer: str, section: dict[str, Any], **more: Any) -> dict[str, Any]:
    names = {"model_type": outer, "architectures": [OUTER_CLASSES[outer].name]}
    return {**names, "text_config": section, "vision_config": {"dtype": "float16"}, **more}


def parsed(raw: dict[str, Any]) -> ModelConfig:
    return parse_model_config(raw, "config.json")


def codes(raw: dict[str, Any]) -> set[str]:
    with pytest.raises(ModelError) as caught:
        parsed(raw)
    return {problem.code for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("outer", "section", "path"),
    [
        ("gemma3", {**gemma3.FAMILY.tiny, "final_logit_softcapping": None}, "language_model"),
        ("llava", LLAMA, "language_model"),
        ("smolvlm", LLAMA, "text_model"),
    ],
)
def test_tensors_have_the_names_that_they_have_in_the_whole_model(
    outer: str, section: dict[str, Any], path: str
) -> None:
    config, alone = parsed(folder(outer, section)), parsed(section)
    assert (config.model_type, config.hidden_size) == (outer, alone.hidden_size)
    assert config.outer is OUTER_CLASSES[outer]
    assert config.family is parsed(folder(outer, section)).family
    expected = [key.theirs.replace("model.", f"model.{path}.", 1) for key in tensor_keys(alone)]
    assert [key.theirs for key in tensor_keys(config)] == expected
    assert [key.ours for key in tensor_keys(config)] == [key.ours for key in tensor_keys(alone)]
    older = [name.replace(f"model.{path}.", f"{path}.model.") for name in expected[:-1]]
    older.append(f"{path}.lm_head.weight")
    assert [canonical_name(config, name) for name in older] == expected
    assert [spelled_like(config, name, older[0]) for name in expected] == older
    assert [spelled_like(config, name, expected[0]) for name in expected] == expected
    assert is_derived(config, f"model.{path}.layers.0.self_attn.rotary_emb.inv_freq")


def test_the_whole_file_says_its_number_type_its_ends_and_the_tie_of_the_head() -> None:
    section = LLAMA | {"torch_dtype": "float16", "eos_token_id": 1, "tie_word_embeddings": False}
    config = parsed(folder("mistral3", section, dtype="bfloat16", eos_token_id=[2, 3]))
    assert (config.dtype, config.eos_ids) == ("bfloat16", (2, 3))
    assert config.tie_word_embeddings, "the class ties where its config is silent"
    assert not parsed(folder("mistral3", section, tie_word_embeddings=False)).tie_word_embeddings
    silent = parsed(folder("llava", section))
    assert (silent.dtype, silent.eos_ids, silent.tie_word_embeddings) == ("float16", (1,), False)
    tied = folder("llava", section | {"tie_word_embeddings": True}, tie_word_embeddings=False)
    assert parsed(tied).tie_word_embeddings, "Llava's class takes the section's word too"


def test_a_changed_file_says_the_same_in_every_place_but_the_images() -> None:
    section = LLAMA | {"torch_dtype": "float16", "tie_word_embeddings": True}
    raw = folder("llava", section, dtype="float16")
    changed = changed_config(raw, "float32", is_head_tied=False)
    assert changed["dtype"] == "float32"
    assert text_section(changed) == section | {
        "torch_dtype": "float32",
        "tie_word_embeddings": False,
    }
    assert changed["vision_config"] == raw["vision_config"]
    config = parsed(changed)
    assert (config.dtype, config.tie_word_embeddings) == ("float32", False)
    assert changed_config(raw, None, is_head_tied=True) == raw | {"tie_word_embeddings": True}
    assert changed_config({}, "float16", is_head_tied=True)["torch_dtype"] == "float16"


def test_what_cannot_be_the_text_model_of_its_folder_is_refused_by_name() -> None:
    assert codes(folder("llava", LLAMA | {"model_type": "no_family"})) == {"MENS-H010"}
    assert codes(folder("llava", LLAMA | {"model_type": "mixtral"})) == {"MENS-H010"}
    assert codes(folder("llava", LLAMA | {"model_type": "gpt2"})) == {"MENS-H010"}
    assert codes(folder("llava", LLAMA, architectures=["LlavaModel"])) == {"MENS-H010"}
    assert codes({"model_type": "paligemma", "text_config": LLAMA}) == {"MENS-H010"}
    assert text_part({"model_type": "llava"}) is None
    assert codes(folder("gemma3", dict(gemma3.FAMILY.tiny))) == {"MENS-H013"}, "a soft cap"
    assert codes(folder("llava", dict(granite.FAMILY.tiny))) == {"MENS-H013"}, "a divisor"
    assert codes(folder("llava", LLAMA | {"hidden_size": "wide"})) == {"MENS-H012"}
