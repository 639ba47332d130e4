"""`vox mens export-mobile`: a merged graph, written, run here and compared. Needs torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch

from vox_populi.adapters.header import AdapterHeader
from vox_populi.contract.choices import ComputeDtype, DeviceKind
from vox_populi.data.supervision import encode_prompt
from vox_populi.errors import ArtifactError, ConfigError, MergeMismatchError
from vox_populi.export.device_model import DeviceModel, RunGraph, first_difference
from vox_populi.export.executorch_file import run_executorch, write_executorch
from vox_populi.export.litert_file import run_litert, write_litert
from vox_populi.export.mobile_formats import (
    MOBILE_RECEIPT_FILE,
    MOST_RANK,
    WRITTEN,
    FormatFacts,
    MobileFormat,
)
from vox_populi.export.mobile_graph import MobileGraph
from vox_populi.export.onnx_file import run_onnx, write_onnx
from vox_populi.files.json_numbers import JsonObject
from vox_populi.files.staged_folder import StagedFolder, new_folder
from vox_populi.files.whole_file import pretty_json, write_whole
from vox_populi.hf.inventory import base_digest
from vox_populi.hf.saved_path import without_saved_path
from vox_populi.infer.cached_model import CachedModel
from vox_populi.infer.sampling import SamplingSpec
from vox_populi.merge.model_files import copied_files
from vox_populi.merge.served_text import ServedFiles, base_ends_of, served_files, served_text
from vox_populi.merge.serving_handoff import (
    HANDOFF_FILE,
    ServedArtifact,
    folder_digests,
    handoff,
)
from vox_populi.model.transformer import Transformer
from vox_populi.operator_messages import export as say
from vox_populi.operator_messages import transformers_graph as say_foreign
from vox_populi.pipeline.answers import Answerer, stop_ids
from vox_populi.pipeline.engine_setup import on_device
from vox_populi.pipeline.export_mobile import MobileReport, MobileRequest
from vox_populi.pipeline.load_model import FoundWeights, find_weights, load_weights
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_populi.runs.adapter_place import means_adapter
from vox_tensor.records import Message, Role

RECEIPT_SCHEMA_VERSION = 1
PROMPTS = (
    "What is the capital of France?",
    "Write a Python function that reverses a string.",
    "List three colours.",
    "Explain in one sentence why the sky is blue.",
)
"""Prompts whose answers are compared, laid out as in training."""


PROGRAMS: Mapping[MobileFormat, tuple[Callable[..., None], Callable[[Path], RunGraph]]] = {
    MobileFormat.ONNX: (write_onnx, run_onnx),
    MobileFormat.EXECUTORCH: (write_executorch, run_executorch),
    MobileFormat.LITERT: (write_litert, run_litert),
}
"""How each format is written and run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """The format that is written, and whether its graph has one length."""

    target: MobileFormat
    facts: FormatFacts
    is_fixed: bool

    @classmethod
    def of(cls, request: MobileRequest) -> _Form:
        """The format that was asked for."""
        assert request.target is not None, "it was refused"
        facts = WRITTEN[request.target]
        is_fixed = request.fixed_length or facts.has_one_length
        return cls(target=request.target, facts=facts, is_fixed=is_fixed)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """What answering the prompts on both sides showed."""

    prompts: tuple[tuple[int, ...], ...]
    answers: tuple[tuple[int, ...], ...]
    max_difference: float


def export_mobile(request: MobileRequest) -> MobileReport:
    """Write the graph, compare its answers with ours, and publish the folder.

    Raises:
        VoxError: As `pipeline.export_mobile.export_mobile` says; nothing was published.
    """
    found = find_weights(_choice(request))
    _require_limits(request, found)
    form = _Form.of(request)
    write_graph, run_graph = PROGRAMS[form.target]
    with on_device("cpu", None):
        ours = load_weights(found)
        answerer = Answerer(found, ours.model)
        prompts = _prompts(request, found)
        answers = [
            answerer.answer(ids, request.check_tokens, SamplingSpec()).ids for ids in prompts
        ]
        scores = [CachedModel(ours.model).next_logits(ids) for ids in prompts]
        assert isinstance(ours.model, Transformer), "others are refused"
        graph = MobileGraph(ours.model, ours.adapted)
        with new_folder(request.output_dir) as output:
            path = output.path / form.facts.file
            write_graph(graph, path, request.seq_len, is_fixed=form.is_fixed)
            theirs = DeviceModel(run_graph(path), request.seq_len, is_fixed=form.is_fixed)
            compared = _compare(request, found, theirs, prompts, answers, scores)
            notes = _write_beside(request, form, found, output, compared)
            files = output.files()
            size = sum((output.path / name).stat().st_size for name in files)
    return MobileReport(
        output_dir=request.output_dir,
        target=form.target,
        files=files,
        total_bytes=size,
        seq_len=request.seq_len,
        fixed_length=form.is_fixed,
        prompts=len(compared.prompts),
        tokens=sum(map(len, compared.answers)),
        max_difference=compared.max_difference,
        notes=(*found.notes, *notes),
    )


def _choice(request: MobileRequest) -> WeightsChoice:
    is_adapter = means_adapter(request.source)
    return WeightsChoice(
        checkpoint=request.source if is_adapter else None,
        model_dir=request.model_dir if is_adapter else request.source,
        device=DeviceKind.CPU,
        dtype=ComputeDtype.F32,
    )


