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


def mlx_folder(folder: Path, **changes: object) -> Path:
    folder.mkdir()
    values = {"rank": 4, "scale": 2.0, "dropout": 0.0, "keys": ["self_attn.q_proj"]} | changes
    settings = {"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": values}
    (folder / "adapter_config.json").write_text(json.dumps(settings), encoding="utf-8")
    stem = "model.layers.0.self_attn.q_proj"
    shapes = {f"{stem}.lora_a": (8, 4), f"{stem}.lora_b": (4, 8)}
    write_container(folder / "adapters.safetensors", shapes)
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
        "c": {"rank": 8},
        "d": {"scale": None},
    }
    for name, changes in wrong.items():
        assert vox("mens", "lint", mlx_folder(tmp_path / name, **changes), "--for", "mlx").code == 3


def test_the_embedded_model_loads_everywhere(vox: Vox) -> None:
    outcome = vox("mens", "lint", embedded_model_dir(), "--for", "peft", "--json")
    assert (outcome.code, outcome.document["kind"]) == (0, "model")


def test_a_model_without_tokenizer_is_no_model_to_serve(vox: Vox, tmp_path: Path) -> None:
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


def test_a_torn_file_is_said(vox: Vox, tmp_path: Path) -> None:
    folder = peft_folder(tmp_path / "a")
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert vox("mens", "lint", folder, "--for", "peft").code == 3


def test_a_run_needs_an_export(vox: Vox, tmp_path: Path) -> None:
    (tmp_path / "model_final.bin").write_bytes(b"x")
    outcome = vox("mens", "lint", tmp_path, "--for", "peft")
    assert (outcome.code, outcome.codes) == (3, ["MENS-A071"])
    assert "export-adapter" in outcome.err


def test_nothing_is_no_folder_to_lint(vox: Vox, tmp_path: Path) -> None:
    assert vox("mens", "lint", tmp_path).codes == ["MENS-A073"]


def test_an_unknown_consumer_is_a_usage_error(vox: Vox, tmp_path: Path) -> None:
    assert vox("mens", "lint", tmp_path, "--for", "peft,onnx").code == 2
