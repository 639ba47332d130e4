"""The functions behind the commands: extras first, no torch until something runs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_populi import extras
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.errors import ConfigError, MissingExtraError, PreflightError
from vox_populi.pipeline import evaluate, generate, train, trial
from vox_populi.pipeline.generate import Prompt

MakeContract = Callable[..., FinetuneContract]

HEAVY = ("torch", "safetensors", "tokenizers", "transformers")
IMPORT_ALONE = f"""
import sys
from vox_populi.pipeline import (
    chat, convert, evaluate, export, generate, gguf, import_peft, lint, merge, preview, quantize,
    status, train, trial,
)
print([name for name in {HEAVY!r} if name in sys.modules])
"""


def test_importing_all_verbs_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALONE], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "call",
    [
        lambda contract: train.run_training(contract, train.RunOptions()),
        trial.try_one_step,
        lambda _: evaluate.evaluate(evaluate.EvalRequest(data=Path("absent"))),
        lambda _: generate.generate(generate.GenerateRequest(prompts=(Prompt("x"),))),
    ],
)
def test_without_torch_what_runs_a_model_asks_for_the_extra_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[[FinetuneContract], Any]
) -> None:
    monkeypatch.setattr(extras, "is_installed", lambda module: module != "torch")
    nowhere = FinetuneContract.of(data_dir=tmp_path / "no", output_dir=tmp_path / "out")
    with pytest.raises(MissingExtraError, match=re.escape(extras.install_line("mens-gpu"))):
        call(nowhere)
    assert list(tmp_path.iterdir()) == []


def test_a_plan_counts_rows_and_writes_nothing(make_contract: MakeContract) -> None:
    contract = make_contract()
    planned = train.plan_training(contract)
    assert (planned.plan.n_train_rows, planned.plan.n_valid_rows) == (5, 2)
    assert not contract.output_dir.exists()
    document = planned.as_json()
    assert document["total_steps"] == planned.plan.total_steps
    assert str(contract.data_dir) not in str(document)


def test_an_occupied_folder_stops_a_plan_unless_it_will_be_moved(
    make_contract: MakeContract,
) -> None:
    contract = make_contract()
    contract.output_dir.mkdir(parents=True)
    (contract.output_dir / "mine").write_bytes(b"x")
    with pytest.raises(PreflightError, match="MENS-E001"):
        train.plan_training(contract)
    use = train.RunOptions(force=True).folder_use
    assert train.plan_training(contract, use).plan.total_steps


@pytest.mark.parametrize("name", ["log_every", "checkpoint_every", "keep_checkpoints"])
@pytest.mark.parametrize("count", [0, -1, 2**31, 2**70, 1e300, float("nan")])
def test_counts_of_a_run_are_whole_and_in_range(name: str, count: Any) -> None:
    with pytest.raises(ConfigError, match="MENS-C002"):
        train.RunOptions(**{name: count})
