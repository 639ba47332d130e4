"""`merge-qlora` from the request to the published folder: what is written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from packages.vox_populi.tests.qlora_adapters import (
    QUANTIZATION,
    V2_NAME,
    qlora_header,
    qlora_tensors,
    rewrite_tensors,
    write_own,
    write_source,
)
from packages.vox_populi.tests.qlora_refusals import content, refused
from vox_populi.adapters.header import (
    AdapterHeader,
)
from vox_populi.adapters.v3 import burn_bin, sidecar
from vox_populi.adapters.v3.files import read_qlora_adapter
from vox_populi.adapters.v3.manifest import MANIFEST_V3_FILE
from vox_populi.adapters.v3.names import QLORA_ADAPTER_FILE
from vox_populi.contract.choices import GraphId
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.hf.inventory import read_inventory
from vox_populi.merge.choices import MergeFormat, Onto
from vox_populi.merge.merged_file import MERGED_FILE, read_merged_file
from vox_populi.merge.receipt import LOGIT_TOLERANCES, RECEIPT_FILE
from vox_populi.operator_messages.merge import NOTE_HEAD_REPLACED, note_proxy_merged
from vox_populi.pipeline import merge_run
from vox_populi.pipeline.merge import (
    QloraMergeRequest,
)
from vox_populi.pipeline.quantize import QuantizeRequest, quantize_model
from vox_populi.pipeline.train import RunOptions, run_training
from vox_populi.runs import adapter_place
from vox_populi.runs.checkpoint_dir import list_checkpoints
from vox_tensor.errors import VoxError
from vox_tensor.nf4 import dequantize_nf4, quantize_nf4

pytestmark = pytest.mark.requirement("10")

MakeBase = Callable[..., Path]
MakeContract = Callable[..., FinetuneContract]
TABLE, HEAD = "model.embed_tokens.weight", "lm_head.weight"
O_PROJ = "model.layers.{}.self_attn.o_proj.weight"


@pytest.fixture
def base(make_base: MakeBase) -> Path:
    return make_base()


@pytest.fixture
def request_hf(base: Path, tmp_path: Path) -> QloraMergeRequest:
    write_own(tmp_path / "run", base)
    return QloraMergeRequest(
        adapter=tmp_path / "run", output=tmp_path / "out" / "merged", base=base, threads=1
    )


def receipt_of(folder: Path) -> dict[str, object]:
    found = json.loads((folder / RECEIPT_FILE).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def rounded(weight: Tensor) -> Tensor:
    """A weight as training saw it."""
    packed = quantize_nf4(
        weight, block_size=QUANTIZATION.nf4.block_size, double_quant=QUANTIZATION.nf4.double_quant
    )
    return dequantize_nf4(packed)


def deltas(header: AdapterHeader, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Updates by base key, in float64."""
    return {
        module.base_key: header.lora.scale
        * tensors[f"{module.ours}.lora_B"].double()
        @ tensors[f"{module.ours}.lora_A"].double()
        for module in header.modules
    }


@pytest.mark.parametrize("by_file", [False, True])
def test_one_merge_reads_a_sidecar_and_a_container_header_once(
    request_hf: QloraMergeRequest, monkeypatch: pytest.MonkeyPatch, by_file: bool
) -> None:
    adapter = request_hf.adapter / QLORA_ADAPTER_FILE
    if by_file:
        request_hf = replace(request_hf, adapter=adapter)
    reads: Counter[str] = Counter()

    def counted(read: Callable[..., Any]) -> Callable[..., Any]:
        def counting(path: Path, *others: Any) -> Any:
            reads[path.name] += 1
            return read(path, *others)

        return counting

    for module in (sidecar, burn_bin, adapter_place):
        name = "read_sidecar" if module is sidecar else "read_header"
        monkeypatch.setattr(module, name, counted(getattr(module, name)))
    merge_run.merge(request_hf)
    assert reads == dict.fromkeys((adapter.name, V2_NAME, MANIFEST_V3_FILE), 1)


