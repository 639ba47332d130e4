"""The exported functions: what they accept, and that they do what the commands do."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_type_hints

import pytest

import vox_populi
from vox_populi import Event, EventName, TrainingSettings, VoxError, plan_training
from vox_populi.api import Weights
from vox_populi.contract.choices import Backend, ComputeDtype, DeviceKind, TokenizerKind
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.setting import settings_of
from vox_populi.data.training_text import ChatTemplate
from vox_populi.export.consumers import Consumer
from vox_populi.merge.choices import MergeFormat, Onto
from vox_populi.merge.number_type import MergeDtype
from vox_populi.pipeline.evaluate import EvalRequest
from vox_populi.pipeline.export import ExportRequest
from vox_populi.pipeline.merge import MergeRequest, QloraMergeRequest
from vox_populi.pipeline.train import Resume, RunOptions, TrainReport
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_populi.runs.checkpoint_dir import list_checkpoints

SETTINGS: TrainingSettings = {
    "max_steps": 4,
    "rank": 2,
    "lr": 1e-2,
    "warmup": 0,
    "batch_size": 2,
    "grad_accum": 1,
    "seq_len": 32,
    "threads": 1,
    "device": "cpu",
}
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="needs vox-populi[mens-gpu]")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [{"prompt": f"Say {n}.", "response": "one two three"[: n + 2]} for n in range(12)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "train.jsonl").write_text(text, encoding="utf-8")
    (folder / "valid.jsonl").write_text(json.dumps(rows[0]) + "\n", encoding="utf-8")
    return folder


def contract_of(data: Path, **settings: Any) -> FinetuneContract:
    return plan_training(data, data.with_name("run"), **settings).contract


def test_importing_the_package_imports_no_module_that_it_exports() -> None:
    source = "import sys, vox_populi; print(sorted(m for m in sys.modules if m.startswith('vox_')))"
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=True
    )
    assert done.stdout == "['vox_populi', 'vox_tensor', 'vox_tensor.lazy_exports']\n"


def test_type_checkers_see_the_names_that_are_exported() -> None:
    tree = ast.parse(Path(vox_populi.__file__).read_text(encoding="utf-8"))
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in checked.body if isinstance(node, ast.ImportFrom)]
    typed = {alias.name: node.module for node in imports for alias in node.names}
    assert sorted(typed) == sorted(vox_populi.__all__)
    for name, module in typed.items():
        assert getattr(vox_populi, name) is getattr(sys.modules[str(module)], name)
    folders = {path.stem for path in Path(vox_populi.__file__).parent.iterdir()}
    assert typed.keys() & folders == set(), "importing a module puts it in the place of a name"


def test_every_setting_of_a_run_has_a_type() -> None:
    settings = [*settings_of(FinetuneContract), *settings_of(RunOptions)]
    named = {each.name for each in settings} - {"data", "data_dir", "output_dir"}
    assert get_type_hints(TrainingSettings).keys() == named


def test_settings_are_asked_for_as_in_a_config_file(data: Path) -> None:
    contract = contract_of(
        data,
        device="cpu",
        lr=1e-3,
        rslora=True,
        qlora_no_double_quant=False,
        targets="q_proj,v_proj",
        min_rating=None,
    )
    assert contract.compute.device is DeviceKind.CPU
    assert contract.lr_schedule.learning_rate == 1e-3
    assert contract.lora.use_rslora
    assert contract.qlora.double_quant
    assert (
        contract.targets
        == FinetuneContract.of(data_dir=data, output_dir=data, targets=contract.targets).targets
    )
    assert len(contract.targets or ()) == 2
    assert contract.rows.min_rating is None


def test_paths_may_be_text(data: Path) -> None:
    run = str(data.with_name("run"))
    planned = plan_training(str(data), run, init_from=None)
    assert planned.contract.data_dir == data
    assert planned.contract.output_dir == Path(run)


def test_a_preset_gives_what_is_not_asked_for(data: Path) -> None:
    contract = contract_of(data, preset="tiny", rank=3)
    assert (contract.lora.rank, contract.lora.alpha) == (3, 8.0)
    assert contract.batching.seq_len == 128


def test_the_vocabulary_follows_from_the_base(data: Path) -> None:
    assert contract_of(data).tokenizer is TokenizerKind.VOX
    assert contract_of(data, backend=Backend.QLORA).tokenizer is TokenizerKind.HF
    assert contract_of(data, backend="qlora").backend is Backend.QLORA


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ({"rnk": 3}, TypeError, "no setting is called rnk"),
        ({"backend": "full"}, VoxError, r"MENS-C001.*--backend"),
        ({"epochs": 0, "batch_size": 0}, VoxError, r"(?s)--epochs.*--batch-size"),
        ({"keep_checkpoints": 0}, VoxError, "--keep-checkpoints"),
        ({"model": "absent"}, VoxError, "absent"),
    ],
)
def test_invalid_settings_are_refused_before_a_run_folder_exists(
    data: Path, settings: dict[str, Any], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        contract_of(data, **settings)
    assert not data.with_name("run").exists()


@pytest.mark.parametrize(
    ("resume", "expected"),
    [
        (False, None),
        (True, Resume(None)),
        ("run/checkpoints/step-4", Resume(Path("run/checkpoints/step-4"))),
    ],
)
def test_resume_is_a_wish_or_a_checkpoint(
    data: Path, monkeypatch: pytest.MonkeyPatch, resume: bool | str, expected: Resume | None
) -> None:
    asked: list[RunOptions] = []
    monkeypatch.setattr(
        "vox_populi.api.run_training", lambda _, options, sinks: asked.append(options)
    )
    vox_populi.train_adapter(
        data, data.with_name("run"), resume=resume, force=True, checkpoint_every=2
    )
    (options,) = asked
    assert options.resume == expected
    assert options.force
    assert options.checkpoint_every == 2


def test_progress_shows_control_characters_and_does_not_send_them(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resumed = Event(EventName.TRAIN_RESUMED, {"notes": ["from \x1b[31mstep-5"]})
    monkeypatch.setattr(
        "vox_populi.api.run_training", lambda _, __, sinks: [sink.emit(resumed) for sink in sinks]
    )
    lines: list[str] = []
    vox_populi.train_adapter(data, data.with_name("run"), progress=lines.append)
    (line,) = lines
    assert "\x1b" not in line
    assert line.endswith("step-5")


def test_arguments_reach_the_requests_of_the_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    for name in ("api.evaluate", "sharing_api.export", "api.load"):
        monkeypatch.setattr(f"vox_populi.{name}", asked.append)
    for name in ("merge_weights", "merge_qlora"):
        monkeypatch.setattr(f"vox_populi.pipeline.merge.{name}", asked.append)
    weights: Weights = {"model": "base", "adapter": "peft", "dtype": "f32", "template": "plain"}
    vox_populi.evaluate_model("rows", seq_len=8, max_new_tokens=3, generate=2, **weights)
    vox_populi.load_model(**weights)
    for onto in (None, "original"):
        vox_populi.merge_adapter(
            "a.bin", "out", model="base", onto=onto, format="vox", dtype="f32", force=True
        )
    vox_populi.export_adapter("a.bin", "out", "mlx", model="base")
    choice = WeightsChoice(
        model_dir=Path("base"),
        adapter=Path("peft"),
        dtype=ComputeDtype.F32,
        template=ChatTemplate.PLAIN,
    )
    merged: dict[str, Any] = {
        "output": Path("out"),
        "output_format": MergeFormat.VOX,
        "dtype": MergeDtype.F32,
        "force": True,
    }
    base = Path("base")
    assert asked == [
        EvalRequest(data=(Path("rows"),), weights=choice, seq_len=8, max_new_tokens=3, generate=2),
        choice,
        MergeRequest(checkpoint=Path("a.bin"), model_dir=base, **merged),
        QloraMergeRequest(adapter=Path("a.bin"), base=base, onto=Onto.ORIGINAL, **merged),
        ExportRequest(
            source=Path("a.bin"), consumer=Consumer.MLX, output_dir=Path("out"), model_dir=base
        ),
    ]


@pytest.fixture
def run(data: Path) -> TrainReport:
    pytest.importorskip("torch", reason="needs vox-populi[mens-gpu]")
    return vox_populi.train_adapter(data, data.with_name("run"), progress=None, **SETTINGS)


@needs_torch
def test_a_run_tells_its_progress_and_its_events(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines: list[str] = []
    events: list[Event] = []
    settings: TrainingSettings = {**SETTINGS, "log_every": 2}
    report = vox_populi.train_adapter(
        data,
        data.with_name("run"),
        progress=lines.append,
        on_event=events.append,
        **settings,
    )
    steps = [e.payload["step"] for e in events if e.name is EventName.STEP]
    assert steps == [1, 2, 3, 4]
    shown = [line.split()[1] for line in lines if line.startswith("step") and "loss" in line]
    assert {"1/4", "2/4", "4/4"} <= set(shown)
    assert "3/4" not in shown
    assert report.steps == 4
    assert capsys.readouterr().out == "", "a caller's progress takes the place of print"


@needs_torch
def test_progress_is_printed_unless_told_otherwise(
    data: Path, capsys: pytest.CaptureFixture[str], run: TrainReport
) -> None:
    assert capsys.readouterr().out == ""
    vox_populi.train_adapter(data, run.run, force=True, **SETTINGS)
    assert "step 4/4  loss" in capsys.readouterr().out


@needs_torch
def test_a_loop_over_events_is_the_same_run(data: Path, run: TrainReport) -> None:
    events = vox_populi.training_events(data, data.with_name("other"), **SETTINGS)
    losses = [e.payload["loss"] for e in events if e.name is EventName.STEP]
    assert len(losses) == 4
    assert events.report is not None
    assert events.report.train_loss == run.train_loss
    ours, theirs = (r.artifacts["adapter"].read_bytes() for r in (events.report, run))
    assert ours == theirs


@needs_torch
def test_leaving_the_loop_stops_the_run_where_it_can_be_resumed(
    data: Path, run: TrainReport
) -> None:
    folder = data.with_name("other")
    settings: TrainingSettings = {**SETTINGS, "max_steps": 400, "epochs": 400}
    events = vox_populi.training_events(data, folder, **settings)
    for event in events:
        if event.name is EventName.STEP:
            break
    assert events.report is None
    (checkpoint,) = list_checkpoints(folder)
    assert 1 <= checkpoint.step < 400
    assert not (folder / "model_final.bin").exists()


@needs_torch
def test_an_error_of_a_run_comes_out_of_the_loop(data: Path, run: TrainReport) -> None:
    events = vox_populi.training_events(data, run.run, **SETTINGS)
    with pytest.raises(VoxError):
        list(events)


@needs_torch
def test_a_run_is_evaluated_merged_exported_and_answers(
    tmp_path: Path, data: Path, run: TrainReport
) -> None:
    evaluated = vox_populi.evaluate_model(
        str(data / "train.jsonl"), run=run.run, compare_base=True, generate=2, threads=1
    )
    assert evaluated.base is not None
    assert evaluated.loss != evaluated.base.loss
    assert evaluated.measured.answers is not None
    assert evaluated.measured.answers.rows == 2

    merged = vox_populi.merge_adapter(run.run, tmp_path / "merged")
    assert (merged.output / "config.json").exists()
    exported = vox_populi.export_adapter(str(run.run), str(tmp_path / "exported"), "peft")
    assert "adapter_config.json" in exported.files

    runs: list[Weights] = [{"run": run.run}, {"run": str(run.run), "threads": 1}, {}]
    trained, again, base = (vox_populi.load_model(**each) for each in runs)
    answer = trained.generate("Say 1.", max_new_tokens=4)
    assert answer == again.generate("Say 1.", max_new_tokens=4)
    assert answer.ids != base.generate("Say 1.", max_new_tokens=4).ids
    abacus: Any = "abacus"
    with pytest.raises(ValueError, match="not a valid DeviceKind"):
        vox_populi.load_model(device=abacus)


@needs_torch
def test_a_qlora_run_is_merged_onto_what_is_asked_for(tmp_path: Path, data: Path) -> None:
    settings: TrainingSettings = {**SETTINGS, "backend": "qlora", "checkpoint_every": 2}
    run = vox_populi.train_adapter(data, data.with_name("run"), progress=None, **settings).run
    (*_, checkpoint) = list_checkpoints(run)
    wishes: list[tuple[Path, Literal["original"] | None]] = [
        (run, None),
        (run / "candle_qlora_adapter.safetensors", "original"),
        (checkpoint.path, None),
    ]
    for number, (adapter, onto) in enumerate(wishes):
        merged = vox_populi.merge_adapter(adapter, tmp_path / f"merged-{number}", onto=onto)
        assert merged.receipt.qlora is not None
        assert merged.receipt.qlora.onto == (onto or "dequant")
