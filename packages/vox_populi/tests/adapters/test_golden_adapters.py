"""Adapters of every version that was ever written stay readable, number for number.

`golden/` was written by this file, run as a program with the folder to make. The files of the
source system's two eras are laid out by hand from its descriptions, not by our writer. A folder of
an old version is never written again: a new version gets a new one.
"""

from __future__ import annotations

import json
import struct
import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vox_populi.adapters.header import (
    AdaptedModule,
    AdapterHeader,
    ImportedText,
    Quantization,
)
from vox_populi.adapters.lora_bin import read_adapter_bin, write_adapter_bin
from vox_populi.adapters.v3.facts import Provenance
from vox_populi.adapters.v3.files import (
    read_qlora_adapter,
    write_qlora_adapter,
)
from vox_populi.adapters.v3.manifest import MANIFEST_V3_FILE, V3Facts
from vox_populi.adapters.v3.names import logical_names
from vox_populi.adapters.v3.sidecar import find_sidecar
from vox_populi.contract.choices import GraphId, TokenizerKind
from vox_populi.data.trained_layout import TemplateSource, TokenName, TrainedLayout
from vox_populi.data.training_text import ChatTemplate
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.nf4_levels import Nf4Settings

GOLDEN = Path(__file__).parent / "golden"
RANK, D_MODEL, VOCAB = 2, 4, 7

Shape = tuple[int, int]


def values(name: str, shape: Sequence[int]) -> list[float]:
    """Eighths that depend on the tensor's name; each fits a float32 exactly."""
    start = sum(name.encode())
    return [((start + 7 * index) % 13 - 6) / 8 for index in range(shape[0] * shape[1])]


def square_layers(names: Sequence[str]) -> dict[str, Shape]:
    """Tensors of `[D, D]` layers and of the head, in the file's names."""
    shapes: dict[str, Shape] = {}
    for name in names:
        shapes[f"{name}.lora_a"] = (RANK, D_MODEL)
        shapes[f"{name}.lora_b"] = (VOCAB if name == "lm_head" else D_MODEL, RANK)
    return shapes


PROXY_LAYERS = ("mid0", "mid1", "lm_head")
PROXY_KEYS = {
    "mid0": "h.0.attn.c_proj.weight",
    "mid1": "h.1.attn.c_proj.weight",
    "lm_head": "wte.weight",
}
FULL_LAYERS = ("l0.q", "l0.o", "l1.q", "l1.o", "lm_head")
FULL_KEYS = {
    "l0.q": "model.layers.0.self_attn.q_proj.weight",
    "l0.o": "model.layers.0.self_attn.o_proj.weight",
    "l1.q": "model.layers.1.self_attn.q_proj.weight",
    "l1.o": "model.layers.1.self_attn.o_proj.weight",
    "lm_head": "model.embed_tokens.weight",
}
SIZES = {"vocab": VOCAB, "d_model": D_MODEL, "rank": RANK, "alpha": 4}
PROVENANCE = {
    "base_family": "qwen2",
    "upstream_model_id": "example/base",
    "license_class": "apache-2.0",
    "attribution_required": True,
}

V2_FIRST_ERA = {
    "format": "vox_populi_qlora_lora_only_v2",
    "version": 2,
    "embed_key": "wte.weight",
    **SIZES,
    "layer_order": list(PROXY_LAYERS),
    "base_key_map": PROXY_KEYS,
}
V2_SECOND_ERA = {
    "format": "vox_mens_qlora_lora_only_v2",
    "version": 2,
    "embed_key": "model.embed_tokens.weight",
    **SIZES,
    "layer_order": list(FULL_LAYERS),
    "base_key_map": FULL_KEYS,
    "base_model": None,
}
V3_FIRST_ERA = {
    "format": "vox_populi_adapter",
    "version": 3,
    "adapter_method": "qlora",
    "quant": {"base_quant": "nf4", "double_quant": True},
    "base_key_map": PROXY_KEYS,
    "layer_order": list(PROXY_LAYERS),
    **SIZES,
}
V3_SECOND_ERA = {
    "format": "vox_mens_adapter",
    "version": 3,
    "adapter_method": "qlora",
    "quant": {"base_quant": "nf4", "double_quant": False},
    "base_key_map": FULL_KEYS,
    "layer_order": list(FULL_LAYERS),
    **SIZES,
    "base_model": "example/base",
    "provenance": PROVENANCE,
}

