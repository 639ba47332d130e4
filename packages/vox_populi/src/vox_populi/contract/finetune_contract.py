"""The fine-tuning request: one frozen value, checked before anything is read.

Facts about the data and the base model are the planner's concern; nothing here touches the disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vox_populi import number_ranges
from vox_populi.contract.adapter_target import TargetRoles, targets_as_text
from vox_populi.contract.choices import (
    Backend,
    ComputeDtype,
    DeploymentTarget,
    DeviceKind,
    Kernel,
    TokenizerKind,
    parse_backend,
)
from vox_populi.contract.optimizer_choice import OPTIMIZER_KEY, OptimizerKind
from vox_populi.contract.presets import is_preset, preset_unknown
from vox_populi.contract.qlora_spec import (
    BaseQuant,
    QloraGraph,
    QloraSpec,
    kernel_problems,
    qlora_problems,
)
from vox_populi.data.dataset import OnBadRow, OnLongRow
from vox_populi.data.training_text import ChatTemplate
from vox_populi.errors import ContractError
from vox_populi.number_ranges import range_problems, require_ranges
from vox_populi.operator_messages import contract as say_contract
from vox_populi.operator_messages import qlora as say_qlora
from vox_tensor.errors import Problem
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.schedule import ScheduleKind

__all__ = [
    "Backend",
    "BaseQuant",
    "ComputeDtype",
    "DeploymentTarget",
    "DeviceKind",
    "FinetuneContract",
    "Kernel",
    "QloraGraph",
    "QloraSpec",
    "TokenizerKind",
    "parse_backend",
    "requested_lora",
]

CONTRACT_SCHEMA_VERSION = 1
"""Of `canonical()`; raise it when a field changes its meaning."""

MOBILE_EDGE_MAX_SEQ_LEN = 512
MOBILE_EDGE_MAX_RANK = 32
MOBILE_EDGE_MAX_BATCH = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneContract:
    """One training run, as requested.

    Building one is the check: an instance that exists does not contradict itself.

    Raises:
        ContractError: With every contradiction and every value out of range, not only the first.
    """

    data_dir: Path
    """Folder of `train.jsonl` and, if the operator split the rows, `valid.jsonl`."""
    output_dir: Path
    """Run folder; must not hold anything yet."""
    backend: Backend = Backend.LORA
    tokenizer: TokenizerKind = TokenizerKind.VOX
    model_dir: Path | None = None
    """Base checkpoint as `save_pretrained` writes it; `None` for the embedded `vox-nano`."""
    init_from: Path | None = None
    """Adapter file whose values training starts from; `None` for fresh ones."""
    lora: LoraSpec = field(default_factory=lambda: LoraSpec(rank=16, alpha=32.0))
    qlora: QloraSpec = field(default_factory=QloraSpec)
    """Of a run on a 4-bit base; at its defaults in every other run."""
    base_quant: BaseQuant | None = None
    """How the base is to be held; `None`: as the backend needs it."""
    force_kernel: Kernel | None = None
    """The kernel that must run; `None`: the one that the rest leads to."""
    targets: TargetRoles | None = None
    """Projections to adapt; `None` for all that the family's blocks have."""
    template: ChatTemplate = ChatTemplate.CHATML
    system_prompt: str | None = None
    """Opens every row that has no system message of its own."""
    epochs: int = 3
    max_steps: int | None = None
    """Most optimizer steps, whatever `epochs` says."""
    optimizer: OptimizerKind = OptimizerKind.ADAMW
    learning_rate: float = 2e-4
    schedule: ScheduleKind = ScheduleKind.COSINE
    warmup_steps: int = 100
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    """Gradients of a step are scaled down to this joint L2 norm; 0 leaves them as they are."""
    seq_len: int = 512
    """Most tokens of a row."""
    batch_size: int = 4
    """A forward pass computes at most `batch_size * seq_len` tokens, rows packed."""
    grad_accum: int = 4
    """An optimizer step learns from `batch_size * grad_accum` rows."""
    seed: int = 42
    """0 is a seed like any other."""
    min_rating: int | None = 3
    """Rows rated lower are left out, unrated rows never."""
    context_filter: str | None = None
    """Keep rows whose category contains this text, case aside."""
    validation_split_ratio: float = 0.05
    """Share of `train.jsonl` held out; without effect where there is a `valid.jsonl`."""
    eval_every: int | None = None
    """Optimizer steps between evaluations; `None` evaluates at the end of each epoch."""
    early_stopping_patience: int | None = None
    """Evaluations without a better held-out loss before the run ends; `None`: never."""
    on_bad_row: OnBadRow = OnBadRow.ERROR
    on_long_row: OnLongRow = OnLongRow.TRUNCATE
    device: DeviceKind = DeviceKind.BEST
    dtype: ComputeDtype = ComputeDtype.AUTO
    threads: int | None = None
    """CPU threads; `None` leaves it to torch."""
    deployment_target: DeploymentTarget = DeploymentTarget.WORKSTATION
    preset: str | None = None
    """Name of the preset that values were taken from. The planner may adapt those of its values
    that still stand here to a small data set, and says so; nothing else is ever adapted."""

    def __post_init__(self) -> None:
        problems = (*self._contradictions(), *self._out_of_range(), *self._unusable_text())
        if problems:
            raise ContractError(*problems)

    def _contradictions(self) -> Iterator[Problem]:
        if self.backend is Backend.QLORA and self.tokenizer is not TokenizerKind.HF:
            yield say_contract.qlora_needs_hf_tokenizer(self.tokenizer)
        yield from kernel_problems(self.backend, self.base_quant, self.force_kernel)
        yield from qlora_problems(self.qlora, self.backend, self.seq_len)
        if self.targets is not None and not self.targets:
            yield say_contract.targets_empty()
        if self.preset is not None and not is_preset(self.preset):
            yield preset_unknown(self.preset)
        if self.deployment_target is DeploymentTarget.MOBILE_EDGE:
            yield from self._beyond_mobile_edge()

    def _beyond_mobile_edge(self) -> Iterator[Problem]:
        if self.device is not DeviceKind.CPU:
            yield say_contract.mobile_edge_needs_cpu(self.device)
        if self.qlora.require_full_proxy_stack:
            yield say_qlora.mobile_edge_rejects_full_stack()
        for flag, value, limit in (
            ("--seq-len", self.seq_len, MOBILE_EDGE_MAX_SEQ_LEN),
            ("--rank", self.lora.rank, MOBILE_EDGE_MAX_RANK),
            ("--batch-size", self.batch_size, MOBILE_EDGE_MAX_BATCH),
        ):
            if value > limit:
                yield say_contract.mobile_edge_limit(flag, value, limit)

    def _out_of_range(self) -> Iterator[Problem]:
        yield from range_problems(
            (
                ("--epochs", self.epochs, number_ranges.EPOCHS),
                ("--max-steps", self.max_steps, number_ranges.COUNT),
                ("--batch-size", self.batch_size, number_ranges.BATCH_SIZE),
                ("--grad-accum", self.grad_accum, number_ranges.GRAD_ACCUM),
                ("--eval-every", self.eval_every, number_ranges.COUNT),
                (
                    "--early-stopping-patience",
                    self.early_stopping_patience,
                    number_ranges.COUNT,
                ),
                ("--threads", self.threads, number_ranges.THREADS),
                ("--seq-len", self.seq_len, number_ranges.SEQ_LEN),
                ("--warmup", self.warmup_steps, number_ranges.COUNT_OR_NONE),
                ("--seed", self.seed, number_ranges.SEED),
                ("--min-rating", self.min_rating, number_ranges.RATING),
                ("--lr", self.learning_rate, number_ranges.LEARNING_RATE),
                ("--weight-decay", self.weight_decay, number_ranges.FACTOR),
                ("--max-grad-norm", self.max_grad_norm, number_ranges.NORM),
                (
                    "--validation-split-ratio",
                    self.validation_split_ratio,
                    number_ranges.PART,
                ),
            )
        )

    def _unusable_text(self) -> Iterator[Problem]:
        for flag, path in (
            ("--data-dir", self.data_dir),
            ("--output-dir", self.output_dir),
            ("--model", self.model_dir),
            ("--init-from", self.init_from),
            ("--nf4-cache-dir", self.qlora.cache_dir),
        ):
            if path is not None and "\0" in str(path):
                yield say_contract.path_has_nul(flag)
        for flag, text in (
            ("--system-prompt", self.system_prompt),
            ("--context-filter", self.context_filter),
        ):
            if text is not None and not _is_unicode(text):
                yield say_contract.text_not_unicode(flag)
        if self.context_filter is not None and not self.context_filter.strip():
            yield say_contract.setting_out_of_range("--context-filter", "''", "some text")

    @property
    def ce_last_k(self) -> int | None:
        """Supervised tokens at the end of a row that are learned; `None` is all of them."""
        return self.qlora.resolved_ce_last_k if self.backend is Backend.QLORA else None

    @property
    def requires_full_stack(self) -> bool:
        """Whether a proxy without every output projection is refused.

        It is on a GPU that was asked for by name, as in the source system, unless the request
        says otherwise or asks for no stack.
        """
        spec = self.qlora
        if spec.require_full_proxy_stack:
            return True
        may_be_partial = spec.allow_partial_proxy_stack or spec.wants_head_only
        return self.device is DeviceKind.CUDA and not may_be_partial

    def canonical(self) -> dict[str, object]:
        """Everything that decides what is learned, as JSON values.

        Left out: paths (content digests stand for what they lead to), the number of threads, how
        long dense copies live, and what the backend implies. A LoRA request has no `qlora`, and one
        for AdamW no `optimizer`.
        """
        qlora = {"qlora": self.qlora.canonical()} if self.backend is Backend.QLORA else {}
        is_adamw = self.optimizer is OptimizerKind.ADAMW
        optimizer = {} if is_adamw else {OPTIMIZER_KEY: self.optimizer.value}
        return {
            **qlora,
            **optimizer,
            "contract_schema_version": CONTRACT_SCHEMA_VERSION,
            "backend": self.backend.value,
            "tokenizer": self.tokenizer.value,
            "lora": {
                "rank": self.lora.rank,
                "alpha": float(self.lora.alpha),
                "dropout": float(self.lora.dropout),
                "use_rslora": self.lora.use_rslora,
            },
            "targets": targets_as_text(self.targets),
            "template": self.template.value,
            "system_prompt": self.system_prompt,
            "epochs": self.epochs,
            "max_steps": self.max_steps,
            "learning_rate": float(self.learning_rate),
            "schedule": self.schedule.value,
            "warmup_steps": self.warmup_steps,
            "weight_decay": float(self.weight_decay),
            "max_grad_norm": float(self.max_grad_norm),
            "seq_len": self.seq_len,
            "batch_size": self.batch_size,
            "grad_accum": self.grad_accum,
            "seed": self.seed,
            "min_rating": self.min_rating,
            "context_filter": self.context_filter,
            "validation_split_ratio": float(self.validation_split_ratio),
            "eval_every": self.eval_every,
            "early_stopping_patience": self.early_stopping_patience,
            "on_bad_row": self.on_bad_row.value,
            "on_long_row": self.on_long_row.value,
            "device": self.device.value,
            "dtype": self.dtype.value,
            "deployment_target": self.deployment_target.value,
            "preset": self.preset,
        }

    def digest(self, inputs: Mapping[str, str]) -> str:
        """`sha256:` and the hash of the canonical JSON of this request and its inputs.

        The same request on the same inputs has the same digest on every machine and in every
        release that has the same `CONTRACT_SCHEMA_VERSION`.

        Args:
            inputs: Name to content digest of what the request leads to: data, base, …
        """
        content = {"contract": self.canonical(), "inputs": dict(inputs)}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return "sha256:" + hashlib.sha256(text.encode("ascii")).hexdigest()


def requested_lora(
    *, rank: int, alpha: float, dropout: float = 0.0, use_rslora: bool = False
) -> LoraSpec:
    """Build a `LoraSpec` from flags.

    Raises:
        ConfigError: With every value out of range, where `LoraSpec` itself knows no flags.
    """
    require_ranges(
        ("--rank", rank, number_ranges.RANK),
        ("--alpha", alpha, number_ranges.ALPHA),
        ("--dropout", dropout, number_ranges.PART),
    )
    return LoraSpec(rank=rank, alpha=alpha, dropout=dropout, use_rslora=use_rslora)


def _is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold it; a lone surrogate comes from undecodable command lines."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
