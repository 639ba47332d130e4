"""The files of a checkpoint: an engine's state as bytes, and back, exact to the last bit.

- `adapter.bin`: the trained tensors, as an ordinary adapter file
- `best_adapter.bin`: with early stopping, the adapter of the best evaluation
- `optimizer.safetensors`: the optimizer's state, and the state of every random stream
- `state.json`: cursor, counters, evaluations, and the request they belong to
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vox_populi.adapters.header import AdapterHeader
from vox_populi.adapters.lora_bin import adapter_bin_chunks, read_adapter_bin
from vox_populi.containers.safetensors_header import read_header
from vox_populi.containers.tensor_container import container_chunks
from vox_populi.containers.tensor_reader import read_tensors
from vox_populi.contract.optimizer_choice import OPTIMIZER_KEY, OPTIMIZERS, requested_optimizer
from vox_populi.errors import ArtifactError, ModelError
from vox_populi.files.json_fields import FieldError, take, take_count, take_number, take_object
from vox_populi.files.strict_json import read_json_object
from vox_populi.files.whole_file import Chunk, pretty_json
from vox_populi.operator_messages import checkpoint as say
from vox_populi.runs.checkpoint_bounds import check_counters
from vox_populi.runs.checkpoint_dir import (
    CHECKPOINT_ADAPTER,
    Checkpoint,
    check_checkpoint,
    damaged,
)
from vox_populi.runs.request import RunRequest
from vox_populi.train.engine_state import EngineState
from vox_populi.train.optimizers.optimizer import fits
from vox_populi.train.outcome import Evaluation

BEST_ADAPTER_FILE = "best_adapter.bin"
OPTIMIZER_FILE = "optimizer.safetensors"
STATE_FILE = "state.json"
STATE_SCHEMA_VERSION = 2
"""1 is of AdamW on rows without weights; 2 has another optimizer, or `epoch_weight`."""

SAVED_TOKENS = "saved_tokens"
"""Key of a count that files have where it is not 0."""
_STREAM = "stream."
_MAX_STATE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class SavedState:
    """A checkpoint as read."""

    checkpoint: Checkpoint
    state: EngineState
    request: RunRequest
    """The run's request and inputs."""


def state_files(
    state: EngineState, request: RunRequest, header_at: Callable[[int], AdapterHeader]
) -> dict[str, list[Chunk]]:
    """The files for `checkpoint_dir.write_checkpoint`.

    Args:
        state: The engine's state.
        request: The run's request.
        header_at: The header of this run's adapter at a step.
    """
    files = {CHECKPOINT_ADAPTER: adapter_bin_chunks(header_at(state.step), state.adapter)}
    if state.best is not None and state.best_adapter is not None:
        header = header_at(state.best.step)
        files[BEST_ADAPTER_FILE] = adapter_bin_chunks(header, state.best_adapter)
    tensors = dict(state.optimizer)
    tensors |= {_STREAM + name: stream for name, stream in state.streams.items()}
    files[OPTIMIZER_FILE] = container_chunks(tensors, {})
    files[STATE_FILE] = [pretty_json(_state_values(state, request))]
    return files


def read_state(checkpoint: Checkpoint) -> SavedState:
    """Read a checkpoint after verifying every byte with its digests.

    Raises:
        CheckpointDamagedError: When its content is not what was written.
        ArtifactError: When a newer program wrote it.
    """
    check_checkpoint(checkpoint)
    values = _read_values(checkpoint)
    saved = read_adapter_bin(checkpoint.file(CHECKPOINT_ADAPTER))
    header, adapter = saved.header, saved.tensors
    tensors = _read_tensors(checkpoint)
    try:
        request = RunRequest.from_json(take_object(values, "request"))
        state = _state(values, adapter, tensors)
        check_counters(state)
        _require_step(state.step, checkpoint.step, header.step)
        facts = OPTIMIZERS[requested_optimizer(request.contract)]
    except ValueError as error:
        raise damaged(checkpoint, f"{STATE_FILE}: {error}") from error
    if state.best is not None:
        best = read_adapter_bin(checkpoint.file(BEST_ADAPTER_FILE)).tensors
        state = dataclasses.replace(state, best_adapter=best)
    if not fits(facts, state.adapter, state.optimizer):
        raise damaged(checkpoint, f"{OPTIMIZER_FILE} does not fit {CHECKPOINT_ADAPTER}")
    return SavedState(checkpoint, state, request)


