"""Version 2 and 3 adapters: same adapter same bytes, and whatever is not sound is refused."""

from __future__ import annotations

import json
import pickle  # noqa: TID251 - the hostile file is made here
import shutil
import struct
from array import array
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vox_populi.adapters.header import (
    AdapterHeader,
    Quantization,
)
from vox_populi.adapters.v3.files import (
    read_qlora_adapter,
    write_qlora_adapter,
)
from vox_populi.adapters.v3.manifest import V3Facts
from vox_populi.adapters.v3.sidecar import find_sidecar
from vox_populi.contract.choices import GraphId
from vox_populi.errors import ArtifactError, EnvironmentFailure
from vox_tensor.nf4_levels import Nf4Settings

GOLDEN = Path(__file__).parents[1] / "golden"
FACTS = V3Facts(vocab=7, d_model=4, embed_key="transformer.wte.weight", is_head_tied=True)
ADAPTER, META, MANIFEST = (
    "candle_qlora_adapter.safetensors",
    "candle_qlora_adapter_meta.json",
    "populi_adapter_manifest_v3.json",
)


@pytest.fixture
def qlora(header: AdapterHeader) -> AdapterHeader:
    return replace(
        header,
        quantization=Quantization(
            nf4=Nf4Settings(block_size=64, double_quant=False), compute_dtype="f32"
        ),
    )


@pytest.fixture
def tensors(header: AdapterHeader) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=generator)
        for name, shape in header.tensor_shapes().items()
    }


@pytest.fixture
def written(tmp_path: Path, qlora: AdapterHeader, tensors: dict[str, Tensor]) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    write_qlora_adapter(folder, qlora, tensors, FACTS)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder as the source system's first era left it."""
    return Path(shutil.copytree(GOLDEN / "v2_first_era", tmp_path / "source"))


def test_an_adapter_survives_the_round_trip(
    written: Path, qlora: AdapterHeader, tensors: dict[str, Tensor]
) -> None:
    for path in (written, written / ADAPTER):
        read, sidecar = read_qlora_adapter(path)
        assert sidecar.ours is not None
        assert read.header == qlora
        assert read.tensors.keys() == tensors.keys()
        assert all(torch.equal(read.tensors[name], tensors[name]) for name in tensors)
    read, sidecar = read_qlora_adapter(written / ADAPTER, written / META)
    assert sidecar.ours is None, "version 2 does not hold our header"
    assert read.header.lora.scale == sidecar.facts.scale
    assert sidecar.facts.scale == pytest.approx(qlora.lora.scale, rel=1e-15)


def test_same_adapter_same_bytes_whatever_the_order(
    tmp_path: Path, written: Path, qlora: AdapterHeader, tensors: dict[str, Tensor]
) -> None:
    paths = write_qlora_adapter(tmp_path, qlora, dict(reversed(tensors.items())), FACTS)
    assert [path.name for path in paths] == [ADAPTER, META, MANIFEST]
    assert [p.read_bytes() for p in paths] == [(written / p.name).read_bytes() for p in paths]
    write_qlora_adapter(tmp_path, replace(qlora, step=6), tensors, FACTS)
    assert (tmp_path / MANIFEST).read_bytes() != (written / MANIFEST).read_bytes()
    assert (tmp_path / ADAPTER).read_bytes() == (written / ADAPTER).read_bytes()