SOURCE_FOLDERS: Mapping[str, tuple[tuple[str, ...], str, Mapping[str, Mapping[str, object]]]] = {
    "v2_first_era": (PROXY_LAYERS, "", {"candle_qlora_adapter_meta.json": V2_FIRST_ERA}),
    "v2_second_era": (
        FULL_LAYERS,
        ".weight",
        {"adapter_meta_v2.json": V2_SECOND_ERA, "meta.json": V2_SECOND_ERA},
    ),
    "v3_first_era": (PROXY_LAYERS, "", {"populi_adapter_manifest_v3.json": V3_FIRST_ERA}),
    "v3_second_era": (FULL_LAYERS, ".weight", {"populi_adapter_manifest_v3.json": V3_SECOND_ERA}),
    "v3_plugin": (FULL_LAYERS, "", {"adapter_manifest.json": V3_SECOND_ERA}),
}
"""Folder to its layers, the ending of its tensors' names, and its sidecars."""


def golden_header() -> AdapterHeader:
    """The header of our own files: two fused projections and the head of a GPT-2 of width 4."""
    modules = [
        AdaptedModule(
            ours=f"blocks.{layer}.attn.o",
            base_key=f"transformer.h.{layer}.attn.c_proj.weight",
            roles=("o",),
            in_features=D_MODEL,
            out_features=D_MODEL,
            fan_in_fan_out=True,
        )
        for layer in range(2)
    ]
    head = AdaptedModule(
        ours="lm_head",
        base_key="lm_head.weight",
        roles=("lm_head",),
        in_features=D_MODEL,
        out_features=VOCAB,
        fan_in_fan_out=False,
    )
    return AdapterHeader(
        lora=LoraSpec(rank=RANK, alpha=7.6, dropout=0.05),
        modules=(*modules, head),
        base_name="tiny-ä",
        base_digest="sha256:00",
        model_type="gpt2",
        tokenizer=TokenizerKind.HF,
        tokenizer_digest="sha256:11",
        template=ChatTemplate.CHATML,
        template_digest="sha256:22",
        system_prompt='Say "ja".\n',
        seq_len=64,
        contract_digest="sha256:33",
        step=5,
    )


LAYOUT = TrainedLayout(
    template=TemplateSource(
        text="{{ bos_token }}{{ messages[0].content }}é{{ strftime_now('%d') }}",
        tokens={"bos_token": "<s>", "eos_token": "</s>"},
        day="2024-07-26",
    ),
    bos=TokenName(1, "<s>"),
    end=TokenName(2, "</s>"),
)
QUANTIZATION = Quantization(nf4=Nf4Settings(block_size=64, double_quant=True), compute_dtype="bf16")


def bin_headers() -> dict[str, AdapterHeader]:
    """File name to header, one for each version of the `.bin`."""
    header = golden_header()
    imported = ImportedText(adapter_config='{"r": 2}', container='{"a": 1} ')
    return {
        "lora_v1.bin": header,
        "lora_v2.bin": replace(header, imported=imported),
        "lora_v3.bin": replace(header, quantization=QUANTIZATION),
        "lora_layout_v1.bin": replace(header, template=ChatTemplate.MODEL, layout=LAYOUT),
    }


def our_headers() -> dict[str, AdapterHeader]:
    """Folder name to header, one for each graph, and one that was not quantised."""
    header = golden_header()
    lora = replace(header.lora, use_rslora=True)
    return {
        "v3_ours_full": replace(header, quantization=QUANTIZATION, lora=lora),
        "v3_ours_proxy": replace(header, quantization=QUANTIZATION, graph=GraphId.PROXY_STACK),
        "v3_ours_lora": header,
        "v3_ours_layout": replace(header, template=ChatTemplate.MODEL, layout=LAYOUT),
    }


def write_by_hand(path: Path, shapes: Mapping[str, Shape], ending: str) -> None:
    """A safetensors file as any program would write it."""
    header: dict[str, object] = {}
    data = array("f")
    for name, shape in shapes.items():
        start = 4 * len(data)
        data.extend(values(name, shape))
        offsets = [start, 4 * len(data)]
        header[name + ending] = {"dtype": "F32", "shape": list(shape), "data_offsets": offsets}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data.tobytes())


def write_source_folder(folder: Path, name: str) -> None:
    """One of `SOURCE_FOLDERS`."""
    layers, ending, sidecars = SOURCE_FOLDERS[name]
    folder.mkdir(parents=True)
    write_by_hand(folder / "candle_qlora_adapter.safetensors", square_layers(layers), ending)
    for sidecar, document in sidecars.items():
        text = json.dumps(document, indent=2) + "\n"
        (folder / sidecar).write_text(text, encoding="utf-8")


OBJECTIVES = {
    "v3_ours_full": "candle_qlora_full_graph_full_assistant_ce",
    "v3_ours_proxy": "candle_qlora_proxy_v1_k1",
    "v3_ours_lora": None,
    "v3_ours_layout": None,
}


def tensors_of(header: AdapterHeader) -> dict[str, Tensor]:
    """What an adapter of ours holds, under our names."""
    return {
        name: torch.tensor(values(name, shape)).reshape(shape)
        for name, shape in header.tensor_shapes().items()
    }


