"""`vox mens eval`: the loss of a model on the supervised tokens of a file. Needs torch."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping

from vox_populi import operator_messages as say
from vox_populi.data.dataset import DatasetOptions, RowDataset, open_dataset
from vox_populi.errors import RunFailedError
from vox_populi.hf.model_config import ModelConfig
from vox_populi.pipeline.engine_setup import on_device
from vox_populi.pipeline.reports import EvalReport, SourceLoss
from vox_populi.pipeline.requests import EvalRequest
from vox_populi.pipeline.row_source import source_label
from vox_populi.pipeline.weights import FoundWeights, find_weights, load_weights
from vox_populi.train.evaluate import mean_loss
from vox_populi.train.objective import Objective

DEFAULT_SEQ_LEN = 512
"""Of a base alone: the trainer's default; a test compares."""
ROWS_PER_WINDOW = 4
"""A forward pass computes so many rows of full length, as in training by default."""


def evaluate(request: EvalRequest) -> EvalReport:
    """Measure a model on a file.

    Raises:
        VoxError: As `pipeline.dispatch.evaluate` says.
    """
    found = find_weights(request.weights)
    seq_len, notes = _seq_len(request, found)
    options = DatasetOptions(
        min_rating=request.min_rating,
        context_filter=request.context_filter,
        on_bad_row=request.on_bad_row,
        on_long_row=request.on_long_row,
        seq_len=seq_len,
    )
    rows = open_dataset(request.data, found.tokenizer, found.policy, options)
    with on_device(found.device.device, request.weights.threads):
        objective = load_weights(found)
        started = time.perf_counter()
        sources = _losses_by_source(objective, rows, ROWS_PER_WINDOW * seq_len)
        seconds = time.perf_counter() - started
    total = sum(source.supervised_tokens for source in sources)
    return EvalReport(
        model=found.name,
        adapter=found.adapter_path,
        loss=sum(source.loss * source.supervised_tokens for source in sources) / total,
        rows=len(rows),
        supervised_tokens=total,
        truncated_rows=rows.report.truncated,
        skipped_rows=sum(rows.report.dropped.values()),
        sources=sources,
        seconds=seconds,
        device=found.device.device,
        compute_dtype=found.device.compute_dtype,
        notes=(*found.notes, *notes),
    )


def _seq_len(request: EvalRequest, found: FoundWeights) -> tuple[int, tuple[str, ...]]:
    """The longest row: as asked, as trained, or the trainer's default; never past the table."""
    wanted = request.seq_len
    if wanted is None:
        wanted = found.header.seq_len if found.header else DEFAULT_SEQ_LEN
    limit = _position_limit(found.inventory.config)
    if limit is None or wanted <= limit:
        return wanted, ()
    notes = (say.note_rows_cut_to_positions(wanted, limit),) if request.seq_len else ()
    return limit, notes


def _position_limit(config: ModelConfig) -> int | None:
    """Learned positions end; rotary ones only get worse."""
    return config.max_positions if config.rope is None else None


def _losses_by_source(
    objective: Objective, rows: RowDataset, window_tokens: int
) -> tuple[SourceLoss, ...]:
    return tuple(
        _source_loss(objective, source, rows.select(members), window_tokens)
        for source, members in sorted(_rows_by_source(rows).items())
    )


def _rows_by_source(rows: RowDataset) -> Mapping[str, list[int]]:
    members: dict[str, list[int]] = defaultdict(list)
    for row in range(len(rows)):
        members[source_label(rows.record(row))].append(row)
    return members


def _source_loss(
    objective: Objective, source: str, rows: RowDataset, window_tokens: int
) -> SourceLoss:
    loss = mean_loss(objective, rows, window_tokens)
    if not math.isfinite(loss):
        raise RunFailedError(say.evaluation_not_finite(source, str(rows.path)))
    return SourceLoss(source=source, loss=loss, rows=len(rows), supervised_tokens=rows.n_supervised)
