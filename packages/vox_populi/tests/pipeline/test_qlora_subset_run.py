"""`merge-qlora --subset`: the sums alone, in float32, under the base's own names."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from packages.vox_populi.tests.qlora_adapters import (
    QUANTIZATION,
    qlora_header,
    qlora_tensors,
    write_own,
    write_source,
)
from packages.vox_populi.tests.qlora_refusals import refused
from vox_populi.contract.choices import GraphId
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.hf.keymap import tensor_keys
from vox_populi.hf.model_config import parse_model_config
from vox_populi.merge.choices import MergeFormat, Onto
from vox_populi.merge.subset import SUBSET_FILE
from vox_populi.pipeline import merge_run
from vox_populi.pipeline.merge import (
    QloraMergeRequest,
)
from vox_populi.pipeline.quantize import QuantizeRequest, quantize_model
from vox_populi.pipeline.train import RunOptions, run_training
from vox_populi.runs.checkpoint_dir import list_checkpoints
from vox_tensor.errors import FailureKind, VoxError
from vox_tensor.lora import lora_delta
from vox_tensor.nf4 import dequantize_nf4, quantize_nf4

pytestmark = pytest.mark.requirement("10")

MakeBase = Callable[..., Path]
MakeContract = Callable[..., FinetuneContract]
TABLE = "model.embed_tokens.weight"
Layers = dict[str, tuple[str, Tensor, Tensor]]
GPT2 = {
    "model_type": "gpt2",
    "vocab_size": 12,
    "n_embd": 8,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 16,
}


@pytest.fixture
def request_subset(make_base: MakeBase, tmp_path: Path) -> QloraMergeRequest:
    base = make_base()
    write_own(tmp_path / "run", base, head=True)
    return QloraMergeRequest(
        adapter=tmp_path / "run", output=tmp_path / "out" / "part", base=base, subset=True
    )


def written(request: QloraMergeRequest) -> dict[str, Tensor]:
    """What a request gives."""
    merge_run.merge(request)
    return load_file(request.output / SUBSET_FILE)


def rounded(weight: Tensor) -> Tensor:
    return dequantize_nf4(quantize_nf4(weight, block_size=QUANTIZATION.nf4.block_size))


def ramp(*shape: int, start: float = 0.1, step: float = 0.03) -> Tensor:
    """Numbers that are easy to follow, and none the same."""
    count = shape[0] * shape[1]
    return (start + step * torch.arange(count)).reshape(shape)


def head_only(folder: Path, key: str = "wte.weight", version: int = 2) -> Path:
    """The source system's own case: vocab 4, d_model 3, rank 2, alpha 4, all ones."""
    layers = {"lm_head": (key, torch.ones(2, 3), torch.ones(4, 2))}
    return write_source(folder, layers, vocab=4, d_model=3, alpha=4, version=version)


def write_file(folder: Path, tensors: Mapping[str, Tensor]) -> Path:
    """A base of one file, without a config."""
    folder.mkdir()
    path = folder / "model.safetensors"
    save_file(dict(tensors), path)
    return path


def test_merge_lora_delta_matches_manual_scale() -> None:
    """Named in the source system, which looks at the dimensions only."""
    delta = lora_delta(torch.ones(2, 3), torch.ones(4, 2), 8 / 2)
    assert delta.shape == (4, 3)
    assert torch.equal(delta, torch.full((4, 3), 8.0))
    a, b = ramp(2, 3), ramp(4, 2, step=-0.2)
    expected = [
        [4.0 * sum(float(b[o, r]) * float(a[r, i]) for r in range(2)) for i in range(3)]
        for o in range(4)
    ]
    torch.testing.assert_close(lora_delta(a, b, 4.0), torch.tensor(expected))


@pytest.mark.requirement("merge_v2")
@pytest.mark.parametrize("version", [2, 3])
def test_merge_v2_applies_lm_head_delta(tmp_path: Path, version: int) -> None:
    head_only(tmp_path / "run", version=version)
    weight = ramp(4, 3)
    base = write_file(tmp_path / "base", {"wte.weight": weight, "ln_f.weight": torch.ones(3)})
    found = written(
        QloraMergeRequest(adapter=tmp_path / "run", output=tmp_path / "out", base=base, subset=True)
    )
    assert found.keys() == {"wte.weight"}
    # Rank 2 of ones, twice: every number grows by 4.
    torch.testing.assert_close(found["wte.weight"], weight + 4.0)


