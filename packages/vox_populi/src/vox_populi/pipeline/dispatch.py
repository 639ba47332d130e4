"""The way in: one function per command, each the stages in order. No torch in here.

Whatever needs torch lives in a `*_run` module that is loaded when it is called, so that
commands which need no torch start without it, and the others refuse in one line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

from vox_populi import extras
from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.events import Sink
from vox_populi.files.output_guard import IfOccupied
from vox_populi.pipeline import early_refusals
from vox_populi.pipeline.conversation import Conversation
from vox_populi.pipeline.convert_reports import AdapterForm, ConvertReport, ConvertRequest
from vox_populi.pipeline.interop_reports import (
    ExportReport,
    ExportRequest,
    GgufReport,
    GgufRequest,
    ImportReport,
    ImportRequest,
    LintReport,
    LintRequest,
)
from vox_populi.pipeline.interruption import RunInterruptedError
from vox_populi.pipeline.lint_run import lint_folder
from vox_populi.pipeline.machine_probe import probe_machine
from vox_populi.pipeline.merge_report import MergeReport
from vox_populi.pipeline.preview_run import preview_rows
from vox_populi.pipeline.quantize_report import QuantizeReport, QuantizeRequest
from vox_populi.pipeline.reports import (
    AnswerScore,
    EvalReport,
    GenerateResult,
    Measured,
    PlannedRun,
    PreviewRow,
    RunState,
    SourceLoss,
    StatusReport,
    StepTrialReport,
    TrainReport,
)
from vox_populi.pipeline.requests import (
    EvalRequest,
    GenerateRequest,
    MergeFormat,
    MergeRequest,
    PreviewRequest,
    Prompt,
    QloraMergeRequest,
    Resume,
    RunOptions,
    WeightsChoice,
)
from vox_populi.pipeline.status_run import run_status
from vox_populi.plan.execution_planner import plan_execution
from vox_populi.plan.output_folder import AS_NEW_FOLDER, FolderUse
from vox_populi.plan.preflight import PreflightReport, preflight

__all__ = [
    "AdapterForm",
    "AnswerScore",
    "Conversation",
    "ConvertReport",
    "ConvertRequest",
    "EvalReport",
    "EvalRequest",
    "ExportReport",
    "ExportRequest",
    "FolderUse",
    "GenerateRequest",
    "GenerateResult",
    "GgufReport",
    "GgufRequest",
    "IfOccupied",
    "ImportReport",
    "ImportRequest",
    "LintReport",
    "LintRequest",
    "Measured",
    "MergeFormat",
    "MergeReport",
    "MergeRequest",
    "PlannedRun",
    "PreviewRequest",
    "PreviewRow",
    "Prompt",
    "QloraMergeRequest",
    "QuantizeReport",
    "QuantizeRequest",
    "Resume",
    "RunInterruptedError",
    "RunOptions",
    "RunState",
    "SourceLoss",
    "StatusReport",
    "StepTrialReport",
    "TrainReport",
    "WeightsChoice",
    "convert_adapter",
    "evaluate",
    "export_adapter",
    "export_gguf",
    "generate",
    "import_adapter",
    "lint_folder",
    "merge_qlora",
    "merge_weights",
    "open_chat",
    "plan_training",
    "preview_rows",
    "quantize_model",
    "run_status",
    "run_training",
    "try_one_step",
]

NEEDED_TO_RUN = ("torch", "safetensors", "tokenizers")
"""What the extra `mens-gpu` brings; asked for before anything is read."""


def plan_training(contract: FinetuneContract, use: FolderUse = AS_NEW_FOLDER) -> PlannedRun:
    """Check all inputs and decide what would run; write nothing, load no weights.

    Args:
        contract: The request.
        use: What a run will do with its output folder.

    Raises:
        PreflightError: With every finding about the inputs.
        PlanError: When the base model cannot meet the request.
        EnvironmentFailure: When only disk, permissions, a lock or a device is in the way.
    """
    return _planned(contract, preflight(contract, use))


def _planned(contract: FinetuneContract, found: PreflightReport) -> PlannedRun:
    machine = probe_machine(contract.device, contract.dtype)
    plan = plan_execution(contract, found.inventory, found.facts, machine)
    return PlannedRun(contract=contract, preflight=found, plan=plan)


def run_training(
    contract: FinetuneContract, options: RunOptions, sinks: Sequence[Sink] = ()
) -> TrainReport:
    """Check, plan and train; write the run folder.

    Args:
        contract: The request.
        options: What does not change the result.
        sinks: Receive every event beside `telemetry.jsonl`; one that fails is left out.

    Raises:
        MissingExtraError: Without the extra `mens-gpu`.
        PreflightError: With every finding about the inputs; nothing was written.
        PlanError: When the base model cannot meet the request; nothing was written.
        RunFailedError: On a loss that is not finite, with the rows that caused it; on a request
            that is not the one of the run to go on with, with every field that differs.
        ArtifactError: When all checkpoints to go on from are damaged, or the adapter to start
            from does not fit.
        EnvironmentFailure: For an occupied or locked folder, a full disk or device.
        RunInterruptedError: After SIGINT or SIGTERM, at a step border; its `exit_code` is
            130 or 143.
    """
    extras.require(*NEEDED_TO_RUN)
    found = preflight(contract, options.folder_use)
    # Only now: what is wrong with the inputs is said without waiting for torch.
    module = _load_runner("train_run")
    report: TrainReport = module.train(_planned(contract, found), options, sinks)
    return report


def try_one_step(contract: FinetuneContract, use: FolderUse = AS_NEW_FOLDER) -> StepTrialReport:
    """Run one step, one evaluation and one save in a scratch folder, and measure them.

    Args:
        contract: The request.
        use: As for `plan_training`.

    Raises:
        VoxError: As `run_training` does.
    """
    extras.require(*NEEDED_TO_RUN)
    found = preflight(contract, use)
    module = _load_runner("trial_run")
    report: StepTrialReport = module.try_one_step(_planned(contract, found))
    return report


def evaluate(request: EvalRequest) -> EvalReport:
    """Mean loss over the supervised tokens of a file and, where asked for, how rows are answered.

    Raises:
        VoxError: For unusable weights, rows or machine.
    """
    report: EvalReport = _load_runner(
        "eval_run", lambda: early_refusals.before_eval(request)
    ).evaluate(request)
    return report


def generate(request: GenerateRequest) -> Iterator[GenerateResult]:
    """Continue each prompt, in order; the weights are loaded when the first is asked for.

    Raises:
        VoxError: For unusable weights, or a prompt that leaves no room for an answer.
    """
    module = _load_runner("generate_run", lambda: early_refusals.before_answers(request))
    results: Iterator[GenerateResult] = module.generate(request)
    return results


def merge_weights(request: MergeRequest) -> MergeReport:
    """Fold an adapter into its base, prove that the result computes the same, publish it.

    Raises:
        ArtifactError: For an adapter that cannot be read, changes nothing or belongs to another
            base; for an output inside of what is read.
        ModelError: For a base folder that cannot be used.
        PreflightError: For an output folder that holds something.
        MergeMismatchError: When the result differs from base and adapter by more than rounding.
        EnvironmentFailure: For a full disk, a locked or unwritable folder.
    """
    module = _load_runner("merge_run", lambda: early_refusals.before_merge(request))
    report: MergeReport = module.merge(request)
    return report


def open_chat(request: GenerateRequest) -> Conversation:
    """Load the weights for a conversation; the request's prompts are not looked at.

    Raises:
        VoxError: For unusable weights or settings.
    """
    module = _load_runner("chat_run", lambda: early_refusals.before_answers(request))
    conversation: Conversation = module.open_chat(request)
    return conversation


def export_adapter(request: ExportRequest) -> ExportReport:
    """Write an adapter in the form another program loads, in a new folder.

    Raises:
        PreflightError: When the output folder is taken.
        ArtifactError: For an adapter that cannot be read, that does not fit its base, or that
            the consumer cannot take, with every reason.
        ModelError: For a base folder that cannot be used.
        EnvironmentFailure: When the system refuses to write.
    """
    module = _load_runner("export_run", lambda: early_refusals.before_export(request))
    report: ExportReport = module.export_adapter(request)
    return report


def export_gguf(request: GgufRequest) -> GgufReport:
    """Write a model folder as a GGUF file for llama.cpp, and compare every tensor of it.

    Raises:
        MissingExtraError: Without the extra `gguf`.
        PreflightError: When the output file exists.
        ModelError: For a folder that cannot be used.
        ArtifactError: For a model or a tokenizer that the format cannot describe.
        EnvironmentFailure: When the system refuses, or the file reads back differently.
    """
    extras.require("gguf")
    module = _load_runner("gguf_run", lambda: early_refusals.before_gguf(request))
    report: GgufReport = module.export_gguf(request)
    return report


def import_adapter(request: ImportRequest) -> ImportReport:
    """Read a PEFT folder strictly against its base and write one new adapter file.

    Raises:
        PreflightError: When the output file exists.
        ArtifactError: For settings we cannot represent and tensors that do not fit, by name.
        ModelError: For a base or a tokenizer that cannot be used.
        EnvironmentFailure: When the system refuses to write.
    """
    module = _load_runner("import_run", lambda: early_refusals.before_import(request))
    report: ImportReport = module.import_adapter(request)
    return report


def merge_qlora(request: QloraMergeRequest) -> MergeReport:
    """Fold a QLoRA adapter into the weights that are named, prove it and publish the result.

    Raises:
        PreflightError: For an output folder that holds something.
        ArtifactError: For a `.bin`, an adapter of the LoRA backend, one that changes nothing or
            does not fit its base, and for original weights that are not there.
        ModelError: For a base that cannot be used, or a result that is not finite.
        MergeMismatchError: When the written model computes something else than the adapter
            beside the same weights.
        EnvironmentFailure: For a full disk, a locked or unwritable folder.
    """
    module = _load_runner("qlora_merge_run", lambda: early_refusals.before_qlora_merge(request))
    report: MergeReport = module.merge(request)
    return report


def quantize_model(request: QuantizeRequest) -> QuantizeReport:
    """Write a model folder again with its linear layers in 4 bits, as bitsandbytes lays them out.

    Raises:
        ModelError: For a folder that cannot be used, or is quantised already.
        ArtifactError: For an output inside of what is read.
        PreflightError: For an output folder that holds something.
        EnvironmentFailure: For a full disk, a locked or unwritable folder.
    """
    module = _load_runner("quantize_run", lambda: early_refusals.before_quantize(request))
    report: QuantizeReport = module.quantize(request)
    return report


def convert_adapter(request: ConvertRequest) -> ConvertReport:
    """Read an adapter of any form and write it in another, as something new.

    Raises:
        PreflightError: When the output exists.
        ArtifactError: For an adapter that cannot be read, that the target cannot hold, or that
            does not fit the base that was named.
        ModelError: For a base folder that cannot be used.
        EnvironmentFailure: When the system refuses to write.
    """
    module = _load_runner("convert_run", lambda: early_refusals.before_convert(request))
    report: ConvertReport = module.convert_adapter(request)
    return report


def _load_runner(name: str, refuse_early: Callable[[], None] | None = None) -> ModuleType:
    """A module that needs torch, after everything that can be refused without it."""
    extras.require(*NEEDED_TO_RUN)
    if refuse_early is not None:
        refuse_early()
    return extras.load(f"vox_populi.pipeline.{name}")
