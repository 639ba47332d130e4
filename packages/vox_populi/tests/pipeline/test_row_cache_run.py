"""A run whose rows come out of the row cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.data.dataset import RowCache
from vox_populi.pipeline.evaluate import EvalRequest, evaluate
from vox_populi.pipeline.train import RunOptions, run_training
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_tensor.tokenizer import VoxTokenizer

pytest.importorskip("torch", reason="needs vox-tensor[gpu]")


def test_a_run_writes_the_same_with_and_without_kept_rows(
    make_contract: Callable[..., FinetuneContract], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def files(name: str, **changes: object) -> dict[str, bytes]:
        run = tmp_path / name / "run"
        run_training(make_contract(output_dir=run, **changes), RunOptions(checkpoint_every=2))
        paths = (path for path in run.rglob("*") if path.is_file())
        return {str(path.relative_to(run)): path.read_bytes() for path in paths}

    expected = files("without")
    monkeypatch.setattr(RowCache, "is_for", lambda *_: True)
    kept = tmp_path / "kept"
    made = files("made", row_cache_dir=kept)
    assert len(list(kept.iterdir())) == 2, "one for each file"
    monkeypatch.setattr(VoxTokenizer, "encode", None)
    read = files("read", row_cache_dir=kept)
    for name in ("run_times.json", "telemetry.jsonl"):  # Both have the seconds of each step.
        for each in (expected, made, read):
            assert each.pop(name)
    assert "model_final.bin" in expected
    assert made == expected
    assert read == expected
    assert not any(str(kept).encode() in content for content in made.values())


def test_rows_are_measured_from_the_cache_as_from_the_file(
    make_contract: Callable[..., FinetuneContract], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = make_contract(max_steps=1)
    run_training(contract, RunOptions())
    request = EvalRequest(
        data=contract.data_paths[0] / "valid.jsonl",
        weights=WeightsChoice(run=contract.output_dir, threads=1),
        row_cache_dir=tmp_path / "kept",
    )
    expected = evaluate(request)
    assert not (tmp_path / "kept").exists(), "the file is small"
    monkeypatch.setattr(RowCache, "is_for", lambda *_: True)
    made = evaluate(request)
    monkeypatch.setattr(VoxTokenizer, "encode", None)
    read = evaluate(request)
    assert made.measured == read.measured == expected.measured
    assert len(made.notes) == len(read.notes) + 1
