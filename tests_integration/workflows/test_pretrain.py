"""The script that made vox-nano runs, and its folder is one that training accepts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from vox_populi.corpus.stdlib_split import is_heldout_module, stdlib_root
from vox_populi.hf.embedded import embedded_model_dir
from vox_populi.hf.inventory import read_inventory

ROOT = Path(__file__).parents[2]
MOST_BYTES = 12_000_000


def small_sources(folder: Path) -> Path:
    """One module of each side of the standard library."""
    folder.mkdir()
    modules = sorted(path for path in stdlib_root().glob("*.py") if path.stat().st_size > 9000)
    for heldout in (False, True):
        chosen = next(path for path in modules if is_heldout_module(path.stem) is heldout)
        shutil.copy(chosen, folder)
    return folder


def test_the_script_writes_a_base_that_can_be_read(tmp_path: Path) -> None:
    out = tmp_path / "nano"
    subprocess.run(
        [
            *(sys.executable, str(ROOT / "pretrain" / "pretrain_vox_nano.py")),
            *("--out", str(out), "--from-python", str(small_sources(tmp_path / "sources"))),
            *("--steps", "2", "--tokens-per-step", "512", "--eval-every", "1", "--threads", "1"),
        ],
        check=True,
        capture_output=True,
    )
    inventory = read_inventory(out)
    shipped = read_inventory(embedded_model_dir())
    assert inventory.config == shipped.config
    curve = (out / "loss_curve.csv").read_text(encoding="utf-8").splitlines()
    assert curve[0] == "step,tokens,train_loss,heldout_loss"
    assert len(curve) == 3


def test_the_shipped_base_keeps_its_promises() -> None:
    folder = embedded_model_dir()
    assert sum(path.stat().st_size for path in folder.iterdir()) <= MOST_BYTES
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "llama"
    shapes = [info.shape for info in read_inventory(folder).tensors.values()]
    parameters = sum(rows * (columns[0] if columns else 1) for rows, *columns in shapes)
    assert 3_000_000 <= parameters <= 6_000_000
