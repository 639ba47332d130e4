"""Adapters from form to form: the same numbers, every change of a name said, nothing guessed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vox_populi.adapters.adapter import Adapter
from vox_populi.adapters.header import (
    AdaptedModule,
    AdapterHeader,
    Quantization,
)
from vox_populi.adapters.lora_bin import read_adapter_bin, write_adapter_bin
from vox_populi.adapters.v3.files import read_qlora_adapter, write_qlora_adapter
from vox_populi.adapters.v3.manifest import V3Facts
from vox_populi.containers.tensor_container import container_chunks
from vox_populi.contract.choices import GraphId, TokenizerKind
from vox_populi.data.training_text import ChatTemplate
from vox_populi.errors import ArtifactError, ModelError, PreflightError
from vox_populi.files.whole_file import write_whole
from vox_populi.hf.embedded import EMBEDDED_NAME, embedded_model_dir
from vox_populi.hf.inventory import base_digest, read_inventory
from vox_populi.hf.keymap import adapter_modules
from vox_populi.operator_messages.export import note_facts_assumed
from vox_populi.pipeline.convert import ConvertReport, ConvertRequest
from vox_populi.pipeline.convert_run import convert_adapter
from vox_populi.pipeline.merge import MergeRequest
from vox_populi.pipeline.merge_run import merge
from vox_populi.runs.adapter_place import AdapterForm
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.nf4_levels import Nf4Settings

NF4 = Quantization(nf4=Nf4Settings(block_size=64, double_quant=True), compute_dtype="f32")
MakeBase = Callable[..., Path]


def make_header(base: Path, name: str, **changes: Any) -> AdapterHeader:
    inventory = read_inventory(base)
    modules = [AdaptedModule.of(module) for module in adapter_modules(inventory.config)]
    header = AdapterHeader(
        lora=LoraSpec(rank=2, alpha=7.6),
        modules=tuple(module for module in modules if module.roles in (("q",), ("o",))),
        base_name=name,
        base_digest=base_digest(inventory),
        model_type=inventory.config.model_type,
        tokenizer=TokenizerKind.VOX,
        tokenizer_digest="sha256:0",
        template=ChatTemplate.CHATML,
        template_digest="sha256:0",
        system_prompt="Be brief.",
        seq_len=64,
        contract_digest="sha256:0",
        step=3,
    )
    return replace(header, **changes)


def random_tensors(header: AdapterHeader) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(1)
    shapes = header.tensor_shapes()
    return {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    """A LoRA adapter of the embedded base."""
    header = make_header(embedded_model_dir(), EMBEDDED_NAME)
    path = tmp_path / "model_final.bin"
    write_adapter_bin(path, header, random_tensors(header))
    return path


@pytest.fixture
def qlora(tmp_path: Path) -> Path:
    """The same, trained on NF4 weights."""
    header = make_header(embedded_model_dir(), EMBEDDED_NAME, quantization=NF4)
    path = tmp_path / "qlora.bin"
    write_adapter_bin(path, header, random_tensors(header))
    return path


@pytest.fixture
def proxy(tmp_path: Path) -> Path:
    """A folder of version 3 files of a proxy run."""
    base = embedded_model_dir()
    config = read_inventory(base).config
    modules = [AdaptedModule.of(module) for module in adapter_modules(config)]
    header = make_header(
        base,
        EMBEDDED_NAME,
        graph=GraphId.PROXY_STACK,
        quantization=NF4,
        modules=tuple(module for module in modules if module.roles in (("o",), ("lm_head",))),
    )
    folder = tmp_path / "proxy"
    folder.mkdir()
    facts = V3Facts(
        vocab=config.vocab_size,
        d_model=config.hidden_size,
        embed_key="model.embed_tokens.weight",
        is_head_tied=True,
        training_objective_note="candle_qlora_proxy_v1_k1",
    )
    write_qlora_adapter(folder, header, random_tensors(header), facts)
    return folder


def convert(source: Path, target: AdapterForm, output: Path, **more: Any) -> ConvertReport:
    request = ConvertRequest(source=source, target=target, output=output, **more)
    return convert_adapter(request)


def same(left: Adapter, right: Adapter) -> bool:
    names = left.tensors.keys() == right.tensors.keys()
    return names and all(torch.equal(left.tensors[n], right.tensors[n]) for n in left.tensors)


@pytest.mark.parametrize("kind", ["lora", "qlora"])
def test_a_bin_becomes_version_3_and_the_same_bin_again(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    source: Path = request.getfixturevalue(kind)
    report = convert(source, AdapterForm.V3, tmp_path / "v3")
    assert "blocks.0.attn.q -> l0.q" in report.renamed
    assert report.base_quant == ("nf4" if kind == "qlora" else "none")
    assert len(report.files) == (3 if kind == "qlora" else 2)
    back = convert(tmp_path / "v3", AdapterForm.LORA_BIN, tmp_path / "again.bin")
    assert "l0.q -> blocks.0.attn.q" in back.renamed
    assert (tmp_path / "again.bin").read_bytes() == source.read_bytes()
    assert any("merge-qlora" in note for note in back.notes) == (kind == "qlora")


def test_merge_weights_refuses_a_quantised_bin(qlora: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"MENS-A513.*merge-qlora"):
        merge(MergeRequest(checkpoint=qlora, output=tmp_path / "merged"))
    assert not (tmp_path / "merged").exists()


def test_version_3_is_written_again_with_all_it_says(proxy: Path, tmp_path: Path) -> None:
    (proxy / "candle_qlora_adapter_meta.json").unlink()
    report = convert(proxy, AdapterForm.V3, tmp_path / "again")
    assert report.renamed == ()
    assert report.graph == GraphId.PROXY_STACK
    assert len(report.files) == 3
    for name in ("candle_qlora_adapter.safetensors", "populi_adapter_manifest_v3.json"):
        assert (tmp_path / "again" / name).read_bytes() == (proxy / name).read_bytes()


@pytest.mark.parametrize("target", [AdapterForm.LORA_BIN, AdapterForm.PEFT])
def test_a_proxy_adapter_has_no_other_form(
    proxy: Path, tmp_path: Path, target: AdapterForm
) -> None:
    with pytest.raises(ArtifactError, match=r"MENS-A520.*proxy_stack_v1_residual"):
        convert(proxy, target, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_peft_and_back_keeps_every_number(qlora: Path, tmp_path: Path) -> None:
    report = convert(qlora, AdapterForm.PEFT, tmp_path / "peft")
    assert report.files == ("adapter_config.json", "adapter_model.safetensors")
    assert any("NF4" in note for note in report.notes)
    before = read_adapter_bin(qlora)
    for source in (tmp_path / "peft", tmp_path / "peft" / "adapter_model.safetensors"):
        back = convert(source, AdapterForm.LORA_BIN, tmp_path / f"{source.name}.bin")
        after = read_adapter_bin(tmp_path / f"{source.name}.bin")
        assert same(before, after)
        assert after.header.quantization is None, "PEFT cannot say it"
        assert after.header.base_digest == before.header.base_digest
        assert note_facts_assumed("a PEFT folder") in back.notes
    convert(tmp_path / "peft", AdapterForm.V3, tmp_path / "v3")
    third, sidecar = read_qlora_adapter(tmp_path / "v3")
    assert sidecar.ours is not None
    assert same(before, third)


def source_folder(tmp_path: Path, config: Any, layers: dict[str, tuple[str, int, int]]) -> Path:
    """Version 2 files as the source system writes them: layer to key, inputs, outputs."""
    folder = tmp_path / "source"
    folder.mkdir(exist_ok=True)
    held = {}
    for name, (_, inputs, outputs) in layers.items():
        held[f"{name}.lora_a.weight"] = torch.randn(2, inputs)
        held[f"{name}.lora_b.weight"] = torch.randn(outputs, 2)
    write_whole(folder / "candle_qlora_adapter.safetensors", *container_chunks(held, {}))
    meta = {
        "format": "vox_mens_qlora_lora_only_v2",
        "version": 2,
        "embed_key": "model.embed_tokens.weight",
        "vocab": config.vocab_size,
        "d_model": config.hidden_size,
        "rank": 2,
        "alpha": 8,
        "layer_order": list(layers),
        "base_key_map": {name: key for name, (key, _, _) in layers.items()},
    }
    (folder / "adapter_meta_v2.json").write_text(json.dumps(meta), encoding="utf-8")
    return folder


Layers = dict[str, tuple[str, int, int]]


def full_layers() -> Layers:
    """All layers of `make_base`: width 16, one key head of 8, 264 tokens."""
    return {
        "l0.q": ("model.layers.0.self_attn.q_proj.weight", 16, 16),
        "l1.k": ("model.layers.1.self_attn.k_proj.weight", 16, 8),
        "lm_head": ("model.embed_tokens.weight", 16, 264),
    }


def proxy_layers() -> Layers:
    return {
        "mid0": ("model.layers.0.self_attn.o_proj.weight", 16, 16),
        "mid1": ("model.layers.1.self_attn.o_proj.weight", 16, 16),
        "lm_head": ("model.embed_tokens.weight", 16, 264),
    }


@pytest.fixture
def base(make_base: MakeBase) -> Path:
    folder = make_base()
    # Its tokenizer is not read by the library; the vocabulary of a conversion is `hf`.
    pytest.importorskip("tokenizers")
    write_hf_tokenizer(folder / "tokenizer.json")
    return folder


def write_hf_tokenizer(path: Path) -> None:
    vocab = {"a": 0, "b": 1, "<|im_end|>": 2, "<|im_start|>": 3}
    marker = {
        "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
        "special": True,
    }  # fmt: skip
    added = [{"id": vocab[name], "content": name, **marker} for name in list(vocab)[2:]]
    model = {"type": "WordLevel", "vocab": vocab, "unk_token": "a"}
    document = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
        "model": model,
    }  # fmt: skip
    path.write_text(json.dumps(document), encoding="utf-8")


def test_a_source_adapter_becomes_ours_on_its_base(base: Path, tmp_path: Path) -> None:
    config = read_inventory(base).config
    for layers, graph in ((full_layers(), "full_graph_v1"), (proxy_layers(), GraphId.PROXY_STACK)):
        source = source_folder(tmp_path, config, layers)
        output = tmp_path / graph
        with pytest.raises(ArtifactError, match=r"MENS-A521.*--base"):
            convert(source, AdapterForm.V3, output)
        report = convert(source, AdapterForm.V3, output, base=base)
        assert (report.graph, report.base_quant, report.alpha) == (graph, "nf4", 8.0)
        (ours, sidecar), (theirs, _) = read_qlora_adapter(output), read_qlora_adapter(source)
        assert sidecar.ours is not None
        assert ours.header.base_digest == base_digest(read_inventory(base))
        held = {name.lower() for name in ours.tensors}
        assert len(held) == len(theirs.tensors)
        assert torch.equal(ours.tensors["lm_head.lora_B"], theirs.tensors["lm_head.lora_B"])
        manifest = json.loads((output / "populi_adapter_manifest_v3.json").read_text("utf-8"))
        assert manifest["layer_order"] == list(layers)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"l0.q": ("model.layers.1.self_attn.q_proj.weight", 16, 16)}, r"MENS-A523.*l0\.q"),
        ({"l7.q": ("model.layers.7.self_attn.q_proj.weight", 16, 16)}, r"MENS-A523.*l7\.q"),
        ({"l0.q": ("model.layers.0.self_attn.q_proj.weight", 16, 1)}, r"MENS-A507.*l0\.q\.lora_b"),
        ({"block0": ("model.layers.0.self_attn.q_proj.weight", 16, 16)}, r"MENS-A523.*one graph"),
    ],
)
def test_layers_that_are_not_the_bases_are_refused(
    base: Path, tmp_path: Path, change: Layers, match: str
) -> None:
    config = read_inventory(base).config
    layers = {**change, **{k: v for k, v in full_layers().items() if k != "l0.q"}}
    source = source_folder(tmp_path, config, layers)
    with pytest.raises(ArtifactError, match=match):
        convert(source, AdapterForm.V3, tmp_path / "out", base=base)
    assert not (tmp_path / "out").exists()


def test_middle_blocks_in_another_order_are_refused(base: Path, tmp_path: Path) -> None:
    config = read_inventory(base).config
    first, second, head = proxy_layers().values()
    source = source_folder(tmp_path, config, {"mid0": second, "mid1": first, "lm_head": head})
    with pytest.raises(ArtifactError, match=r"MENS-A523.*order"):
        convert(source, AdapterForm.V3, tmp_path / "out", base=base)


def test_another_base_is_refused(lora: Path, base: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="MENS-A013"):
        convert(lora, AdapterForm.V3, tmp_path / "out", base=base)
    with pytest.raises(ModelError, match="MENS-H0"):
        convert(lora, AdapterForm.V3, tmp_path / "out", base=tmp_path / "absent")


def test_nothing_is_replaced_and_converting_to_the_same_form_is_refused(
    lora: Path, tmp_path: Path
) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "file").touch()
    for target, output in ((AdapterForm.V3, taken), (AdapterForm.LORA_BIN, lora)):
        with pytest.raises(PreflightError, match="MENS-A075"):
            convert(lora, target, output)
    with pytest.raises(ArtifactError, match="MENS-A522"):
        convert(lora, AdapterForm.LORA_BIN, tmp_path / "out.bin")


def test_convert_refuses_sources_that_are_not_adapters(tmp_path: Path, lora: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    foreign = tmp_path / "pytorch_model.bin"
    foreign.write_bytes(b"PK\x03\x04" + b"0" * 64)
    for source, code in (
        (empty, "MENS-A524"),
        (tmp_path / "absent", "MENS-A525"),
        (tmp_path / "absent.bin", "MENS-A001"),
        (foreign, "MENS-A001"),
        (embedded_model_dir() / "model.safetensors", "MENS-A502"),
    ):
        with pytest.raises(ArtifactError, match=code):
            convert(source, AdapterForm.V3, tmp_path / "out")
    run = tmp_path / "run"
    run.mkdir()
    lora.rename(run / "model_final.bin")
    assert convert(run, AdapterForm.V3, tmp_path / "out").modules
