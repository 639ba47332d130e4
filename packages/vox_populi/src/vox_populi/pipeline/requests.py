"""What the pipeline is asked besides training: frozen values, no behaviour, no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from vox_populi import number_ranges
from vox_populi.contract.choices import ComputeDtype, DeviceKind, TokenizerKind
from vox_populi.data.dataset import OnBadRow, OnLongRow
from vox_populi.data.training_text import ChatTemplate
from vox_populi.files.output_guard import IfOccupied
from vox_populi.merge.number_type import MergeDtype
from vox_populi.number_ranges import require_ranges
from vox_populi.plan.output_folder import FolderUse


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on with a run instead of starting one."""

    source: Path | None = None
    """A checkpoint, or a run folder for its newest; `None`: the newest of the output folder, and
    the beginning where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What does not change the result of a run."""

    force: bool = False
    """Move an occupied output folder aside (`<name>.old-1`, …) and start anew."""
    log_every: int = 20
    """Optimizer steps between two lines of progress; telemetry has every step."""
    checkpoint_every: int | None = None
    """Optimizer steps between two checkpoints; `None`: only when a signal stops the run."""
    keep_checkpoints: int = 2
    """How many remain; the one before the newest is there for when the newest is damaged."""
    resume: Resume | None = None
    """Go on from a checkpoint; `force` is stronger and starts anew."""
    check_rows: bool = True
    """Keep a few rows as token ids in the run folder, on which a merge proves itself."""
    on_stop: Callable[[str], None] | None = field(default=None, compare=False)
    """Given a sentence, in a thread of its own, as soon as a signal asks the run to stop."""
    reads: tuple[Path, ...] = ()
    """Files that the request was read from; an output folder never takes their place."""

    def __post_init__(self) -> None:
        require_ranges(
            ("--log-every", self.log_every, number_ranges.COUNT),
            ("--checkpoint-every", self.checkpoint_every, number_ranges.COUNT),
            ("--keep-checkpoints", self.keep_checkpoints, number_ranges.COUNT),
        )

    @property
    def folder_use(self) -> FolderUse:
        """What the run will do with its output folder."""
        goes_on = IfOccupied.REFUSE if self.resume is None else IfOccupied.CONTINUE
        # A signal writes one; with `checkpoint_every`, one more than remain is there at times.
        most = 1 if self.checkpoint_every is None else self.keep_checkpoints + 1
        return FolderUse(
            if_occupied=IfOccupied.MOVE_ASIDE if self.force else goes_on,
            most_checkpoints=most,
            reads=self.reads,
            resumed=None if self.force or self.resume is None else self.resume.source,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewRequest:
    """Rows to show exactly as the trainer would see them."""

    data: Path
    model_dir: Path | None = None
    """Folder whose tokenizer is used; `None` for the embedded base."""
    tokenizer: TokenizerKind | None = None
    """`None`: `vox` for the embedded base, else `hf`."""
    count: int = 3
    template: ChatTemplate = ChatTemplate.CHATML
    system_prompt: str | None = None
    seq_len: int = 512
    ce_last_k: int | None = None
    """Show only so many supervised tokens at the end of a row as learned."""
    min_rating: int | None = 3
    context_filter: str | None = None
    on_bad_row: OnBadRow = OnBadRow.ERROR
    on_long_row: OnLongRow = OnLongRow.TRUNCATE

    def __post_init__(self) -> None:
        require_ranges(
            ("--count", self.count, number_ranges.COUNT),
            ("--seq-len", self.seq_len, number_ranges.SEQ_LEN),
            ("--ce-last-k", self.ce_last_k, number_ranges.COUNT),
            ("--min-rating", self.min_rating, number_ranges.RATING),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsChoice:
    """Which weights to run and how text becomes ids; a run supplies what is left out."""

    model_dir: Path | None = None
    """Base folder. With a run or checkpoint: where its base is, if not where it was."""
    run: Path | None = None
    """A run folder: its base with its final adapter."""
    checkpoint: Path | None = None
    """An adapter file, `model_final.bin` or alike, or a checkpoint folder of a run, with its
    base."""
    adapter: Path | None = None
    """An adapter folder as PEFT writes it; its base is `model_dir`."""
    tokenizer: TokenizerKind | None = None
    template: ChatTemplate | None = None
    system_prompt: str | None = None
    force_template: bool = False
    """Use template and system prompt also where the adapter was trained with others."""
    device: DeviceKind = DeviceKind.BEST
    dtype: ComputeDtype = ComputeDtype.AUTO
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalRequest:
    """A file of rows to measure a model on."""

    data: Path
    weights: WeightsChoice = field(default_factory=WeightsChoice)
    seq_len: int | None = None
    """Longest row; `None`: the run's, or the trainer's default for a base model."""
    min_rating: int | None = None
    context_filter: str | None = None
    on_bad_row: OnBadRow = OnBadRow.ERROR
    on_long_row: OnLongRow = OnLongRow.TRUNCATE
    generate: int = 0
    """Rows that are also answered and compared with their answers: the first of each source, in the
    order of their names, then the second of each, and so on."""
    max_new_tokens: int = 256
    """Of each of these answers."""
    compare_base: bool = False
    """Measure the base without its adapter as well."""

    def __post_init__(self) -> None:
        require_ranges(
            ("--seq-len", self.seq_len, number_ranges.SEQ_LEN),
            ("--min-rating", self.min_rating, number_ranges.RATING),
            ("--generate", self.generate, number_ranges.COUNT_OR_NONE),
            ("--max-new-tokens", self.max_new_tokens, number_ranges.NEW_TOKENS),
        )


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to continue."""

    text: str
    row_id: str | int | None = None
    """What the row of a prompts file calls itself; comes back with the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """Prompts to continue; none for a chat."""

    prompts: tuple[Prompt, ...] = ()
    weights: WeightsChoice = field(default_factory=WeightsChoice)
    max_new_tokens: int = 128
    temperature: float = 0.0
    """0 is greedy."""
    top_k: int | None = None
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    """Above 1 makes tokens that stand in the text already less likely."""
    seed: int = 0
    """Of sampling; prompt `i` draws from its own stream, whatever stands beside it."""

    def __post_init__(self) -> None:
        require_ranges(
            ("--max-new-tokens", self.max_new_tokens, number_ranges.NEW_TOKENS),
            ("--temperature", self.temperature, number_ranges.TEMPERATURE),
            ("--top-k", self.top_k, number_ranges.TOP_K),
            ("--top-p", self.top_p, number_ranges.POSITIVE_SHARE),
            ("--repetition-penalty", self.repetition_penalty, number_ranges.PENALTY),
            ("--seed", self.seed, number_ranges.SEED),
        )


class MergeFormat(StrEnum):
    """What a merge writes."""

    VOX = "vox"
    """`model_merged.bin`, for this program."""
    HF = "hf"
    """A `save_pretrained` folder, for everything else."""


MAX_SHARD_BYTES = 1_000_000_000
"""A file of a merged folder is closed before it would hold more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeRequest:
    """An adapter to fold into its base."""

    checkpoint: Path
    """An adapter file, or the folder of a run or of a checkpoint."""
    output: Path
    model_dir: Path | None = None
    """Folder of the base, if not where it was in training."""
    output_format: MergeFormat = MergeFormat.VOX
    include_system_prompt: bool = False
    """Publish the text of the training's system prompt, not its digest alone."""
    dtype: MergeDtype = MergeDtype.AUTO
    force: bool = False
    """Move an occupied output folder aside (`<name>.old-1`, …)."""
    threads: int | None = None
    """`None`: torch's, at most 8. The bytes do not depend on it."""
    max_shard_bytes: int = MAX_SHARD_BYTES

    def __post_init__(self) -> None:
        _require_merge_numbers(self.threads, self.max_shard_bytes)


class Onto(StrEnum):
    """The weights that the update of a QLoRA adapter is added to."""

    ORIGINAL = "original"
    """Those of the base folder, in 16 or 32 bits."""
    DEQUANT = "dequant"
    """Those it was trained on: rounded to NF4 and made dense again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QloraMergeRequest:
    """A QLoRA adapter to fold into its base."""

    adapter: Path
    """The safetensors file, or the folder of a run or of a checkpoint."""
    output: Path
    base: Path | None = None
    """Folder of the base, if not where it was in training."""
    meta: Path | None = None
    """Sidecar of the adapter, if it is not beside it."""
    onto: Onto | None = None
    """`None`: what was trained on; for a subset, the base's own weights."""
    subset: bool = False
    """Write the merged tensors alone, in float32, as the source system does."""
    output_format: MergeFormat = MergeFormat.HF
    include_system_prompt: bool = False
    """Publish the text of the training's system prompt, not its digest alone."""
    dtype: MergeDtype = MergeDtype.AUTO
    force: bool = False
    """Move an occupied output folder aside (`<name>.old-1`, …)."""
    threads: int | None = None
    max_shard_bytes: int = MAX_SHARD_BYTES

    def __post_init__(self) -> None:
        _require_merge_numbers(self.threads, self.max_shard_bytes)


def _require_merge_numbers(threads: int | None, max_shard_bytes: int) -> None:
    require_ranges(
        ("--threads", threads, number_ranges.THREADS),
        ("max_shard_bytes", max_shard_bytes, number_ranges.SHARD_BYTES),
    )