@pytest.mark.requirement("merge_v2")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_merge_v2_merged_output_loads_in_safetensors(tmp_path: Path, dtype: torch.dtype) -> None:
    head_only(tmp_path / "run")
    weight = ramp(4, 3).to(dtype)
    base = write_file(tmp_path / "base", {"wte.weight": weight})
    output = tmp_path / "out"
    merge_run.merge(
        QloraMergeRequest(adapter=tmp_path / "run", output=output, base=base, subset=True)
    )
    assert {path.name for path in output.iterdir()} == {SUBSET_FILE, "merge_receipt.json"}
    with safe_open(output / SUBSET_FILE, framework="pt") as file:
        assert list(file.keys()) == ["wte.weight"]
        assert file.get_tensor("wte.weight").dtype == torch.float32
        assert torch.equal(file.get_tensor("wte.weight"), weight.float() + 4.0)
    receipt = json.loads((output / "merge_receipt.json").read_text(encoding="utf-8"))
    assert receipt["format"] == "subset"
    assert receipt["logits"] is None
    assert receipt["adapter"]["onto"] == "original"
    assert receipt["tensors_changed"] == 1
    assert set(receipt["read"]) == {
        "adapter/candle_qlora_adapter.safetensors",
        "adapter/candle_qlora_adapter_meta.json",
        "base/model.safetensors",
    }
    assert any("changes the input" in note for note in receipt["notes"])


def test_merge_subset_of_gpt2_layers_follows_their_orientation(tmp_path: Path) -> None:
    """Conv1D weights are stored `[in, out]`, with a config beside them or not."""
    generator = torch.Generator().manual_seed(0)
    key = "h.0.attn.c_attn.weight"
    a, b = ramp(2, 8), ramp(24, 2)
    layers = {"l0.qkv": (key, a, b)}
    write_source(tmp_path / "run", layers, vocab=12, d_model=8)
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text(json.dumps(GPT2), encoding="utf-8")
    keys = tensor_keys(parse_model_config(GPT2, "test"))
    tensors = {
        each.theirs.removeprefix("transformer."): torch.randn(each.shape, generator=generator)
        for each in keys
        if each.required
    }
    save_file(tensors, base / "model.safetensors")
    request = QloraMergeRequest(
        adapter=tmp_path / "run", output=tmp_path / "one", base=base, subset=True
    )
    folder = written(request)
    file = written(replace(request, output=tmp_path / "two", base=base / "model.safetensors"))
    expected = tensors[key].double() + 2.5 * (b.double() @ a.double()).T
    assert folder.keys() == file.keys() == {key}
    torch.testing.assert_close(folder[key], expected.float())
    assert torch.equal(folder[key], file[key])
    assert not torch.equal(folder[key], tensors[key])


@pytest.mark.parametrize("onto", Onto)
def test_merge_subset_equals_the_tensors_of_the_whole_merge(
    request_subset: QloraMergeRequest, tmp_path: Path, onto: Onto
) -> None:
    part = written(replace(request_subset, onto=onto))
    whole = replace(request_subset, onto=onto, subset=False, output=tmp_path / "whole")
    merge_run.merge(whole)
    merged = load_file(whole.output / "model.safetensors")
    assert len(part) == 15
    assert all(torch.equal(part[name], merged[name]) for name in part)
    assert request_subset.base is not None
    before = load_file(request_subset.base / "model.safetensors")
    assert not any(torch.equal(part[name], before[name]) for name in part)


def test_merge_subset_onto_what_was_trained_leaves_the_head_of_the_full_graph_dense(
    request_subset: QloraMergeRequest,
) -> None:
    assert request_subset.base is not None
    part = written(replace(request_subset, onto=Onto.DEQUANT))
    before = load_file(request_subset.base / "model.safetensors")
    header = qlora_header(request_subset.base, head=True)
    tensors = qlora_tensors(header)
    for module in header.modules:
        weight = before[module.base_key]
        if module.ours != "lm_head":
            weight = rounded(weight)
        a, b = (tensors[f"{module.ours}.lora_{half}"].double() for half in "AB")
        expected = weight.double() + header.lora.scale * b @ a
        torch.testing.assert_close(part[module.base_key], expected.float())


