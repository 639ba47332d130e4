"""What is refused before torch is loaded: places that are taken, and inputs that are not there.

Each function looks at the paths of one request, in the way and words of its runner, which looks
again: between the two, a folder may fill. Whatever is found is reported together.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from vox_populi import operator_messages as say
from vox_populi.artifacts.artifact_bridge import refuse_burn_bin
from vox_populi.artifacts.merged_file import MERGED_FILE
from vox_populi.artifacts.peft_config import PEFT_CONFIG_FILE
from vox_populi.artifacts.run_dir import means_adapter, required_adapter
from vox_populi.errors import ArtifactError
from vox_populi.files.output_guard import Reads, require_new_file, require_new_folder
from vox_populi.hf.model_place import is_gguf, refuse_other_place
from vox_populi.operator_messages import adapter_forms, interop, merge_qlora
from vox_populi.pipeline.convert_reports import AdapterForm, ConvertRequest
from vox_populi.pipeline.interop_reports import ExportRequest, GgufRequest, ImportRequest
from vox_populi.pipeline.quantize_report import QuantizeRequest
from vox_populi.pipeline.requests import (
    EvalRequest,
    GenerateRequest,
    MergeRequest,
    QloraMergeRequest,
    WeightsChoice,
)
from vox_populi.plan.findings import Findings
from vox_tensor.errors import Problem, VoxError
from vox_tensor.regular_file import open_regular_file


def before_merge(request: MergeRequest) -> None:
    """Refuse what a merge of a LoRA adapter would."""
    _raise_all(
        lambda: _require_adapter(request.checkpoint),
        lambda: _require_model(request.model_dir),
        lambda: require_new_folder(
            request.output,
            _reads(request.checkpoint, request.model_dir),
            force=request.force,
        ),
    )


def before_qlora_merge(request: QloraMergeRequest) -> None:
    """Refuse what a merge of a QLoRA adapter would."""
    _raise_all(
        lambda: _require_qlora_adapter(request.adapter),
        lambda: _require(request.meta, merge_qlora.no_sidecar_there),
        lambda: _require_model_or_shard(request),
        lambda: require_new_folder(
            request.output,
            _reads(request.adapter, request.meta, request.base),
            force=request.force,
        ),
    )


def before_quantize(request: QuantizeRequest) -> None:
    """Refuse what quantising would."""
    _raise_all(
        lambda: _require_model(request.model_dir),
        lambda: _require_new_export(request.output, _reads(request.model_dir)),
    )


def before_export(request: ExportRequest) -> None:
    """Refuse what exporting an adapter would."""
    _raise_all(
        lambda: _require_adapter(request.source),
        lambda: _require_model(request.model_dir),
        lambda: _require_new_export(request.output_dir, _reads(request.source, request.model_dir)),
    )


def before_gguf(request: GgufRequest) -> None:
    """Refuse what writing a GGUF file would."""
    _raise_all(
        lambda: None if means_adapter(request.source) else _require_model(request.source),
        lambda: _require_model(request.model_dir),
        lambda: require_new_file(request.output, interop.export_target_exists),
    )


def before_import(request: ImportRequest) -> None:
    """Refuse what importing an adapter would."""
    _raise_all(
        lambda: _require_peft(request.source),
        lambda: _require_model(request.model_dir),
        lambda: require_new_file(request.output, interop.export_target_exists),
    )


def before_convert(request: ConvertRequest) -> None:
    """Refuse what converting an adapter would."""
    is_file = request.target is AdapterForm.LORA_BIN
    _raise_all(
        lambda: _require(
            request.source,
            lambda path: adapter_forms.form_container_refused(say.model_file_missing(path)),
        ),
        lambda: _require_model(request.base),
        lambda: (
            require_new_file(request.output, interop.export_target_exists)
            if is_file
            else _require_new_export(
                request.output, _reads(request.source, request.base, request.meta)
            )
        ),
    )


def before_eval(request: EvalRequest) -> None:
    """Refuse what an evaluation would."""
    _raise_all(lambda: _require_rows(request.data), *_of_weights(request.weights))


def before_answers(request: GenerateRequest) -> None:
    """Refuse what generating would."""
    _raise_all(*_of_weights(request.weights))


def _raise_all(*checks: Callable[[], object]) -> None:
    """Run all checks; raise what one of them found as it is, and several findings together."""
    found = Findings()
    errors: list[VoxError] = []

    def run(check: Callable[[], object]) -> None:
        try:
            check()
        except VoxError as error:
            errors.append(error)
            raise

    for check in checks:
        found.attempt(partial(run, check))
    if len(errors) == 1:
        raise errors[0]
    found.raise_if_any()


def _of_weights(choice: WeightsChoice) -> tuple[Callable[[], object], ...]:
    named = (choice.run, choice.checkpoint, choice.adapter)
    if sum(path is not None for path in named) > 1:
        return ()  # They exclude each other, whatever lies there; the runner says so.
    return (
        lambda: _require_model_or_merged_file(choice.model_dir),
        lambda: None if choice.run is None else required_adapter(choice.run),
        lambda: None if choice.checkpoint is None else _require_adapter(choice.checkpoint),
        lambda: None if choice.adapter is None else _require_peft(choice.adapter),
    )


def _require(path: Path | None, problem: Callable[[str], Problem]) -> None:
    if path is not None and not os.path.lexists(path):
        raise ArtifactError(problem(str(path)))


def _require_adapter(path: Path) -> None:
    _require(path, lambda where: say.adapter_container_refused(say.model_file_missing(where)))


def _require_qlora_adapter(path: Path) -> None:
    if not path.is_dir():
        refuse_burn_bin(path)  # By its name alone, if need be.
    _require(path, merge_qlora.no_adapter_there)


def _require_model_or_shard(request: QloraMergeRequest) -> None:
    """A subset is merged from one file of a base as well."""
    is_shard = request.subset and request.base is not None and request.base.is_file()
    if not is_shard:
        _require_model(request.base)


def _require_peft(path: Path) -> None:
    if not os.path.lexists(path / PEFT_CONFIG_FILE):
        raise ArtifactError(interop.not_a_peft_folder(str(path), PEFT_CONFIG_FILE))


def _require_rows(path: Path) -> None:
    with open_regular_file(path):
        pass


def _require_model(path: Path | None) -> None:
    if path is not None:
        refuse_other_place(path)


def _require_model_or_merged_file(path: Path | None) -> None:
    is_merged = path is not None and path.is_file() and not is_gguf(path)
    if path is not None and not is_merged and not (path / MERGED_FILE).is_file():
        _require_model(path)


def _reads(*paths: Path | None) -> Reads:
    return Reads(whole=tuple(path for path in paths if path is not None))


def _require_new_export(output: Path, reads: Reads) -> None:
    require_new_folder(output, reads, occupied=interop.export_target_exists)
