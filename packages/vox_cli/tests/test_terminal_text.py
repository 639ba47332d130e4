"""What reaches a terminal of the text of others, seen from its other side: a pseudo-terminal."""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import json
import os
import re
import signal
import sys
import threading
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from vox_cli.app import run
from vox_cli.command_loading import load_command
from vox_cli.command_table import COMMANDS
from vox_cli.exit_codes import ExitCode
from vox_populi import extras
from vox_populi.contract.choices import ActivationMemoryChoice
from vox_populi.events import Event, EventName
from vox_populi.hf.family_registry import FAMILIES
from vox_populi.pipeline.generate import GenerateResult
from vox_populi.pipeline.stopped_run import RunInterruptedError
from vox_populi.pipeline.train import PlannedRun
from vox_populi.runs.run_dir import TELEMETRY_FILE

pty = pytest.importorskip("pty", reason="needs a system with pseudo-terminals")
fcntl = pytest.importorskip("fcntl", reason="needs a system with pseudo-terminals")

FORGED = ("error [MENS-FORGED]", "state  completed", "note: forged")
HOSTILE = (
    "a\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b2K\x9d0;t\x9c\x85\u202eb\u2028\u2066\x08\x7f\r"
    + "".join(f"\n{line}" for line in FORGED)
)
# A path can hold all of it but the half of a character.
RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
OURS = re.compile(r"\x1b\[(?:36|32|1|1;31|1;32|0)m|\r[^\r\n]*\x1b\[K|\r(?=\n)")
"""Colours of `terminal.Style`, a redrawn line, and how a terminal ends lines."""


@dataclasses.dataclass
class Screen:
    """A terminal that both streams are on, and everything that was written to it."""

    code: int
    text: str

    @property
    def lines(self) -> list[str]:
        return re.split(r"\r?\n|\r", self.text)