def test_merge_qlora_writes_a_folder_and_measures_both_merges(
    request_hf: QloraMergeRequest, base: Path
) -> None:
    report = merge_run.merge(request_hf)
    receipt = receipt_of(request_hf.output)
    found = receipt["qlora"]
    assert isinstance(found, dict)
    assert found["onto"] == "dequant"
    assert found["graph_id"] == "full_graph_v1"
    assert found["quantization"]["block_size"] == QUANTIZATION.nf4.block_size
    assert found["rounded_tensors"] == 14
    distances = found["logit_difference_from_training"]
    assert set(distances) == {"dequant", "original"}
    assert distances["dequant"]["max_difference"] < distances["original"]["max_difference"]
    assert any("onto dequant" in note for note in report.notes)
    read = receipt["read"]
    assert isinstance(read, dict)
    assert set(read) == {
        "adapter/candle_qlora_adapter.safetensors",
        "adapter/populi_adapter_manifest_v3.json",
        "base/config.json",
        "base/model.safetensors",
    }
    assert str(base.parent) not in json.dumps(receipt)


@pytest.mark.parametrize("onto", Onto)
def test_merge_qlora_writes_the_sums_that_a_hand_computes(
    request_hf: QloraMergeRequest, base: Path, onto: Onto
) -> None:
    header = qlora_header(base)
    merge_run.merge(replace(request_hf, onto=onto))
    before = load_file(base / "model.safetensors")
    after = load_file(request_hf.output / "model.safetensors")
    added = deltas(header, qlora_tensors(header))
    assert len(added) == 14
    assert after.keys() == before.keys()
    for name, weight in before.items():
        start = rounded(weight) if onto is Onto.DEQUANT and name in added else weight
        if name in added:
            assert not torch.equal(after[name], weight)
            torch.testing.assert_close(after[name], (start.double() + added[name]).float())
        else:
            assert torch.equal(after[name], weight)


@pytest.mark.parametrize("output_format", MergeFormat)
@pytest.mark.parametrize("onto", Onto)
def test_merge_qlora_is_the_same_bytes_on_every_run(
    request_hf: QloraMergeRequest, tmp_path: Path, onto: Onto, output_format: MergeFormat
) -> None:
    outputs = []
    for number, threads in enumerate((1, 2, 2)):
        output = tmp_path / f"merged-{number}"
        request = replace(request_hf, output=output, threads=threads, onto=onto)
        merge_run.merge(replace(request, output_format=output_format))
        outputs.append(content(output))
    assert outputs[0] == outputs[1] == outputs[2]


def test_merge_qlora_to_one_file_is_read_again(request_hf: QloraMergeRequest) -> None:
    merge_run.merge(replace(request_hf, output_format=MergeFormat.VOX))
    assert read_merged_file(request_hf.output / MERGED_FILE).adapter.step == 5


@pytest.mark.parametrize("onto", Onto)
@pytest.mark.parametrize("graph", [GraphId.PROXY_STACK, GraphId.HEAD_ONLY])
def test_merge_qlora_of_a_proxy_adapter_makes_a_head_of_the_table(
    request_hf: QloraMergeRequest, base: Path, tmp_path: Path, graph: GraphId, onto: Onto
) -> None:
    header, tensors = write_own(tmp_path / "proxy", base, graph)
    request = replace(request_hf, adapter=tmp_path / "proxy", onto=onto)
    report = merge_run.merge(request)
    before = load_file(base / "model.safetensors")
    after = load_file(request.output / "model.safetensors")
    added = deltas(header, tensors)
    expected = {HEAD: before[TABLE]}
    if graph == GraphId.PROXY_STACK:
        expected |= {O_PROJ.format(layer): before[O_PROJ.format(layer)] for layer in range(2)}
    assert added.keys() == expected.keys()
    for name, weight in expected.items():
        start = rounded(weight) if onto is Onto.DEQUANT else weight
        torch.testing.assert_close(after[name], (start.double() + added[name]).float())
    for name in before.keys() - expected.keys():
        assert torch.equal(after[name], before[name])
    config = json.loads((request.output / "config.json").read_text(encoding="utf-8"))
    assert config["tie_word_embeddings"] is False
    assert not read_inventory(request.output).tied_head
    assert note_proxy_merged(graph) in report.notes
    assert NOTE_HEAD_REPLACED in report.notes


