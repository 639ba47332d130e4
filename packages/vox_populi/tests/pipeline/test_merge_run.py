"""`merge-weights` from the request to the published folder: what is refused, what survives."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from vox_populi.adapters.header import AdaptedModule, AdapterHeader
from vox_populi.adapters.lora_bin import write_adapter_bin
from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.training_text import ChatTemplate
from vox_populi.errors import (
    ArtifactError,
    EnvironmentFailure,
    MergeMismatchError,
    PreflightError,
)
from vox_populi.files.folder_lock import LOCK_NAME, FolderLock
from vox_populi.hf.inventory import base_digest, read_inventory
from vox_populi.hf.keymap import ProjectionRole, adapter_modules
from vox_populi.merge import shard_writer
from vox_populi.merge.choices import MergeFormat
from vox_populi.merge.merged_file import MERGED_FILE, read_merged_file
from vox_populi.merge.receipt import LOGIT_TOLERANCES, RECEIPT_FILE, LogitTolerance
from vox_populi.merge.serving_handoff import HANDOFF_FILE
from vox_populi.pipeline import merge_run
from vox_populi.pipeline.merge import (
    MergeReport,
    MergeRequest,
)
from vox_tensor.errors import FailureKind, VoxError
from vox_tensor.lora_spec import LoraSpec

pytestmark = pytest.mark.requirement("10")

MakeBase = Callable[..., Path]
SPEC = LoraSpec(rank=2, alpha=4.0)
HF_FILES = {
    *("README.md", "config.json", "model.safetensors", RECEIPT_FILE, HANDOFF_FILE),
    *("chat_template.jinja", "generation_config.json", "tokenizer.json", "tokenizer_config.json"),
}


@pytest.fixture
def base(make_base: MakeBase) -> Path:
    return make_base()


def make_header(base: Path, **changes: Any) -> AdapterHeader:
    inventory = read_inventory(base)
    modules = [
        module
        for module in adapter_modules(inventory.config)
        if ProjectionRole.Q in module.roles or ProjectionRole.DOWN in module.roles
    ]
    header = AdapterHeader(
        lora=SPEC,
        modules=tuple(AdaptedModule.of(module) for module in modules),
        base_name=base.name,
        base_digest=base_digest(inventory),
        model_type="llama",
        tokenizer=TokenizerKind.VOX,
        tokenizer_digest="sha256:11",
        template=ChatTemplate.CHATML,
        template_digest="sha256:22",
        system_prompt=None,
        seq_len=64,
        contract_digest="sha256:33",
        step=5,
    )
    return replace(header, **changes)


def make_tensors(header: AdapterHeader, spread: float = 0.1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: spread * torch.randn(shape, generator=generator)
        for name, shape in header.tensor_shapes().items()
    }


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    header = make_header(base)
    path = tmp_path / "run" / "model_final.bin"
    path.parent.mkdir()
    write_adapter_bin(path, header, make_tensors(header))
    return path


@pytest.fixture
def request_hf(base: Path, adapter: Path, tmp_path: Path) -> MergeRequest:
    return MergeRequest(
        checkpoint=adapter,
        output=tmp_path / "out" / "merged",
        model_dir=base,
        output_format=MergeFormat.HF,
        threads=1,
    )


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def refused(request: MergeRequest, code: str, kind: FailureKind = FailureKind.REFUSED) -> VoxError:
    """The refusal of a request: one line, its kind, nothing left behind."""
    before = content(request.output) if request.output.is_dir() else None
    with pytest.raises(VoxError) as caught:
        merge_run.merge(request)
    assert [problem.code for problem in caught.value.problems] == [code]
    assert caught.value.kind is kind
    assert "\n" not in str(caught.value.problems[0])
    after = content(request.output) if request.output.is_dir() else None
    assert after == before
    if request.output.parent.is_dir():
        assert not [p for p in request.output.parent.iterdir() if p.name.endswith(".merging")]
    return caught.value


def test_merge_writes_a_folder_with_a_receipt(request_hf: MergeRequest, base: Path) -> None:
    report = merge_run.merge(request_hf)

    folder = request_hf.output
    assert {path.name for path in folder.iterdir()} == HF_FILES
    assert (folder / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    assert (folder / "config.json").read_bytes() == (base / "config.json").read_bytes()
    receipt = json.loads((folder / RECEIPT_FILE).read_text(encoding="utf-8"))
    assert receipt["tensors_changed"] == 4 == report.receipt.n_changed
    before, after = (load_file(each / "model.safetensors") for each in (base, folder))
    changed = {change["name"] for change in receipt["changes"]}
    assert {name for name in after if not torch.equal(after[name], before[name])} == changed
    for change in receipt["changes"]:
        assert 0 < change["mean_delta"] < change["max_delta"]
        assert 0 < change["changed_values"] <= change["values"]
    for name, digest in receipt["written"].items():
        found = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        assert digest == f"sha256:{found}"
    assert set(receipt["written"]) == HF_FILES - {RECEIPT_FILE}
    assert set(receipt["read"]) == {
        "adapter/model_final.bin",
        "base/config.json",
        "base/model.safetensors",
    }
    assert 0 < receipt["logits"]["max_difference"] <= receipt["logits"]["allowed"]
    assert str(base.parent) not in json.dumps(receipt)


def test_merge_to_one_file_is_signed(request_hf: MergeRequest) -> None:
    merge_run.merge(replace(request_hf, output_format=MergeFormat.VOX))
    path = request_hf.output / MERGED_FILE
    assert read_merged_file(path).adapter.step == 5
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ArtifactError, match="MENS-A050"):
        read_merged_file(path)


@pytest.mark.parametrize("output_format", MergeFormat)
def test_merge_is_the_same_bytes_on_every_run(
    request_hf: MergeRequest, tmp_path: Path, output_format: MergeFormat
) -> None:
    outputs = []
    for threads in (1, 2):
        output = tmp_path / f"merged-{threads}"
        merge_run.merge(
            replace(request_hf, output=output, threads=threads, output_format=output_format)
        )
        outputs.append(content(output))
    assert outputs[0] == outputs[1]


def test_merge_takes_a_run_folder_for_its_adapter(request_hf: MergeRequest) -> None:
    report = merge_run.merge(replace(request_hf, checkpoint=request_hf.checkpoint.parent))
    assert report.receipt.n_changed == 4


def change_tensors(path: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    """Rewrite an adapter with other tensors under the same metadata, as a vandal would."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    metadata = json.loads(raw[8 : 8 + length])["__metadata__"]
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata)


