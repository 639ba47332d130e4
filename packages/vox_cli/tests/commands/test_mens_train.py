from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from vox_cli.commands import mens_train, schola_train
from vox_cli.console import Console
from vox_cli.terminal import STDERR
from vox_populi import extras
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.events import Event, EventName, Sink
from vox_populi.pipeline.train import HeldoutPoint, Resume, RunOptions, TrainReport, plan_training
from vox_populi.pipeline.trial import StepTrialReport
from vox_populi.plan.output_folder import FolderUse

Vox = Callable[..., Any]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [{"prompt": f"Say {i}.", "response": f"{i}!"} for i in range(40)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "train.jsonl").write_text(text, encoding="utf-8")
    return folder


def report_of(contract: FinetuneContract) -> TrainReport:
    return TrainReport(
        run=contract.output_dir,
        steps=2,
        planned_steps=2,
        tokens=100,
        supervised_tokens=40,
        train_loss=2.0,
        heldout_loss_before=4.0,
        heldout_loss_after=3.0,
        evaluations=(HeldoutPoint(step=0, loss=4.0), HeldoutPoint(step=2, loss=3.0)),
        seconds=2.0,
        peak_memory_bytes=3 * 2**20,
        device="cpu",
        compute_dtype="float32",
        artifacts={"adapter": contract.output_dir / "model_final.bin"},
        notes=("something adapted.",),
    )


class Pipeline:
    """Stands in for `run_training`."""

    contract: FinetuneContract
    options: RunOptions

    def __call__(
        self, contract: FinetuneContract, options: RunOptions, sinks: Sequence[Sink] = ()
    ) -> TrainReport:
        self.contract, self.options = contract, options
        step = {"step": 1, "planned_steps_total": 2, "loss": 2.5}
        for sink in sinks:
            sink.emit(Event(EventName.STEP, step))
        return report_of(contract)


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    fake = Pipeline()
    monkeypatch.setattr(mens_train, "run_training", fake)
    return fake


WHERE = ("--data-dir", "d", "--output-dir", "runs/x")


def test_flags_become_the_contract(vox: Vox, pipeline: Pipeline) -> None:
    argv = ["--rank", 4, "--alpha", 8, "--dropout", 0.1, "--rslora", "--lr", "1e-3", "--warmup", 7]
    argv += ["--targets", "q,v", "--model", "base", "--schedule", "wsd", "--min-rating", 2]
    argv += ["--force", "--log-every", 5]
    outcome = vox("mens", "train", *WHERE, *argv)
    assert outcome.code == 0, outcome.err
    contract = pipeline.contract
    assert contract.data_dir == Path("d")
    assert contract.model_dir == Path("base")
    lora = contract.lora
    assert (lora.rank, lora.alpha, lora.dropout, lora.use_rslora) == (4, 8.0, 0.1, True)
    assert (
        contract.lr_schedule.learning_rate,
        contract.lr_schedule.warmup_steps,
        contract.rows.min_rating,
    ) == (1e-3, 7, 2)
    assert (contract.lr_schedule.schedule, contract.tokenizer) == ("wsd", "hf")
    assert contract.targets == ("q", "v")
    assert pipeline.options == RunOptions(force=True, log_every=5)


@pytest.mark.parametrize(
    ("argv", "resume"),
    [
        (["--resume"], Resume()),
        (["--resume", "auto"], Resume()),
        (["--resume=auto"], Resume()),
        (["--resume", "runs/x/checkpoints/step-4"], Resume(Path("runs/x/checkpoints/step-4"))),
        ([], None),
    ],
)
def test_resume_names_a_checkpoint_or_the_newest(
    vox: Vox, pipeline: Pipeline, argv: list[str], resume: Resume | None
) -> None:
    counts = ["--checkpoint-every", 5, "--keep-checkpoints", 3]
    outcome = vox("mens", "train", *WHERE, *counts, *argv)
    assert outcome.code == 0, outcome.err
    assert pipeline.options == RunOptions(checkpoint_every=5, keep_checkpoints=3, resume=resume)


def test_force_restart_is_force_and_an_adapter_to_start_from_is_part_of_the_request(
    vox: Vox, pipeline: Pipeline
) -> None:
    vox("mens", "train", *WHERE, "--resume", "auto", "--force-restart", "--init-from", "a.bin")
    assert pipeline.options == RunOptions(force=True, resume=Resume())
    assert pipeline.contract.init_from == Path("a.bin")
    assert vox("mens", "train", *WHERE, "--checkpoint-every", 0).code == 2
    assert vox("mens", "train", *WHERE, "--keep-checkpoints", 0).code == 2


def test_without_flags_the_contract_has_its_own_defaults(vox: Vox, pipeline: Pipeline) -> None:
    vox("mens", "train", *WHERE)
    assert pipeline.contract == FinetuneContract.of(data_dir=Path("d"), output_dir=Path("runs/x"))
    assert pipeline.options == RunOptions()


def test_the_alias_is_the_same_command(vox: Vox, pipeline: Pipeline) -> None:
    assert schola_train.train is mens_train.train
    assert vox("schola", "train", *WHERE, "--seed", 7).code == 0
    assert pipeline.contract.seed == 7


