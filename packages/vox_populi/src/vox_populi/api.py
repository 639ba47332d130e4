"""The functions behind the commands, for programs. Settings have their names in a config file.

Paths may be text, members of closed sets their words. Whatever needs torch is loaded when it is
called. `vox_populi` exports these names.
"""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from vox_populi.contract.choices import (
    ComputeDtype,
    DeviceKind,
    TokenizerKind,
    default_tokenizer,
    parse_choice,
)
from vox_populi.contract.download_choice import ALLOW_DOWNLOAD
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.presets import is_auto, values_of_preset
from vox_populi.contract.setting import Setting, settings_of
from vox_populi.contract.template_word import parse_template
from vox_populi.contract.training_settings import TrainingSettings
from vox_populi.events import Event, Sink
from vox_populi.pipeline.base_argument import with_base_folder
from vox_populi.pipeline.evaluate import EvalReport, EvalRequest, evaluate
from vox_populi.pipeline.generate import LoadedModel
from vox_populi.pipeline.generate import load_model as load
from vox_populi.pipeline.model_arguments import model_folder, with_model_folders
from vox_populi.pipeline.preset_choice import choose_preset
from vox_populi.pipeline.progress_lines import ProgressLines
from vox_populi.pipeline.train import PlannedRun, Resume, RunOptions, TrainReport, run_training
from vox_populi.pipeline.train import plan_training as plan
from vox_populi.pipeline.transfer_lines import download_lines
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_tensor.visible_text import one_line

PathLike = str | Path


class Weights(TypedDict, total=False):
    """Which weights to run; a run or adapter supplies what is left out. None: the embedded base."""

    model: PathLike
    """Base or merged folder; with an adapter, only if the base has moved."""
    allow_download: bool
    """Download a `model` that is named as on the hub, such as `org/name@revision`."""
    run: PathLike
    """Run folder: its base with its final adapter."""
    checkpoint: PathLike
    """Adapter file, or checkpoint folder of a run, with its base."""
    adapter: PathLike
    """PEFT folder; `model` is its base."""
    tokenizer: Literal["vox", "hf"]
    template: str
    system_prompt: str
    force_template: bool
    """Allow another template or system prompt than in training."""
    device: Literal["best", "cpu", "cuda", "metal"]
    dtype: Literal["auto", "f32", "bf16"]
    threads: int


def plan_training(
    data: PathLike | Sequence[PathLike], output: PathLike, **settings: Unpack[TrainingSettings]
) -> PlannedRun:
    """Check all inputs and decide what would run; write nothing and load no weights.

    Args:
        data: Folder with `train.jsonl` (or `train.csv`, ...) and `valid.jsonl` if any; or a file
            of rows, or a list of files and folders.
        output: The run folder to be.
        settings: As in a config file: `rank`, `lr`, `epochs`, `model`, …

    Raises:
        VoxError: With every problem found: settings, rows, model, device, disk.
        TypeError: For a setting that does not exist.
    """
    asked = _asked(data, output, settings)
    planned = plan(asked.contract, _options(settings).folder_use)
    return replace(planned, said_before=asked.notes)


def train_adapter(
    data: PathLike | Sequence[PathLike],
    output: PathLike,
    *,
    progress: Callable[[str], object] | None = print,
    on_event: Callable[[Event], object] | None = None,
    resume: bool | PathLike = False,
    force: bool = False,
    **settings: Unpack[TrainingSettings],
) -> TrainReport:
    """Check, plan and train; write the run folder.

    Args:
        data: Folder with `train.jsonl` (or `train.csv`, ...) and `valid.jsonl` if any; or a file
            of rows, or a list of files and folders.
        output: A new run folder.
        progress: Gets lines of text: of a download, and every `log_every` steps; `None` for
            silence.
        on_event: Gets every event, in the thread that trains.
        resume: Continue from the newest checkpoint of `output`, or from this one.
        force: Move an occupied `output` aside and start over.
        settings: As in a config file: `rank`, `lr`, `epochs`, `model`, …

    Raises:
        VoxError: With every problem found before training; when the run fails.
        RunInterruptedError: After Ctrl-C, with a checkpoint to resume from.
        TypeError: For a setting that does not exist.
    """
    options = _options(settings, resume, force=force)
    asked = _asked(data, output, settings, progress)
    sinks: list[Sink] = []
    if progress is not None:
        write = progress
        for note in asked.notes:
            write(one_line(note))
        sinks.append(ProgressLines(lambda line: write(one_line(line)), options.log_every))
    if on_event is not None:
        sinks.append(_Callback(on_event))
    return asked.noted(run_training(asked.contract, options, sinks))


