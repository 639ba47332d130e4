"""The source system's flags by command: which are accepted here, and what to do about the others.

Only data. An entry is `SAME` for a flag that our command has under the same name, `ALIAS` for one
that is read as a flag of ours, otherwise a sentence without its full stop. A test reads every entry
and calls the real commands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

SAME = "same"
ALIAS = "alias"
"""Marks a flag that `vox_cli/source_spelling.py` reads as ours."""


class SourceCommand(NamedTuple):
    """A command of the source system that has one here."""

    ours: str
    """Words of our command, after `vox`."""
    flags: Mapping[str, str]
    """Its flags in their order."""


_LOCAL = "Nothing is rented, downloaded or uploaded: training runs on this machine"
_FILES = "Training never builds or rewrites its rows; use vox mens corpus mix before it"
_NO_DATABASE = "There is no database behind runs; their folders hold everything"


_NOT_A_FILE = "Pass one folder: what is written or read here has more than one file"


def _same(names: str) -> dict[str, str]:
    return dict.fromkeys(names.split(), SAME)


_TRAIN = {
    **_same("--model --device --backend --tokenizer --data-dir --output-dir --rank --alpha"),
    **_same("--seq-len --batch-size --grad-accum --epochs --lr --warmup --resume --seed"),
    **_same("--min-rating --preset"),
    "--domain": "Put the settings of a domain into a YAML file and pass it with --config",
    **_same("--deployment-target"),
    "--process-priority": "Start the command with nice, as in: nice -n 10 vox mens train",
    "--vram-limit-fraction": (
        "A run that does not fit is refused before it starts; see vox mens train --dry-run, and"
        " --preset auto leaves a tenth of the memory free"
    ),
    "--background": (
        "Start the command with nohup and & or as a service, and follow it with vox mens watch"
    ),
    "--log-dir": "Redirect standard error into a file; telemetry.jsonl has every step",
    "--adapter-tag": "Put the label into the name of --output-dir",
    **_same("--context-filter --qlora-no-double-quant --qlora-require-full-proxy-stack"),
    **_same("--qlora-allow-partial-proxy-stack --qlora-lm-head-only --qlora-proxy-max-layers"),
    **_same("--qlora-max-skip-rate --qlora-ce-last-k --checkpoint-every"),
    **_same("--validation-split-ratio --force-restart"),
    "--require-gpu": "Pass --device cuda (or metal), which is never replaced by the CPU",
    "--allow-cpu-fallback": "Pass --device best, which uses the CPU where there is no GPU",
    **_same("--curriculum"),
    "--optimizer-experiment-mode": "Choose with --optimizer; there are no reserved modes",
    "--data-mode": _FILES,
    "--fast-corpus": _FILES,
    **_same("--base-model-family --upstream-model-id --license-class --attribution-required"),
    **_same("--trajectory-weighting-enabled --trajectory-tool-trace-boost"),
    **_same("--trajectory-failure-category-boost --trajectory-quality-floor"),
    **_same("--trajectory-quality-boost"),
    "--cloud": _LOCAL,
    "--max-budget": _LOCAL,
    "--train-data-hf": _LOCAL,
    "--adapter-upload-hf": _LOCAL,
    **_same("--max-runtime-secs"),
}

_MERGE_WEIGHTS = {
    "--output": ALIAS,
    **_same("--model"),
    "--rank": "It is read from the adapter, which has its own",
    "--alpha": "It is read from the adapter, which has its own",
}

_MERGE_QLORA = {
    "--base-shard": ALIAS,
    **_same("--adapter --meta"),
    "--output": ALIAS,
}

SOURCE_FLAGS: Mapping[str, SourceCommand] = {
    "mens train": SourceCommand("mens train", _TRAIN),
    "schola train": SourceCommand(
        "schola train",
        {
            "--resume-checkpoint": ALIAS,
            "--continue-run": ALIAS,
            "--skip-corpus-mix": _FILES,
        },
    ),
    "mens merge-weights": SourceCommand("mens merge-weights", _MERGE_WEIGHTS),
    "mens merge-qlora": SourceCommand("mens merge-qlora", _MERGE_QLORA),
    "mens merge-adapter": SourceCommand("mens merge-adapter", _MERGE_QLORA),
    "schola merge-qlora": SourceCommand("schola merge-qlora", _MERGE_QLORA),
    "mens probe": SourceCommand("mens doctor", _same("--verbose")),
    "mens status": SourceCommand(
        "mens status",
        {
            "--run-dir": ALIAS,
            "--quotas": _NO_DATABASE,
            "--config": _NO_DATABASE,
            "--db": _NO_DATABASE,
            "--cloud": _LOCAL,
        },
    ),
    "mens watch-telemetry": SourceCommand(
        "mens watch-telemetry",
        {
            "--telemetry": ALIAS,
            "--err-log": "A failure is in telemetry.jsonl of the run, which watch shows",
            "--interval-ms": ALIAS,
        },
    ),
    "mens serve": SourceCommand(
        "mens serve",
        {
            "--model": "Pass the folder without a flag: vox mens serve MODEL",
            **_same("--port --host"),
            "--max-tokens": "Pass --max-new-tokens; a request may ask for fewer",
            "--temperature": "Each request says its own temperature",
            "--cloud": _LOCAL,
            "--max-budget": _LOCAL,
            "--model-hf": _LOCAL,
            "--max-runtime-secs": "Start the command with timeout: SIGTERM lets answers end",
        },
    ),
    "mens eval-local": SourceCommand(
        "mens eval-local",
        {
            **_same("--model"),
            "--bench": "Write the benchmark as tasks (docs: Task files) and pass it with --tasks",
            "--max-tokens": ALIAS,
            **_same("--temperature --samples"),
            "--seed-base": ALIAS,
            "--output": ALIAS,
        },
    ),
    "mens bench-completion": SourceCommand(
        "mens bench-completion", _same("--url --count --warmup")
    ),
    "mens eval-collateral-damage": SourceCommand(
        "mens eval-gate",
        {
            "--pre-score": "Pass the report from before the training with --baseline",
            "--post": "Measure the adapter with vox mens eval-local, and pass the report first",
        },
    ),
    "mens generate": SourceCommand(
        "mens generate",
        {
            "--output": "Redirect standard output, or pass --json",
            "--no-validate": "Answers are not compiled here, so there is nothing to turn off",
            "--server-url": "The model runs in this command; pass --run or --model",
            "--max-retries": "A prompt is answered once; --temperature and --seed vary answers",
            "--output-mode": "Ask for JSON in the prompt; --json is about the command's own output",
            "--schema": "Answers are not checked against a schema here",
            "--context-mode": "The prompt is all that the model sees",
            "--conversation-id": "Use --interactive for a conversation",
            "--queue": "Pass many prompts with --prompts",
            "--mode": "The prompt is all that the model sees",
        },
    ),
}
"""Keys are the words of the source system's command."""


def source_flag_hint(command: str, flag: str) -> str | None:
    """What to do about a flag of the source system that a command of ours lacks.

    Args:
        command: Words of our command, after `vox`.
        flag: The flag as typed.
    """
    for each in SOURCE_FLAGS.values():
        found = each.flags.get(flag)
        if each.ours == command and found is not None and found != SAME:
            return _NOT_A_FILE if found == ALIAS else found
    return None
