"""Every numeric setting of every command, given what no setting expects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_origin, get_type_hints

import pytest

from vox_cli.command_table import COMMANDS, CommandEntry
from vox_cli.refused_value import ValueRefusedError
from vox_cli.request_options import with_requests
from vox_populi import extras

Vox = Callable[..., Any]

HOSTILE = ("0", "-1", str(2**31), str(2**63), str(2**70), "1e300", "nan", "inf", "9" * 5000)
MOST_CHARACTERS = 600
"""Of a line about a number."""
REQUIRED = {
    "train": ("--data-dir", "none", "--output-dir", "out"),
    "preview": ("--data", "none"),
    "eval": ("--data", "none"),
    "generate": ("--run", "none", "--prompt", "x"),
    "merge-weights": ("--checkpoint", "none", "--output-dir", "out"),
    "merge-qlora": ("--adapter", "none", "--output-dir", "out"),
    "quantize": ("--model", "none", "--output-dir", "out"),
    "pairs": ("--root", "none", "--output-dir", "out"),
    "mix": ("--config", "none"),
    "check": ("none",),
    "watch": ("none",),
    "eval-local": ("none", "--tasks", "none"),
    "bench-completion": ("none", "--prompts", "none"),
    "serve": ("none",),
    "check-served": ("http://127.0.0.1:1", "none"),
    "lm-eval": ("none", "--tasks", "none"),
    "run": ("--suite", "none", "--lora-run", "a", "--qlora-run", "b", "--output-dir", "out"),
    "export-mobile": ("none", "--for", "onnx", "--output-dir", "out"),
    "merge": ("none", "--output-dir", "out"),
    "clear": (),
    "split": ("none", "--train", "t.jsonl", "--valid", "v.jsonl"),
}
"""What each command needs before it gets to look at files, none of which is there."""


class Setting(NamedTuple):
    """An option that carries a value."""

    name: str
    parse: Callable[[str], object]
    flag: str

    @property
    def variable(self) -> str:
        return f"VOX_MENS_{self.name.upper()}"


class Case(NamedTuple):
    entry: CommandEntry
    setting: Setting


def is_numeric(setting: Setting) -> bool:
    try:
        value = setting.parse("64")
    except ValueRefusedError:
        try:
            value = setting.parse("1")
        except ValueRefusedError:
            return False
    return isinstance(value, int | float) and not isinstance(value, bool)


def settings_of(command: Callable[..., None]) -> Iterator[Setting]:
    command = with_requests(command, "")
    for name, hint in get_type_hints(command, include_extras=True).items():
        declared: Any = hint.__metadata__[0] if get_origin(hint) is Annotated else None
        parse = getattr(declared, "parser", None)
        if parse is not None:
            named = [each for each in declared.param_decls or () if each.startswith("--")]
            yield Setting(name, parse, named[0] if named else "--" + name.replace("_", "-"))


def cases() -> list[Case]:
    found: list[Case] = []
    seen: set[object] = set()
    for entry in COMMANDS:
        command = getattr(extras.load(entry.module), entry.function)
        if command in seen:
            continue  # Another name of a command.
        seen.add(command)
        found += [Case(entry, each) for each in settings_of(command) if is_numeric(each)]
    return found


CASES = cases()


class Tried(NamedTuple):
    """Hostile numbers by what a setting's parser says of them, which is all that a source adds."""

    accepted: tuple[str, ...]
    """These reach whatever comes after the parser, each in its own way."""
    refused: str
    """The longest one that the parser refuses: all of them end in the same place."""

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.accepted, self.refused)


def tried(setting: Setting) -> Tried:
    """Give every hostile number to the parser, which returns a value or refuses and no more."""
    accepted, refused = [], []
    for text in HOSTILE:
        try:
            setting.parse(text)
        except ValueRefusedError as refusal:
            for problem in refusal.problems:
                assert len(str(problem)) < MOST_CHARACTERS
            refused.append(text)
        else:
            accepted.append(text)
    return Tried(tuple(accepted), max(refused, key=len))


def check(outcome: Any, *, is_done: bool = False) -> None:
    assert outcome.code in (2, 3, 5) or (is_done and outcome.code == 0), outcome.err
    assert "MENS-B" not in outcome.err
    for line in outcome.err.splitlines():
        assert len(line) < MOST_CHARACTERS


def test_every_command_with_numbers_is_tried() -> None:
    assert {case.entry.words[-1] for case in CASES} == set(REQUIRED)
    assert len({case.setting.name for case in CASES}) > 30


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: " ".join(case.entry.words) + case.setting.flag
)
def test_a_hostile_number_ends_in_one_line(
    vox: Vox, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="needs vox-tensor[gpu]")
    monkeypatch.chdir(tmp_path)
    words, required = case.entry.words, REQUIRED[case.entry.words[-1]]
    is_done = words[-1] == "clear"  # An empty cache can be cleared.
    numbers = tried(case.setting)
    for text in numbers.all:
        check(vox(*words, *required, f"{case.setting.flag}={text}"), is_done=is_done)
    with monkeypatch.context() as environment:
        for text in (*numbers.accepted[-1:], numbers.refused):
            environment.setenv(case.setting.variable, text)
            check(vox(*words, *required), is_done=is_done)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.entry.words == ("mens", "train")],
    ids=lambda case: case.setting.name,
)
def test_a_hostile_number_in_a_config_ends_in_one_line(
    vox: Vox, case: Case, tmp_path: Path
) -> None:
    pytest.importorskip("torch", reason="needs vox-tensor[gpu]")
    path = tmp_path / "run.yaml"
    for text in tried(case.setting).all:
        path.write_text(f"{case.setting.name}: {text}\n", encoding="utf-8")
        check(vox("mens", "train", *REQUIRED["train"], "--config", path))


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("line", ["seed: {}", "min_rating: {}", "{{weight}}", "{{sample_rate}}"])
def test_a_hostile_number_in_a_mix_config_is_refused_in_one_line(
    vox: Vox, line: str, text: str, tmp_path: Path
) -> None:
    path = tmp_path / "mix.yaml"
    name = line.strip("{}")
    inner = f"\n    {name}: {text}" if "{{" in line else ""
    outer = "" if inner else line.format(text)
    path.write_text(f"sources:\n  - path: none.jsonl{inner}\n{outer}\n", encoding="utf-8")
    check(vox("mens", "corpus", "mix", "--config", path, "--output", tmp_path / "out.jsonl"))


@pytest.mark.parametrize(
    "source", ["flag", "environment", "file"], ids=["flag", "environment", "file"]
)
def test_threads_are_bounded_by_the_cores(
    vox: Vox, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vox_populi.pipeline.machine_probe.count_cpus", lambda: 2)
    (tmp_path / "train.jsonl").write_text('{"prompt": "a", "response": "b"}\n' * 4, "utf-8")
    argv: list[object] = ["mens", "train", "--data-dir", tmp_path, "--output-dir", tmp_path / "run"]
    if source == "flag":
        argv += ["--threads", 4096]
    elif source == "environment":
        monkeypatch.setenv("VOX_MENS_THREADS", "4096")
    else:
        (tmp_path / "run.yaml").write_text("threads: 4096\n", "utf-8")
        argv += ["--config", tmp_path / "run.yaml"]
    outcome = vox(*argv, "--dry-run")
    assert (outcome.code, outcome.codes) == (3, ["MENS-C020"])
    assert "4096 threads" in outcome.err
    assert "2 cores" in outcome.err