def test_the_result_goes_to_stdout_and_progress_to_stderr(vox: Vox, pipeline: Pipeline) -> None:
    outcome = vox("mens", "train", *WHERE)
    assert "4.0000 -> 3.0000 (-25.0 %)" in outcome.out
    assert "model_final.bin" in outcome.out
    assert "step 1/2" in outcome.err
    assert "note: something adapted." in outcome.err
    assert "step" not in outcome.out.replace("steps", "")


def test_json_is_one_document(vox: Vox, pipeline: Pipeline) -> None:
    document = vox("mens", "train", *WHERE, "--json").document
    assert document["ok"] is True
    assert document["run"] == "runs/x"
    assert (document["heldout_loss_before"], document["heldout_loss_after"]) == (4.0, 3.0)
    assert document["tokens_per_second"] == 50.0
    assert document["artifacts"] == {"adapter": "runs/x/model_final.bin"}


def test_quiet_leaves_the_result_alone(vox: Vox, pipeline: Pipeline) -> None:
    outcome = vox("mens", "train", *WHERE, "--quiet")
    assert outcome.err == ""
    assert "held-out loss" in outcome.out


def test_a_terminal_gets_a_bar_that_ends_with_its_line(
    vox: Vox, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*arguments: Any) -> TrainReport:
        pipeline(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(mens_train, "run_training", run)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(Console, "has_bar", lambda self, channel: channel is STDERR)
    outcome = vox("mens", "train", *WHERE)
    assert outcome.code == 130
    first, second, rest = outcome.err.split("\n")
    assert "step 1/2" in first
    assert second.startswith("stopped [MENS-R090]")
    assert rest == ""


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    vox: Vox, data_dir: Path, tmp_path: Path
) -> None:
    argv = ["--data-dir", data_dir, "--output-dir", tmp_path / "run", "--dry-run"]
    outcome = vox("mens", "train", *argv)
    assert outcome.code == 0, outcome.err
    assert "burn_lora" in outcome.out
    document = vox("mens", "train", *argv, "--json").document
    assert document["ok"] is True
    assert document["execution_kernel"] == "burn_lora"
    assert document["memory_bytes"]["total"] > 0
    assert {path.name for path in tmp_path.iterdir()} == {"data"}


def test_a_dry_run_refuses_what_a_run_would_refuse(
    vox: Vox, data_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes").touch()
    argv = ["--data-dir", data_dir, "--output-dir", tmp_path / "run", "--dry-run"]
    outcome = vox("mens", "train", *argv, "--model", tmp_path / "no")
    assert outcome.code == 3
    assert len(outcome.codes) >= 2, "all findings at once"
    assert vox("mens", "train", *argv, "--force").code == 0


def test_a_config_file_is_not_moved_with_an_old_run(
    vox: Vox, data_dir: Path, tmp_path: Path
) -> None:
    config = tmp_path / "run" / "settings.yaml"
    config.parent.mkdir()
    config.write_text(f"data_dir: {data_dir}\n", encoding="utf-8")
    argv = ["--config", config, "--output-dir", config.parent, "--force", "--dry-run"]
    outcome = vox("mens", "train", *argv)
    assert (outcome.code, outcome.codes) == (3, ["MENS-A046"])


def test_a_dry_run_of_a_step_shows_plan_and_measurement(
    vox: Vox, monkeypatch: pytest.MonkeyPatch, data_dir: Path, tmp_path: Path
) -> None:
    monkeypatch.setattr(mens_train, "try_one_step", trial_of)
    argv = ["--data-dir", data_dir, "--output-dir", tmp_path / "run", "--dry-run=step"]
    outcome = vox("mens", "train", *argv)
    assert outcome.code == 0, outcome.err
    assert "peak memory" in outcome.out
    assert "512.0 MiB" in outcome.out
    assert vox("mens", "train", *argv, "--json").document["trial"]["loss"] == 3.5


def trial_of(contract: FinetuneContract, use: FolderUse) -> StepTrialReport:
    return StepTrialReport(
        planned=plan_training(contract),
        step_seconds=0.5,
        evaluation_seconds=None,
        save_seconds=0.1,
        loss=3.5,
        heldout_loss=None,
        adapter_bytes=1000,
        measured_peak_bytes=512 * 2**20,
    )


def test_without_the_extra_it_ends_with_the_install_line(
    vox: Vox, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vox_populi.extras.is_installed", lambda module: False)
    outcome = vox("mens", "train", "--data-dir", data_dir, "--output-dir", tmp_path / "run")
    assert outcome.code == 7
    assert extras.install_line("mens-gpu") in outcome.err
    assert not (tmp_path / "run").exists()


def test_an_automatic_preset_is_said_aloud_and_weaker_than_flags(vox: Vox) -> None:
    outcome = vox("mens", "train", *WHERE, "--preset", "Auto", "--rank", 3, "--print-config")
    assert outcome.code == 0, outcome.err
    assert "note: --preset auto chose a100" in outcome.err
    assert "preset: a100" in outcome.out
    assert "seq_len: 1024" in outcome.out
    assert "rank: 3" in outcome.out


def test_an_automatic_preset_that_finds_nothing_stops_the_command(vox: Vox) -> None:
    outcome = vox("mens", "train", *WHERE, "--preset", "auto", "--seq-len", 2**20, "--json")
    assert outcome.code == 5
    assert outcome.codes == ["MENS-E094"]
