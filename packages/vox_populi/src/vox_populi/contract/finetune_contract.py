"""The fine-tuning request: one frozen value, checked before anything is read.

Facts about the data and the base model are the planner's concern; nothing here touches the disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vox_populi.contract.adapter_target import (
    TARGET_WORDS,
    TargetRoles,
    parse_targets,
    targets_as_text,
)
from vox_populi.contract.choices import (
    BACKEND_WORDS,
    DEPLOYMENT_WORDS,
    Backend,
    DeploymentTarget,
    DeviceKind,
    Kernel,
    TokenizerKind,
)
from vox_populi.contract.download_choice import download_setting
from vox_populi.contract.presets import AUTO_PRESET, PRESETS, is_preset, preset_unknown
from vox_populi.contract.qlora_spec import BaseQuant, QloraSpec, kernel_problems, qlora_problems
from vox_populi.contract.setting import (
    Recorded,
    Setting,
    SettingSpec,
    build,
    in_order,
    out_of_range,
    setting,
    setting_metadata,
    settings_in,
    settings_of,
)
from vox_populi.contract.setting_groups import (
    TRAJECTORY_SETTINGS,
    BatchSettings,
    ComputeSettings,
    EvaluationSettings,
    MemorySettings,
    OptimizationSettings,
    ProvenanceSettings,
    RowCacheSettings,
    ScheduleSettings,
    SharingSettings,
)
from vox_populi.contract.template_word import TEMPLATE_METAVAR, parse_day, parse_template
from vox_populi.data.dataset import RowRules
from vox_populi.data.training_text import ChatTemplate, TextPolicy
from vox_populi.data.trajectory_weights import TrajectoryRules
from vox_populi.errors import ContractError
from vox_populi.hf.graph_source import GraphSource
from vox_populi.hf.hub_name import ModelParts
from vox_populi.number_ranges import (
    ALPHA,
    COUNT,
    EPOCHS,
    PART,
    RANK,
    RATING,
    SEED,
    TEXT_CHARS,
    require_ranges,
)
from vox_populi.operator_messages import contract as say_contract
from vox_populi.operator_messages import row_files as say_rows
from vox_tensor.errors import Problem
from vox_tensor.lora_spec import LoraSpec

CONTRACT_SCHEMA_VERSION = 1
"""Version of `canonical()`; increase it when a field changes its meaning."""

_GROUPS_OF_THE_RECORD = ("lora", "qlora")
"""Groups that `canonical()` has as objects; it has the fields of the others beside each other."""
_FIRST_IN_RECORD = (
    *("contract_schema_version", "backend", "tokenizer", "lora", "targets"),
    *("template", "system_prompt"),
)
_LAST_IN_RECORD = ("on_bad_row", "on_long_row", "device", "dtype", "deployment_target", "preset")
"""The others stand between them, in the order of the fields."""

MOBILE_EDGE_MAX_SEQ_LEN = 512
MOBILE_EDGE_MAX_RANK = 32
MOBILE_EDGE_MAX_BATCH = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneContract:
    """One training run, as requested.

    Building one is the check: an instance that exists does not contradict itself. `of` builds one
    from the names of settings alone, without their groups.

    Raises:
        ContractError: With every contradiction and every value out of range, not only the first.
    """

    data: tuple[Path, ...] = setting(
        (),
        "File or folder of training rows; repeat it for more. Or use --data-dir.",
        metavar="FILE|DIR",
        recorded=Recorded.NEVER,
    )
    data_dir: Path | None = setting(
        None,
        "Folder with train.jsonl (or .csv, ...) and valid.jsonl if any.",
        recorded=Recorded.NEVER,
    )
    output_dir: Path = field(
        metadata=setting_metadata("New run folder. Required.", recorded=Recorded.NEVER)
    )
    model_dir: Path | None = setting(
        None,
        "Base model folder (save_pretrained).",
        name="model",
        default_text="vox-nano",
        recorded=Recorded.NEVER,
        model=ModelParts.ALL,
    )
    allow_download: bool = download_setting()
    init_from: Path | None = setting(
        None,
        "Adapter file to start from, with fresh optimizer state.",
        metavar="FILE",
        recorded=Recorded.NEVER,
    )
    backend: Backend = setting(
        Backend.LORA, "lora: the base as stored. qlora: the base in NF4.", words=BACKEND_WORDS
    )
    force_kernel: Kernel | None = setting(
        None,
        "Refuse to run on any other kernel.",
        name="kernel",
        default_text="the backend's",
        recorded=Recorded.NEVER,
    )
    base_quant: BaseQuant | None = setting(
        None,
        "How the base is stored in memory.",
        default_text="as the backend needs it",
        recorded=Recorded.NEVER,
    )
    tokenizer: TokenizerKind = setting(
        TokenizerKind.VOX,
        "Vocabulary.",
        default_text="hf with --model or --backend qlora, else vox",
    )
    targets: TargetRoles | None = setting(
        None,
        f"Projections to adapt, comma-separated: {', '.join(TARGET_WORDS)}.",
        parse=parse_targets,
        as_text=targets_as_text,
        metavar="LIST",
    )
    """Projections to adapt; `None` for all in the family's blocks."""
    graph_source: GraphSource = setting(
        GraphSource.AUTO,
        "Whose code computes the base: native, or transformers, which is proven first.",
        name="graph",
        recorded=Recorded.IF_CHANGED,
    )
    """`auto`: ours where the family has a file."""
    lora: LoraSpec = field(
        default_factory=lambda: LoraSpec(rank=16, alpha=32.0),
        metadata=settings_in(
            LoraSpec,
            rank=SettingSpec(help="Adapter rank.", allowed=RANK),
            alpha=SettingSpec(help="Adapter alpha.", allowed=ALPHA),
            dropout=SettingSpec(help="Dropout of the adapter.", allowed=PART),
            use_rslora=SettingSpec(help="Scale by alpha/sqrt(rank).", name="rslora"),
        ),
    )
    qlora: QloraSpec = field(default_factory=QloraSpec)
    """Settings of QLoRA; defaults for other backends."""
    epochs: int = setting(3, "Passes over the rows.", allowed=EPOCHS)
    max_steps: int | None = setting(None, "Largest number of optimizer steps.", allowed=COUNT)
    """Takes precedence over `epochs`."""
    lr_schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    optimization: OptimizationSettings = field(default_factory=OptimizationSettings)
    batching: BatchSettings = field(default_factory=BatchSettings)
    seed: int = setting(42, "Random seed.", allowed=SEED)
    """0 is a seed like any other."""
    text: TextPolicy = field(
        default_factory=lambda: TextPolicy(template=ChatTemplate.AUTO),
        metadata=settings_in(
            TextPolicy,
            template=SettingSpec(
                help="Template of a row; auto: the base's own if it has one.",
                parse=parse_template,
                metavar=TEMPLATE_METAVAR,
            ),
            template_date=SettingSpec(
                help="The date that a chat template prints.",
                parse=parse_day,
                metavar="YYYY-MM-DD",
                recorded=Recorded.IF_CHANGED,
            ),
            system_prompt=SettingSpec(help="System prompt for rows without one."),
            history=SettingSpec(
                help="Answers that the template rewrites later: refuse, learn the last,"
                " or split the row.",
                recorded=Recorded.IF_CHANGED,
            ),
            learn=SettingSpec(
                help="What is learned of a row: its answers, the last one, or every token.",
                recorded=Recorded.IF_CHANGED,
            ),
            on_control_text=SettingSpec(
                help="Rows that spell a control token: keep as text, refuse, skip or make it.",
                recorded=Recorded.IF_CHANGED,
            ),
        ),
    )
    rows: RowRules = field(
        default_factory=lambda: RowRules(min_rating=3),
        metadata=settings_in(
            RowRules,
            min_rating=SettingSpec(help="Skip rows with a lower rating, 1 to 5.", allowed=RATING),
            context_filter=SettingSpec(help="Use only rows whose category contains this."),
            on_bad_row=SettingSpec(help="What to do with rows that cannot be used."),
            on_long_row=SettingSpec(help="What to do with rows longer than --seq-len."),
            text_chunk_chars=SettingSpec(
                help="Most characters of a row of plain text or Markdown.",
                allowed=TEXT_CHARS,
                recorded=Recorded.IF_CHANGED,
            ),
        ),
    )
    trajectory: TrajectoryRules = field(
        default_factory=TrajectoryRules, metadata=TRAJECTORY_SETTINGS
    )
    curriculum: bool = setting(
        False,
        "Learn easy rows first: order each epoch by difficulty.",
        recorded=Recorded.IF_CHANGED,
    )
    validation_split_ratio: float = setting(0.05, "Share of rows held out.", allowed=PART)
    """Share of rows to hold out; no effect if there is a `valid.jsonl`."""
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    compute: ComputeSettings = field(default_factory=ComputeSettings)
    memory: MemorySettings = field(default_factory=MemorySettings)
    sharing: SharingSettings = field(default_factory=SharingSettings)
    row_keeping: RowCacheSettings = field(default_factory=RowCacheSettings)
    deployment_target: DeploymentTarget = setting(
        DeploymentTarget.WORKSTATION, "What the adapter is for.", words=DEPLOYMENT_WORDS
    )
    provenance: ProvenanceSettings = field(default_factory=ProvenanceSettings)
    preset: str | None = setting(
        None, f"Named settings: {', '.join((AUTO_PRESET, *PRESETS))}.", metavar="NAME"
    )
    """The preset that values were taken from. The planner may adapt those of its values that
    have not been changed to a small data set, and says so; nothing else is ever adapted."""

    @classmethod
    def of(cls, **values: object) -> FinetuneContract:
        """Build a request from the fields of this class and of its groups, all by name.

        Raises:
            ConfigError: With every value out of range that `LoraSpec`, which knows no flags, has.
            ContractError: As for the class.
            TypeError: For a name that no field has.
        """
        lora = [each for each in settings_of(cls) if each.group == "lora"]
        require_ranges(
            *(
                (each.flag, values[each.field], each.spec.allowed)
                for each in lora
                if each.field in values and each.spec.allowed is not None
            )
        )
        return build(cls, values)

    def __post_init__(self) -> None:
        if self.text.template is ChatTemplate.AUTO and self.tokenizer is TokenizerKind.VOX:
            # There is nothing to look at: our vocabulary goes with ChatML.
            chatml = replace(self.text, template=ChatTemplate.CHATML)
            object.__setattr__(self, "text", chatml)
        # Those of `qlora` are told with its contradictions, so that they stand together.
        others = [each for each in settings_of(type(self)) if each.group != "qlora"]
        problems = (*self._contradictions(), *out_of_range(self, others), *self._unusable_text())
        if problems:
            raise ContractError(*problems)

    def _contradictions(self) -> Iterator[Problem]:
        if not self.data and self.data_dir is None:
            yield say_rows.DATA_MISSING
        if self.data and self.data_dir is not None:
            yield say_rows.DATA_GIVEN_TWICE
        if self.backend is Backend.QLORA and self.tokenizer is not TokenizerKind.HF:
            yield say_contract.qlora_needs_hf_tokenizer(self.tokenizer)
        yield from kernel_problems(self.backend, self.base_quant, self.force_kernel)
        yield from qlora_problems(self.qlora, self.backend, self.batching.seq_len)
        if self.targets is not None and not self.targets:
            yield say_contract.TARGETS_EMPTY
        if self.preset is not None and not is_preset(self.preset):
            yield preset_unknown(self.preset)
        if self.deployment_target is DeploymentTarget.MOBILE_EDGE:
            yield from self._beyond_mobile_edge()

    def _beyond_mobile_edge(self) -> Iterator[Problem]:
        if self.compute.device is not DeviceKind.CPU:
            yield say_contract.mobile_edge_needs_cpu(self.compute.device)
        if self.qlora.require_full_proxy_stack:
            yield say_contract.MOBILE_EDGE_REJECTS_FULL_STACK
        for flag, value, limit in (
            ("--seq-len", self.batching.seq_len, MOBILE_EDGE_MAX_SEQ_LEN),
            ("--rank", self.lora.rank, MOBILE_EDGE_MAX_RANK),
            ("--batch-size", self.batching.batch_size, MOBILE_EDGE_MAX_BATCH),
        ):
            if value > limit:
                yield say_contract.mobile_edge_limit(flag, value, limit)

    def _unusable_text(self) -> Iterator[Problem]:
        for each in settings_of(type(self)):
            value = each.of(self)
            paths = value if each.is_repeated else [value]
            if any(isinstance(path, Path) and "\0" in str(path) for path in paths):
                yield say_contract.PATH_HAS_NUL.at(each.flag)
            elif type(value) is str and not _is_unicode(value):
                yield say_contract.TEXT_NOT_UNICODE.at(each.flag)
        wanted = self.rows.context_filter
        if wanted is not None and not wanted.strip():
            yield say_contract.setting_out_of_range("''", "some text").at("--context-filter")

    @property
    def data_paths(self) -> tuple[Path, ...]:
        """The files and folders with rows, as they were passed."""
        return self.data if self.data_dir is None else (self.data_dir,)

    @property
    def ce_last_k(self) -> int | None:
        """Supervised tokens at the end of a row that are learned; `None` is all of them."""
        return self.qlora.resolved_ce_last_k if self.backend is Backend.QLORA else None

    @property
    def requires_full_stack(self) -> bool:
        """Whether a proxy without every output projection is refused.

        It is on a GPU requested by name, as in the source system, unless the request says otherwise
        or does not need a stack.
        """
        spec = self.qlora
        if spec.require_full_proxy_stack:
            return True
        may_be_partial = spec.allow_partial_proxy_stack or spec.wants_head_only
        return self.compute.device is DeviceKind.CUDA and not may_be_partial

    def canonical(self) -> dict[str, object]:
        """Everything that decides what is learned, as JSON values.

        Excluded are paths (represented by content digests), the number of threads, how long dense
        copies are kept, and what the backend implies. A LoRA request has no `qlora`.
        """
        settings = [each for each in settings_of(type(self)) if each.is_recorded(each.of(self))]
        own = [each for each in settings if each.group not in _GROUPS_OF_THE_RECORD]
        record: dict[str, object] = {each.field: each.record(each.of(self)) for each in own}
        record["contract_schema_version"] = CONTRACT_SCHEMA_VERSION
        record["lora"] = {e.field: e.record(e.of(self)) for e in settings if e.group == "lora"}
        qlora = {"qlora": self.qlora.canonical()} if self.backend is Backend.QLORA else {}
        return {**qlora, **in_order(record, _FIRST_IN_RECORD, _LAST_IN_RECORD)}

    def digest(self, inputs: Mapping[str, str]) -> str:
        """`sha256:` and the hash of the canonical JSON of this request and its inputs.

        The same request on the same inputs has the same digest on every machine and in every
        release that has the same `CONTRACT_SCHEMA_VERSION`.

        Args:
            inputs: Content digests of the request's inputs by name: data, base, …
        """
        content = {"contract": self.canonical(), "inputs": dict(inputs)}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return "sha256:" + hashlib.sha256(text.encode("ascii")).hexdigest()


def setting_recorded_as(name: str) -> Setting | None:
    """The setting that a leaf of `canonical()` is the value of."""
    return next((each for each in settings_of(FinetuneContract) if each.field == name), None)


def _is_unicode(text: str) -> bool:
    """Whether UTF-8 can hold it; a lone surrogate comes from undecodable command lines."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
