"""Lint on folders made of plain Python: it needs neither torch nor safetensors."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.keymap import tensor_keys
from vox_populi.hf.model_config import parse_model_config

Vox = Callable[..., Any]
Shapes = Mapping[str, tuple[int, ...]]

Q = "base_model.model.model.layers.0.self_attn.q_proj"
PAIR: Shapes = {f"{Q}.lora_A.weight": (4, 8), f"{Q}.lora_B.weight": (8, 4)}
CONFIG: dict[str, object] = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["q_proj"],
}


def write_container(path: Path, shapes: Shapes) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, shape in shapes.items():
        end = start + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(start))


def peft_folder(folder: Path, shapes: Shapes = PAIR, **changes: object) -> Path:
    folder.mkdir(exist_ok=True)
    text = json.dumps(CONFIG | changes)
    (folder / "adapter_config.json").write_text(text, encoding="utf-8")
    write_container(folder / "adapter_model.safetensors", shapes)
    return folder


def mlx_pair(stem: str, width: int = 8) -> Shapes:
    return {f"{stem}.lora_a": (width, 4), f"{stem}.lora_b": (4, width)}


def mlx_folder(
    folder: Path,
    shapes: Shapes | None = None,
    *,
    kind: str = "lora",
    layers: int = 1,
    changes: Mapping[str, object] | None = None,
) -> Path:
    folder.mkdir()
    values: dict[str, object] = {"rank": 4, "scale": 2.0, "dropout": 0.0}
    values |= {"keys": ["self_attn.q_proj"], **(changes or {})}
    settings = {"fine_tune_type": kind, "num_layers": layers, "lora_parameters": values}
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    pair = mlx_pair("model.layers.0.self_attn.q_proj")
    write_container(folder / "adapters.safetensors", shapes or pair)
    return folder


def verdicts(document: Mapping[str, Any]) -> dict[str, bool]:
    return {each["for"]: each["loads"] for each in document["consumers"]}


def test_a_sound_adapter_loads_where_its_form_is_read(vox: Vox, tmp_path: Path) -> None:
    folder = peft_folder(tmp_path / "a")
    outcome = vox("mens", "lint", folder, "--for", "peft,vllm,gguf", "--json")
    assert (outcome.code, outcome.document["ok"]) == (0, True)
    assert verdicts(outcome.document) == {"peft": True, "vllm": True, "gguf": True}
    assert "gguf    loads" in vox("mens", "lint", folder, "--for", "gguf").out


def test_all_are_asked_without_the_flag(vox: Vox, tmp_path: Path) -> None:
    outcome = vox("mens", "lint", peft_folder(tmp_path / "a"), "--json")
    assert (outcome.code, outcome.document["ok"]) == (3, False)
    assert [each["code"] for each in outcome.document["problems"]] == ["MENS-A071"]
    expected = {"peft": True, "vllm": True, "gguf": True, "mlx": False}
    assert verdicts(outcome.document) == expected


@pytest.mark.parametrize(
    ("changes", "refusing"),
    [
        ({"use_rslora": True}, {"gguf"}),
        ({"alpha_pattern": {"q_proj": 4}}, {"gguf", "vllm"}),
        ({"modules_to_save": ["lm_head"]}, {"vllm"}),
        ({"use_dora": True}, {"vllm"}),
        ({"bias": "all"}, {"vllm"}),
        ({"r": 8}, {"peft", "vllm", "gguf"}),
        ({"target_modules": None}, {"vllm"}),
        ({"peft_type": None}, {"peft"}),
    ],
)
def test_each_consumer_has_its_own_limits(
    vox: Vox, tmp_path: Path, changes: dict[str, Any], refusing: set[str]
) -> None:
    folder = peft_folder(tmp_path / "a", **changes)
    outcome = vox("mens", "lint", folder, "--for", "peft,vllm,gguf", "--json")
    found = {name for name, loads in verdicts(outcome.document).items() if not loads}
    assert found == refusing
    assert outcome.code == 3


def test_a_wide_adapter_is_beyond_vllm(vox: Vox, tmp_path: Path) -> None:
    shapes = {f"{Q}.lora_A.weight": (513, 8), f"{Q}.lora_B.weight": (8, 513)}
    folder = peft_folder(tmp_path / "a", shapes, r=513)
    assert vox("mens", "lint", folder, "--for", "vllm").code == 3
    assert vox("mens", "lint", folder, "--for", "peft").code == 0


def test_half_a_pair_and_a_foreign_tensor_are_named(vox: Vox, tmp_path: Path) -> None:
    shapes = {**PAIR, f"{Q}x.lora_A.weight": (4, 8)}
    outcome = vox("mens", "lint", peft_folder(tmp_path / "a", shapes), "--for", "vllm")
    assert outcome.code == 3
    assert f"{Q}x.lora_A.weight" in outcome.err


def test_with_the_base_every_name_and_shape_is_compared(vox: Vox, tmp_path: Path) -> None:
    folder = peft_folder(tmp_path / "a")
    assert vox("mens", "lint", folder, "--for", "peft").code == 0
    outcome = vox("mens", "lint", folder, "--for", "peft", "--model", embedded_model_dir())
    assert outcome.code == 3
    assert set(outcome.codes) <= {"MENS-A063", "MENS-A064", "MENS-A065"}


def test_conv1d_layers_must_be_turned_for_the_converter_only(vox: Vox, tmp_path: Path) -> None:
    stem = "base_model.model.transformer.h.0.attn.c_attn"
    plain = {f"{stem}.lora_A.weight": (4, 8), f"{stem}.lora_B.weight": (24, 4)}
    turned = {f"{stem}.lora_A.weight": (4, 24), f"{stem}.lora_B.weight": (8, 4)}
    for shapes, loads in ((plain, "peft"), (turned, "gguf")):
        folder = peft_folder(tmp_path / "a", shapes, target_modules=["c_attn"])
        outcome = vox("mens", "lint", folder, "--for", "peft,gguf,vllm", "--json")
        assert {n for n, ok in verdicts(outcome.document).items() if ok} == {loads}


def test_mlx_reads_its_own_form(vox: Vox, tmp_path: Path) -> None:
    assert vox("mens", "lint", mlx_folder(tmp_path / "a"), "--for", "mlx").code == 0
    assert vox("mens", "lint", tmp_path / "a", "--for", "peft").codes == ["MENS-A071"]
    wrong: dict[str, dict[str, object]] = {
        "b": {"keys": ["mlp.up_proj"]},
        "end": {"keys": ["q_proj"]},
        "c": {"rank": 8},
        "d": {"scale": None},
    }
    for name, changes in wrong.items():
        folder = mlx_folder(tmp_path / name, changes=changes)
        assert vox("mens", "lint", folder, "--for", "mlx").code == 3


def test_lint_lists_tensors_that_mlx_would_silently_ignore(vox: Vox, tmp_path: Path) -> None:
    """Its loader takes what fits, so half a pair or a layer it does not adapt does nothing."""
    first, second = (mlx_pair(f"model.layers.{n}.self_attn.q_proj") for n in (0, 1))
    half = {name: shape for name, shape in first.items() if name.endswith("lora_a")}
    both = {**first, **second}
    cases: list[tuple[Shapes, int, int]] = [(half, 1, 3), (both, 1, 3), (both, 2, 0), (both, -1, 0)]
    for number, (shapes, layers, code) in enumerate(cases):
        folder = mlx_folder(tmp_path / str(number), shapes, layers=layers)
        assert vox("mens", "lint", folder, "--for", "mlx").code == code, number


def test_mlx_trains_in_three_ways(vox: Vox, tmp_path: Path) -> None:
    stem = "model.layers.0.self_attn.q_proj"
    lora, magnitude = mlx_pair(stem), {f"{stem}.m": (8,)}
    whole = {f"{stem}.weight": (8, 8)}
    cases: list[tuple[str, Shapes, int]] = [
        ("dora", {**lora, **magnitude}, 0),
        ("lora", {**lora, **magnitude}, 3),
        ("full", whole, 0),
        ("full", lora, 3),
        ("lora", whole, 3),
    ]
    for number, (kind, shapes, code) in enumerate(cases):
        folder = mlx_folder(tmp_path / str(number), shapes, kind=kind)
        assert vox("mens", "lint", folder, "--for", "mlx").code == code, number


def gpt2_folder(folder: Path, prefix: str, **changes: object) -> Path:
    """A GPT-2 folder of one layer; all numbers are zero."""
    config = {"model_type": "gpt2", "vocab_size": 16, "n_embd": 8, "n_layer": 1, "n_head": 2}
    config |= {"n_positions": 12, "architectures": ["GPT2LMHeadModel"], **changes}
    return model_folder(folder, config, prefix)


def model_folder(folder: Path, config: dict[str, object], prefix: str = "transformer.") -> Path:
    """A tied model whose numbers are all zero, its tensors without or with GPT-2's prefix."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    keys = tensor_keys(parse_model_config(config, "config.json"))
    names = {key.theirs.replace("transformer.", prefix, 1): key.shape for key in keys}
    del names["lm_head.weight"]
    write_container(folder / "model.safetensors", names)
    shutil.copy(embedded_model_dir() / "tokenizer.json", folder)
    return folder


