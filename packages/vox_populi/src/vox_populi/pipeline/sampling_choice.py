"""How to choose tokens, as asked for and checked. Needs torch."""

from __future__ import annotations

from collections.abc import Iterator

from vox_populi import operator_messages as say
from vox_populi.errors import ConfigError
from vox_populi.infer.sampling import SamplingSpec
from vox_populi.pipeline.requests import GenerateRequest
from vox_tensor.errors import Problem

LEAST_DIVISOR = 1e-6
"""Scores are divided by temperature and penalty, and stay finite down to here."""
MAX_SEED = 2**63 - 1


def sampling_of(request: GenerateRequest, index: int) -> SamplingSpec:
    """How to choose tokens after one prompt; each prompt has a stream of its own.

    Raises:
        ConfigError: With every setting that is out of range.
    """
    problems = list(_out_of_range(request))
    if problems:
        raise ConfigError(*problems)
    return SamplingSpec(
        temperature=request.temperature,
        top_k=request.top_k or 0,
        top_p=request.top_p,
        repetition_penalty=request.repetition_penalty,
        seed=request.seed + index,
    )


def _out_of_range(request: GenerateRequest) -> Iterator[Problem]:
    if request.max_new_tokens < 1:
        yield say.setting_out_of_range("--max-new-tokens", request.max_new_tokens, "at least 1")
    if request.temperature != 0 and not _is_divisor(request.temperature):
        allowed = f"0, or at least {LEAST_DIVISOR:g}"
        yield say.setting_out_of_range("--temperature", request.temperature, allowed)
    if request.top_k is not None and request.top_k < 1:
        yield say.setting_out_of_range("--top-k", request.top_k, "at least 1")
    if not 0 < request.top_p <= 1:
        yield say.setting_out_of_range("--top-p", request.top_p, "above 0, at most 1")
    if not _is_divisor(request.repetition_penalty):
        given, allowed = request.repetition_penalty, f"at least {LEAST_DIVISOR:g}"
        yield say.setting_out_of_range("--repetition-penalty", given, allowed)
    if not 0 <= request.seed <= MAX_SEED:
        yield say.setting_out_of_range("--seed", request.seed, f"0 to {MAX_SEED}")


def _is_divisor(value: float) -> bool:
    return LEAST_DIVISOR <= value < float("inf")