@pytest.mark.parametrize("onto", Onto)
def test_merge_subset_of_a_proxy_adapter_changes_the_table(
    request_subset: QloraMergeRequest, tmp_path: Path, onto: Onto
) -> None:
    assert request_subset.base is not None
    header, tensors = write_own(tmp_path / "proxy", request_subset.base, GraphId.PROXY_STACK)
    part = written(replace(request_subset, adapter=tmp_path / "proxy", onto=onto))
    table = load_file(request_subset.base / "model.safetensors")[TABLE]
    assert set(part) == {
        TABLE,
        *(f"model.layers.{layer}.self_attn.o_proj.weight" for layer in range(2)),
    }
    start = rounded(table) if onto is Onto.DEQUANT else table
    delta = (
        header.lora.scale * tensors["lm_head.lora_B"].double() @ tensors["lm_head.lora_A"].double()
    )
    torch.testing.assert_close(part[TABLE], (start.double() + delta).float())


def test_merge_subset_of_a_checkpoint_is_that_of_its_run(
    make_qlora: MakeContract, tmp_path: Path
) -> None:
    report = run_training(make_qlora(), RunOptions(checkpoint_every=6))
    (*_, checkpoint) = list_checkpoints(report.run)
    parts = [
        written(QloraMergeRequest(adapter=path, output=tmp_path / name, subset=True))
        for name, path in (("one", report.run), ("two", checkpoint.path))
    ]
    assert parts[0].keys() == parts[1].keys()
    assert all(torch.equal(parts[0][name], parts[1][name]) for name in parts[0])


def test_merge_subset_of_a_folder_in_four_bits(
    request_subset: QloraMergeRequest, tmp_path: Path
) -> None:
    assert request_subset.base is not None
    packed = tmp_path / "models" / "packed"
    quantize_model(
        QuantizeRequest(
            model_dir=request_subset.base, output=packed, block_size=QUANTIZATION.nf4.block_size
        )
    )
    write_own(tmp_path / "packed-run", packed, head=True)
    other = replace(
        request_subset, base=packed, adapter=tmp_path / "packed-run", output=tmp_path / "other"
    )
    refused(other, "MENS-A550")
    found = written(replace(other, onto=Onto.DEQUANT))
    expected = written(replace(request_subset, onto=Onto.DEQUANT))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_merge_subset_is_the_same_bytes_on_every_run(
    request_subset: QloraMergeRequest, tmp_path: Path
) -> None:
    outputs: list[dict[str, bytes]] = []
    for threads in (1, 2, 2):
        output = tmp_path / f"part-{len(outputs)}"
        merge_run.merge(replace(request_subset, output=output, threads=threads))
        outputs.append({path.name: path.read_bytes() for path in output.iterdir()})
    assert outputs[0] == outputs[1] == outputs[2]


# ---- Refusals -----------------------------------------------------------------------------------


def test_merge_subset_refuses_the_form_of_a_whole_model(
    request_subset: QloraMergeRequest,
) -> None:
    request = replace(request_subset, output_format=MergeFormat.VOX)
    refused(request, "MENS-A557", kind=FailureKind.USAGE)


def test_merge_subset_refuses_the_base_of_another_adapter(
    request_subset: QloraMergeRequest, make_base: MakeBase
) -> None:
    refused(replace(request_subset, base=make_base("other", 1)), "MENS-A011")


def test_merge_subset_says_when_the_base_is_not_known(
    request_subset: QloraMergeRequest,
) -> None:
    assert request_subset.base is not None
    file = request_subset.base / "model.safetensors"
    report = merge_run.merge(replace(request_subset, base=file))
    assert any("was not checked" in note for note in report.notes)


def test_merge_subset_needs_a_base(request_subset: QloraMergeRequest, tmp_path: Path) -> None:
    refused(replace(request_subset, base=None), "MENS-A555")
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(replace(request_subset, base=empty), "MENS-A556")
    refused(replace(request_subset, base=empty / "model.safetensors"), "MENS-H002")