Show = Callable[..., Screen]


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch) -> Show:
    """Run `vox ARGUMENTS…` on a terminal."""
    for name in list(os.environ):
        if name.startswith("VOX_") or name in ("NO_COLOR", "FORCE_COLOR", "CI"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TERM", "xterm")

    def call(*argv: object) -> Screen:
        ours, theirs = pty.openpty()
        seen = bytearray()
        reader = threading.Thread(target=_read_all, args=(ours, seen), daemon=True)
        reader.start()
        with (
            os.fdopen(theirs, "w", encoding="utf-8", errors="backslashreplace") as stream,
            monkeypatch.context() as patch,
        ):
            patch.setattr(sys, "stdout", stream)
            patch.setattr(sys, "stderr", stream)
            code = run([str(argument) for argument in argv])
        reader.join(timeout=20)
        assert not reader.is_alive(), "both sides must have been closed"
        os.close(ours)
        return Screen(code, seen.decode())

    return call


def _read_all(descriptor: int, seen: bytearray) -> None:
    while True:
        try:
            piece = os.read(descriptor, 4096)
        except OSError:
            # Linux says so when the other side is closed.
            return
        if not piece:
            return
        seen += piece


def assert_harmless(screen: Screen, *, is_free_text: bool = False) -> None:
    """Nothing acts on the terminal, and no line is one that a field pretends to be."""
    left = RAW.search(OURS.sub("", screen.text))
    assert left is None, repr(screen.text[max(left.start() - 60, 0) : left.end() + 60])
    assert "owned" in screen.text, "the text must have been shown"
    for line in screen.lines:
        if line.startswith("{"):
            assert any(HOSTILE in text for text in texts_of(json.loads(line)))
    if not is_free_text:
        assert [line for line in screen.lines if line.startswith(FORGED)] == []


def texts_of(value: object) -> list[str]:
    """Every text and key of a JSON value."""
    if isinstance(value, dict):
        return [text for pair in value.items() for each in pair for text in texts_of(each)]
    if isinstance(value, list):
        return [text for each in value for text in texts_of(each)]
    return [value] if isinstance(value, str) else []


def hostile(hint: Any) -> Any:
    """A value of a type in which every text, path and key is hostile."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint is None:
        return None
    if origin in (typing.Union, types.UnionType):
        return hostile(next(each for each in inner if each is not type(None)))
    if origin is tuple:
        return tuple(hostile(each) for each in inner if each is not Ellipsis)
    if origin in (list, typing.get_origin(typing.Sequence[int])):
        return [hostile(inner[0])]
    if origin is collections.abc.Callable:
        return lambda *_: False
    if origin is frozenset:
        return frozenset({hostile(inner[0])})
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {hostile(inner[0]): hostile(inner[1])}
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        # A value of the type within itself would never end.
        hints = {name: None if hint in typing.get_args(h) else h for name, h in hints.items()}
        names = [field.name for field in dataclasses.fields(hint) if field.init]
        return hint(**{name: hostile(hints[name]) for name in names})  # type: ignore[operator]  # a class, not an instance
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return next(iter(hint))
    plain = {str: HOSTILE, Path: Path(HOSTILE), int: 1, float: 0.5, bool: False, object: HOSTILE}
    return plain[hint]


REPORTED = {
    "doctor": ("examine_machine", ()),
    "status": ("run_status", ("x",)),
    "eval": ("evaluate", ("--data", "x")),
    "merge-weights": ("merge", ("--checkpoint", "x", "--output-dir", "y")),
    "merge-qlora": ("merge", ("--adapter", "x", "--output-dir", "y", "--onto", "original")),
    "export-adapter": ("export", ("x", "--for", "peft", "--output-dir", "y")),
    "export-gguf": ("export", ("x", "--output", "y")),
    "quantize": ("quantize_model", ("--model", "x", "--output-dir", "y")),
    "import-adapter": ("import_peft", ("x", "--model", "b", "--output", "y")),
    "convert-adapter": ("convert", ("x", "--to", "v3", "--output", "y")),
    "lint": ("lint_folder", ("x",)),
    "validate": ("validate_corpus", ("x",)),
    "stats": ("count_corpus", ("x",)),
    "convert": ("convert_rows", ("x", "--to", "messages", "--output", "y")),
    "split": ("split_corpus", ("x", "--train", "y", "--valid", "z")),
    "train": ("run_training", ("--data-dir", "x", "--output-dir", "y")),
}
"""Command to the function that gives its report, and arguments that reach it."""


@pytest.mark.parametrize("flags", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("name", REPORTED)
def test_no_field_of_a_report_reaches_a_terminal_raw(
    show: Show, monkeypatch: pytest.MonkeyPatch, name: str, flags: tuple[str, ...]
) -> None:
    attribute, arguments = REPORTED[name]
    entry = next(each for each in COMMANDS if each.words[-1] == name)
    module: Any = extras.load(entry.module)
    owner = module
    for part in attribute.split(".")[:-1]:
        owner = getattr(owner, part)
    attribute = attribute.rpartition(".")[2]
    report = hostile(typing.get_type_hints(getattr(owner, attribute))["return"])
    monkeypatch.setattr(owner, attribute, lambda *asked, **named: report)
    assert_harmless(show(*entry.words, *arguments, *flags))


def test_no_event_of_a_run_reaches_a_terminal_raw(
    show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    train: Any = extras.load("vox_cli.commands.mens_train")
    report = hostile(typing.get_type_hints(train.run_training)["return"])

    def run_training(contract: object, options: object, sinks: Any = ()) -> Any:
        for sink in sinks:
            for name in EventName:
                payload = {"notes": [HOSTILE], "message": HOSTILE, "step": 1, "val_loss": 1.0}
                sink.emit(Event(name, {**payload, "planned_steps_total": 2}))
        return report

    monkeypatch.setattr(train, "run_training", run_training)
    assert_harmless(show("mens", "train", "--data-dir", "x", "--output-dir", "y"))


def test_ctrl_c_is_acknowledged_at_once_and_is_not_an_error(
    show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    train: Any = extras.load("vox_cli.commands.mens_train")

    def run_training(contract: object, options: Any, sinks: Any = ()) -> Any:
        for sink in sinks:
            sink.emit(Event(EventName.STEP, {"step": 1, "planned_steps_total": 2}))
        options.on_stop("stopping after this step")
        for sink in sinks:
            sink.emit(Event(EventName.STEP, {"step": 2, "planned_steps_total": 2}))
        raise RunInterruptedError(signal.SIGINT, 2, "checkpoints/step-2")

    monkeypatch.setattr(train, "run_training", run_training)
    screen = show("mens", "train", "--data-dir", "x", "--output-dir", "y", "--json")
    assert screen.code == 130
    said = [line for line in screen.lines if line]
    assert said[1] == "\x1b[Kstopping after this step"
    assert "step 2/2" in said[2]
    assert OURS.sub("", said[3]).startswith("stopped [MENS-R010]")
    assert json.loads(said[4])["exit_code"] == 130


def test_no_plan_reaches_a_terminal_raw(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    train: Any = extras.load("vox_cli.commands.mens_train")
    made = hostile(typing.get_type_hints(PlannedRun)["plan"])
    # A family is ours, never a file's; names in it are looked up. A plan never has `auto`.
    config = dataclasses.replace(made.config, family=FAMILIES[0], experts=None)
    made = dataclasses.replace(made, config=config, activation_memory=ActivationMemoryChoice.FULL)

    @dataclasses.dataclass
    class Planned:
        plan: Any
        shown_notes: tuple[str, ...] = (HOSTILE,)

    monkeypatch.setattr(train, "plan_training", lambda contract, use, place: Planned(made))
    assert_harmless(show("mens", "train", "--data-dir", "x", "--output-dir", "y", "--dry-run"))


@pytest.mark.parametrize("flags", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("source", ["--prompt", "--prompts"])
def test_no_answer_reaches_a_terminal_raw(
    show: Show,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    source: str,
    flags: tuple[str, ...],
) -> None:
    module: Any = extras.load("vox_cli.commands.mens_generate")
    answer = hostile(GenerateResult)
    monkeypatch.setattr(module, "continue_prompts", lambda request: iter([answer]))
    given = tmp_path / "prompts.txt"
    given.write_text("x", encoding="utf-8")
    screen = show("mens", "generate", source, given if source == "--prompts" else "x", *flags)
    # The one answer is all there is on standard output; of many, none can pretend to be a prompt.
    assert_harmless(screen, is_free_text=source == "--prompt")


def test_no_piece_of_a_streamed_answer_reaches_a_terminal_raw(
    show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = extras.load("vox_cli.commands.mens_generate")

    class Chat:
        model = HOSTILE
        notes = (HOSTILE,)

        def answer(self, text: str, on_text: Callable[[str], None]) -> GenerateResult:
            for character in HOSTILE:
                on_text(character)
            return GenerateResult(prompt=text, text=HOSTILE, ids=(1,), stop_reason="length")

    typed = iter(["hello", f"/{HOSTILE}", "/quit"])
    monkeypatch.setattr(module, "open_chat", lambda request: Chat())
    monkeypatch.setattr("builtins.input", lambda prompt: next(typed))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    screen = show("mens", "generate", "--interactive")
    assert screen.code == 0
    # An answer has lines of its own; notes and the model's name have not.
    assert_harmless(screen, is_free_text=True)
    assert screen.text.count("\nnote: forged") == 2, "of two answers, each once"


def test_no_name_or_text_of_a_row_reaches_a_terminal_raw(show: Show, tmp_path: Path) -> None:
    rows = tmp_path / f"rows{HOSTILE.replace('/', '')}.jsonl"
    row = {"prompt": HOSTILE, "response": HOSTILE, "lane": HOSTILE, "category": HOSTILE}
    rows.write_text(json.dumps(row) + "\n" + json.dumps({**row, "lane": "b"}) + "\n", "utf-8")
    config = tmp_path / "mix.yaml"
    sources = [
        {"path": rows.name, "weight": 1.5},
        {"path": f"none{HOSTILE}", "optional": True},
    ]
    config.write_text(json.dumps({"sources": sources, "output": f"o{HOSTILE}.jsonl"}), "utf-8")
    for command in (
        ("preview", "--data", rows),
        ("preview", "--data", rows, "--color", "never"),
        ("preview", "--data", rows, "--check"),
        ("corpus", "check", rows, "--max-duplicates", "0.1"),
        ("corpus", "validate", rows),
        ("corpus", "stats", rows),
        ("corpus", "mix", "--config", config),
        ("corpus", "mix", "--config", config, "--force"),
        ("corpus", "pairs", "--from-python", tmp_path / HOSTILE, "--output-dir", tmp_path / "p"),
        ("init", tmp_path / f"new{HOSTILE}"),
    ):
        for flags in ((), ("--json",)):
            assert_harmless(show("mens", *command, *flags))


def test_no_file_of_a_run_folder_reaches_a_terminal_raw(show: Show, tmp_path: Path) -> None:
    run_folder = tmp_path / f"run{HOSTILE}"
    run_folder.mkdir()
    events = [
        (EventName.TRAIN_START, {"graph_id": HOSTILE}),
        (EventName.TRAIN_FAILED, {"message": HOSTILE}),
    ]
    lines = [json.dumps({"ts_ms": 1, "event": n, "payload": p}) for n, p in events]
    (run_folder / TELEMETRY_FILE).write_text("\n".join(lines) + "\n", encoding="utf-8")
    with (run_folder / ".run.lock").open("w", encoding="utf-8") as held:
        held.write(HOSTILE)
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        screen = show("mens", "status", run_folder)
        assert_harmless(screen)
        assert "held by" in screen.text
        assert "failure" in screen.text
        assert_harmless(show("mens", "status", run_folder, "--json"))
        for command in (("runs", tmp_path), ("report", run_folder)):
            for flags in ((), ("--json",)):
                assert_harmless(show("mens", *command, *flags))


def test_no_setting_reaches_a_terminal_raw(
    show: Show, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="needs vox-tensor[gpu]")
    config = tmp_path / f"run{HOSTILE}.yaml"
    known = {"data_dir": HOSTILE, "output_dir": "o", "system_prompt": HOSTILE}
    config.write_text(json.dumps(known), encoding="utf-8")
    train = ("mens", "train", "--config", config)
    for flags in (("--print-config",), ("--print-config", "--json"), (), ("--json",)):
        assert_harmless(show(*train, *flags))
    config.write_text(json.dumps({HOSTILE: HOSTILE, "epochs": HOSTILE}), encoding="utf-8")
    assert_harmless(show(*train))
    monkeypatch.setenv(f"VOX_MENS_BATCH_SIZES{HOSTILE.replace('=', '')}", "1")
    monkeypatch.setenv("VOX_MENS_EPOCHS", HOSTILE)
    assert_harmless(show("mens", "train", "--data-dir", HOSTILE, "--output-dir", "o"))


ANSWERED = {"generate": ("--prompt", "x"), "export-mobile": ("--for", "onnx")}
"""Options that are not required but asked for at once."""


@pytest.mark.parametrize("entry", COMMANDS, ids=lambda entry: " ".join(entry.words))
def test_no_argument_reaches_a_terminal_raw(
    show: Show, entry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a command makes of them: a path that is not there, a word it does not know."""
    monkeypatch.chdir(tmp_path)
    arguments = list(ANSWERED.get(entry.words[-1], ()))
    for parameter in load_command(entry).params:
        is_option = parameter.param_type_name == "option"
        if parameter.required or not is_option:
            arguments += [*([max(parameter.opts, key=len)] if is_option else []), HOSTILE]
    assert_harmless(show(*entry.words, f"--{HOSTILE}"))
    assert_harmless(show(*entry.words[:-1], HOSTILE))
    if arguments:
        screen = show(*entry.words, *arguments)
        if screen.code == ExitCode.MISSING_EXTRA:
            pytest.skip("the command needs an extra that is not installed")
        assert_harmless(screen)


def test_a_traceback_is_escaped(show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    doctor: Any = extras.load("vox_cli.commands.mens_doctor")

    def fail() -> None:
        raise ZeroDivisionError(HOSTILE)

    monkeypatch.setattr(doctor, "examine_machine", fail)
    monkeypatch.setenv("VOX_DEBUG", "1")
    assert_harmless(show("mens", "doctor"), is_free_text=True)


def test_a_harmless_text_is_told_from_one_that_acts() -> None:
    for acting in ("\x1b[2J", "\x1b]0;t\x07", "\x9b2K", "\u202e", "a\rb", "\nnote: forged"):
        with pytest.raises(AssertionError):
            assert_harmless(Screen(0, f"owned {acting}"))
    assert_harmless(Screen(0, "owned \x1b[32mgreen\x1b[0m\r\n\rstep 1\x1b[K\r\n\té😀"))
