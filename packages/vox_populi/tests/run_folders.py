"""Run folders made by hand, for the tests of what reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Event = tuple[str, Mapping[str, Any]]

CONTRACT = {
    "contract_schema_version": 1,
    "backend": "lora",
    "lora": {"rank": 8, "alpha": 16.0},
    "learning_rate": 2e-4,
    "seed": 42,
    "validation_split_ratio": 0.05,
    "seq_len": 512,
}
INPUTS = {name: f"sha256:{name}" for name in ("base", "data", "tokenizer", "template")}


def steps(losses: Sequence[float], since: int = 1) -> list[Event]:
    """A `step` event for each loss."""
    return [
        (
            "step",
            {
                "epoch": 0, "step": number, "loss": loss, "learning_rate": 1e-4, "grad_norm": 0.5,
                "tokens_per_sec": 1000.0 + number, "mean_tokens_per_sec": 1000.0,
                "tokens_total": 100 * number, "supervised_tokens_total": 50 * number,
                "theoretical_tokens": 100, "valid_tokens": 50, "supervised_ratio_pct": 50.0,
                "rows": 4, "longest_row_tokens": 40, "peak_memory_bytes": 1 << 20,
                "planned_steps_total": since + len(losses) - 1, "eta_seconds_remaining": 1.0,
            },
        )
        for number, loss in enumerate(losses, since)
    ]  # fmt: skip


def write_run(
    run: Path,
    *events: Event,
    contract: Mapping[str, Any] | None = None,
    inputs: Mapping[str, str] | None = None,
    heldout: float | None = None,
) -> Path:
    """Write a run folder: request and telemetry, and with a held-out loss the files of the end."""
    run.mkdir(parents=True, exist_ok=True)
    start: Event = ("train_start", {"planned_steps_total": 10, "base_model": "b", "graph_id": "g"})
    lines = (
        json.dumps({"ts_ms": 1_790_000_000_000 + number, "event": name, "payload": payload}) + "\n"
        for number, (name, payload) in enumerate((start, *events))
    )
    (run / "telemetry.jsonl").write_text("".join(lines), encoding="utf-8")
    request = {
        "schema_version": 1,
        "contract_digest": "sha256:request",
        "contract": {**CONTRACT, **(contract or {})},
        "inputs": {**INPUTS, **(inputs or {})},
        "program": {"device": "cpu"},
    }
    (run / "request.json").write_text(json.dumps(request), encoding="utf-8")
    if heldout is not None:
        _write_end(run, heldout)
    return run


def _write_end(run: Path, heldout: float) -> None:
    evaluations = [{"step": 0, "loss": 4.0}, {"step": 5, "loss": heldout / 2}]
    manifest = {
        "manifest_schema_version": 6,
        "vocab_size": 1,
        "finetune_contract_digest": "sha256:request",
        "base_model": "b",
        "graph_id": "g",
        "planned_steps_total": 10,
        "artifacts": {"model_final.bin": {"sha256": "f" * 64, "bytes": 1}},
        "results": {
            "steps": 10, "tokens": 1000, "supervised_tokens": 500, "train_loss": heldout - 0.5,
            "heldout_loss_after": heldout,
            "evaluations": [*evaluations, {"step": 10, "loss": heldout}],
        },
    }  # fmt: skip
    (run / "training_manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (run / "model_final.bin").touch()
    times: dict[str, object] = {"started_at": "2026-11-20T10:00:00+00:00"}
    times |= {"seconds": {"train": 61.0}, "tokens_per_second": 16.4, "peak_memory_bytes": 1 << 30}
    (run / "run_times.json").write_text(json.dumps(times), encoding="utf-8")