@pytest.mark.parametrize("letter", ["A", "B"])
def test_merge_refuses_an_adapter_that_does_nothing(
    request_hf: MergeRequest, base: Path, letter: str
) -> None:
    header = make_header(base)
    tensors = make_tensors(header)
    idle = {
        name: torch.zeros_like(t) if name.endswith(f"lora_{letter}") else t
        for name, t in tensors.items()
    }
    write_adapter_bin(request_hf.checkpoint, header, idle)
    refused(request_hf, "MENS-A040")


def test_merge_refuses_an_update_that_vanishes(request_hf: MergeRequest, base: Path) -> None:
    header = make_header(base)
    write_adapter_bin(request_hf.checkpoint, header, make_tensors(header, 1e-12))
    refused(request_hf, "MENS-A042")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_merge_refuses_an_adapter_with_no_numbers(
    request_hf: MergeRequest, base: Path, bad: float
) -> None:
    header = make_header(base)
    tensors = make_tensors(header)
    tensors["blocks.0.attn.q.lora_B"][0, 0] = bad
    write_adapter_bin(request_hf.checkpoint, header, tensors)
    refused(request_hf, "MENS-A010")


def test_merge_refuses_the_adapter_of_another_base(
    request_hf: MergeRequest, make_base: MakeBase
) -> None:
    refused(replace(request_hf, model_dir=make_base("other", 1)), "MENS-A011")


def test_merge_refuses_modules_that_the_base_has_not(request_hf: MergeRequest, base: Path) -> None:
    header = make_header(base)
    wide = tuple(replace(module, in_features=99) for module in header.modules)
    header = replace(header, modules=wide)
    write_adapter_bin(request_hf.checkpoint, header, make_tensors(header))
    refused(request_hf, "MENS-A013")


def test_merge_refuses_a_wrong_rank(request_hf: MergeRequest) -> None:
    def widen(tensors: dict[str, Tensor]) -> None:
        name = "blocks.0.attn.q.lora_A"
        tensors[name] = torch.cat([tensors[name]] * 2)

    change_tensors(request_hf.checkpoint, widen)
    refused(request_hf, "MENS-A008")


def test_merge_refuses_a_missing_key(request_hf: MergeRequest) -> None:
    def remove(tensors: dict[str, Tensor]) -> None:
        del tensors["blocks.0.attn.q.lora_A"]

    change_tensors(request_hf.checkpoint, remove)
    refused(request_hf, "MENS-A006")


def test_merge_refuses_an_extra_key(request_hf: MergeRequest) -> None:
    change_tensors(request_hf.checkpoint, lambda t: t.update({"blocks.9.x": torch.ones(1)}))
    refused(request_hf, "MENS-A007")


def test_merge_refuses_a_checkpoint_that_is_not_there(request_hf: MergeRequest) -> None:
    refused(replace(request_hf, checkpoint=request_hf.checkpoint.with_name("no.bin")), "MENS-A001")


def test_merge_refuses_an_adapter_of_the_other_backend(request_hf: MergeRequest) -> None:
    foreign = request_hf.checkpoint.with_name("candle_qlora_adapter.safetensors")
    refused(replace(request_hf, checkpoint=foreign), "MENS-A051")