def test_an_adapter_of_the_lora_backend_has_no_version_2(
    tmp_path: Path, header: AdapterHeader, tensors: dict[str, Tensor]
) -> None:
    paths = write_qlora_adapter(tmp_path, header, tensors, FACTS)
    assert [path.name for path in paths] == ["adapter.safetensors", MANIFEST]
    manifest = json.loads((tmp_path / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["adapter_method"] == "lora"
    assert manifest["quant"] == {"base_quant": "none", "double_quant": False}
    assert manifest["candle_compat_mode"] is False
    read, sidecar = read_qlora_adapter(tmp_path)
    assert sidecar.ours is not None
    assert read.header == header


@pytest.mark.parametrize(("tied", "key"), [(True, "wte.weight"), (False, "lm_head.weight")])
def test_the_head_is_mapped_to_what_the_base_stores(
    tmp_path: Path, qlora: AdapterHeader, tensors: dict[str, Tensor], tied: bool, key: str
) -> None:
    facts = V3Facts(vocab=7, d_model=4, embed_key="wte.weight", is_head_tied=tied)
    write_qlora_adapter(tmp_path, qlora, tensors, facts)
    for name in (META, MANIFEST):
        document = json.loads((tmp_path / name).read_text(encoding="utf-8"))
        assert document["base_key_map"]["lm_head"] == key
        assert document["embed_key"] == "wte.weight"
    read, sidecar = read_qlora_adapter(tmp_path)
    assert sidecar.ours is not None
    assert read.header == qlora


def test_only_what_can_be_read_again_is_written(
    tmp_path: Path, qlora: AdapterHeader, tensors: dict[str, Tensor]
) -> None:
    less = {name: tensor for name, tensor in tensors.items() if name != "lm_head.lora_A"}
    head = replace(qlora.modules[1], base_key="transformer.wte.weight")
    attempts: list[tuple[AdapterHeader, Mapping[str, Tensor]]] = [
        (qlora, less),
        (qlora, {name: tensor.double() for name, tensor in tensors.items()}),
        (replace(qlora, graph=GraphId.HEAD_ONLY), tensors),
        (replace(qlora, modules=(qlora.modules[0], head)), tensors),
    ]
    for header, held in attempts:
        with pytest.raises(ValueError, match=r"different|float32|no name|must be"):
            write_qlora_adapter(tmp_path, header, held, FACTS)
    with pytest.raises(EnvironmentFailure, match="MENS-E005"):
        write_qlora_adapter(tmp_path / "absent", qlora, tensors, FACTS)
    assert list(tmp_path.iterdir()) == []


def test_a_crash_between_the_files_leaves_nothing_that_is_read(
    written: Path, qlora: AdapterHeader, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    """The manifest is written last; new numbers with the old manifest are refused."""
    changed = {name: tensor + 1 for name, tensor in tensors.items()}
    write_qlora_adapter(tmp_path, qlora, changed, FACTS)
    shutil.copy(tmp_path / ADAPTER, written / ADAPTER)
    with pytest.raises(ArtifactError, match="MENS-A015"):
        read_qlora_adapter(written)
    (tmp_path / META).unlink()
    (tmp_path / MANIFEST).unlink()
    with pytest.raises(ArtifactError, match=r"MENS-A502.*populi_adapter_manifest_v3\.json"):
        read_qlora_adapter(tmp_path)


def test_any_flipped_bit_of_the_numbers_is_noticed(written: Path) -> None:
    data = (written / ADAPTER).read_bytes()
    for place in range(0, len(data), 23):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        (written / ADAPTER).write_bytes(changed)
        with pytest.raises(ArtifactError):
            read_qlora_adapter(written)
    (written / ADAPTER).write_bytes(data)
    assert read_qlora_adapter(written)[0].tensors


Change = Callable[[dict[str, Any]], None]


def rewrite(path: Path, change: Change) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def setting(**fields: Any) -> Change:
    return lambda document: document.update(fields)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (setting(format="vox_mens_qlora_lora_only_v3"), "MENS-A503"),
        (setting(format=None), "MENS-A503"),
        (setting(version=3), "MENS-A504"),
        (setting(version=True), "MENS-A504"),
        (setting(rank=0), "MENS-A504"),
        (setting(rank=2.0), "MENS-A504"),
        (setting(alpha=0), "MENS-A504"),
        (setting(alpha="4"), "MENS-A504"),
        (setting(unheard_of=1), "MENS-A504"),
        (setting(layer_order=["mid0", "lm_head"]), "MENS-A504"),
        (setting(layer_order=["mid0", "mid1", "mid1", "lm_head"]), "MENS-A504"),
        (lambda document: document["base_key_map"].pop("mid1"), "MENS-A504"),
        (lambda document: document["base_key_map"].update(mid1="wte.weight"), "MENS-A504"),
        (
            lambda document: document["base_key_map"].update(mid1="model.layers.1.o.weight"),
            "MENS-A511",
        ),
        (setting(rank=3), "MENS-A507"),
        (setting(d_model=5), "MENS-A507"),
        (setting(vocab=8), "MENS-A507"),
    ],
)
def test_unsound_sidecars_are_refused(source: Path, change: Change, code: str) -> None:
    assert read_qlora_adapter(source)[0].tensors
    rewrite(source / META, change)
    with pytest.raises(ArtifactError, match=code):
        read_qlora_adapter(source)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"format": NaN}', '{"rank": 1, "rank": 1}', "[" * 9999]
)
def test_a_sidecar_that_is_not_strict_json_is_refused(source: Path, text: str) -> None:
    (source / META).write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match="MENS-H0"):
        read_qlora_adapter(source)


Tensors = dict[str, tuple[str, list[int], list[float]]]


