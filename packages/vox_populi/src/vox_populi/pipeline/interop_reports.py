"""What is asked about adapters of other programs, and what is answered. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vox_populi.artifacts.consumers import Consumer, GgufType, GgufTypeChoice
from vox_populi.contract.choices import TokenizerKind
from vox_populi.data.training_text import ChatTemplate
from vox_populi.merge.receipt import RowCheck
from vox_tensor.errors import Problem

JsonObject = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportRequest:
    """An adapter of ours to write for another program."""

    source: Path
    """A run folder, or an adapter file."""
    consumer: Consumer
    output_dir: Path
    """A new folder."""
    model_dir: Path | None = None
    """Base folder, if it is not where the run left it; only its headers are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written for whom, and what was done to it."""

    consumer: Consumer
    output_dir: Path
    files: tuple[str, ...]
    modules: int
    rank: int
    alpha: float
    """As the consumer reads it."""
    renamed: tuple[str, ...]
    rescaled: tuple[str, ...]
    notes: tuple[str, ...]

    def as_json(self) -> JsonObject:
        """The fields of `vox mens export-adapter --json`."""
        return {
            "for": self.consumer.value,
            "output_dir": str(self.output_dir),
            "files": list(self.files),
            "modules": self.modules,
            "rank": self.rank,
            "alpha": self.alpha,
            "renamed": list(self.renamed),
            "rescaled": list(self.rescaled),
            "refused": [],
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """A PEFT folder to read into our form."""

    source: Path
    output: Path
    """A new file."""
    model_dir: Path | None = None
    """Its base; `None` for the embedded one."""
    tokenizer: TokenizerKind | None = None
    """`None`: `vox` for the embedded base, else `hf`."""
    template: ChatTemplate = ChatTemplate.CHATML
    system_prompt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What was read, and what it is now."""

    output: Path
    base: str
    """Name of the base folder."""
    modules: int
    rank: int
    alpha: float
    use_rslora: bool
    notes: tuple[str, ...]

    def as_json(self) -> JsonObject:
        """The fields of `vox mens import-adapter --json`."""
        return {
            "output": str(self.output),
            "base": self.base,
            "modules": self.modules,
            "rank": self.rank,
            "alpha": self.alpha,
            "use_rslora": self.use_rslora,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LintRequest:
    """A folder, and who shall load it."""

    folder: Path
    consumers: tuple[Consumer, ...]
    model_dir: Path | None = None
    """Base of an adapter folder; without it, names and shapes are not compared with a base."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerVerdict:
    """Whether one consumer will load a folder."""

    consumer: Consumer
    problems: tuple[Problem, ...]
    """Why not; empty when it will."""
    notes: tuple[str, ...] = ()

    @property
    def loads(self) -> bool:
        """Whether nothing stands in the way."""
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
class LintReport:
    """What every consumer that was asked about makes of a folder."""

    folder: Path
    kind: str
    """What lies there, in words."""
    verdicts: tuple[ConsumerVerdict, ...]

    @property
    def ok(self) -> bool:
        """Whether all of them will load it."""
        return all(verdict.loads for verdict in self.verdicts)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Everything in the way of any of them."""
        return tuple(problem for verdict in self.verdicts for problem in verdict.problems)

    def as_json(self) -> JsonObject:
        """The fields of `vox mens lint --json`."""
        return {
            "folder": str(self.folder),
            "kind": self.kind,
            "consumers": [verdict.as_json() for verdict in self.verdicts],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufRequest:
    """A model to write as one file for llama.cpp."""

    source: Path
    """A model folder; or a run or checkpoint folder or an adapter file, for base plus adapter."""
    output: Path
    """A new file."""
    kind: GgufTypeChoice = GgufTypeChoice.AUTO
    model_dir: Path | None = None
    """Of an adapter: its base, if not where it was in training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufReport:
    """What was written and read back."""

    output: Path
    kind: GgufType
    tensors: int
    """All of them were compared with what was meant."""
    total_bytes: int
    pre_tokenizer: str
    """llama.cpp's name of the way the tokenizer splits text."""
    context: int
    """Tokens over which llama.cpp computes the same."""
    rows: RowCheck | None = None
    """Of an adapter: whether the file does what was trained; `None` for a model folder, and where
    the adapter's run left no rows."""
    notes: tuple[str, ...] = ()

    def as_json(self) -> JsonObject:
        """The fields of `vox mens export-gguf --json`."""
        return {
            "output": str(self.output),
            "type": self.kind.value,
            "tensors": self.tensors,
            "bytes": self.total_bytes,
            "pre_tokenizer": self.pre_tokenizer,
            "context": self.context,
            "rows": None if self.rows is None else self.rows.as_json(),
            "notes": list(self.notes),
        }
