"""Reading a PEFT adapter: request, report and function. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.download_choice import download_setting
from vox_populi.contract.setting import setting, setting_metadata
from vox_populi.contract.template_word import TEMPLATE_METAVAR, parse_template
from vox_populi.data.training_text import ChatTemplate, TemplatePlace
from vox_populi.files.json_report import JsonReport
from vox_populi.files.output_guard import require_new_file
from vox_populi.hf.hub_name import ModelParts
from vox_populi.operator_messages import export as say
from vox_populi.pipeline.early_refusals import require_model, require_peft
from vox_populi.pipeline.runners import load_runner


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """A request to convert a PEFT folder to our format."""

    source: Path = field(metadata=setting_metadata("PEFT adapter folder.", argument="DIR"))
    output: Path = field(metadata=setting_metadata("New adapter file to write.", metavar="FILE"))
    model_dir: Path | None = setting(
        None,
        "Folder of its base.",
        name="model",
        default_text="the embedded base",
        model=ModelParts.ALL,
    )
    allow_download: bool = download_setting()
    tokenizer: TokenizerKind | None = setting(None, "Vocabulary.", default_text="the base's")
    """`None`: `vox` for the embedded base, otherwise `hf`."""
    template: ChatTemplate | TemplatePlace = setting(
        ChatTemplate.AUTO,
        "Template it was trained with.",
        parse=parse_template,
        metavar=TEMPLATE_METAVAR,
    )
    system_prompt: str | None = setting(None, "System prompt used for rows without one.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport(JsonReport):
    """A report of what was read and written."""

    output: Path
    base: str
    """Name of the base folder."""
    modules: int
    rank: int
    alpha: float
    use_rslora: bool
    notes: tuple[str, ...]


def import_adapter(request: ImportRequest) -> ImportReport:
    """Read a PEFT folder strictly against its base and write one new adapter file.

    Raises:
        PreflightError: When the output file exists.
        ArtifactError: For settings we cannot represent and tensors that do not fit, by name.
        ModelError: For a base or a tokenizer that cannot be used.
        EnvironmentFailure: When the system refuses to write.
    """
    module = load_runner(
        "import_peft_run",
        lambda: require_peft(request.source),
        lambda: require_model(request.model_dir),
        lambda: require_new_file(request.output, say.EXPORT_TARGET_EXISTS.at),
    )
    report: ImportReport = module.import_adapter(request)
    return report