def _require_step(step: int, of_folder: int, of_adapter: int) -> None:
    if not step == of_folder == of_adapter:
        message = f"it is of step {step}, its folder of {of_folder}, its adapter of {of_adapter}"
        raise FieldError(message)


def _state_values(state: EngineState, request: RunRequest) -> dict[str, object]:
    is_weighted = state.epoch_weight != state.epoch_supervised
    weight = {"epoch_weight": state.epoch_weight} if is_weighted else {}
    # JSON numbers are written as Python's shortest text that reads back to the same float.
    return {
        "schema_version": 2 if is_weighted or OPTIMIZER_KEY in request.contract else 1,
        "optimizer_steps": state.optimizer_steps,
        "step": state.step,
        "epoch": state.epoch,
        "index_in_epoch": state.index_in_epoch,
        "tokens": state.tokens,
        "supervised": state.supervised,
        "order_digest": state.order_digest,
        "epoch_loss": state.epoch_loss,
        "epoch_supervised": state.epoch_supervised,
        **weight,
        **({SAVED_TOKENS: state.saved_tokens} if state.saved_tokens else {}),
        "evaluations": [[each.step, each.loss] for each in state.evaluations],
        "best": None if state.best is None else [state.best.step, state.best.loss],
        "stopped_early": state.stopped_early,
        "request": request.as_json(),
    }


def _state(
    values: Mapping[str, object], adapter: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> EngineState:
    evaluations, best = values.get("evaluations"), values.get("best")
    weight = "epoch_weight" if "epoch_weight" in values else "epoch_supervised"
    if not isinstance(evaluations, list):
        message = "evaluations is missing or no list"
        raise FieldError(message)
    return EngineState(
        adapter=adapter,
        optimizer={name: t for name, t in tensors.items() if not name.startswith(_STREAM)},
        streams={
            name.removeprefix(_STREAM): t for name, t in tensors.items() if name.startswith(_STREAM)
        },
        optimizer_steps=take_count(values, "optimizer_steps"),
        step=take_count(values, "step"),
        epoch=take_count(values, "epoch"),
        index_in_epoch=take_count(values, "index_in_epoch"),
        tokens=take_count(values, "tokens"),
        supervised=take_count(values, "supervised"),
        order_digest=take(values, "order_digest", str),
        epoch_loss=take_number(values, "epoch_loss"),
        epoch_supervised=take_count(values, "epoch_supervised"),
        epoch_weight=take_number(values, weight),
        evaluations=tuple(_evaluation(each) for each in evaluations),
        best=None if best is None else _evaluation(best),
        stopped_early=take(values, "stopped_early", bool),
        saved_tokens=take_count(values, SAVED_TOKENS) if SAVED_TOKENS in values else 0,
    )


def _evaluation(value: object) -> Evaluation:
    match value:
        case [int(step), float() | int() as loss]:
            return Evaluation(step, float(loss))
        case _:
            message = "an evaluation is not a pair of step and loss"
            raise FieldError(message)


def _read_values(checkpoint: Checkpoint) -> dict[str, object]:
    try:
        values = read_json_object(checkpoint.file(STATE_FILE), _MAX_STATE_BYTES)
        version = take_count(values, "schema_version", lowest=1)
    except ModelError as error:
        raise damaged(checkpoint, f"{STATE_FILE}: {error.problems[0].what}") from error
    except FieldError as error:
        raise damaged(checkpoint, f"{STATE_FILE}: {error}") from error
    if version > STATE_SCHEMA_VERSION:
        path = str(checkpoint.file(STATE_FILE))
        raise ArtifactError(say.manifest_too_new(version, STATE_SCHEMA_VERSION).at(path))
    return values


def _read_tensors(checkpoint: Checkpoint) -> dict[str, Tensor]:
    path = checkpoint.file(OPTIMIZER_FILE)
    try:
        tensors = read_tensors(path, read_header(path).tensors)
    except ModelError as error:
        raise damaged(checkpoint, f"{OPTIMIZER_FILE}: {error.problems[0].what}") from error
    streams = (tensor for name, tensor in tensors.items() if name.startswith(_STREAM))
    if any(tensor.dtype != torch.uint8 for tensor in streams):
        raise damaged(checkpoint, f"{OPTIMIZER_FILE}: a random stream is not of bytes")
    return tensors