def training_events(
    data: PathLike | Sequence[PathLike],
    output: PathLike,
    *,
    resume: bool | PathLike = False,
    force: bool = False,
    **settings: Unpack[TrainingSettings],
) -> TrainingEvents:
    """Train while a `for` loop reads the events; see `train_adapter`.

    Leaving the loop early stops the run after the current step, with a checkpoint.

    Raises:
        VoxError: For settings that contradict each other; anything else is raised by the loop.
        TypeError: For a setting that does not exist.
    """
    options = _options(settings, resume, force=force)
    return TrainingEvents(_asked(data, output, settings), options)


class TrainingEvents:
    """A run to iterate over, once; `report` is there afterwards."""

    def __init__(self, asked: _Asked, options: RunOptions) -> None:
        self.report: TrainReport | None = None
        self._asked = asked
        self._options = options

    def __iter__(self) -> Iterator[Event]:
        """Train in another thread and hand on each event."""
        events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        is_left = False
        options = replace(self._options, should_stop=lambda: is_left)
        with ThreadPoolExecutor(1) as pool:
            run = pool.submit(run_training, self._asked.contract, options, [_Callback(events.put)])
            run.add_done_callback(lambda _: events.put(None))
            try:
                while (event := events.get()) is not None:
                    yield event
                self.report = self._asked.noted(run.result())
            finally:
                # The pool waits for the run, which stops at the end of its step.
                is_left = True


def load_model(
    *, progress: Callable[[str], object] | None = None, **weights: Unpack[Weights]
) -> LoadedModel:
    """Load a base model, with an adapter if one is chosen, and keep it in memory.

    Args:
        progress: Gets lines of text of a download, such as `print`; `None` for silence.
        weights: `model`, `run`, `checkpoint` or `adapter`, and how to run them.

    Raises:
        VoxError: For unusable weights.
    """
    return load(_weights(weights, progress))


def evaluate_model(
    rows: PathLike | Sequence[PathLike],
    *,
    compare_base: bool = False,
    generate: int = 0,
    max_new_tokens: int = 256,
    seq_len: int | None = None,
    progress: Callable[[str], object] | None = None,
    **weights: Unpack[Weights],
) -> EvalReport:
    """Measure the loss of a model on a file of rows and, if asked, its answers.

    Args:
        rows: File of rows in any format, or folder with test or held-out rows, or a list of these.
        compare_base: Measure the base without its adapter, too.
        generate: Answer this many rows and compare with their own answers.
        max_new_tokens: Longest answer.
        seq_len: Longest row; `None` for that of training.
        progress: Gets lines of text of a download; `None` for silence.
        weights: As for `load_model`.

    Raises:
        VoxError: For unusable weights or rows.
    """
    request = EvalRequest(
        data=_paths(rows),
        weights=_weights(weights, progress),
        compare_base=compare_base,
        generate=generate,
        max_new_tokens=max_new_tokens,
        seq_len=seq_len,
    )
    return evaluate(request)


