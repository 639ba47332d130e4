"""Writing an adapter in another format: request, report and function. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vox_populi.files.json_numbers import JsonObject
from vox_populi.files.output_guard import require_new_file
from vox_populi.operator_messages import adapter as say_adapter
from vox_populi.operator_messages import export as say_export
from vox_populi.operator_messages import model_folder as say_model_folder
from vox_populi.pipeline.early_refusals import (
    reads_of,
    refuse_all,
    require_model,
    require_new_export,
    require_present,
)
from vox_populi.pipeline.runners import load_runner
from vox_populi.runs.adapter_place import AdapterForm


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertRequest:
    """A request to write an adapter in another format."""

    source: Path
    """An adapter file, the folder of a run or of a checkpoint, or a PEFT folder."""
    target: AdapterForm
    output: Path
    """A new file for a `.bin`, a new folder for the others."""
    base: Path | None = None
    """Base folder, if the source lacks names and sizes; only its headers are read, or all of it if
    the source has no digest of its base."""
    meta: Path | None = None
    """Sidecar of a version 2 or 3 source, if it is not next to it under a known name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertReport:
    """A report of what was written and how the adapter was changed."""

    source_form: str
    """Display name of the source format."""
    target: AdapterForm
    output: Path
    files: tuple[str, ...]
    graph: str
    base_quant: str
    """Quantisation of the weights the adapter was trained on: `none` or `nf4`."""
    modules: int
    rank: int
    alpha: float
    use_rslora: bool
    renamed: tuple[str, ...]
    """One line for every layer whose name changed."""
    notes: tuple[str, ...]

    def as_json(self) -> JsonObject:
        """The fields of `vox mens convert-adapter --json`."""
        return {
            "from": self.source_form,
            "to": self.target.value,
            "output": str(self.output),
            "files": list(self.files),
            "graph": self.graph,
            "base_quant": self.base_quant,
            "modules": self.modules,
            "rank": self.rank,
            "alpha": self.alpha,
            "use_rslora": self.use_rslora,
            "renamed": list(self.renamed),
            "rescaled": [],
            "refused": [],
            "notes": list(self.notes),
        }


def convert_adapter(request: ConvertRequest) -> ConvertReport:
    """Read an adapter in any format and write it in another, to a new path.

    Raises:
        PreflightError: When the output exists.
        ArtifactError: For an adapter that cannot be read, that the target cannot represent, or that
            does not fit the given base.
        ModelError: For a base folder that cannot be used.
        EnvironmentFailure: When the system refuses to write.
    """
    module = load_runner("convert_run", lambda: _refuse_early(request))
    report: ConvertReport = module.convert_adapter(request)
    return report


def _refuse_early(request: ConvertRequest) -> None:
    """Refuse early what converting an adapter would refuse."""
    is_file = request.target is AdapterForm.LORA_BIN
    refuse_all(
        lambda: require_present(
            request.source,
            lambda path: say_adapter.form_container_refused(
                say_model_folder.model_file_missing(path)
            ),
        ),
        lambda: require_model(request.base),
        lambda: (
            require_new_file(request.output, say_export.export_target_exists)
            if is_file
            else require_new_export(
                request.output, reads_of(request.source, request.base, request.meta)
            )
        ),
    )
