"""Writing a model for a program on a device: request, report and function. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vox_populi import extras
from vox_populi.contract.download_choice import download_setting
from vox_populi.contract.setting import out_of_range, setting, setting_metadata, settings_of
from vox_populi.errors import ArtifactError, ConfigError
from vox_populi.export.mobile_formats import MOST_TOKENS, NOT_WRITTEN, WRITTEN, MobileFormat
from vox_populi.files.json_report import JsonReport, shown
from vox_populi.files.output_guard import require_new_folder
from vox_populi.hf.hub_name import ModelParts
from vox_populi.number_ranges import NumberRange
from vox_populi.operator_messages import export as say
from vox_populi.pipeline.early_refusals import reads_of, require_model
from vox_populi.pipeline.runners import load_runner
from vox_populi.runs.adapter_place import means_adapter

TEXT_TOKENS = NumberRange(lowest=2, highest=MOST_TOKENS)
CHECKED_TOKENS = NumberRange(lowest=1, highest=MOST_TOKENS)


@dataclass(frozen=True, slots=True, kw_only=True)
class MobileRequest:
    """A model to write for a program on a device."""

    source: Path = field(
        metadata=setting_metadata(
            "Model folder; or run, checkpoint or adapter file.",
            argument="PATH",
            model=ModelParts.ALL,
        )
    )
    """An adapter is added to its base."""
    output_dir: Path = field(metadata=setting_metadata("New folder to write."))
    target: MobileFormat | None = setting(
        None,
        "Program that will run it.",
        flags=("--for",),
        default_text="that of VOX_INFERENCE_PROFILE, if it names one",
    )
    model_dir: Path | None = setting(
        None,
        "For an adapter: base folder, if it has moved since training.",
        name="model",
        model=ModelParts.ALL,
    )
    allow_download: bool = download_setting()
    seq_len: int = setting(
        MOST_TOKENS, "Longest text of the graph, in tokens.", allowed=TEXT_TOKENS
    )
    fixed_length: bool = setting(False, "Take exactly --seq-len ids, padded behind the text.")
    check_tokens: int = setting(
        16, "Tokens of each answer that is compared with our own.", allowed=CHECKED_TOKENS
    )
    include_system_prompt: bool = setting(
        False, "For an adapter: write the training's system prompt into the chat template."
    )

    def __post_init__(self) -> None:
        problems = tuple(out_of_range(self, settings_of(MobileRequest)))
        if problems:
            raise ConfigError(*problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class MobileReport(JsonReport):
    """What was written, and how its answers compare with ours."""

    output_dir: Path
    target: MobileFormat = field(metadata=shown("for"))
    files: tuple[str, ...]
    total_bytes: int = field(metadata=shown("bytes"))
    seq_len: int
    fixed_length: bool
    prompts: int
    """Prompts whose greedy answers are equal."""
    tokens: int
    """Tokens of these answers."""
    max_difference: float
    """Largest difference of scores after a prompt."""
    notes: tuple[str, ...] = ()


def export_mobile(request: MobileRequest) -> MobileReport:
    """Write a model for a device, run it here, and publish it if it answers as ours does.

    Raises:
        ArtifactError: For a program whose format cannot be written here, an adapter beyond the
            limits of a device, or a base in 4 bits.
        ConfigError: Without a program.
        MissingExtraError: Without the extra of the format.
        PreflightError: When the output folder exists.
        MergeMismatchError: When an answer differs; nothing is published.
        EnvironmentFailure: When the system refuses.
    """
    if request.target is None:
        raise ConfigError(say.mobile_program_missing(tuple(WRITTEN)))
    refused = NOT_WRITTEN.get(request.target)
    if refused is not None:
        raise ArtifactError(say.mobile_format_refused(request.target, *refused))
    extras.require(*WRITTEN[request.target].modules)
    reads = reads_of(request.source, request.model_dir)
    module = load_runner(
        "export_mobile_run",
        lambda: None if means_adapter(request.source) else require_model(request.source),
        lambda: require_model(request.model_dir),
        lambda: require_new_folder(request.output_dir, reads, occupied=say.EXPORT_TARGET_EXISTS.at),
    )
    report: MobileReport = module.export_mobile(request)
    return report