@dataclass(frozen=True, slots=True)
class _Callback:
    """A function as a sink."""

    call: Callable[[Event], object]

    def emit(self, event: Event) -> None:
        """Hand an event on."""
        self.call(event)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request, and what was decided while it was made."""

    contract: FinetuneContract
    notes: tuple[str, ...]

    def noted(self, report: TrainReport) -> TrainReport:
        """The report with these notes first, if there are any."""
        return replace(report, notes=(*self.notes, *report.notes)) if self.notes else report


def _asked(
    data: PathLike | Sequence[PathLike],
    output: PathLike,
    settings: Mapping[str, object],
    progress: Callable[[str], object] | None = None,
) -> _Asked:
    """The request, with what a preset and the choice of a base imply."""
    options, watcher = {each.name for each in settings_of(RunOptions)}, download_lines(progress)
    known = {each.name: each for each in settings_of(FinetuneContract)}
    own = {name: value for name, value in settings.items() if name not in options}
    unknown = own.keys() - known.keys()
    if unknown:
        message = f"no setting is called {', '.join(sorted(unknown))}"
        raise TypeError(message)
    values: dict[str, Any] = {
        known[name].field: _stored(known[name], value) for name, value in own.items()
    }
    implied: dict[str, object] = {
        "tokenizer": default_tokenizer(values.get("backend"), values.get("model_dir"))
    }
    notes: tuple[str, ...] = ()
    if is_auto(values.get("preset")):
        if isinstance(values.get("model_dir"), Path):
            may_download = values.get(ALLOW_DOWNLOAD) is True
            values["model_dir"] = model_folder(
                values["model_dir"], may_download=may_download, watcher=watcher
            )
        chosen = choose_preset(values)
        values["preset"], notes = chosen.name, (chosen.note,)
    if values.get("preset") is not None:
        implied |= values_of_preset(str(values["preset"]))
    paths = {**_data(data), "output_dir": Path(output)}
    contract = FinetuneContract.of(**{**implied, **values, **paths})
    return _Asked(with_base_folder(contract, watcher), notes)


def _data(data: PathLike | Sequence[PathLike]) -> dict[str, object]:
    """A folder, or files and folders, as a request has them."""
    if isinstance(data, str | Path):
        # Like the command, which has a flag for a folder whose files are named after their splits.
        is_file = Path(data).is_file()
        return {"data": _paths(data)} if is_file else {"data_dir": Path(data)}
    return {"data": _paths(data)}


def _paths(data: PathLike | Sequence[PathLike]) -> tuple[Path, ...]:
    return tuple(map(Path, [data] if isinstance(data, str | Path) else data))


def _stored(setting: Setting, value: object) -> object:
    """A setting's value as the request holds it; words and paths may be text."""
    if value is None:
        return None
    is_free = setting.spec.parse is not None
    if isinstance(value, str) and issubclass(setting.kind, StrEnum) and not is_free:
        words = setting.spec.words or {member.value: member for member in setting.kind}
        value = parse_choice(setting.flag, value, words)
    elif isinstance(value, str) and setting.kind is Path:
        value = Path(value)
    return setting.stored(value)


def _options(
    settings: Mapping[str, object], resume: bool | PathLike = False, *, force: bool = False
) -> RunOptions:
    names = {each.name for each in settings_of(RunOptions)}
    values: dict[str, Any] = {name: settings[name] for name in names & settings.keys()}
    source = None if isinstance(resume, bool) else Path(resume)
    wanted = Resume(source) if resume else None
    return RunOptions(resume=wanted, force=force, **values)


def _weights(values: Weights, progress: Callable[[str], object] | None = None) -> WeightsChoice:
    kinds: dict[str, Callable[[Any], object]] = {
        **dict.fromkeys(("model", "run", "checkpoint", "adapter"), Path),
        "tokenizer": TokenizerKind,
        "template": lambda value: parse_template(str(value)),
        "device": DeviceKind,
        "dtype": ComputeDtype,
    }
    made: dict[str, Any] = {
        name: kinds[name](value) if name in kinds and value is not None else value
        for name, value in values.items()
    }
    if "model" in made:
        made["model_dir"] = made.pop("model")
    return with_model_folders(WeightsChoice(**made), download_lines(progress))
