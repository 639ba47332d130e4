"""Measuring how fast a model answers prompts: request, report and function. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from statistics import fmean

from vox_populi import number_ranges
from vox_populi.contract.setting import require_settings, setting
from vox_populi.errors import ConfigError
from vox_populi.evals.served_forms import choose_served, read_models
from vox_populi.evals.timing import Timing, time_answer
from vox_populi.files.json_numbers import JsonObject
from vox_populi.number_ranges import NumberRange
from vox_populi.operator_messages import evals as say
from vox_populi.operator_messages import usage as say_usage
from vox_populi.pipeline.check_served import SECONDS, open_client
from vox_populi.pipeline.early_refusals import refuse_all, weights_checks
from vox_populi.pipeline.generate import Prompt
from vox_populi.pipeline.runners import load_runner
from vox_populi.pipeline.weights_choice import WeightsChoice
from vox_tensor.errors import Problem

MILLISECONDS = NumberRange(lowest=0.0, highest=1e9, is_whole=False, above_lowest=True)
REQUESTS = NumberRange(lowest=1, highest=10**6)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchCompletionSettings:
    """What answers, how often, and how fast it must be."""

    weights: WeightsChoice = field(default_factory=WeightsChoice)
    url: str | None = setting(
        None, "Server with OpenAI's API to time instead of weights here.", metavar="URL"
    )
    served_model: str | None = setting(
        None,
        "Model to ask, as the server lists it.",
        metavar="NAME",
        default_text="the only one",
    )
    count: int = setting(100, "Measured answers.", allowed=REQUESTS, flags=("--count", "-c"))
    """The prompts are used in turn."""
    warmup: int = setting(
        5,
        "Answers before those, not measured.",
        allowed=number_ranges.COUNT_OR_NONE,
        flags=("--warmup", "-w"),
    )
    max_new_tokens: int = setting(
        10, "Largest number of tokens per answer.", allowed=number_ranges.NEW_TOKENS
    )
    max_p95_ms: float | None = setting(
        None, "Largest 95 % latency in milliseconds.", allowed=MILLISECONDS
    )
    """Exceeding it is a missed gate."""
    timeout_secs: int = setting(120, "Time for each answer of a server.", allowed=SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchCompletionRequest(BenchCompletionSettings):
    """Prompts to answer again and again."""

    prompts: tuple[Prompt, ...]

    def __post_init__(self) -> None:
        require_settings(self)
        if self.url is not None and self.weights != WeightsChoice():
            raise ConfigError(say_usage.sources_conflict(("--url", "RUN|MODEL")))


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchCompletionReport:
    """Times of all measured answers."""

    model: str
    adapter: str | None
    timings: tuple[Timing, ...]
    max_p95_ms: float | None
    device: str | None
    """`None` for a server, which does not say."""
    compute_dtype: str | None
    url: str | None = None
    """Address of the server."""
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
            "url": self.url,
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
        VoxError: For unusable weights, a prompt that leaves no room for an answer, or a server that
            does not answer.
    """
    if request.url is not None:
        return _through_server(request, request.url)
    module = load_runner(
        "bench_completion_run", lambda: refuse_all(*weights_checks(request.weights))
    )
    report: BenchCompletionReport = module.bench_completion(request)
    return report


def _through_server(request: BenchCompletionRequest, url: str) -> BenchCompletionReport:
    """The same over HTTP: streamed chats, one after the other."""
    client = open_client(url, request.timeout_secs)
    model = choose_served(read_models(client), request.served_model)
    texts = [prompt.text for prompt in request.prompts]
    timings = [
        time_answer(client, model, text, request.max_new_tokens)
        for text in islice(cycle(texts), request.warmup + request.count)
    ]
    return BenchCompletionReport(
        model=model,
        adapter=None,
        timings=tuple(timings[request.warmup :]),
        max_p95_ms=request.max_p95_ms,
        device=None,
        compute_dtype=None,
        url=client.url,
    )
