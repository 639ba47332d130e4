"""Checking whether other programs can load a folder. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vox_populi.adapters.peft.config import (
    PEFT_WEIGHTS_FILE,
)
from vox_populi.contract.choices import parse_choice
from vox_populi.contract.download_choice import download_setting
from vox_populi.contract.setting import setting, setting_metadata
from vox_populi.errors import ArtifactError, ModelError
from vox_populi.export.consumers import GGUF_ADAPTER_FILE, MLX_WEIGHTS_FILE, Consumer
from vox_populi.export.gguf.vocabulary import gguf_refusals
from vox_populi.export.mlx_lint import mlx_folder_problems, mlx_model_reasons
from vox_populi.export.peft_lint import open_peft_folder, peft_folder_problems
from vox_populi.files.json_numbers import JsonObject
from vox_populi.files.json_report import JsonReport, shown
from vox_populi.files.known_names import PEFT_CONFIG_FILE
from vox_populi.files.strict_json import read_json_object
from vox_populi.hf.hub_name import ModelParts
from vox_populi.hf.inventory import ModelInventory, read_inventory
from vox_populi.hf.model_config import CONFIG_NAME, ModelConfig, read_model_config
from vox_populi.hf.model_place import foreign_place_problem
from vox_populi.operator_messages import export as say
from vox_populi.operator_messages.wording import capped
from vox_populi.runs.run_dir import final_adapter
from vox_tensor.errors import Problem

_PEFT, _MLX, _RUN, _MODEL = "PEFT adapter", "mlx-lm adapter", "run of vox mens", "model"


def parse_consumers(text: str) -> tuple[Consumer, ...]:
    """Read comma-separated names, without duplicates.

    Raises:
        ConfigError: For an unknown name.
    """
    known = {member.value: member for member in Consumer}
    return tuple(dict.fromkeys(parse_choice("", word, known) for word in text.split(",")))


@dataclass(frozen=True, slots=True, kw_only=True)
class LintRequest:
    """A folder, and the programs that should load it."""

    folder: Path = field(metadata=setting_metadata("Adapter or model folder.", argument="DIR"))
    consumers: tuple[Consumer, ...] = setting(
        tuple(Consumer),
        "Programs that should load it, comma-separated.",
        flags=("--for",),
        parse=parse_consumers,
        as_text=",".join,
        metavar=",".join(Consumer),
        default_text="all of them",
    )
    model_dir: Path | None = setting(
        None, "Base of an adapter folder, to compare it with.", name="model", model=ModelParts.TEXT
    )
    """Names and shapes are compared only with this base."""
    allow_download: bool = download_setting()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerVerdict:
    """Whether one consumer can load a folder."""

    consumer: Consumer
    problems: tuple[Problem, ...]
    """Why not; empty if it can."""
    notes: tuple[str, ...] = ()

    @property
    def loads(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    def as_json(self) -> JsonObject:
        """One entry of `consumers`."""
        return {
            "for": self.consumer.value,
            "loads": self.loads,
            "problems": [problem.as_json() for problem in self.problems],
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LintReport(JsonReport):
    """The verdicts of all requested consumers on a folder."""

    folder: Path
    kind: str
    """Display name of the folder's format."""
    verdicts: tuple[ConsumerVerdict, ...] = field(metadata=shown("consumers"))

    @property
    def ok(self) -> bool:
        """Whether all of them can load it."""
        return all(verdict.loads for verdict in self.verdicts)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The problems of all of them."""
        return tuple(problem for verdict in self.verdicts for problem in verdict.problems)


_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model")


_Judge = Callable[[Consumer], Iterator[Problem]]


def lint_folder(request: LintRequest) -> LintReport:
    """Check for each consumer whether it can load a folder.

    Raises:
        ArtifactError: When the folder is neither an adapter nor a model.
        ModelError: When the config of the base given for comparison cannot be used.
    """
    kind, judge = _judge_of(request)
    verdicts = tuple(
        ConsumerVerdict(
            consumer=consumer,
            problems=capped(list(judge(consumer))),
            notes=tuple(_notes(request, consumer, kind)),
        )
        for consumer in request.consumers
    )
    return LintReport(folder=request.folder, kind=kind, verdicts=verdicts)


def _judge_of(request: LintRequest) -> tuple[str, _Judge]:
    folder, adapter = request.folder, final_adapter(request.folder)
    if (folder / MLX_WEIGHTS_FILE).is_file():
        base = _base_config(request)
        return _MLX, lambda consumer: _of_mlx(folder, consumer, base)
    if any((folder / name).is_file() for name in (PEFT_CONFIG_FILE, PEFT_WEIGHTS_FILE)):
        base = _base_config(request)
        opened = open_peft_folder(folder)
        return _PEFT, lambda consumer: peft_folder_problems(opened, consumer, base)
    if adapter is not None:
        return _RUN, lambda consumer: _of_run(adapter, consumer)
    if (folder / CONFIG_NAME).is_file():
        broken, inventory = _model_state(folder)
        return _MODEL, lambda consumer: _of_model(folder, consumer, broken, inventory)
    raise ArtifactError(foreign_place_problem(folder) or say.NOTHING_TO_LINT.at(str(folder)))


_WITHOUT_BITSANDBYTES = (Consumer.GGUF, Consumer.MLX)
"""Programs that cannot read packed weights; transformers, under PEFT, and vLLM can."""


def _base_config(request: LintRequest) -> ModelConfig | None:
    return None if request.model_dir is None else read_model_config(request.model_dir)


def _notes(request: LintRequest, consumer: Consumer, kind: str) -> Iterator[str]:
    if kind != (_MLX if consumer is Consumer.MLX else _PEFT):
        return
    if request.model_dir is None:
        yield "names and shapes were not compared with a base; pass --model DIR for that"
    if consumer is Consumer.GGUF and (request.folder / GGUF_ADAPTER_FILE).is_file():
        yield f"{GGUF_ADAPTER_FILE} is there as well, and needs no converter"


def _of_mlx(folder: Path, consumer: Consumer, base: ModelConfig | None) -> Iterator[Problem]:
    if consumer is Consumer.MLX:
        yield from mlx_folder_problems(folder, base)
    else:
        yield say.consumer_needs_other_form(consumer, "mlx-lm's files").at(str(folder))


def _of_run(adapter: Path, consumer: Consumer) -> Iterator[Problem]:
    yield say.consumer_needs_other_form(consumer, adapter.name).at(str(adapter.parent))


def _model_state(folder: Path) -> tuple[tuple[Problem, ...], ModelInventory | None]:
    try:
        return (), read_inventory(folder, allow_nf4=True)
    except ModelError as error:
        return error.problems, None


def _of_model(
    folder: Path, consumer: Consumer, broken: tuple[Problem, ...], inventory: ModelInventory | None
) -> Iterator[Problem]:
    """The verdict on a base or merged model in transformers' layout, from which all four start."""
    yield from broken
    if inventory is None:
        return
    if inventory.nf4 and consumer in _WITHOUT_BITSANDBYTES:
        reason = "its weights are packed by bitsandbytes in NF4; give it 16-bit weights."
        yield say.consumer_file_unsound(consumer, reason, str(folder))
        return
    config, raw = inventory.config, read_json_object(folder / CONFIG_NAME)
    if consumer is Consumer.GGUF:
        yield from gguf_refusals(folder, config)
        return
    if consumer is not Consumer.PEFT:
        for reason in _tokenizer_reasons(folder, config.vocab_size):
            yield say.consumer_file_unsound(consumer, reason, str(folder))
    if consumer is Consumer.VLLM and not raw.get("architectures"):
        reason = f"{CONFIG_NAME} has no architectures."
        yield say.consumer_file_unsound(consumer, reason, str(folder))
    if consumer is Consumer.MLX:
        stored = [info.name for info in inventory.tensors.values()]
        for reason in mlx_model_reasons(config, raw, stored):
            yield say.consumer_file_unsound(consumer, reason, str(folder))


def _tokenizer_reasons(folder: Path, rows: int) -> Iterator[str]:
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        yield f"there is neither {' nor '.join(_TOKENIZER_FILES)}."
    yield from _vocabulary_reasons(folder, rows)


def _vocabulary_reasons(folder: Path, rows: int) -> Iterator[str]:
    """Reasons from ids beyond the embedding; rows without an id are common, as padding."""
    path = folder / _TOKENIZER_FILES[0]
    if not path.is_file():
        return
    try:
        raw = read_json_object(path)
    except ModelError as error:
        yield from (problem.what for problem in error.problems)
        return
    model, added = raw.get("model"), raw.get("added_tokens")
    vocab = model.get("vocab") if isinstance(model, dict) else None
    ids = list(vocab.values()) if isinstance(vocab, dict) else []
    if isinstance(added, list):
        ids += [token.get("id") for token in added if isinstance(token, dict)]
    highest = max((each for each in ids if isinstance(each, int)), default=0)
    if highest >= rows:
        yield f"its tokenizer has ids up to {highest}, and its embedding {rows} rows."
