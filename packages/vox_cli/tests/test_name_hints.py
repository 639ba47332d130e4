from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Vox = Callable[..., Any]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("--learning-rate", "--lr"),
        ("--learning_rate", "--lr"),
        ("--lora-r", "--rank"),
        ("--lora-rank", "--rank"),
        ("--lora-alpha", "--alpha"),
        ("--r", "--rank"),
        ("-r", "--rank"),
        ("--resume-from-checkpoint", "--resume"),
        ("--load-in-4bit", "--backend qlora"),
        ("--gradient-accumulation-steps", "--grad-accum"),
        ("--per-device-train-batch-size", "--batch-size"),
        ("--bf16", "--dtype bf16"),
        ("--num-train-epochs", "--epochs"),
        ("--max-seq-length", "--seq-len"),
        ("--target-modules", "--targets"),
        ("--warmup-ratio", "--warmup"),
        ("--output", "--output-dir"),
        ("--adapter", "--backend or --init-from"),
        # one component of a dotted name, our own name in another spelling, slips of the hand
        ("--train.epochs", "--epochs"),
        ("--batch_size", "--batch-size"),
        ("--leanring-rate", "--lr"),
        ("--rnak", "--rank"),
        ("--num-gpus", "--nproc"),
        ("--dataset", "--data"),
        ("--early-stopping", "--early-stopping-patience"),
    ],
)
def test_a_flag_of_a_peer_or_a_slip_is_answered_with_ours(vox: Vox, typed: str, meant: str) -> None:
    outcome = vox("mens", "train", typed, "1")
    assert outcome.code == 2
    assert outcome.err.splitlines() == [
        f"error [MENS-U002] {typed}: there is no such option. Did you mean {meant}?"
    ]


@pytest.mark.parametrize(
    ("typed", "word"),
    [
        ("--wandb-project", "telemetry.jsonl"),
        ("--logging-dir", "telemetry.jsonl"),
        ("--deepspeed", "--nproc"),
        ("--packing", "packed"),
        ("--load-in-8bit", "NF4"),
    ],
)
def test_a_setting_that_is_none_here_says_what_is_done_instead(
    vox: Vox, typed: str, word: str
) -> None:
    outcome = vox("mens", "train", typed, "1")
    assert outcome.codes == ["MENS-U002"]
    assert word in outcome.err
    assert "Did you mean" not in outcome.err


@pytest.mark.parametrize("typed", ["--flavour", "--xy", "--z", "--mode-of-work", "--" + "a" * 500])
def test_no_name_is_suggested_if_none_is_close(vox: Vox, typed: str) -> None:
    outcome = vox("mens", "train", typed)
    assert outcome.codes == ["MENS-U002"]
    assert "See: vox mens train --help" in outcome.err


@pytest.mark.parametrize(
    ("argv", "hint"),
    [
        (["merge-weights", "--run", "x"], "Did you mean --checkpoint?"),
        (["merge-weights", "--adapter", "x"], "Did you mean --checkpoint?"),
        (["merge-weights", "--base", "x"], "Did you mean --model?"),
        (["merge-qlora", "--run", "x"], "Did you mean --adapter?"),
        (["merge-qlora", "--checkpoint", "x"], "Did you mean --adapter?"),
        (["merge-qlora", "--model", "x"], "Did you mean --base?"),
        (["convert-adapter", "--model", "x"], "Did you mean --base?"),
        (["export-adapter", "--run", "x"], "It takes no flag here: vox mens export-adapter RUN"),
        (["export-gguf", "--base", "x"], "Did you mean --model?"),
        (["export-gguf", "--output-dir", "x"], "Did you mean --output?"),
        (["status", "--run", "x"], "It takes no flag here: vox mens status RUN"),
        (["preview", "--data-dir", "x"], "Did you mean --data?"),
        (["corpus", "validate", "--data", "x"], "It takes no flag here: vox mens corpus validate"),
        (["generate", "--max-tokens", "9"], "Did you mean --max-new-tokens?"),
        (["train", "run.yaml"], "vox mens train --config FILE"),
    ],
)
def test_names_of_other_commands_lead_to_the_ones_of_this(
    vox: Vox, argv: list[str], hint: str
) -> None:
    outcome = vox("mens", *argv)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert hint in outcome.err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["train"], ["Did you mean vox mens train?"]),
        (["doctor"], ["Did you mean vox mens doctor?"]),
        (["validate"], ["Did you mean vox mens corpus validate?"]),
        (["mens", "pairs"], ["Did you mean vox mens corpus pairs?"]),
        (["mens", "chat"], ["vox mens generate --interactive"]),
        (["mens", "deploy"], ["vox mens serve"]),
        (["mens", "diff"], ["vox mens compare"]),
        (["mens", "finetune"], ["Use vox mens train "]),
        (["mens", "sft"], ["Use vox mens train "]),
        (["mens", "fuse"], ["Use vox mens merge "]),
        (["mens", "export"], ["vox mens export-adapter (", " or vox mens export-gguf ("]),
        (["mens", "help"], ["Use vox mens --help"]),
        (["version"], ["Use vox --version"]),
        (["mens", "version"], ["Use vox --version"]),
        (["mens", "dpo"], ["supervised"]),
        (["download"], ["--model org/name --allow-download"]),
        (["Finetune-LoRA"], ["vox mens train"]),
    ],
)
def test_a_verb_of_a_peer_is_answered_with_the_command(
    vox: Vox, argv: list[str], words: list[str]
) -> None:
    outcome = vox(*argv)
    assert (outcome.code, outcome.codes) == (2, ["MENS-U008"])
    assert len(outcome.err.splitlines()) == 1
    assert [word for word in words if word not in outcome.err] == []


