"""Writing a model as a GGUF file: request, report and function. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vox_populi import extras
from vox_populi.contract.download_choice import download_setting
from vox_populi.contract.setting import setting, setting_metadata
from vox_populi.export.consumers import GgufType, GgufTypeChoice
from vox_populi.files.json_report import JsonReport, shown
from vox_populi.files.output_guard import require_new_file
from vox_populi.hf.hub_name import ModelParts
from vox_populi.merge.receipt import RowCheck
from vox_populi.operator_messages import export as say
from vox_populi.pipeline.early_refusals import require_model
from vox_populi.pipeline.runners import load_runner
from vox_populi.runs.adapter_place import means_adapter


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufRequest:
    """A model to write as one file for llama.cpp."""

    source: Path = field(
        metadata=setting_metadata(
            "Model folder; or run, checkpoint or adapter file.",
            argument="PATH",
            model=ModelParts.ALL,
        )
    )
    """An adapter is added to its base."""
    output: Path = field(metadata=setting_metadata("New file to write.", metavar="FILE"))
    kind: GgufTypeChoice = setting(
        GgufTypeChoice.AUTO, "Number type of the matrices.", flags=("--type",)
    )
    model_dir: Path | None = setting(
        None,
        "For an adapter: base folder, if it has moved since training.",
        name="model",
        model=ModelParts.ALL,
    )
    allow_download: bool = download_setting()
    keep_base_text: bool = setting(
        False, "For an adapter: write the base's chat template and end tokens, not the training's."
    )
    include_system_prompt: bool = setting(
        False, "For an adapter: write the training's system prompt into the chat template."
    )

    @property
    def modelfile(self) -> Path:
        """The file for Ollama beside the output."""
        return self.output.with_suffix(".Modelfile")


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufReport(JsonReport):
    """A report of what was written and read back."""

    output: Path
    modelfile: Path
    """The file for Ollama beside it."""
    kind: GgufType = field(metadata=shown("type"))
    tensors: int
    """Number of tensors, all of which were compared."""
    total_bytes: int = field(metadata=shown("bytes"))
    pre_tokenizer: str
    """llama.cpp's name of the pre-tokenizer."""
    context: int
    """Context length up to which llama.cpp computes the same."""
    rows: RowCheck | None = None
    """Whether the file does what an adapter was trained for; `None` for a model folder, and if the
    adapter's run has no check rows."""
    notes: tuple[str, ...] = ()


def export_gguf(request: GgufRequest) -> GgufReport:
    """Write a model folder as a GGUF file for llama.cpp, and compare every tensor.

    Raises:
        MissingExtraError: Without the extra `gguf`.
        PreflightError: When the output file exists.
        ModelError: For a folder that cannot be used.
        ArtifactError: For a model or a tokenizer that the format cannot describe.
        EnvironmentFailure: When the system refuses, or the file reads back differently.
    """
    extras.require("gguf")
    module = load_runner(
        "gguf_run",
        lambda: None if means_adapter(request.source) else require_model(request.source),
        lambda: require_model(request.model_dir),
        lambda: require_new_file(request.output, say.EXPORT_TARGET_EXISTS.at),
        lambda: require_new_file(request.modelfile, say.EXPORT_TARGET_EXISTS.at),
    )
    report: GgufReport = module.export_gguf(request)
    return report
