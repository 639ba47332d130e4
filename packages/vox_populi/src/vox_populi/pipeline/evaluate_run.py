"""`vox mens eval`: how well a model predicts, and answers, the rows of a file. Needs torch."""

from __future__ import annotations

import dataclasses
import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from vox_populi.data.asked_rows import open_measured_rows
from vox_populi.data.dataset import DatasetOptions, RowDataset, open_dataset
from vox_populi.errors import ConfigError, RunFailedError
from vox_populi.kernel.adapted_objective import AdaptedObjective
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.operator_messages import adapter as say_adapter
from vox_populi.operator_messages import run as say_run
from vox_populi.pipeline.answers import Answerer, answer_threads, score_answers
from vox_populi.pipeline.engine_setup import on_device
from vox_populi.pipeline.evaluate import EvalReport, EvalRequest, Measured, SourceLoss, source_label
from vox_populi.pipeline.load_model import FoundWeights, find_weights, load_weights
from vox_populi.plan.row_cache_choice import choose_row_cache
from vox_populi.train.evaluate import mean_loss
from vox_populi.train.objective import Objective

DEFAULT_SEQ_LEN = 512
"""Row length for a base alone: the trainer's default; a test compares them."""
ROWS_PER_WINDOW = 4
"""Rows of full length per forward pass, as in training by default."""


def evaluate(request: EvalRequest) -> EvalReport:
    """Measure a model on a file.

    Raises:
        VoxError: As `pipeline.evaluate.evaluate` says.
    """
    found = find_weights(request.weights)
    adapter = found.adapter
    if request.compare_base and adapter is None:
        raise ConfigError(say_run.NOTHING_TO_COMPARE)
    seq_len, notes = _seq_len(request, found)
    options = DatasetOptions.of(request, seq_len=seq_len)
    policy = dataclasses.replace(found.policy, learn=request.learn, history=request.history)
    cache = choose_row_cache(
        request.row_cache_dir, request.weights.threads, is_used=request.use_row_cache
    )
    files = open_measured_rows(request.data, request.text_chunk_chars)
    rows = open_dataset(files, found.tokenizer, policy, options, cache)
    base = None
    with on_device(found.device.device, request.weights.threads):
        started = time.perf_counter()
        objective = load_weights(found)
        measure = partial(_measure, found, objective, rows, request, ROWS_PER_WINDOW * seq_len)
        if request.compare_base:
            with objective.adapters_off():
                base = measure()
        measured = measure()
        seconds = time.perf_counter() - started
    return EvalReport(
        model=found.name,
        adapter=None if adapter is None else Path(adapter.where),
        measured=measured,
        base=base,
        rows=len(rows),
        truncated_rows=rows.report.truncated,
        skipped_rows=sum(rows.report.dropped.values()),
        seconds=seconds,
        device=found.device.device,
        compute_dtype=found.device.compute_dtype,
        notes=(*found.notes, *notes, *rows.notes),
    )


def _seq_len(request: EvalRequest, found: FoundWeights) -> tuple[int, tuple[str, ...]]:
    """The longest row: as requested, as trained, or the default; never beyond the table."""
    wanted = request.seq_len
    if wanted is None:
        wanted = found.text.seq_len if found.text else DEFAULT_SEQ_LEN
    limit = found.inventory.config.position_limit
    if limit is None or wanted <= limit:
        return wanted, ()
    notes = (say_adapter.note_rows_cut_to_positions(wanted, limit),) if request.seq_len else ()
    return limit, notes


def _measure(
    found: FoundWeights,
    objective: AdaptedObjective[CausalGraph],
    rows: RowDataset,
    request: EvalRequest,
    window_tokens: int,
) -> Measured:
    """Measure every source, with the adapter or, if it is off, without."""
    members = sorted(_rows_by_source(rows).items())
    sources = tuple(
        _source_loss(objective, source, rows.select(numbers), window_tokens)
        for source, numbers in members
    )
    if not request.generate:
        return Measured(sources)
    answerer = Answerer(found, objective.model)
    with on_device(found.device.device, answer_threads(found, request.weights.threads)):
        picked = _rows_to_answer(
            [_conversations(rows, numbers) for _, numbers in members], request.generate
        )
        asked = [[rows.record(number) for number in numbers] for numbers in picked]
        scores = score_answers(answerer, asked, request.max_new_tokens)
    return Measured(
        tuple(
            dataclasses.replace(source, answers=score)
            for source, score in zip(sources, scores, strict=True)
        )
    )


def _conversations(rows: RowDataset, numbers: Sequence[int]) -> list[int]:
    """The rows without further parts of the same conversation."""
    first = {rows.record(number).line: number for number in reversed(numbers)}
    return sorted(first.values())


def _rows_to_answer(members: Sequence[Sequence[int]], count: int) -> list[list[int]]:
    """The first row of each source, then the second of each, up to the limit."""
    places = ((place, source) for source, rows in enumerate(members) for place in range(len(rows)))
    picked: list[list[int]] = [[] for _ in members]
    for place, source in sorted(places)[:count]:
        picked[source].append(members[source][place])
    return picked


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
        raise RunFailedError(say_run.evaluation_not_finite(source).at(rows.rows.name))
    return SourceLoss(source=source, loss=loss, rows=len(rows), supervised_tokens=rows.n_supervised)