def test_merge_subset_rounds_nothing_without_a_config(tmp_path: Path) -> None:
    head_only(tmp_path / "run")
    base = write_file(tmp_path / "base", {"wte.weight": ramp(4, 3)})
    request = QloraMergeRequest(
        adapter=tmp_path / "run", output=tmp_path / "out", base=base, subset=True
    )
    refused(replace(request, onto=Onto.DEQUANT), "MENS-A554")


@pytest.mark.parametrize(
    ("tensors", "codes"),
    [
        ({"wte.weigth": ramp(4, 3)}, ("MENS-A551",)),
        ({"wte.weight": ramp(4, 1)}, ("MENS-A552",)),
        ({"wte.weight": ramp(1, 3)}, ("MENS-A552",)),
        ({"wte.weight": torch.ones(3)}, ("MENS-A552",)),
        ({"wte.weight": ramp(3, 4)}, ("MENS-A552",)),
        ({"wte.weight": torch.ones(4, 3, dtype=torch.int32)}, ("MENS-A553",)),
        ({"wte.weight": torch.full((4, 3), float("nan"))}, ("MENS-A044",)),
    ],
    ids=["absent", "one column", "one row", "a vector", "turned", "int32", "nan"],
)
def test_merge_subset_refuses_a_base_tensor_that_does_not_fit(
    tmp_path: Path, tensors: dict[str, Tensor], codes: tuple[str, ...]
) -> None:
    head_only(tmp_path / "run")
    base = write_file(tmp_path / "base", tensors)
    refused(
        QloraMergeRequest(
            adapter=tmp_path / "run", output=tmp_path / "out", base=base, subset=True
        ),
        *codes,
    )


def test_merge_subset_refuses_one_tensor_in_two_files(tmp_path: Path) -> None:
    head_only(tmp_path / "run")
    base = tmp_path / "base"
    write_file(base, {"wte.weight": ramp(4, 3)})
    save_file({"wte.weight": ramp(4, 3)}, base / "older.safetensors")
    request = QloraMergeRequest(
        adapter=tmp_path / "run", output=tmp_path / "out", base=base, subset=True
    )
    refused(request, "MENS-A559")
    assert written(replace(request, base=base / "older.safetensors"))


def test_merge_subset_refuses_two_layers_of_one_tensor(tmp_path: Path) -> None:
    """A name with GPT-2's prefix and one without it mean the same tensor."""
    short, long = "h.0.attn.c_proj.weight", "transformer.h.0.attn.c_proj.weight"
    a, b = ramp(2, 8), ramp(8, 2)
    layers: Layers = {"mid0": (short, a, b), "mid1": (long, a + 1, b + 1)}
    write_source(tmp_path / "run", layers, vocab=12, d_model=8)
    base = tmp_path / "base"
    base.mkdir()
    (base / "config.json").write_text(json.dumps(GPT2), encoding="utf-8")
    keys = tensor_keys(parse_model_config(GPT2, "test"))
    save_file(
        {each.theirs: torch.ones(each.shape) for each in keys if each.required},
        base / "model.safetensors",
    )
    refused(
        QloraMergeRequest(
            adapter=tmp_path / "run", output=tmp_path / "out", base=base, subset=True
        ),
        "MENS-A558",
    )


def test_merge_subset_refuses_an_adapter_that_does_nothing(tmp_path: Path) -> None:
    layers = {"lm_head": ("wte.weight", torch.ones(2, 3), torch.zeros(4, 2))}
    write_source(tmp_path / "run", layers, vocab=4, d_model=3)
    base = write_file(tmp_path / "base", {"wte.weight": ramp(4, 3)})
    refused(
        QloraMergeRequest(
            adapter=tmp_path / "run", output=tmp_path / "out", base=base, subset=True
        ),
        "MENS-A040",
    )


def test_merge_subset_refuses_an_output_over_its_inputs(tmp_path: Path) -> None:
    head_only(tmp_path / "run")
    base = write_file(tmp_path / "base", {"wte.weight": ramp(4, 3)})
    request = QloraMergeRequest(
        adapter=tmp_path / "run", output=base.parent, base=base, subset=True, force=True
    )
    for output in (base.parent, tmp_path / "run", tmp_path):
        with pytest.raises(VoxError, match="MENS-A046"):
            merge_run.merge(replace(request, output=output))
    assert written(replace(request, output=base.parent / "beside"))
