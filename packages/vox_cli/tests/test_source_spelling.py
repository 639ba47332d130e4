from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from vox_cli.command_loading import load_command
from vox_cli.command_table import COMMANDS
from vox_cli.source_spelling import RENAMED, in_our_spelling

Vox = Callable[..., Any]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (
            "mens merge-qlora --base-shard b/m.safetensors --adapter a --meta m --output out",
            "mens merge-qlora --base b/m.safetensors --subset --adapter a --meta m"
            " --output-dir out",
        ),
        (
            "mens merge-adapter --base-shard=b/1.safetensors --base-shard b/2.safetensors -o out",
            "mens merge-adapter --base b --subset --output-dir out",
        ),
        (
            "schola merge-qlora --base-shard a/1 --base-shard b/2 --output out",
            "schola merge-qlora --base-shard a/1 --base-shard b/2 --output-dir out",
        ),
        ("mens merge-weights --output=out", "mens merge-weights --output-dir out"),
        ("mens merge-weights --output m.BIN", "mens merge-weights --output m.BIN"),
        ("mens status --run-dir runs/x --json", "mens status runs/x --json"),
        (
            "mens watch-telemetry --telemetry runs/x/telemetry.jsonl --interval-ms 3000",
            "mens watch-telemetry runs/x --interval 3",
        ),
        ("mens watch --telemetry=runs/x --interval-ms=250", "mens watch runs/x --interval 0.25"),
        (
            "mens watch --telemetry telemetry.jsonl --interval-ms soon",
            "mens watch . --interval soon",
        ),
        ("schola train --continue-run runs/x", "schola train --resume runs/x"),
        ("mens merge-qlora --output", "mens merge-qlora --output"),
        ("mens train --output-dir x", "mens train --output-dir x"),
        ("mens", "mens"),
        ("", ""),
    ],
)
def test_a_command_line_of_the_source_system_is_read_as_ours(theirs: str, ours: str) -> None:
    assert in_our_spelling(theirs.split()) == ours.split()
    assert in_our_spelling(ours.split()) == ours.split()


def test_every_renamed_flag_is_one_of_the_command() -> None:
    for words, renamed in RENAMED.items():
        entry = next(each for each in COMMANDS if each.words == words)
        command: Any = load_command(entry)
        flags = {name for each in command.params for name in each.opts}
        assert {ours for ours in renamed.values() if ours} <= flags | {"--base-shard"}
        assert not renamed.keys() & flags, "a flag that exists by now needs no other spelling"


def test_the_spelling_reaches_the_command(vox: Vox) -> None:
    outcome = vox("mens", "status", "--run-dir", "nowhere", "--json")
    assert outcome.codes == ["MENS-A022"], outcome.err
    outcome = vox("mens", "merge-weights", "--checkpoint", "x", "-o", "m.bin", "--json")
    assert outcome.code == 2
