from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_populi.errors import ModelError
from vox_populi.hf.inventory import base_digest, digest_of_files, read_inventory

Config = dict[str, Any]
Shapes = dict[str, tuple[int, ...]]
Folder = Callable[..., Path]


def codes_of(path: Path) -> list[str]:
    with pytest.raises(ModelError) as caught:
        read_inventory(path)
    return [problem.code for problem in caught.value.problems]


def report_of(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_inventory(path)
    return str(caught.value)


@pytest.mark.parametrize("shards", [1, 3])
def test_a_llama_folder(
    folder: Folder, llama: Config, shapes_of_llama: Shapes, shards: int
) -> None:
    inventory = read_inventory(folder(llama, shapes_of_llama, shards=shards))
    assert {name: info.shape for name, info in inventory.tensors.items()} == shapes_of_llama
    assert len(inventory.shards) == shards
    assert inventory.total_bytes == sum(info.n_bytes for info in inventory.tensors.values())
    assert not inventory.tied_head
    assert inventory.config.n_layers == 2


@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_gpt2_with_and_without_its_prefix(
    folder: Folder, gpt2: Config, shapes_of_gpt2: Callable[[str], Shapes], prefix: str
) -> None:
    inventory = read_inventory(folder(gpt2, shapes_of_gpt2(prefix)))
    assert inventory.tensors.keys() == shapes_of_gpt2("transformer.").keys()
    assert inventory.tensors["transformer.wte.weight"].name == f"{prefix}wte.weight"
    assert inventory.tied_head


@pytest.mark.parametrize("prefix", ["", "model."])
def test_llama_with_and_without_its_prefix(
    folder: Folder, llama: Config, shapes_of_llama: Shapes, prefix: str
) -> None:
    stored = {name.replace("model.", prefix): shape for name, shape in shapes_of_llama.items()}
    inventory = read_inventory(folder(llama | {"architectures": ["LlamaModel"]}, stored))
    assert inventory.tensors.keys() == shapes_of_llama.keys()
    assert inventory.tensors["model.norm.weight"].name == f"{prefix}norm.weight"


def test_gpt2_tensors_under_both_names_are_refused(
    folder: Folder, gpt2: Config, shapes_of_gpt2: Callable[[str], Shapes]
) -> None:
    both = shapes_of_gpt2("transformer.") | {"wpe.weight": (16, 8)}
    assert codes_of(folder(gpt2, both)) == ["MENS-H044"]


def test_old_buffers_are_tolerated_and_left_out(
    folder: Folder,
    llama: Config,
    gpt2: Config,
    shapes_of_llama: Shapes,
    shapes_of_gpt2: Callable[[str], Shapes],
) -> None:
    buffers = {"h.0.attn.bias": (1, 1, 16, 16), "h.1.attn.masked_bias": ()}
    inventory = read_inventory(folder(gpt2, shapes_of_gpt2("") | buffers))
    assert len(inventory.tensors) == len(shapes_of_gpt2(""))
    frequencies = {"model.layers.1.self_attn.rotary_emb.inv_freq": (1,)}
    inventory = read_inventory(folder(llama, shapes_of_llama | frequencies))
    assert inventory.tensors.keys() == shapes_of_llama.keys()


def test_every_missing_unexpected_and_misshaped_tensor_is_named(
    folder: Folder, llama: Config, shapes_of_llama: Shapes
) -> None:
    shapes = dict(shapes_of_llama)
    del shapes["model.layers.1.self_attn.k_proj.weight"]
    del shapes["lm_head.weight"]
    shapes["model.layers.0.mlp.up_proj.weight"] = (8, 12)
    shapes["model.layers.2.input_layernorm.weight"] = (8,)
    shapes["model.layers.0.self_attn.q_proj.bias"] = (8,)
    path = folder(llama, shapes)
    assert sorted(codes_of(path)) == ["MENS-H040"] * 2 + ["MENS-H041"] * 2 + ["MENS-H042"]
    report = report_of(path)
    assert "model.layers.0.mlp.up_proj.weight is [8, 12], not [12, 8]" in report
    for name in ("k_proj.weight", "lm_head.weight", "layers.2.input", "q_proj.bias"):
        assert name in report


def test_a_long_list_is_capped_and_counted(
    folder: Folder, llama: Config, shapes_of_llama: Shapes
) -> None:
    path = folder(llama | {"num_hidden_layers": 60}, shapes_of_llama)
    assert len(codes_of(path)) == 21
    assert f"{58 * 9 - 20} more" in report_of(path)


@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
def test_readable_dtypes(
    folder: Folder, llama: Config, shapes_of_llama: Shapes, dtype: str
) -> None:
    inventory = read_inventory(folder(llama, shapes_of_llama, dtype=dtype))
    assert {info.dtype for info in inventory.tensors.values()} == {dtype}


@pytest.mark.parametrize("dtype", ["F64", "I32", "U8"])
def test_other_dtypes_are_refused(
    folder: Folder, llama: Config, shapes_of_llama: Shapes, dtype: str
) -> None:
    codes = codes_of(folder(llama, shapes_of_llama, dtype=dtype))
    assert set(codes) == {"MENS-H043", "MENS-D013"}
    assert codes.count("MENS-D013") == 1


def test_a_tied_head_may_be_absent(folder: Folder, llama: Config, shapes_of_llama: Shapes) -> None:
    shapes = {name: shape for name, shape in shapes_of_llama.items() if name != "lm_head.weight"}
    assert codes_of(folder(llama, shapes)) == ["MENS-H040"]
    assert read_inventory(folder(llama | {"tie_word_embeddings": True}, shapes)).tied_head


@pytest.mark.parametrize("shards", [1, 2])
def test_a_head_beside_a_tied_embedding_unties_only_when_it_differs(
    folder: Folder, llama: Config, shapes_of_llama: Shapes, shards: int
) -> None:
    tied = llama | {"tie_word_embeddings": True}
    same = read_inventory(folder(tied, shapes_of_llama, shards=shards))
    assert same.tied_head
    assert "lm_head.weight" in same.tensors
    fill = {"lm_head.weight": 1}
    other = read_inventory(folder(tied, shapes_of_llama, shards=shards, fill=fill))
    assert not other.tied_head
    assert not other.config.tie_word_embeddings


def test_index_and_shards_must_say_the_same(
    folder: Folder, llama: Config, shapes_of_llama: Shapes
) -> None:
    path = folder(llama, shapes_of_llama, shards=2)
    index = path / "model.safetensors.index.json"
    content = json.loads(index.read_text(encoding="utf-8"))
    content["weight_map"]["ghost.weight"] = "model-00001-of-00002.safetensors"
    content["weight_map"]["lm_head.weight"] = (
        "model-00001-of-00002.safetensors"
        if content["weight_map"]["lm_head.weight"].startswith("model-00002")
        else "model-00002-of-00002.safetensors"
    )
    index.write_text(json.dumps(content), encoding="utf-8")
    assert sorted(codes_of(path)) == ["MENS-H033", "MENS-H033", "MENS-H034"]


def test_every_broken_shard_is_reported(
    folder: Folder, llama: Config, shapes_of_llama: Shapes
) -> None:
    path = folder(llama, shapes_of_llama, shards=3)
    first, second, _ = sorted(path.glob("*.safetensors"))
    first.write_bytes(first.read_bytes()[:-1])
    second.unlink()
    assert codes_of(path) == ["MENS-H020", "MENS-H002"]
    assert first.name in report_of(path)


def test_shards_may_be_links_as_in_a_hub_cache(
    folder: Folder, llama: Config, shapes_of_llama: Shapes, tmp_path: Path
) -> None:
    path = folder(llama, shapes_of_llama, shards=2)
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    for number, shard in enumerate(sorted(path.glob("*.safetensors"))):
        shard.rename(blobs / f"{number}")
        shard.symlink_to(blobs / f"{number}")
    assert len(read_inventory(path).tensors) == len(shapes_of_llama)


def test_nothing_in_the_folder_changes(
    folder: Folder, llama: Config, shapes_of_llama: Shapes
) -> None:
    path = folder(llama, shapes_of_llama)
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in path.iterdir()}
    read_inventory(path)
    after = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in path.iterdir()}
    assert before == after


