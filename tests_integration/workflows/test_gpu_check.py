"""`bench/gpu_check.py` runs from a checkout: a dry run of its parts, where no card is at hand."""

from __future__ import annotations

import importlib
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "bench" / "gpu_check.py"
OURS = (
    "environment",
    "nf4",
    "pointwise",
    "parity",
    "tests",
    "demo",
    "lora-8b",
    "qlora-8b",
    "plain-8b",
    "ragged-8b",
    "attention",
)
is_whole = pytest.mark.skipif(
    "VOX_GPU_DRY_RUN" not in os.environ,
    reason="imports transformers, PEFT and torch's profiler: 15 seconds; VOX_GPU_DRY_RUN=1 runs it",
)


def dry_run(out: Path, *options: str) -> dict[str, Any]:
    """Results of a call from elsewhere, and so without what a working folder could give."""
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--tiny", "--out", str(out)]
    done = subprocess.run(
        [*command, *options], cwd=out, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (out / "gpu_check.md").read_text(encoding="utf-8")
    results: dict[str, Any] = json.loads((out / "gpu_check.json").read_text(encoding="utf-8"))
    assert {part["status"] for part in results.values()} == {"ok"}
    for name, part in results.items():
        assert all(map(math.isfinite, part["result"].get("losses", ()))), name
        assert all(norm > 0 for norm in part["result"].get("gradient_norms", ())), name
    return results


def test_a_dry_run_of_our_parts_gives_results_and_a_table_with_the_goals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = dry_run(tmp_path, "--parts", ",".join(OURS))
    assert tuple(results) == OURS
    lora, qlora = (results[f"{kind}-8b"]["result"]["losses"] for kind in ("lora", "qlora"))
    assert lora != qlora, "NF4 must change something"
    assert lora == results["plain-8b"]["result"]["losses"]
    assert len(results["pointwise"]["result"]["objections"]) == 7, "a CPU has none of the kernels"
    assert results["nf4"]["result"]["double"]["same_codes"]
    assert results["parity"]["result"]["tiny lora"]["off_f32"] == 0.0
    assert results["parity"]["result"]["tiny nf4"]["off_bf16"] > 0.0
    assert all(Path(ROOT, file).exists() for file in results["tests"]["result"]["files"])
    table = (tmp_path / "gpu_check.md").read_text(encoding="utf-8")
    assert "| lora-8b |" in table
    assert "beat 12.5k (NeMo); aim 14k" in table
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    render = importlib.import_module("gpu_table").table
    failed = {"lora-8b": {"status": "failed", "error": "CUDA error: out of memory"}}
    assert render([results, failed]) == table, "a complete part is kept"
    assert "lora-8b: failed: CUDA error: out of memory" in render([failed])


@is_whole
def test_a_whole_dry_run_has_peers_that_compute_what_ours_do(tmp_path: Path) -> None:
    results = dry_run(tmp_path)
    sizes = ("0.6b", "1.7b", "4b", "8b")
    assert {f"{kind}-{size}" for kind in ("lora", "qlora", "peft") for size in sizes} < set(results)
    assert {*OURS, "profile-8b"} < set(results)
    pairs = (("lora-8b", "peft-8b"), ("ragged-8b", "ragged-peft-8b"), ("lora-8b", "plain-8b"))
    for ours, peer in pairs:
        one, other = (results[name]["result"] for name in (ours, peer))
        for figure in ("losses", "gradient_norms"):
            assert one[figure] == pytest.approx(other[figure], rel=1e-4), figure