def test_merge_qlora_of_a_checkpoint_is_that_of_its_run(
    make_qlora: MakeContract, tmp_path: Path
) -> None:
    report = run_training(make_qlora(), RunOptions(checkpoint_every=6))
    (*_, checkpoint) = list_checkpoints(report.run)
    merged = []
    for name, adapter in (("one", report.run), ("other", checkpoint.path)):
        merge_run.merge(QloraMergeRequest(adapter=adapter, output=tmp_path / name))
        merged.append((tmp_path / name / "model.safetensors").read_bytes())
    assert merged[0] == merged[1]
    base = make_qlora().model_dir
    assert base is not None
    assert merged[0] != (base / "model.safetensors").read_bytes()
    request = QloraMergeRequest(adapter=checkpoint.path, output=tmp_path / "no", meta=base)
    refused(request, "MENS-A560")


def test_merge_qlora_onto_a_folder_in_four_bits_is_the_merge_onto_what_was_trained(
    request_hf: QloraMergeRequest, base: Path, tmp_path: Path
) -> None:
    packed = tmp_path / "models" / "packed"
    quantize_model(
        QuantizeRequest(model_dir=base, output=packed, block_size=QUANTIZATION.nf4.block_size)
    )
    write_own(tmp_path / "packed-run", packed)
    other = replace(
        request_hf, base=packed, adapter=tmp_path / "packed-run", output=tmp_path / "other"
    )
    merge_run.merge(request_hf)
    report = merge_run.merge(other)
    one, two = (load_file(each.output / "model.safetensors") for each in (request_hf, other))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    config = json.loads((other.output / "config.json").read_text(encoding="utf-8"))
    assert "quantization_config" not in config
    assert report.receipt.qlora is not None
    assert set(report.receipt.qlora.distances) == {"dequant"}
    refused(replace(other, onto=Onto.ORIGINAL, output=tmp_path / "none"), "MENS-A550")


def test_merge_qlora_judges_by_every_number_type_it_rounds_to(
    request_hf: QloraMergeRequest, base: Path, tmp_path: Path
) -> None:
    path = base / "model.safetensors"
    weights = load_file(path)
    halves = {name: w.bfloat16() if "mlp" in name else w for name, w in weights.items()}
    save_file(halves, path)
    header = qlora_header(base)
    queries = tuple(module for module in header.modules if "attn.q" in module.ours)
    write_own(tmp_path / "q", base, modules=queries)
    report = merge_run.merge(replace(request_hf, adapter=tmp_path / "q"))
    assert report.receipt.logits is not None
    assert report.receipt.logits.tolerance == LOGIT_TOLERANCES["BF16"]
    assert report.receipt.logits.max_difference > LOGIT_TOLERANCES["F32"].share


# ---- Adapters of the source system --------------------------------------------------------------


def source_layers(base: Path, graph: GraphId) -> dict[str, tuple[str, Tensor, Tensor]]:
    """The layers of an adapter on a base, under the source system's names."""
    header = qlora_header(base, graph, head=True)
    tensors = qlora_tensors(header)
    layers = {}
    for module in header.modules:
        _, number, _, part = f"{module.ours}...".split(".")[:4]
        name = f"mid{number}" if graph == GraphId.PROXY_STACK else f"l{number}.{part}"
        key = (
            TABLE if module.ours == "lm_head" and graph == GraphId.PROXY_STACK else module.base_key
        )
        a, b = (tensors[f"{module.ours}.lora_{half}"] for half in "AB")
        layers["lm_head" if module.ours == "lm_head" else name] = (key, a, b)
    return layers


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("graph", [GraphId.FULL, GraphId.PROXY_STACK])
@pytest.mark.parametrize("has_tokenizer", [True, False])
def test_merge_qlora_takes_the_source_systems_adapters(
    request_hf: QloraMergeRequest,
    base: Path,
    tmp_path: Path,
    version: int,
    graph: GraphId,
    has_tokenizer: bool,
) -> None:
    layers = source_layers(base, graph)
    meta = write_source(tmp_path / "old", layers, vocab=264, d_model=16, version=version)
    elsewhere = tmp_path / "elsewhere" / "said.json"
    elsewhere.parent.mkdir()
    meta.rename(elsewhere)
    if not has_tokenizer:
        (base / "tokenizer.json").unlink()
    request = replace(request_hf, adapter=tmp_path / "old", onto=Onto.ORIGINAL)
    refused(request, "MENS-A502")
    report = merge_run.merge(replace(request, meta=elsewhere))
    before = load_file(base / "model.safetensors")
    after = load_file(request.output / "model.safetensors")
    for name, (key, a, b) in layers.items():
        delta = 2.5 * b.double() @ a.double()
        written = HEAD if name == "lm_head" else key
        torch.testing.assert_close(after[written], (before[key].double() + delta).float())
    assert (request.output / "tokenizer.json").exists() == has_tokenizer
    assert any("tokenizer" in note for note in report.notes)


