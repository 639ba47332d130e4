"""What adding one more of something touches, as far as the sources can tell."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from vox_populi.contract.optimizer_choice import OptimizerKind

ROOT = Path(__file__).resolve().parents[1]
SOURCES = tuple(path for path in (ROOT / "packages").rglob("src/**/*.py"))
POPULI = ROOT / "packages/vox_populi/src/vox_populi"
PEER_NAMES = POPULI / "operator_messages" / "peer_names.py"
OPTIMIZER_ROWS = POPULI / "contract" / "optimizer_choice.py"


@pytest.mark.parametrize(
    "kind", [kind for kind in OptimizerKind if kind is not OptimizerKind.ADAMW]
)
def test_an_optimizer_is_one_row_and_one_file(kind: OptimizerKind) -> None:
    """The rest asks `OPTIMIZERS`; the names that peers have for it are data."""
    word = re.compile(rf"\b{kind.value}\b", re.IGNORECASE)
    mentions = {path for path in SOURCES if word.search(path.read_text(encoding="utf-8"))}
    module = POPULI / "train" / "optimizers" / f"{kind.value}.py"
    assert mentions | {module} == {OPTIMIZER_ROWS, module, PEER_NAMES}
    assert module.is_file()
