"""The sampling settings of a request. Needs torch."""

from __future__ import annotations

from vox_populi.infer.sampling import SamplingSpec
from vox_populi.pipeline.generate import GenerateRequest


def sampling_of(request: GenerateRequest, index: int) -> SamplingSpec:
    """How to choose tokens after one prompt; each prompt has its own random stream."""
    return SamplingSpec(
        temperature=request.temperature,
        top_k=request.top_k or 0,
        top_p=request.top_p,
        repetition_penalty=request.repetition_penalty,
        seed=request.seed + index,
    )
