"""Which adapter belongs to which command, and version 2 to version 3 and back."""

from __future__ import annotations

import gzip
import pickle  # noqa: TID251 - the hostile file is made here
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from vox_populi.adapters.base import require_lora
from vox_populi.adapters.header import (
    AdapterHeader,
    Quantization,
)
from vox_populi.adapters.v3.burn_bin import (
    MERGE_QLORA_REJECTS_BURN_BIN,
    is_burn_bin_name,
    refuse_burn_bin,
)
from vox_populi.adapters.v3.facts import AdapterFacts, Provenance, require_qlora
from vox_populi.adapters.v3.manifest import manifest_v3_json, parse_manifest_v3
from vox_populi.adapters.v3.version2 import facts_to_v2, meta_v2_json, parse_meta_v2
from vox_populi.contract.choices import GraphId
from vox_populi.errors import ArtifactError
from vox_tensor.nf4_levels import Nf4Settings

GOLDEN = Path(__file__).parents[1] / "golden"
WHERE = Path("sidecar.json")
FACTS = AdapterFacts(
    version=3,
    method="qlora",
    base_quant="nf4",
    double_quant=False,
    layer_order=("mid0", "lm_head"),
    base_key_map={"mid0": "h.0.attn.c_proj.weight", "lm_head": "wte.weight"},
    vocab=99,
    d_model=4,
    rank=2,
    alpha=4.0,
    embed_key="wte.weight",
    provenance=Provenance(base_family="gpt2"),
)


@pytest.mark.parametrize(
    "name",
    [
        "latest.bin", "LATEST.BIN", "latest.Bin.GZ", "model.bin.zip", r"C:\runs\first\model.BIN",
        "/runs/first/model_final.bin", "model.bin ", "model.bin.",
    ],
)  # fmt: skip
def test_a_bin_is_known_by_its_name(name: str) -> None:
    assert is_burn_bin_name(name)


@pytest.mark.parametrize(
    "name",
    ["candle_qlora_adapter.safetensors", "x.bin.safetensors", "bin", "robin", r"a.bin\x.json", ""],
)
def test_other_names_are_not_taken_for_a_bin(name: str) -> None:
    assert not is_burn_bin_name(name)


def test_a_bin_is_refused_before_it_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="MENS-A501") as caught:
        refuse_burn_bin(tmp_path / "latest.bin")
    problem = caught.value.problems[0]
    said = problem.what + problem.fix
    for word in (
        "candle_qlora_adapter.safetensors", "merge-weights", "model_merged.bin", "Candle",
        "no automatic conversion", "vox mens convert-adapter", "mens-training-ssot",
    ):  # fmt: skip
        assert word in said
    assert MERGE_QLORA_REJECTS_BURN_BIN in said


def write_disguised(path: Path, kind: str) -> None:
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", b"")
    elif kind == "gzip":
        path.write_bytes(gzip.compress(b"{}"))
    elif kind == "lora":
        path.write_bytes((GOLDEN / "lora_v1.bin").read_bytes())
    else:
        path.write_bytes(pickle.dumps({"state": 1}))


@pytest.mark.parametrize("kind", ["zip", "gzip", "pickle", "lora"])
def test_a_disguised_bin_is_known_by_its_first_bytes(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.bin.safetensors"
    write_disguised(path, kind)
    with pytest.raises(ArtifactError, match="MENS-A501"):
        refuse_burn_bin(path)


def test_other_files_are_left_to_their_reader(tmp_path: Path) -> None:
    path = tmp_path / "x.bin.safetensors"
    path.write_bytes((GOLDEN / "v2_first_era/candle_qlora_adapter.safetensors").read_bytes())
    refuse_burn_bin(path)
    path.write_bytes(b"version https://git-lfs")
    refuse_burn_bin(path)
    refuse_burn_bin(tmp_path / "absent.safetensors")


def test_merge_weights_takes_no_qlora_adapter(header: AdapterHeader) -> None:
    require_lora(header, WHERE)
    nf4 = Quantization(nf4=Nf4Settings(block_size=64, double_quant=True), compute_dtype="f32")
    for qlora in (replace(header, quantization=nf4), replace(header, graph=GraphId.PROXY_STACK)):
        with pytest.raises(ArtifactError, match=r"MENS-A513.*merge-qlora"):
            require_lora(qlora, WHERE)


def test_merge_qlora_takes_no_lora_manifest() -> None:
    require_qlora(FACTS, WHERE)
    for other in (
        replace(FACTS, method="lora", base_quant="none"),
        replace(FACTS, base_quant="none"),
    ):
        with pytest.raises(ArtifactError, match=r"MENS-A512.*merge-weights"):
            require_qlora(other, WHERE)


def test_version_3_to_version_2_and_back() -> None:
    second = facts_to_v2(FACTS, WHERE)
    assert parse_meta_v2(meta_v2_json(second), WHERE) == second
    assert (second.embed_key, second.vocab, len(second.layer_order)) == ("wte.weight", 99, 2)
    third = replace(second, version=3)
    assert third == replace(FACTS, double_quant=True, provenance=None)
    assert parse_manifest_v3(manifest_v3_json(third), WHERE) == third


def test_quantisation_and_provenance_survive_version_3() -> None:
    assert parse_manifest_v3(manifest_v3_json(FACTS), WHERE) == FACTS


def test_the_bridges_check_what_they_are_given() -> None:
    for wrong, code in (
        (replace(FACTS, method="lora", base_quant="none"), "MENS-A512"),
        (replace(FACTS, base_key_map={"mid0": "x"}, embed_key=None), "MENS-A510"),
    ):
        with pytest.raises(ArtifactError, match=code):
            facts_to_v2(wrong, WHERE)
    with pytest.raises(ValueError, match="version"):
        facts_to_v2(replace(FACTS, version=2), WHERE)


def test_version_3_without_a_head_is_refused() -> None:
    headless = replace(FACTS, layer_order=("mid0",), base_key_map={"mid0": "h.0.x"})
    with pytest.raises(ArtifactError, match="MENS-A510"):
        parse_manifest_v3(manifest_v3_json(headless), WHERE)


def test_alpha_is_exact_in_both_versions() -> None:
    for alpha, written in ((7.6, 7.6), (16.0, 16)):
        facts = replace(FACTS, alpha=alpha)
        assert repr(manifest_v3_json(facts)["alpha"]) == repr(written)
        assert repr(meta_v2_json(replace(facts, version=2))["alpha"]) == repr(written)
