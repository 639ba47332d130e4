"""`merge-qlora` under its three names: flags, texts, and the source system's own cases."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from vox_cli.commands import mens_merge_qlora
from vox_populi.merge.choices import MergeFormat, Onto
from vox_populi.merge.receipt import (
    LOGIT_TOLERANCES,
    ROW_TOLERANCES,
    LogitCheck,
    LogitDistance,
    MergeReceipt,
    NumberTypeChoice,
    QloraReceipt,
    RowCheck,
    TensorChange,
)
from vox_populi.pipeline.merge import (
    MergeReport,
    QloraMergeRequest,
)

Vox = Callable[..., Any]
COMMANDS = (("mens", "merge-qlora"), ("mens", "merge-adapter"), ("schola", "merge-qlora"))

RECEIPT = MergeReceipt(
    output_format="hf",
    adapter={"rank": 2},
    base={"name": "tiny"},
    changes=(
        TensorChange(
            name="a.weight",
            dtype="F32",
            shape=(2, 4),
            max_delta=0.5,
            mean_delta=0.25,
            changed_values=6,
            values=8,
            squared_delta=4.0,
            squared_error=1.0,
        ),
    ),
    n_tensors=5,
    total_bytes=2048,
    is_head_tied=False,
    logits=LogitCheck(
        prompts=((1, 2),),
        method="a test",
        max_difference=1e-6,
        mean_difference=1e-7,
        largest_logit=4.0,
        allowed=4e-4,
        tolerance=LOGIT_TOLERANCES["F32"],
    ),
    number_type=NumberTypeChoice(asked="auto", written="float32"),
    rows=RowCheck(
        origin="held_out",
        rows=3,
        tokens=60,
        learned=40,
        changed=10,
        same=39,
        kept=10,
        base_loss=3.5,
        adapter_loss=0.5,
        merged_loss=0.625,
        tolerance=ROW_TOLERANCES["merged"],
    ),
    read={},
    written={},
    notes=("a note.",),
    qlora=QloraReceipt(
        onto="dequant",
        graph="full_graph_v1",
        quantization={"block_size": 64},
        rounded_tensors=3,
        distances={
            "dequant": LogitDistance(
                max_difference=2e-6, mean_difference=1e-7, largest_logit=4.0, same_top_token=1.0
            ),
            "original": LogitDistance(
                max_difference=0.5, mean_difference=0.1, largest_logit=4.0, same_top_token=0.75
            ),
        },
    ),
)


class Asked:
    """Remembers a request and answers with what it was made with."""

    request: QloraMergeRequest | None = None
    receipt = RECEIPT

    def __call__(self, request: QloraMergeRequest) -> MergeReport:
        self.request = request
        return MergeReport(
            output=request.output, receipt=self.receipt, notes=self.receipt.notes, seconds=1.5
        )


@pytest.fixture
def merged(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked()
    monkeypatch.setattr(mens_merge_qlora, "merge", asked)
    return asked


@pytest.mark.requirement("10")
@pytest.mark.parametrize("command", COMMANDS)
def test_merge_qlora_prints_how_far_both_merges_are_from_training(
    vox: Vox, merged: Asked, command: tuple[str, str]
) -> None:
    outcome = vox(*command, "--adapter", "run", "--output-dir", "out")
    assert merged.request == QloraMergeRequest(adapter=Path("run"), output=Path("out"))
    lines = {line.split("  ")[0].strip(): line for line in outcome.out.splitlines()}
    assert "2.00e-06" in lines["onto dequant"]
    assert lines["onto dequant"].endswith("(written)")
    assert "75 %" in lines["onto original"]
    assert "written" not in lines["onto original"]
    assert outcome.err == "note: a note.\n"


@pytest.mark.requirement("10")
def test_merge_qlora_hands_over_every_flag(vox: Vox, merged: Asked) -> None:
    argv = ["--adapter", "a.safetensors", "--output-dir", "out", "--base", "b", "--meta", "m.json"]
    argv += ["--onto", "original", "--subset", "--format", "vox", "--force"]
    argv += ["--include-system-prompt"]
    document = vox("schola", "merge-qlora", *argv, "--threads", 2, "--json").document
    assert merged.request == QloraMergeRequest(
        adapter=Path("a.safetensors"),
        output=Path("out"),
        base=Path("b"),
        meta=Path("m.json"),
        onto=Onto.ORIGINAL,
        subset=True,
        output_format=MergeFormat.VOX,
        include_system_prompt=True,
        force=True,
        threads=2,
    )
    assert document["qlora"]["onto"] == "dequant"
    distances = document["qlora"]["logit_difference_from_training"]
    assert distances["original"]["same_top_token"] == 0.75


@pytest.mark.requirement("10")
def test_merge_qlora_says_that_a_part_was_not_compared(vox: Vox, merged: Asked) -> None:
    merged.receipt = replace(RECEIPT, logits=None, qlora=None)
    outcome = vox("mens", "merge-qlora", "--adapter", "run", "--output-dir", "out", "--subset")
    assert "not compared" in outcome.out
    assert "onto original" not in outcome.out


@pytest.mark.requirement("10")
@pytest.mark.parametrize("wrong", [("--onto", "nf4"), ("--threads", "0"), ("--no-such",)])
def test_merge_qlora_refuses_flags_it_does_not_have(
    vox: Vox, merged: Asked, wrong: tuple[str, ...]
) -> None:
    argv = ["--adapter", "run", "--output-dir", "out", *wrong]
    assert vox("mens", "merge-qlora", *argv).code == 2
    assert merged.request is None


# ---- The source system's cases, run for real ---------------------------------------------------


@pytest.fixture
def adapters() -> Any:
    """Writers of adapters, which need torch."""
    pytest.importorskip("torch", reason="needs vox-tensor[gpu]")
    return pytest.importorskip("packages.vox_populi.tests.qlora_adapters")


@pytest.fixture
def head_only(tmp_path: Path, adapters: Any) -> Callable[[int], list[object]]:
    """Arguments for an adapter of the head alone: vocab 4, d_model 3, rank 2, alpha 4, ones."""
    torch = pytest.importorskip("torch")
    save = import_module("safetensors.torch")

    def make(version: int) -> list[object]:
        layers = {"lm_head": ("wte.weight", torch.ones(2, 3), torch.ones(4, 2))}
        lineage = {"base_family": "gpt2", "attribution_required": False}
        extra = {"provenance": lineage} if version == 3 else {}
        meta = adapters.write_source(
            tmp_path / "run", layers, vocab=4, d_model=3, alpha=4, version=version, **extra
        )
        meta = meta.rename(tmp_path / "said.json")
        base = tmp_path / "base.safetensors"
        save.save_file({"wte.weight": torch.eye(4, 3), "ln_f.weight": torch.ones(3)}, base)
        adapter = tmp_path / "run" / "candle_qlora_adapter.safetensors"
        return ["--base", base, "--adapter", adapter, "--meta", meta, "--subset"]

    return make


@pytest.mark.requirement("10")
@pytest.mark.parametrize("name", ["latest.bin", "LATEST.BIN", "latest.bin.gz", r"C:\m\latest.bin"])
@pytest.mark.parametrize("command", COMMANDS)
def test_merge_qlora_rejects_burn_bin_adapter(
    vox: Vox, adapters: Any, tmp_path: Path, name: str, command: tuple[str, str]
) -> None:
    del adapters
    output = tmp_path / "out"
    (tmp_path / "latest.bin").write_bytes(b"PK\x03\x04")
    adapter = name if "\\" in name else tmp_path / name
    outcome = vox(*command, "--adapter", adapter, "--output-dir", output)
    assert (outcome.code, outcome.codes) == (3, ["MENS-A501"])
    for word in ("safetensors", "Candle", "merge-weights", "mens-training-ssot"):
        assert word in outcome.err
    assert not output.exists()


@pytest.mark.requirement("10")
def test_merge_qlora_cli_roundtrip_lm_head_subset(
    vox: Vox, head_only: Callable[[int], list[object]], tmp_path: Path
) -> None:
    check_roundtrip(vox, head_only(2), tmp_path / "out")


@pytest.mark.requirement("10")
def test_merge_qlora_cli_roundtrip_adapter_manifest_v3(
    vox: Vox, head_only: Callable[[int], list[object]], tmp_path: Path
) -> None:
    check_roundtrip(vox, head_only(3), tmp_path / "out")


def check_roundtrip(vox: Vox, argv: list[object], output: Path) -> None:
    torch = pytest.importorskip("torch")
    load = import_module("safetensors.torch")
    outcome = vox("schola", "merge-qlora", *argv, "--output-dir", output, "--json")
    assert outcome.code == 0
    found = load.load_file(output / "merged_subset.safetensors")
    assert found.keys() == {"wte.weight"}
    torch.testing.assert_close(found["wte.weight"], torch.eye(4, 3) + 4.0)
    receipt = json.loads((output / "merge_receipt.json").read_text(encoding="utf-8"))
    assert outcome.document["written"] == receipt["written"]
    again = vox("schola", "merge-qlora", *argv, "--output-dir", output)
    assert (again.code, again.codes) == (3, ["MENS-E001"])


@pytest.mark.requirement("10")
def test_merge_weights_rejects_candle_qlora_adapter_file(
    vox: Vox, head_only: Callable[[int], list[object]], tmp_path: Path
) -> None:
    head_only(2)
    for path in (tmp_path / "run", tmp_path / "run" / "candle_qlora_adapter.safetensors"):
        outcome = vox(
            "mens", "merge-weights", "--checkpoint", path, "--output-dir", tmp_path / "out"
        )
        assert (outcome.code, outcome.codes) == (3, ["MENS-A051"])
        for word in ("candle", "merge", "merge-qlora"):
            assert word in outcome.err
    assert not (tmp_path / "out").exists()