def make_index(base: Path, shard: str) -> None:
    """An index beside the base's weights that names another file for them."""
    names = load_file(base / "model.safetensors")
    index = {"metadata": {}, "weight_map": dict.fromkeys(names, shard)}
    (base / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    (base / "model.safetensors").rename(base.parent / "model.safetensors")


@pytest.mark.parametrize("shard", ["../../model.safetensors", "/etc/model.safetensors"])
def test_merge_refuses_a_shard_outside_of_the_folder(
    request_hf: MergeRequest, base: Path, shard: str
) -> None:
    make_index(base, shard)
    with pytest.raises(VoxError) as caught:
        merge_run.merge(request_hf)
    assert "leads out of the folder" in str(caught.value)
    assert not request_hf.output.parent.exists()


def test_merge_refuses_an_index_that_names_an_absent_file(
    request_hf: MergeRequest, base: Path
) -> None:
    make_index(base, "model-00001-of-00001.safetensors")
    refused(request_hf, "MENS-H002")


def test_merge_refuses_an_occupied_folder_and_force_keeps_it(request_hf: MergeRequest) -> None:
    request_hf.output.mkdir(parents=True)
    (request_hf.output / "model-00009.safetensors").write_bytes(b"stale")
    refused(request_hf, "MENS-E001")
    report = merge_run.merge(replace(request_hf, force=True))
    assert {path.name for path in request_hf.output.iterdir()} == HF_FILES
    kept = request_hf.output.with_name("merged.old-1")
    assert content(kept) == {"model-00009.safetensors": b"stale"}
    assert any("merged.old-1" in note for note in report.notes)


def test_merge_takes_an_empty_folder_and_clears_what_a_killed_one_left(
    request_hf: MergeRequest,
) -> None:
    request_hf.output.mkdir(parents=True)
    (request_hf.output / LOCK_NAME).write_bytes(b"process 1 on x")
    staging = request_hf.output.with_name(".merged.merging")
    staging.mkdir()
    (staging / LOCK_NAME).write_bytes(b"process 1 on x")
    (staging / "model-00009.safetensors").write_bytes(b"stale")
    merge_run.merge(request_hf)
    assert {path.name for path in request_hf.output.iterdir()} == HF_FILES
    assert not staging.exists()


@pytest.mark.parametrize("place", ["base", "base/inside", "models", "run"])
def test_merge_refuses_an_output_in_its_inputs(
    request_hf: MergeRequest, base: Path, place: str
) -> None:
    places = {
        "base": base,
        "base/inside": base / "inside",
        "models": base.parent,
        "run": request_hf.checkpoint.parent,
    }
    before = content(base)
    with pytest.raises(PreflightError, match="MENS-A046"):
        merge_run.merge(replace(request_hf, output=places[place], force=True))
    assert content(base) == before


def test_merge_refuses_a_full_disk_before_it_writes(
    request_hf: MergeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(".")._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    refused(request_hf, "MENS-E020", FailureKind.ENVIRONMENT)
    assert not request_hf.output.parent.exists()


@pytest.mark.parametrize("name", ["merged", ".merged.merging"])
def test_merge_excludes_another_writer(request_hf: MergeRequest, name: str) -> None:
    folder = request_hf.output.with_name(name)
    folder.mkdir(parents=True)
    lock = FolderLock.acquire(folder)
    try:
        with pytest.raises(EnvironmentFailure, match=rf"MENS-E004.*{os.getpid()}"):
            merge_run.merge(replace(request_hf, force=True))
    finally:
        lock.release()


def test_merge_publishes_nothing_when_the_logits_differ(
    request_hf: MergeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    strict: Mapping[str, LogitTolerance] = {
        dtype: replace(row, share=1e-12) for dtype, row in LOGIT_TOLERANCES.items()
    }
    monkeypatch.setattr("vox_populi.merge.logit_check.LOGIT_TOLERANCES", strict)
    error = refused(request_hf, "MENS-A045", FailureKind.GATE_MISSED)
    assert isinstance(error, MergeMismatchError)


def test_merge_notices_a_wrong_number_in_what_it_wrote(
    request_hf: MergeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rightly = shard_writer.write_shard

    def write_wrongly(*given: Any) -> Any:
        written = write_rightly(*given)
        data = bytearray(written.path.read_bytes())
        data[-400:] = bytes(400)
        written.path.write_bytes(bytes(data))
        return written

    monkeypatch.setattr("vox_populi.merge.write.write_shard", write_wrongly)
    refused(request_hf, "MENS-A045", FailureKind.GATE_MISSED)


def test_report_says_where_and_what(request_hf: MergeRequest) -> None:
    report = merge_run.merge(request_hf)
    assert isinstance(report, MergeReport)
    document = report.as_json()
    assert document["tensors_changed"] == 4
    assert document["receipt"] == str(request_hf.output / RECEIPT_FILE)
    assert json.dumps(document)
