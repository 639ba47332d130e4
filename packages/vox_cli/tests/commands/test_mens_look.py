"""`preview`, `status`, `eval` and `generate`: what they ask the pipeline, what they print."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from vox_cli.commands import mens_eval, mens_generate, mens_preview, mens_status
from vox_populi.pipeline.reports import (
    EvalReport,
    GenerateResult,
    PreviewRow,
    RunState,
    SourceLoss,
    StatusReport,
)
from vox_populi.pipeline.requests import (
    EvalRequest,
    GenerateRequest,
    PreviewRequest,
    WeightsChoice,
)

Vox = Callable[..., Any]

ROW = PreviewRow(
    ids=(3, 7, 4),
    labels=(-100, 7, 4),
    pieces=(("<|im_start|>", False), ("yes<|im_end|>", True)),
    source_line=5,
)


class Asked:
    """Remembers a request and answers with what it was made with."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.request: Any = None

    def __call__(self, request: Any) -> Any:
        self.request = request
        return iter(self.answer) if isinstance(self.answer, list) else self.answer


@pytest.fixture
def previewed(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked([ROW, ROW])
    monkeypatch.setattr(mens_preview, "preview_rows", asked)
    return asked


def test_preview_asks_for_what_the_trainer_would_use(vox: Vox, previewed: Asked) -> None:
    assert vox("mens", "preview", "--data", "rows.jsonl").code == 0
    assert previewed.request == PreviewRequest(data=Path("rows.jsonl"))
    argv = ["-n", 9, "--seq-len", 64, "--model", "base", "--template", "plain"]
    assert vox("mens", "preview", "--data", "rows.jsonl", *argv).code == 0
    assert previewed.request.count == 9
    assert previewed.request.seq_len == 64
    assert previewed.request.template == "plain"


def test_preview_prints_a_json_line_a_row(vox: Vox, previewed: Asked) -> None:
    lines = vox("mens", "preview", "--data", "rows.jsonl", "--json").out.splitlines()
    assert len(lines) == 2
    assert json.loads(lines[0]) == {
        "ids": [3, 7, 4],
        "labels": [-100, 7, 4],
        "text": "<|im_start|>yes<|im_end|>",
        "source_line": 5,
        "source": None,
    }


def test_preview_marks_what_is_learned(vox: Vox, previewed: Asked) -> None:
    plain = vox("mens", "preview", "--data", "rows.jsonl").out
    assert "line 5: 3 tokens, 2 learned" in plain
    assert "<|im_start|>«yes<|im_end|>»" in plain
    coloured = vox("mens", "preview", "--data", "rows.jsonl", "--color", "always").out
    assert "\x1b[32myes<|im_end|>\x1b[0m" in coloured


def test_preview_of_a_real_file(vox: Vox, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "Say hi.", "response": "hi"}\n', encoding="utf-8")
    row = json.loads(vox("mens", "preview", "--data", path, "--json").out)
    assert len(row["ids"]) == len(row["labels"])
    assert row["source_line"] == 1
    assert "Say hi." in row["text"]
    learned = [label for label in row["labels"] if label != -100]
    assert 0 < len(learned) < len(row["ids"])


STATUS = StatusReport(
    run=Path("runs/x"),
    state=RunState.RUNNING,
    step=3,
    planned_steps=10,
    epoch=1,
    train_loss=2.5,
    heldout_loss_before=4.0,
    heldout_loss=3.0,
    supervised_tokens=30,
    tokens_per_second=1000.0,
    eta_seconds=75.0,
    holder="pid 1 on host",
    checkpoints=("step-2",),
    artifacts={},
    telemetry={"lines": 3},
    failure=None,
)


def test_status_shows_how_far_a_run_is(vox: Vox, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(STATUS)
    monkeypatch.setattr(mens_status, "run_status", asked)
    outcome = vox("mens", "status", "runs/x")
    assert asked.request == Path("runs/x")
    assert "running" in outcome.out
    assert "3 of 10" in outcome.out
    assert "1:15" in outcome.out
    document = vox("mens", "status", "runs/x", "--json").document
    assert (document["ok"], document["state"], document["step"]) == (True, "running", 3)


def test_status_of_nothing_is_refused(vox: Vox, tmp_path: Path) -> None:
    outcome = vox("mens", "status", tmp_path / "no", "--json")
    assert outcome.code == 3
    assert outcome.document["problems"][0]["where"] == str(tmp_path / "no")


EVALUATED = EvalReport(
    model="vox-nano",
    adapter=None,
    loss=1.0,
    rows=3,
    supervised_tokens=12,
    truncated_rows=1,
    skipped_rows=0,
    sources=(
        SourceLoss(source="a", loss=0.5, rows=1, supervised_tokens=6),
        SourceLoss(source="b", loss=1.5, rows=2, supervised_tokens=6),
    ),
    seconds=0.5,
    device="cpu",
    compute_dtype="float32",
    notes=("a note.",),
)


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> Asked:
    asked = Asked(EVALUATED)
    monkeypatch.setattr(mens_eval, "evaluate", asked)
    return asked


def test_eval_prints_loss_and_perplexity(vox: Vox, evaluated: Asked) -> None:
    outcome = vox("mens", "eval", "--data", "rows.jsonl")
    assert evaluated.request == EvalRequest(data=Path("rows.jsonl"))
    assert "1.0000" in outcome.out
    assert "2.72" in outcome.out
    assert "1 truncated" in outcome.out
    assert "a  loss 0.5000" in outcome.out
    assert outcome.err == "note: a note.\n"


def test_eval_json_has_the_promised_fields(vox: Vox, evaluated: Asked) -> None:
    document = vox("mens", "eval", "--data", "rows.jsonl", "--run", "runs/x", "--json").document
    assert {"loss", "perplexity", "supervised_tokens", "rows", "sources"} <= set(document)
    assert evaluated.request.weights == WeightsChoice(run=Path("runs/x"))


def test_a_run_and_a_checkpoint_exclude_each_other(vox: Vox, evaluated: Asked) -> None:
    argv = ["--run", "r", "--checkpoint", "c.bin"]
    outcome = vox("mens", "eval", "--data", "rows.jsonl", *argv)
    assert (outcome.code, outcome.codes) == (2, ["MENS-U030"])
    assert evaluated.request is None


def test_a_value_can_come_from_the_environment(
    vox: Vox, evaluated: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOX_MENS_DATA", "from-env.jsonl")
    monkeypatch.setenv("VOX_MENS_SEQ_LEN", "99")
    assert vox("mens", "eval", "--seq-len", 98).code == 0
    assert evaluated.request == EvalRequest(data=Path("from-env.jsonl"), seq_len=98)


def result(prompt: str, text: str = "done") -> GenerateResult:
    return GenerateResult(prompt=prompt, text=text, ids=(1, 2), stop_reason="end")


class Generated:
    request: GenerateRequest | None = None

    def __call__(self, request: GenerateRequest) -> Iterator[GenerateResult]:
        self.request = request
        return (result(prompt) for prompt in request.prompts)


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch) -> Generated:
    fake = Generated()
    monkeypatch.setattr(mens_generate, "continue_prompts", fake)
    return fake


def test_generate_prints_the_text_alone(vox: Vox, generated: Generated) -> None:
    outcome = vox("mens", "generate", "--prompt", "Go on.")
    assert (outcome.code, outcome.out, outcome.err) == (0, "done\n", "")
    assert generated.request == GenerateRequest(prompts=("Go on.",))


def test_generate_passes_on_how_to_sample(vox: Vox, generated: Generated) -> None:
    argv = ["--max-new-tokens", 5, "--temperature", 0.5, "--top-k", 3, "--top-p", 0.9, "--seed", 4]
    argv += ["--checkpoint", "c.bin", "--model", "base"]
    assert vox("mens", "generate", "--prompt", "Go on.", *argv).code == 0
    assert generated.request == GenerateRequest(
        prompts=("Go on.",),
        weights=WeightsChoice(checkpoint=Path("c.bin"), model_dir=Path("base")),
        max_new_tokens=5,
        temperature=0.5,
        top_k=3,
        top_p=0.9,
        seed=4,
    )


def test_generate_says_when_a_flag_has_no_effect(vox: Vox, generated: Generated) -> None:
    assert "no effect" in vox("mens", "generate", "--prompt", "x", "--top-k", 3).err
    quiet = vox("mens", "generate", "--prompt", "x", "--top-k", 3, "--temperature", 1)
    assert quiet.err == ""


def test_generate_json_is_a_document_for_a_prompt(vox: Vox, generated: Generated) -> None:
    document = vox("mens", "generate", "--prompt", "x", "--json").document
    assert document == {
        "ok": True,
        "prompt": "x",
        "text": "done",
        "ids": [1, 2],
        "stop_reason": "end",
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("prompts.txt", "first\n\nsecond\u2028line\r\n"),
        ("prompts.jsonl", '{"prompt": "first"}\n{"prompt": "second\\u2028line", "response": ""}\n'),
    ],
)
def test_generate_reads_prompts_from_a_file(
    vox: Vox, generated: Generated, tmp_path: Path, name: str, content: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode())
    outcome = vox("mens", "generate", "--prompts", path, "--json")
    assert [json.loads(line)["prompt"] for line in outcome.out.split("\n")[:-1]] == [
        "first",
        "second\u2028line",
    ]
    assert vox("mens", "generate", "--prompts", path).out.startswith("> first\ndone\n")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.txt", b"\n \n"),
        ("latin.txt", b"caf\xe9"),
        ("empty.jsonl", b""),
        ("other.jsonl", b'{"text": "x"}\n'),
    ],
)
def test_files_without_prompts_are_refused(
    vox: Vox, generated: Generated, tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    outcome = vox("mens", "generate", "--prompts", tmp_path / name)
    assert (outcome.code, outcome.codes) == (2, ["MENS-U032"])
    assert vox("mens", "generate", "--prompts", tmp_path / "absent.txt").code == 2
    assert vox("mens", "generate", "--prompts", tmp_path).code == 2


@pytest.mark.parametrize(
    ("argv", "codes"),
    [
        ([], ["MENS-U031"]),
        (["--prompt", ""], ["MENS-U031"]),
        (["--prompt", "x", "--prompts", "f"], ["MENS-U030"]),
        (["--prompt", "x", "--temperature", "-1"], ["MENS-U005"]),
        (["--prompt", "x", "--top-p", "0"], ["MENS-U005"]),
        (["--prompt", "x", "--top-k", "0"], ["MENS-U005"]),
        (["--prompt", "x", "--max-new-tokens", "0"], ["MENS-U005"]),
    ],
)
def test_generate_refuses_what_makes_no_sense(
    vox: Vox, generated: Generated, argv: list[str], codes: list[str]
) -> None:
    outcome = vox("mens", "generate", *argv)
    assert (outcome.code, outcome.codes) == (2, codes)
    assert generated.request is None
