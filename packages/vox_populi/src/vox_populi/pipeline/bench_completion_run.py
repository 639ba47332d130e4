"""`vox mens bench-completion`: times of answers. Needs torch."""

from __future__ import annotations

import time
from itertools import cycle, islice
from pathlib import Path

from vox_populi.evals.timing import Timing
from vox_populi.infer.sampling import SamplingSpec
from vox_populi.model.causal_graph import CausalGraph
from vox_populi.pipeline.answers import Answerer, answer_threads
from vox_populi.pipeline.bench_completion import BenchCompletionReport, BenchCompletionRequest
from vox_populi.pipeline.engine_setup import on_device
from vox_populi.pipeline.generate_run import encoded_prompts
from vox_populi.pipeline.load_model import FoundWeights, find_weights, load_weights


def bench_completion(request: BenchCompletionRequest) -> BenchCompletionReport:
    """Time answers.

    Raises:
        VoxError: As `pipeline.bench_completion.bench_completion` says.
    """
    found = find_weights(request.weights)
    prompts = encoded_prompts(request.prompts, found)
    total = request.warmup + request.count
    with on_device(found.device.device, answer_threads(found, request.weights.threads)):
        model = load_weights(found).model
        timings = [
            _timed(found, model, ids, request.max_new_tokens)
            for ids in islice(cycle(prompts), total)
        ]
    return BenchCompletionReport(
        model=found.name,
        adapter=None if found.adapter is None else Path(found.adapter.where).name,
        timings=tuple(timings[request.warmup :]),
        max_p95_ms=request.max_p95_ms,
        device=found.device.device,
        compute_dtype=found.device.compute_dtype,
        notes=found.notes,
    )


def _timed(found: FoundWeights, model: CausalGraph, ids: list[int], max_new_tokens: int) -> Timing:
    # Each time a new one: an answerer remembers what it has read.
    answerer = Answerer(found, model)
    moments: list[float] = []
    started = time.perf_counter()
    made = answerer.answer(
        ids, max_new_tokens, SamplingSpec(), lambda _token: moments.append(time.perf_counter())
    )
    ended = time.perf_counter()
    first = moments[0] if moments else ended
    return Timing(first - started, ended - started, max(len(made.ids), 1))