def test_a_70b_sized_folder_is_read_in_well_under_half_a_second(tmp_path: Path) -> None:
    config = _write_70b(tmp_path)
    started = time.process_time()
    inventory = read_inventory(tmp_path)
    seconds = time.process_time() - started
    assert (inventory.config.n_layers, len(inventory.shards)) == (80, 30)
    assert len(inventory.tensors) == config["n_tensors"]
    assert inventory.total_bytes > 100 * 2**30
    assert seconds < LIMIT_SECONDS


LIMIT_SECONDS = 0.5
"""The issue allows a second for the whole dry run; some 0.01 s was measured.

Of this process's own time: what else a machine does must not count.
"""


def _write_70b(folder: Path) -> Config:
    """Headers as a 70B Llama has them, and data that is one hole per file."""
    width, inner, kv, vocab = 8192, 28_672, 1024, 128_256
    shapes: Shapes = {"model.embed_tokens.weight": (vocab, width)}
    for layer in range(80):
        at = f"model.layers.{layer}."
        shapes |= {
            f"{at}{name}.weight": shape
            for name, shape in {
                "input_layernorm": (width,),
                "self_attn.q_proj": (width, width),
                "self_attn.k_proj": (kv, width),
                "self_attn.v_proj": (kv, width),
                "self_attn.o_proj": (width, width),
                "post_attention_layernorm": (width,),
                "mlp.gate_proj": (inner, width),
                "mlp.up_proj": (inner, width),
                "mlp.down_proj": (width, inner),
            }.items()
        }
    shapes |= {"model.norm.weight": (width,), "lm_head.weight": (vocab, width)}
    weight_map: dict[str, str] = {}
    names = list(shapes)
    for shard in range(30):
        file = f"model-{shard + 1:05d}-of-00030.safetensors"
        members = names[shard::30]
        weight_map |= dict.fromkeys(members, file)
        _write_sparse(folder / file, {name: shapes[name] for name in members})
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    config = {
        "model_type": "llama",
        "vocab_size": vocab,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return config | {"n_tensors": len(shapes)}


def _write_sparse(path: Path, shapes: Shapes) -> None:
    header = {}
    position = 0
    for name, shape in shapes.items():
        n_values = shape[0] * (shape[1] if len(shape) > 1 else 1)
        offsets = [position, position + 2 * n_values]
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": offsets}
        position = offsets[1]
    text = json.dumps(header).encode()
    with path.open("wb") as handle:
        handle.write(len(text).to_bytes(8, "little") + text)
        handle.truncate(8 + len(text) + position)


def test_the_base_digest_is_of_content_and_names_not_of_the_place(
    folder: Folder, llama: Config, shapes_of_llama: Shapes, tmp_path: Path
) -> None:
    path = folder(llama, shapes_of_llama, shards=2)
    inventory = read_inventory(path)
    digest = base_digest(inventory)
    assert digest.startswith("sha256:")
    assert len(digest) == len("sha256:") + 64
    copy = tmp_path / "copy"
    shutil.copytree(path, copy)
    assert base_digest(read_inventory(copy)) == digest
    shard = copy / inventory.shards[0]
    changed = bytearray(shard.read_bytes())
    changed[-1] ^= 1
    shard.write_bytes(bytes(changed))
    assert base_digest(read_inventory(copy)) != digest


def test_the_digest_of_files_ignores_their_order(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"1")
    two.write_bytes(b"2")
    assert digest_of_files([one, two]) == digest_of_files([two, one]) != digest_of_files([one])
    two.unlink()
    with pytest.raises(ModelError, match="MENS-H002"):
        digest_of_files([one, two])