def _require_limits(request: MobileRequest, found: FoundWeights) -> None:
    """Refuse what a device or the graph cannot hold.

    Raises:
        ArtifactError: For a 4-bit base, a mixture of experts, and an adapter of a larger rank.
        ConfigError: For a text that is longer than the base has positions for.
    """
    config, header = found.inventory.config, _header_of(found)
    where = str(request.source)
    if config.modules is not None:
        raise ArtifactError(say_foreign.NOT_EXPORTED.at(where))
    if found.inventory.nf4 or found.quantization is not None:
        raise ArtifactError(say.MOBILE_NEEDS_DENSE.at(where))
    if config.experts is not None:
        assert request.target is not None, "it was refused"
        raise ArtifactError(say.mobile_without_experts(request.target.value))
    if header is not None and header.lora.rank > MOST_RANK:
        raise ArtifactError(say.mobile_rank(header.lora.rank, MOST_RANK).at(where))
    is_beyond = config.rope is not None and config.rope.is_long(request.seq_len)
    if request.seq_len > config.max_positions or is_beyond:
        raise ConfigError(say.mobile_positions(request.seq_len, config.max_positions))


def _header_of(found: FoundWeights) -> AdapterHeader | None:
    return None if found.adapter is None else found.adapter.adapter.header


def _prompts(request: MobileRequest, found: FoundWeights) -> list[list[int]]:
    """Ids of the prompts that fit.

    Raises:
        ConfigError: When none does.
    """
    asked = ([Message(Role.USER, text)] for text in PROMPTS)
    encoded = [encode_prompt(each, found.tokenizer, found.policy) for each in asked]
    fitting = [ids for ids in encoded if len(ids) < request.seq_len]
    if not fitting:
        shortest = min(map(len, encoded))
        raise ConfigError(say.mobile_too_short(request.seq_len, shortest + 1))
    return fitting


def _compare(
    request: MobileRequest,
    found: FoundWeights,
    theirs: DeviceModel,
    prompts: list[list[int]],
    answers: list[tuple[int, ...]],
    scores: list[torch.Tensor],
) -> _Compared:
    """Compare answers and scores.

    Raises:
        MergeMismatchError: With the first answer that differs.
    """
    ends, apart = stop_ids(found), 0.0
    for number, (ids, ours, scores_V) in enumerate(zip(prompts, answers, scores, strict=True), 1):
        room = request.seq_len - len(ids)
        answer = theirs.answer(ids, request.check_tokens, ends)
        place = first_difference(ours[:room], answer)
        apart = max(apart, float((theirs.scores(ids) - scores_V).abs().max()))
        if place is not None:
            raise MergeMismatchError(say.mobile_answer_differs(number, place + 1, apart))
    return _Compared(
        prompts=tuple(map(tuple, prompts)), answers=tuple(answers), max_difference=apart
    )


def _write_beside(
    request: MobileRequest,
    form: _Form,
    found: FoundWeights,
    output: StagedFolder,
    compared: _Compared,
) -> tuple[str, ...]:
    """Write tokenizer, template, hand-off and receipt; the notes about them."""
    header = _header_of(found)
    public = None
    if header is not None:
        kept = request.include_system_prompt
        public = header.for_publishing(include_system_prompt=kept)
    text = _text_files(found, public)
    for name, data in text.files.items():
        write_whole(output.path / name, without_saved_path(name, data))
    if public is not None:
        output.write(HANDOFF_FILE, pretty_json(_handoff(found, public, text, output)))
    receipt = _receipt(request, form, found, output, compared)
    output.write(MOBILE_RECEIPT_FILE, pretty_json(receipt))
    return text.notes


def _text_files(found: FoundWeights, public: AdapterHeader | None) -> ServedFiles:
    copied, notes = copied_files(found.inventory.model_dir, public)
    flat = {name: data for name, data in copied.items() if "/" not in name}
    if public is None:
        return ServedFiles.of_base(flat, *notes)
    made = served_files(flat, public, found.inventory)
    return ServedFiles(files=made.files, end=made.end, notes=(*notes, *made.notes))


def _handoff(
    found: FoundWeights, public: AdapterHeader, text: ServedFiles, output: StagedFolder
) -> JsonObject:
    config = found.inventory.config
    ends = base_ends_of(text.files, config.eos_ids)
    artifact = ServedArtifact(
        backend_family="other",
        files=folder_digests(output.path, output.files()),
        dtype="float32",
        max_positions=config.max_positions,
    )
    served = served_text(public, ends, found.inventory.model_dir)
    return handoff(public, artifact, served, ends)


def _receipt(
    request: MobileRequest,
    form: _Form,
    found: FoundWeights,
    output: StagedFolder,
    compared: _Compared,
) -> JsonObject:
    """What was read, written and compared; no paths and no times."""
    header = _header_of(found)
    adapter = None
    if header is not None:
        adapter = {
            "rank": header.lora.rank,
            "step": header.step,
            "contract_digest": header.contract_digest,
        }
    return {
        "schema_version": RECEIPT_SCHEMA_VERSION,
        "for": form.target.value,
        "base": {"name": found.name, "digest": base_digest(found.inventory)},
        "adapter": adapter,
        "graph": {
            "file": form.facts.file,
            "inputs": {"input_ids": [1, request.seq_len if form.is_fixed else "tokens"]},
            "input_dtype": form.facts.input_dtype,
            "outputs": {"logits": "scores of the token after each id"},
            "most_tokens": request.seq_len,
            "dtype": "float32",
            "has_cache": False,
        },
        "stop_ids": sorted(stop_ids(found)),
        "compared": {
            "with": "greedy answers of the unmerged model",
            "prompts": [list(ids) for ids in compared.prompts],
            "answers": [list(ids) for ids in compared.answers],
            "max_difference": compared.max_difference,
        },
        "versions": {name: metadata.version(name) for name in form.facts.distributions},
        "written": folder_digests(output.path, output.files()),
    }