def rewrite_tensors(path: Path, change: Callable[[Tensors], None]) -> None:
    """Change names, dtypes, shapes and numbers of a container, whatever the library would say."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    held: Tensors = {}
    for name, entry in json.loads(data[8 : 8 + length]).items():
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        held[name] = (entry["dtype"], entry["shape"], list(array("f", data[start:end])))
    change(held)
    header: dict[str, object] = {}
    body = b""
    for name, (dtype, shape, numbers) in held.items():
        packed = struct.pack(f"<{len(numbers)}{'e' if dtype == 'F16' else 'f'}", *numbers)
        offsets = [len(body), len(body) + len(packed)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        body += packed
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def replaced(name: str, dtype: str, shape: list[int], value: float = 0.5) -> Callable[..., None]:
    size = shape[0] * (shape[1] if len(shape) > 1 else 1)
    return lambda held: held.update({name: (dtype, shape, [value] * size)})


def renamed(old: str, new: str) -> Callable[..., None]:
    return lambda held: held.update({new: held.pop(old)})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda held: held.pop("mid1.lora_b"), r"MENS-A505.*mid1\.lora_b"),
        (renamed("mid1.lora_b", "mid1.lora_c"), r"MENS-A505.*mid1\.lora_b.*closest.*mid1\.lora_c"),
        (replaced("mid2.lora_a", "F32", [2, 4]), r"MENS-A506.*mid2\.lora_a.*closest"),
        (replaced("mid1.lora_a.weight", "F32", [2, 4]), r"MENS-A508.*mid1\.lora_a"),
        (replaced("mid1.lora_a", "F32", [1, 4]), r"MENS-A507.*\[1, 4\], not \[2, 4\]"),
        (replaced("mid1.lora_b", "F32", [1, 2]), r"MENS-A507"),
        (replaced("lm_head.lora_b", "F32", [1, 2]), r"MENS-A507"),
        (replaced("mid1.lora_a", "F32", [8]), r"MENS-A507"),
        (replaced("mid1.lora_a", "F16", [2, 4]), r"MENS-A009.*F16"),
        (replaced("mid1.lora_a", "F32", [2, 4], float("nan")), r"MENS-A010.*mid1\.lora_a"),
        (replaced("mid1.lora_a", "F32", [2, 4], float("inf")), r"MENS-A010"),
    ],
)
def test_unsound_tensors_are_refused(
    source: Path, change: Callable[[Tensors], None], match: str
) -> None:
    rewrite_tensors(source / ADAPTER, change)
    with pytest.raises(ArtifactError, match=match):
        read_qlora_adapter(source)


def test_all_tensor_problems_come_at_once(source: Path) -> None:
    def drop_three(held: Tensors) -> None:
        for name in list(held)[:3]:
            del held[name]

    rewrite_tensors(source / ADAPTER, drop_three)
    with pytest.raises(ArtifactError) as caught:
        read_qlora_adapter(source)
    assert [problem.code for problem in caught.value.problems] == ["MENS-A505"] * 3


def test_names_with_and_without_ending_are_the_same_tensors(source: Path) -> None:
    before, _ = read_qlora_adapter(source)
    rewrite_tensors(source / ADAPTER, renamed("mid1.lora_b", "mid1.lora_b.weight"))
    after, _ = read_qlora_adapter(source)
    assert before.tensors.keys() == after.tensors.keys()
    assert all(torch.equal(before.tensors[name], after.tensors[name]) for name in after.tensors)


@pytest.mark.parametrize(
    "name", ["adapter.bin", "adapter.BIN", "adapter.bin.gz", "a.bin.safetensors"]
)
def test_a_pickle_under_any_name_is_refused_and_not_opened(source: Path, name: str) -> None:
    (source / name).write_bytes(pickle.dumps({"mid0": 1}))
    with pytest.raises(ArtifactError, match="MENS-A501"):
        read_qlora_adapter(source / name)


def test_a_missing_or_wrong_adapter_path_is_reported(tmp_path: Path, source: Path) -> None:
    for path in (tmp_path / "absent.safetensors", tmp_path):
        with pytest.raises(ArtifactError, match="MENS-A525"):
            read_qlora_adapter(path)
    (source / ADAPTER).write_bytes((source / ADAPTER).read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="MENS-A525"):
        read_qlora_adapter(source)


@pytest.mark.parametrize(
    "name",
    [MANIFEST, "adapter_manifest.json", META, "adapter_meta_v2.json", "meta.json"],
)
def test_a_sidecar_is_found_under_each_of_its_names(source: Path, name: str) -> None:
    text = (source / META).read_bytes()
    (source / META).unlink()
    (source / name).write_bytes(text)
    assert read_qlora_adapter(source)[0].tensors
    (source / name).rename(source / "elsewhere.json")
    with pytest.raises(ArtifactError, match="MENS-A502"):
        read_qlora_adapter(source)
    assert read_qlora_adapter(source, source / "elsewhere.json")[0].tensors


def test_sidecars_that_contradict_each_other_are_refused(source: Path, written: Path) -> None:
    document = json.loads((source / META).read_text(encoding="utf-8"))
    (source / "meta.json").write_text(json.dumps({**document, "alpha": 5}), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"MENS-A509.*alpha"):
        read_qlora_adapter(source)
    assert find_sidecar(source, source / "meta.json").facts.alpha == 5.0
    rewrite(written / META, setting(rank=1))
    with pytest.raises(ArtifactError, match=r"MENS-A509.*rank"):
        read_qlora_adapter(written)


def test_sidecars_that_name_different_bases_are_refused(written: Path) -> None:
    rewrite(written / META, setting(base_model="another"))
    with pytest.raises(ArtifactError, match=r"MENS-A509.*base_model"):
        read_qlora_adapter(written)
    rewrite(written / META, lambda document: document.pop("base_model"))
    assert read_qlora_adapter(written)[0].tensors  # Files of the source system may not name it.


def test_a_foreign_file_of_a_common_name_is_passed_over(source: Path) -> None:
    (source / "meta.json").write_text('{"title": "notes"}', encoding="utf-8")
    assert read_qlora_adapter(source)[0].tensors
    (source / META).unlink()
    with pytest.raises(ArtifactError, match="MENS-A503"):
        read_qlora_adapter(source)