@pytest.mark.parametrize(
    ("key", "fix"),
    [
        ("learning_rate", "Did you mean lr?"),
        ("lora_r", "Did you mean rank?"),
        ("lora-r", "Did you mean rank?"),
        ("load_in_4bit", "Did you mean backend: qlora?"),
        ("adapter", "Did you mean backend or init_from?"),
        ("micro_batch_size", "Did you mean batch_size?"),
        ("flavour", "See: vox mens train --help"),
    ],
)
def test_the_same_table_answers_for_config_files(
    vox: Vox, tmp_path: Path, key: str, fix: str
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"{key}: 1\n", encoding="utf-8")
    outcome = vox("mens", "train", "--config", path, "--json")
    (problem,) = outcome.document["problems"]
    assert (problem["code"], problem["fix"]) == ("MENS-U011", fix)


def test_a_file_of_another_program_is_answered_key_by_key(vox: Vox, tmp_path: Path) -> None:
    path = tmp_path / "axolotl.yml"
    path.write_text(
        "base_model: x/y\nload_in_8bit: false\ndatasets:\n  - path: x\n    type: alpaca\n"
        "special_tokens:\nsequence_len: 4096\nrank: {a: 1}\n",
        encoding="utf-8",
    )
    outcome = vox("mens", "train", "--config", path)
    assert outcome.codes == ["MENS-U024"]
    path.write_text(path.read_text("utf-8").replace("{a: 1}", "8"), encoding="utf-8")
    outcome = vox("mens", "train", "--config", path)
    assert outcome.codes == ["MENS-U011"] * 5
    for meant in ("model", "data", "seq_len"):
        assert f"Did you mean {meant}?" in outcome.err


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("LEARNING_RATE", "VOX_MENS_LR"),
        ("LOAD_IN_4BIT", "VOX_MENS_BACKEND"),
        ("RNAK", "VOX_MENS_RANK"),
    ],
)
def test_the_same_table_answers_for_variables(
    vox: Vox, monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    monkeypatch.setenv(f"VOX_MENS_{name}", "1")
    outcome = vox("mens", "train", "--print-config")
    assert outcome.code == 0
    assert f"VOX_MENS_{name}" in outcome.err
    assert f"Did you mean {meant}?" in outcome.err


@pytest.mark.parametrize(
    ("flag", "value", "near"),
    [
        ("--backend", "bitsandbytes", "qlora"),
        ("--schedule", "constant_with_warmup", "constant"),
        ("--device", "cuda:0", "cuda"),
        ("--on-long-row", "drop", "skip"),
        ("--schedule", "cosin", "cosine"),
    ],
)
def test_the_same_table_answers_for_values(vox: Vox, flag: str, value: str, near: str) -> None:
    outcome = vox("mens", "train", flag, value)
    assert outcome.codes == ["MENS-C001"]
    assert f"Did you mean {near}?" in outcome.err


def test_targets_are_taken_in_the_spelling_of_peft(vox: Vox) -> None:
    outcome = vox("mens", "train", "--targets", "v_proj,Q_PROJ", "--print-config", "--json")
    assert outcome.document["settings"]["targets"]["value"] == "q,v"