def write_our_folder(folder: Path, name: str) -> None:
    """One of `our_headers`."""
    header = our_headers()[name]
    has_lineage = name == "v3_ours_full"
    facts = V3Facts(
        vocab=VOCAB,
        d_model=D_MODEL,
        embed_key="transformer.wte.weight",
        is_head_tied=True,
        training_objective_note=OBJECTIVES[name],
        provenance=LINEAGE if has_lineage else None,
    )
    folder.mkdir(parents=True)
    write_qlora_adapter(folder, header, tensors_of(header), facts)


LINEAGE = Provenance(
    base_family="qwen2",
    upstream_model_id="example/base",
    license_class="apache-2.0",
    attribution_required=True,
)


@pytest.mark.parametrize("name", SOURCE_FOLDERS)
def test_files_of_the_source_system_are_read_to_the_number(name: str) -> None:
    layers, _, sidecars = SOURCE_FOLDERS[name]
    adapter, sidecar = read_qlora_adapter(GOLDEN / name)
    assert sidecar.ours is None, "our header is not in it"
    facts, said = sidecar.facts, next(iter(sidecars.values()))
    assert facts.layer_order == layers
    assert facts.base_key_map == said["base_key_map"]
    assert (facts.vocab, facts.d_model, facts.rank, facts.alpha) == (VOCAB, D_MODEL, RANK, 4.0)
    assert facts.scale == 2.0
    assert facts.embed_key == facts.base_key_map["lm_head"]
    assert facts.graph == ("proxy_stack_v1_residual" if "mid0" in layers else "full_graph_v1")
    assert (facts.method, facts.base_quant) == ("qlora", "nf4")
    shapes = square_layers(layers)
    stored = {f"{name[:-1]}{name[-1].lower()}": each for name, each in adapter.tensors.items()}
    assert stored.keys() == shapes.keys()
    for tensor, shape in shapes.items():
        assert (
            stored[tensor].tolist() == torch.tensor(values(tensor, shape)).reshape(shape).tolist()
        )


def test_quantisation_and_provenance_of_the_source_system_survive() -> None:
    second = find_sidecar(GOLDEN / "v3_second_era").facts
    assert second.double_quant is False
    assert second.base_model == "example/base"
    assert second.provenance == LINEAGE
    first = find_sidecar(GOLDEN / "v3_first_era").facts
    assert (first.double_quant, first.base_model, first.provenance) == (True, None, None)


@pytest.mark.parametrize("name", our_headers())
def test_files_of_ours_are_read_to_the_number(name: str) -> None:
    header = our_headers()[name]
    adapter, sidecar = read_qlora_adapter(GOLDEN / name)
    assert adapter.header == header
    expected = tensors_of(header)
    assert adapter.tensors.keys() == expected.keys()
    assert all(torch.equal(adapter.tensors[each], expected[each]) for each in expected)
    assert sidecar.ours is not None
    assert sidecar.ours.training_objective_note == OBJECTIVES[name]
    assert sidecar.facts.layer_order == tuple(logical_names(header.graph, header.modules).values())
    assert sidecar.facts.scale == pytest.approx(header.lora.scale, rel=1e-15)
    assert (GOLDEN / name / MANIFEST_V3_FILE).is_file()


@pytest.mark.parametrize("name", bin_headers())
def test_every_version_of_the_bin_is_read_to_the_number(name: str) -> None:
    header = bin_headers()[name]
    adapter = read_adapter_bin(GOLDEN / name)
    assert adapter.header == header
    assert header.version == name.removesuffix(".bin")[-1]
    expected = tensors_of(header)
    assert all(torch.equal(adapter.tensors[each], expected[each]) for each in expected)


@pytest.mark.parametrize("name", our_headers())
def test_the_writer_has_not_changed_within_a_version(name: str, tmp_path: Path) -> None:
    write_our_folder(tmp_path / name, name)
    written = {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
    assert written == {path.name: path.read_bytes() for path in (GOLDEN / name).iterdir()}
    assert len(written) == (2 if header_is_lora(name) else 3)


@pytest.mark.parametrize("name", bin_headers())
def test_the_writer_of_the_bin_has_not_changed_within_a_version(name: str, tmp_path: Path) -> None:
    header = bin_headers()[name]
    write_adapter_bin(tmp_path / name, header, tensors_of(header))
    assert (tmp_path / name).read_bytes() == (GOLDEN / name).read_bytes()


def header_is_lora(name: str) -> bool:
    """Whether the base was not quantised."""
    return our_headers()[name].quantization is None


def make_golden(folder: Path) -> None:
    """Everything, in a new folder."""
    for name in SOURCE_FOLDERS:
        write_source_folder(folder / name, name)
    for name in our_headers():
        write_our_folder(folder / name, name)
    for name, header in bin_headers().items():
        write_adapter_bin(folder / name, header, tensors_of(header))


if __name__ == "__main__":
    make_golden(Path(sys.argv[1]))
