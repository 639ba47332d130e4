"""Measuring how fast a model answers prompts: request, report and function. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from vox_populi import number_ranges
from vox_populi.files.json_numbers import JsonObject
from vox_populi.number_ranges import NumberRange, require_ranges
from vox_populi.operator_messages import evals as say
from vox_populi.pipeline.early_refusals import refuse_all, weights_checks
from vox_populi.pipeline.generate import Prompt
from vox_populi.pipeline.runners import load_runner
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_tensor.errors import Problem

MILLISECONDS = NumberRange(lowest=0.0, highest=1e9, is_whole=False, above_lowest=True)
REQUESTS = NumberRange(lowest=1, highest=10**6)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchCompletionRequest:
    """Prompts to answer again and again."""

    prompts: tuple[Prompt, ...]
    weights: WeightsChoice = field(default_factory=WeightsChoice)
    count: int = 100
    """Measured answers; the prompts are used in turn."""
    warmup: int = 5
    """Answers before those, which are not measured."""
    max_new_tokens: int = 10
    max_p95_ms: float | None = None
    """Largest 95 % latency; exceeding it is a missed gate."""

    def __post_init__(self) -> None:
        require_ranges(
            ("--count", self.count, REQUESTS),
            ("--warmup", self.warmup, number_ranges.COUNT_OR_NONE),
            ("--max-new-tokens", self.max_new_tokens, number_ranges.NEW_TOKENS),
            ("--max-p95-ms", self.max_p95_ms, MILLISECONDS),
        )


@dataclass(frozen=True, slots=True)
class Timing:
    """One measured answer, in seconds."""

    first_token: float
    whole: float
    tokens: int
    """Number of tokens after the prompt; at least the one that ended the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchCompletionReport:
    """Times of all measured answers."""

    model: str
    adapter: str | None
    timings: tuple[Timing, ...]
    max_p95_ms: float | None
    device: str
    compute_dtype: str
    notes: tuple[str, ...] = ()

    @property
    def latency_ms(self) -> JsonObject:
        """Time of whole answers: least, median, 95 % and greatest."""
        return spread_ms([each.whole for each in self.timings])

    @property
    def first_token_ms(self) -> JsonObject:
        """The same of the time until the first token."""
        return spread_ms([each.first_token for each in self.timings])

    @property
    def tokens_per_second(self) -> float:
        """Tokens of all answers over the time of all answers."""
        return sum(each.tokens for each in self.timings) / sum(each.whole for each in self.timings)

    @property
    def ok(self) -> bool:
        """Whether the limit is kept, if there is one."""
        return not self.problems

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The limit that was missed."""
        p95 = float(str(self.latency_ms["p95"]))
        if self.max_p95_ms is None or p95 <= self.max_p95_ms:
            return ()
        return (say.latency_above(p95, self.max_p95_ms),)

    def as_json(self) -> JsonObject:
        """The fields of `vox mens bench-completion --json`."""
        return {
            "model": self.model,
            "adapter": self.adapter,
            "count": len(self.timings),
            "tokens": sum(each.tokens for each in self.timings),
            "tokens_per_second": round(self.tokens_per_second, 1),
            "first_token_ms": self.first_token_ms,
            "latency_ms": self.latency_ms,
            "max_p95_ms": self.max_p95_ms,
            "device": self.device,
            "compute_dtype": self.compute_dtype,
            "notes": list(self.notes),
        }


def spread_ms(seconds: Sequence[float]) -> JsonObject:
    """Least, mean, median, 95 % and greatest of some times, in milliseconds (nearest rank)."""
    ordered = sorted(seconds)
    last = len(ordered) - 1
    ranks = {"min": 0, "p50": round(0.5 * last), "p95": round(0.95 * last), "max": last}
    found: JsonObject = {name: round(1000 * ordered[rank], 3) for name, rank in ranks.items()}
    return {**found, "mean": round(1000 * fmean(ordered), 3)}


def bench_completion(request: BenchCompletionRequest) -> BenchCompletionReport:
    """Answer prompts greedily and time each answer.

    Raises:
        VoxError: For unusable weights, or a prompt that leaves no room for an answer.
    """
    module = load_runner(
        "bench_completion_run", lambda: refuse_all(*weights_checks(request.weights))
    )
    report: BenchCompletionReport = module.bench_completion(request)
    return report
