"""Continuing prompts: request, report and function. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from vox_populi import number_ranges
from vox_populi.contract.setting import require_settings, setting
from vox_populi.files.json_numbers import JsonObject
from vox_populi.pipeline.early_refusals import refuse_all, weights_checks
from vox_populi.pipeline.runners import load_runner
from vox_populi.pipeline.weights_choice import WeightsChoice


@dataclass(frozen=True, slots=True)
class Prompt:
    """A text to continue."""

    text: str
    row_id: str | int | None = None
    """Id of the row in a prompts file; returned with the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """Prompts to continue; none for a chat."""

    prompts: tuple[Prompt, ...] = ()
    weights: WeightsChoice = field(default_factory=WeightsChoice)
    max_new_tokens: int = setting(
        128, "Largest number of tokens to generate.", allowed=number_ranges.NEW_TOKENS
    )
    temperature: float = setting(
        0.0, "Above 0 samples; 0 is greedy.", allowed=number_ranges.TEMPERATURE
    )
    top_k: int | None = setting(
        None, "Sample from the N most likely tokens.", allowed=number_ranges.TOP_K
    )
    top_p: float = setting(
        1.0,
        "Sample from the most likely tokens with this total probability.",
        allowed=number_ranges.POSITIVE_SHARE,
    )
    repetition_penalty: float = setting(
        1.0,
        "Above 1 makes tokens already in the text less likely.",
        allowed=number_ranges.PENALTY,
    )
    seed: int = setting(0, "Seed of sampling.", allowed=number_ranges.SEED)
    """Prompt `i` has its own random stream, regardless of the other prompts."""

    def __post_init__(self) -> None:
        require_settings(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateResult:
    """A model's answer to one prompt."""

    prompt: str
    text: str
    ids: tuple[int, ...]
    """New tokens only, without the one that ended the text."""
    stop_reason: str
    """`stop_token` (the model closed its turn), `length`, `context` (no positions left), or in
    a chat `interrupted`."""
    row_id: str | int | None = None
    """Id of the row in a prompts file."""
    notes: tuple[str, ...] = ()
    """Notes about the weights; the same for all prompts of a request."""

    def as_json(self) -> JsonObject:
        """One line of `vox mens generate --json`, with `id` if the prompt had one."""
        named = {} if self.row_id is None else {"id": self.row_id}
        return {
            **named,
            "prompt": self.prompt,
            "text": self.text,
            "ids": list(self.ids),
            "stop_reason": self.stop_reason,
        }


def generate(request: GenerateRequest) -> Iterator[GenerateResult]:
    """Continue each prompt, in order; the weights are loaded when the first is needed.

    Raises:
        VoxError: For unusable weights, or a prompt that leaves no room for an answer.
    """
    module = load_runner("generate_run", lambda: refuse_answers_early(request))
    results: Iterator[GenerateResult] = module.generate(request)
    return results


class LoadedModel(Protocol):
    """A model that answers prompts one by one; its weights stay in memory."""

    name: str
    """Name of the base or merged folder."""
    notes: tuple[str, ...]
    """What the caller should know about the weights."""

    def generate(
        self,
        prompt: str,
        *,
        max_new_tokens: int = 128,
        temperature: float = 0.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        repetition_penalty: float = 1.0,
        seed: int = 0,
    ) -> GenerateResult:
        """Answer one prompt; at temperature 0 the most likely token is chosen each time.

        Raises:
            ConfigError: For a setting out of range.
            DataError: When the prompt leaves no room for an answer.
        """
        ...


def load_model(weights: WeightsChoice) -> LoadedModel:
    """Load a base model, with an adapter if one is chosen.

    Raises:
        VoxError: For unusable weights.
    """
    module = load_runner("generate_run", lambda: refuse_all(*weights_checks(weights)))
    loaded: LoadedModel = module.Loaded(weights)
    return loaded


def refuse_answers_early(request: GenerateRequest) -> None:
    """Refuse early what generating would refuse."""
    refuse_all(*weights_checks(request.weights))