PHI3: dict[str, object] = {
    "model_type": "phi3",
    "vocab_size": 4096,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "tie_word_embeddings": True,
}
LONG = {"type": "longrope", "short_factor": [1.0, 1.0], "long_factor": [2.0, 4.0]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"partial_rotary_factor": 0.5, "rope_theta": 500.0}, ""),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0}}, ""),
        ({"rope_parameters": {"rope_theta": 500.0}}, "rope_parameters"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "rope_parameters"),
        ({"rope_scaling": LONG}, "long list"),
        ({"sliding_window": 4}, "sliding window"),
        ({"hidden_act": "gelu"}, "SiLU"),
        ({"head_dim": 8}, "heads"),
    ],
)
def test_lint_of_a_phi3_folder_for_mlx(
    vox: Vox, tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    folder = model_folder(tmp_path / "phi3", {**PHI3, **changes})
    outcome = vox("mens", "lint", folder, "--for", "mlx", "--json")
    assert outcome.code == (3 if said else 0), outcome.err
    problems = [problem["what"] for problem in outcome.document.get("problems", ())]
    assert len(problems) == bool(said)
    assert all(said in problem for problem in problems)


def test_mlx_reads_gpt2_as_it_was_first_published_only(vox: Vox, tmp_path: Path) -> None:
    cases: list[tuple[str, dict[str, object], str]] = [
        ("", {"n_ctx": 12}, ""),
        ("transformer.", {"n_ctx": 12}, "transformer."),
        ("", {}, "n_ctx"),
        ("", {"n_ctx": 12, "activation_function": "gelu"}, "GELU"),
    ]
    for number, (prefix, changes, said) in enumerate(cases):
        folder = gpt2_folder(tmp_path / str(number), prefix, vocab_size=4096, **changes)
        outcome = vox("mens", "lint", folder, "--for", "mlx", "--json")
        assert outcome.code == (3 if said else 0), outcome.err
        assert all(said in problem["what"] for problem in outcome.document.get("problems", ()))


def test_with_the_base_names_and_shapes_of_mlx_are_compared(vox: Vox, tmp_path: Path) -> None:
    config = json.loads((embedded_model_dir() / "config.json").read_text(encoding="utf-8"))
    width, layers = config["hidden_size"], config["num_hidden_layers"]
    last, base = layers - 1, ("--model", embedded_model_dir())
    heads = config["num_attention_heads"] * config.get(
        "head_dim", width // config["num_attention_heads"]
    )
    right = {
        f"model.layers.{last}.self_attn.q_proj.lora_a": (width, 4),
        f"model.layers.{last}.self_attn.q_proj.lora_b": (4, heads),
    }
    early = {name.replace(f".{last}.", ".0."): shape for name, shape in right.items()}
    prefixed = {f"base.{name}": shape for name, shape in right.items()}
    narrow = mlx_pair(f"model.layers.{last}.self_attn.q_proj", width - 1)
    cases = [(right, 0), (early, 3), (prefixed, 3), (narrow, 3)]
    for number, (shapes, code) in enumerate(cases):
        folder = mlx_folder(tmp_path / str(number), shapes)
        assert vox("mens", "lint", folder, "--for", "mlx").code == 0
        assert vox("mens", "lint", folder, "--for", "mlx", *base).code == code, number
    assert "compared with a base" in vox("mens", "lint", tmp_path / "0", "--for", "mlx").out


@pytest.mark.parametrize("name", ["model_final.bin", "candle_qlora_adapter.safetensors"])
def test_a_run_of_either_backend_is_told_how_to_export(vox: Vox, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"adapter")
    outcome = vox("mens", "lint", tmp_path, "--for", "peft", "--json")
    assert (outcome.code, outcome.codes) == (3, ["MENS-A071"])
    assert name in outcome.document["problems"][0]["what"]


@pytest.mark.parametrize("consumer", ["peft", "vllm", "gguf"])
def test_the_embedded_model_loads_everywhere(vox: Vox, consumer: str) -> None:
    outcome = vox("mens", "lint", embedded_model_dir(), "--for", consumer, "--json")
    assert (outcome.code, outcome.document["kind"]) == (0, "model")


def test_a_model_without_tokenizer_cannot_be_served(vox: Vox, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(embedded_model_dir(), folder)
    (folder / "tokenizer.json").unlink()
    assert vox("mens", "lint", folder, "--for", "peft").code == 0
    for consumer in ("vllm", "gguf", "mlx"):
        assert vox("mens", "lint", folder, "--for", consumer).code == 3


def test_a_tokenizer_beyond_the_embedding_is_refused(vox: Vox, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(embedded_model_dir(), folder)
    assert vox("mens", "lint", folder, "--for", "vllm,mlx").code == 0
    path = folder / "tokenizer.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["added_tokens"].append({"id": 999_999, "content": "<|new|>", "special": True})
    path.write_text(json.dumps(raw), encoding="utf-8")
    outcome = vox("mens", "lint", folder, "--for", "vllm,mlx")
    assert (outcome.code, outcome.codes) == (3, ["MENS-A072"] * 2)
    assert "999999" in outcome.err


def test_lint_reports_a_truncated_file(vox: Vox, tmp_path: Path) -> None:
    folder = peft_folder(tmp_path / "a")
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert vox("mens", "lint", folder, "--for", "peft").code == 3


def test_a_run_needs_an_export(vox: Vox, tmp_path: Path) -> None:
    (tmp_path / "model_final.bin").write_bytes(b"x")
    outcome = vox("mens", "lint", tmp_path, "--for", "peft")
    assert (outcome.code, outcome.codes) == (3, ["MENS-A071"])
    assert "export-adapter" in outcome.err


def test_lint_refuses_an_empty_folder(vox: Vox, tmp_path: Path) -> None:
    assert vox("mens", "lint", tmp_path).codes == ["MENS-A073"]


def test_an_unknown_consumer_is_a_usage_error(vox: Vox, tmp_path: Path) -> None:
    assert vox("mens", "lint", tmp_path, "--for", "peft,onnx").code == 2


@pytest.mark.parametrize(
    ("model_type", "rope", "is_right"),
    [
        ("llama", {"rope_parameters": {"rope_theta": 5e5}}, False),
        ("llama", {"rope_parameters": {"rope_theta": 5e5}, "rope_theta": 5e5}, True),
        ("llama", {"rope_parameters": {"rope_theta": 10_000.0}}, True),
        ("mistral", {"rope_parameters": {"rope_theta": 5e5}}, False),
        ("qwen2", {"rope_parameters": {"rope_theta": 1e6}}, True),
        ("qwen2", {"rope_parameters": {"rope_theta": 10_000.0}}, False),
    ],
)
def test_mlx_would_rotate_by_its_own_default_where_it_does_not_know_the_spelling(
    vox: Vox, tmp_path: Path, model_type: str, rope: dict[str, object], is_right: bool
) -> None:
    config = {**PHI3, "model_type": model_type, "num_key_value_heads": 2, **rope}
    folder = model_folder(tmp_path / "base", config)
    outcome = vox("mens", "lint", folder, "--for", "mlx", "--json")
    said = [problem["what"] for problem in outcome.document.get("problems", ())]
    assert any("rope_parameters" in each for each in said) is not is_right
