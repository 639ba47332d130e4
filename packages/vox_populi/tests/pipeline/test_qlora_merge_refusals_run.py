"""What `merge-qlora` refuses, and that nothing is left behind then."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from packages.vox_populi.tests.qlora_adapters import (
    V2_NAME,
    qlora_header,
    qlora_tensors,
    write_own,
)
from packages.vox_populi.tests.qlora_refusals import content, refused
from vox_populi.adapters.lora_bin import write_adapter_bin
from vox_populi.adapters.v3.burn_bin import MERGE_QLORA_REJECTS_BURN_BIN
from vox_populi.adapters.v3.manifest import MANIFEST_V3_FILE
from vox_populi.adapters.v3.names import QLORA_ADAPTER_FILE
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.files.whole_file import canonical_json
from vox_populi.merge.choices import Onto
from vox_populi.merge.receipt import LOGIT_TOLERANCES
from vox_populi.pipeline import merge_run
from vox_populi.pipeline.merge import (
    QloraMergeRequest,
)
from vox_populi.pipeline.train import RunOptions, run_training
from vox_populi.runs.checkpoint_dir import list_checkpoints
from vox_tensor.errors import FailureKind, VoxError

pytestmark = pytest.mark.requirement("10")

MakeBase = Callable[..., Path]
MakeContract = Callable[..., FinetuneContract]


@pytest.fixture
def base(make_base: MakeBase) -> Path:
    return make_base()


@pytest.fixture
def request_hf(base: Path, tmp_path: Path) -> QloraMergeRequest:
    write_own(tmp_path / "run", base)
    return QloraMergeRequest(
        adapter=tmp_path / "run", output=tmp_path / "out" / "merged", base=base, threads=1
    )


@pytest.mark.parametrize(
    "name", ["latest.bin", "LATEST.BIN", "latest.bin.gz", r"C:\runs\latest.bin", "a.bin. "]
)
def test_merge_qlora_rejects_burn_bin_by_name(request_hf: QloraMergeRequest, name: str) -> None:
    error = refused(replace(request_hf, adapter=Path(name)), "MENS-A501")
    assert MERGE_QLORA_REJECTS_BURN_BIN in str(error)


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\x80\x02}q", b"\x1f\x8b\x08"])
def test_merge_qlora_rejects_burn_bin_by_its_first_bytes(
    request_hf: QloraMergeRequest, start: bytes
) -> None:
    path = request_hf.adapter / QLORA_ADAPTER_FILE
    path.write_bytes(start + bytes(64))
    refused(request_hf, "MENS-A501")
    refused(replace(request_hf, adapter=path), "MENS-A501")


def test_merge_qlora_rejects_burn_bin_under_another_name(
    request_hf: QloraMergeRequest, base: Path
) -> None:
    header = replace(qlora_header(base), quantization=None)
    path = request_hf.adapter / QLORA_ADAPTER_FILE
    write_adapter_bin(path, header, qlora_tensors(header))
    refused(request_hf, "MENS-A501")


def test_merge_qlora_refuses_the_other_backends_adapters(
    make_contract: MakeContract, tmp_path: Path
) -> None:
    contract = make_contract()
    base = contract.model_dir
    assert base is not None
    request = QloraMergeRequest(adapter=tmp_path / "lora", output=tmp_path / "merged")
    write_own(tmp_path / "lora", base, quantization=None)
    refused(replace(request, base=base), "MENS-A512")
    report = run_training(contract, RunOptions(checkpoint_every=6))
    (*_, checkpoint) = list_checkpoints(report.run)
    for path in (report.run, checkpoint.path):
        error = refused(replace(request, adapter=path), "MENS-A501")
        assert "merge-weights" in str(error)


def test_merge_qlora_refuses_what_is_not_there(request_hf: QloraMergeRequest) -> None:
    refused(replace(request_hf, adapter=request_hf.adapter / "no.safetensors"), "MENS-A561")
    refused(replace(request_hf, adapter=request_hf.adapter / "no"), "MENS-A561")
    refused(replace(request_hf, adapter=request_hf.adapter.parent), "MENS-A561")
    refused(replace(request_hf, meta=request_hf.adapter / "no.json"), "MENS-A562")
    refused(replace(request_hf, base=request_hf.adapter / "no"), "MENS-H001")


def test_merge_qlora_refuses_a_damaged_adapter(request_hf: QloraMergeRequest) -> None:
    path = request_hf.adapter / QLORA_ADAPTER_FILE
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(VoxError, match="MENS-A"):
        merge_run.merge(request_hf)
    assert not request_hf.output.parent.exists()


@pytest.mark.parametrize("half", ["A", "B"])
def test_merge_qlora_refuses_an_adapter_that_does_nothing(
    request_hf: QloraMergeRequest, base: Path, tmp_path: Path, half: str
) -> None:
    tensors = {
        name: torch.zeros_like(tensor) if name.endswith(half) else tensor
        for name, tensor in qlora_tensors(qlora_header(base)).items()
    }
    write_own(tmp_path / "none", base, tensors=tensors)
    refused(replace(request_hf, adapter=tmp_path / "none"), "MENS-A040")


def test_merge_qlora_refuses_an_update_that_vanishes(
    request_hf: QloraMergeRequest, base: Path, tmp_path: Path
) -> None:
    # NF4 has an exact zero, to which the smallest update can be added: not so the base.
    write_own(tmp_path / "tiny", base, spread=1e-12)
    request = replace(request_hf, adapter=tmp_path / "tiny", onto=Onto.ORIGINAL)
    refused(request, "MENS-A042")


def test_merge_qlora_refuses_the_adapter_of_another_base(
    request_hf: QloraMergeRequest, make_base: MakeBase
) -> None:
    refused(replace(request_hf, base=make_base("other", 1)), "MENS-A011")


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("vocab", 9999, "MENS-A110"),
        ("model_type", "gpt2", "MENS-A110"),
        ("vocab", -1, "MENS-A504"),
        ("step", 2**70, "MENS-A504"),
        ("alpha", 1e300, "MENS-A504"),
    ],
)
def test_merge_qlora_refuses_a_signed_manifest_that_does_not_fit_the_base(
    request_hf: QloraMergeRequest, name: str, value: object, code: str
) -> None:
    (request_hf.adapter / V2_NAME).unlink()
    path = request_hf.adapter / MANIFEST_V3_FILE
    document = json.loads(path.read_text("utf-8"))
    del document["manifest_sha256"]
    document[name] = value
    digest = hashlib.sha256(canonical_json(document).encode()).hexdigest()
    path.write_text(json.dumps({**document, "manifest_sha256": digest}), "utf-8")
    error = refused(request_hf, code)
    assert "base's weights" not in str(error)


def test_merge_qlora_refuses_a_base_that_nobody_names(request_hf: QloraMergeRequest) -> None:
    refused(replace(request_hf, base=None), "MENS-A555")


def test_merge_qlora_refuses_an_occupied_folder_and_force_keeps_it(
    request_hf: QloraMergeRequest,
) -> None:
    request_hf.output.mkdir(parents=True)
    (request_hf.output / "old.txt").write_bytes(b"stale")
    refused(request_hf, "MENS-E001")
    report = merge_run.merge(replace(request_hf, force=True))
    assert content(request_hf.output.with_name("merged.old-1")) == {"old.txt": b"stale"}
    assert any("merged.old-1" in note for note in report.notes)


@pytest.mark.parametrize("place", ["base", "base/inside", "models", "run", "meta"])
def test_merge_qlora_refuses_an_output_in_its_inputs(
    request_hf: QloraMergeRequest, base: Path, tmp_path: Path, place: str
) -> None:
    meta = tmp_path / "said" / "meta.json"
    meta.parent.mkdir()
    shutil.copy(request_hf.adapter / "populi_adapter_manifest_v3.json", meta)
    places = {
        "base": base,
        "base/inside": base / "inside",
        "models": base.parent,
        "run": request_hf.adapter,
        "meta": meta.parent,
    }
    request = replace(request_hf, output=places[place], force=True, meta=meta)
    before = content(base) | content(meta.parent)
    with pytest.raises(VoxError, match="MENS-A046"):
        merge_run.merge(request)
    assert content(base) | content(meta.parent) == before


def test_merge_qlora_refuses_a_full_disk_before_it_writes(
    request_hf: QloraMergeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(".")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    refused(request_hf, "MENS-E020", kind=FailureKind.ENVIRONMENT)


@pytest.mark.parametrize("onto", Onto)
def test_merge_qlora_publishes_nothing_when_the_logits_differ(
    request_hf: QloraMergeRequest, monkeypatch: pytest.MonkeyPatch, onto: Onto
) -> None:
    strict = {dtype: replace(row, share=1e-12) for dtype, row in LOGIT_TOLERANCES.items()}
    monkeypatch.setattr("vox_populi.merge.logit_check.LOGIT_TOLERANCES", strict)
    refused(replace(request_hf, onto=onto), "MENS-A045", kind=FailureKind.GATE_MISSED)
