"""Every flag of the source system is accepted, or refused by name with the way out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from vox_cli.command_loading import load_command
from vox_cli.command_table import COMMANDS
from vox_cli.source_spelling import RENAMED
from vox_populi.operator_messages.source_flags import ALIAS, SAME, SOURCE_FLAGS

Vox = Callable[..., Any]

PARSERS: Mapping[str, Any] = {" ".join(e.words): load_command(e) for e in COMMANDS}
TRAIN = """
    --model --device --backend --tokenizer --data-dir --output-dir --rank --alpha --seq-len
    --batch-size --grad-accum --epochs --lr --warmup --resume --seed --min-rating --preset --domain
    --deployment-target --process-priority --vram-limit-fraction --background --log-dir
    --adapter-tag --context-filter --qlora-no-double-quant --qlora-require-full-proxy-stack
    --qlora-allow-partial-proxy-stack --qlora-lm-head-only --qlora-proxy-max-layers
    --qlora-max-skip-rate --qlora-ce-last-k --checkpoint-every --validation-split-ratio
    --force-restart --require-gpu --allow-cpu-fallback --curriculum --optimizer-experiment-mode
    --data-mode --fast-corpus --base-model-family --upstream-model-id --license-class
    --attribution-required --trajectory-weighting-enabled --trajectory-tool-trace-boost
    --trajectory-failure-category-boost --trajectory-quality-floor --trajectory-quality-boost
    --cloud --max-budget --train-data-hf --adapter-upload-hf --max-runtime-secs
"""
"""Of section 1.1 of the notes on the source system."""
OTHERS = {
    "mens merge-weights": "--output --model --rank --alpha",
    "mens merge-qlora": "--base-shard --adapter --meta --output",
    "mens status": "--run-dir --quotas --config --db --cloud",
    "mens watch-telemetry": "--telemetry --err-log --interval-ms",
    "mens serve": """
        --model --port --host --max-tokens --temperature --cloud --max-budget --model-hf
        --max-runtime-secs""",
    "mens eval-local": "--model --bench --max-tokens --temperature --samples --seed-base --output",
    "mens bench-completion": "--url --count --warmup",
    "mens eval-collateral-damage": "--pre-score --post",
    "mens generate": """
        --output --no-validate --server-url --max-retries --output-mode --schema --context-mode
        --conversation-id --queue --mode""",
    "schola train": "--resume-checkpoint --continue-run --skip-corpus-mix",
}
CASES = [(command, flag) for command, source in SOURCE_FLAGS.items() for flag in source.flags]


def flags_of(command: str) -> set[str]:
    return {
        name
        for each in PARSERS[command].params
        for name in (*each.opts, *each.secondary_opts)
        if name.startswith("--")
    }


def test_the_whole_list_is_answered() -> None:
    assert list(SOURCE_FLAGS["mens train"].flags) == TRAIN.split()
    for command, flags in OTHERS.items():
        assert list(SOURCE_FLAGS[command].flags) == flags.split(), command


@pytest.mark.parametrize(("command", "flag"), CASES)
def test_a_flag_is_accepted_or_refused_with_the_way_out(vox: Vox, command: str, flag: str) -> None:
    source = SOURCE_FLAGS[command]
    answer = source.flags[flag]
    if answer == SAME:
        assert flag in flags_of(source.ours) | {"--verbose"}
        return
    if answer == ALIAS:
        assert flag in RENAMED[command.split()[0], command.split()[1]]
        return
    assert flag not in flags_of(source.ours), "it is accepted by now: the entry is SAME"
    outcome = vox(*source.ours.split(), flag, "1", "--json")
    (problem,) = outcome.document["problems"]
    assert (outcome.code, problem["code"], problem["where"]) == (2, "MENS-U002", flag)
    assert problem["fix"] == f"{answer}."


def test_every_flag_and_command_of_an_answer_exists() -> None:
    known = {name for command in PARSERS for name in flags_of(command)}
    for source in SOURCE_FLAGS.values():
        for answer in source.flags.values():
            words = [word.strip(";:,.()") for word in answer.split()]
            assert {word for word in words if word.startswith("--")} <= known, answer
            for named in re.findall(r"vox (mens [a-z-]+(?: mix)?)", answer):
                assert any(each.startswith(named) for each in PARSERS), answer