def test_merge_qlora_needs_the_base_of_an_old_adapter(
    request_hf: QloraMergeRequest, base: Path, tmp_path: Path
) -> None:
    write_source(tmp_path / "old", source_layers(base, GraphId.PROXY_STACK), vocab=264, d_model=16)
    refused(replace(request_hf, adapter=tmp_path / "old", base=None), "MENS-A521")


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("layer_order", ["l0.q"], "MENS-A504"),
        ("alpha", None, "MENS-A504"),
        ("rank", 3, "MENS-A507"),
        ("vocab", 265, "MENS-A507"),
        ("base_key_map", {"l0.q": "h.0.attn.c_attn.weight", "lm_head": TABLE}, "MENS-A511"),
        ("base_key_map", {"l0.q": TABLE, "lm_head": TABLE}, "MENS-A504"),
        ("base_key_map", {"lm_head": TABLE}, "MENS-A504"),
        ("format", "something", "MENS-A503"),
    ],
)
def test_merge_qlora_refuses_a_sidecar_that_contradicts(
    request_hf: QloraMergeRequest,
    base: Path,
    tmp_path: Path,
    field: str,
    value: object,
    code: str,
) -> None:
    layers = source_layers(base, GraphId.FULL)
    few = {name: layers[name] for name in ("l0.q", "lm_head")}
    said: dict[str, Any] = {"vocab": 264, "d_model": 16, field: value}
    write_source(tmp_path / "old", few, **said)
    with pytest.raises(VoxError) as caught:
        merge_run.merge(replace(request_hf, adapter=tmp_path / "old"))
    assert {problem.code for problem in caught.value.problems} == {code}
    assert not request_hf.output.parent.exists()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"l0__q__lora_a": torch.ones(2, 1)}, "MENS-A507"),
        ({"l0__q__lora_b": torch.ones(1, 2)}, "MENS-A507"),
        ({"l0__q__lora_b": torch.ones(32, 2)}, "MENS-A507"),
        ({"l0__q__lora_a": torch.ones(3, 16)}, "MENS-A507"),
        ({"l0__q__lora_b": torch.full((16, 2), float("nan"))}, "MENS-A010"),
        ({"l0__q__lora_b": torch.full((16, 2), float("inf"))}, "MENS-A010"),
        ({"l0__q__lora_b": None}, "MENS-A505"),
        ({"l9__q__lora_b": torch.ones(16, 2)}, "MENS-A506"),
    ],
    ids=["a_broadcasts", "b_broadcasts", "b_long", "rank", "nan", "inf", "missing", "extra"],
)
def test_merge_qlora_refuses_tensors_that_are_not_those_of_the_sidecar(
    request_hf: QloraMergeRequest,
    base: Path,
    tmp_path: Path,
    changes: dict[str, Tensor | None],
    code: str,
) -> None:
    layers = source_layers(base, GraphId.FULL)
    few = {name: layers[name] for name in ("l0.q", "l1.q", "lm_head")}
    write_source(tmp_path / "old", few, vocab=264, d_model=16)
    rewrite_tensors(tmp_path / "old", **changes)
    with pytest.raises(VoxError) as caught:
        merge_run.merge(replace(request_hf, adapter=tmp_path / "old"))
    assert code in {problem.code for problem in caught.value.problems}
    assert not request_hf.output.parent.exists()


def test_merge_qlora_reads_what_training_writes(make_qlora: MakeContract, tmp_path: Path) -> None:
    report = run_training(make_qlora(), RunOptions())
    merged = merge_run.merge(
        QloraMergeRequest(adapter=report.artifacts["adapter"], output=tmp_path / "merged")
    )
    found, beside = read_qlora_adapter(report.artifacts["adapter"])
    assert beside.ours is not None
    assert merged.receipt.n_changed == len(found.header.modules)
    assert merged.receipt.adapter["rank"] == found.header.lora.rank
