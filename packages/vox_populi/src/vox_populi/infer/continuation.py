"""A text that is being continued: its ids, its random stream, and what ends it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from vox_populi.errors import RunFailedError
from vox_populi.infer.sampling import SamplingSpec, choose_token
from vox_populi.operator_messages import run as say


class StopReason(StrEnum):
    """Why a generation ended."""

    STOP_TOKEN = "stop_token"
    LENGTH = "length"
    CONTEXT = "context"
    """The model has no more positions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContinuationLimits:
    """What ends a text."""

    max_new_tokens: int
    """Limit if no stop token comes first."""
    max_positions: int
    """Positions of the model; the prompt leaves room for at least one token."""
    stop_ids: Collection[int]
    """Ids that end the text and are not part of it."""


class Continuation:
    """Chooses token after token from the scores of a model, whichever way these are computed.

    Nothing but its prompt, settings and scores decides what it chooses: the random stream is its
    own.

    Args:
        prompt_ids: Non-empty.
        limits: What ends the text.
        sampling: How to choose.

    Raises:
        ValueError: For an empty prompt, or one that fills the model's positions.
    """

    def __init__(
        self, prompt_ids: Sequence[int], limits: ContinuationLimits, sampling: SamplingSpec
    ) -> None:
        most = limits.max_positions - 1
        if not 0 < len(prompt_ids) <= most:
            message = f"a prompt has 1 to {most} tokens here, this one has {len(prompt_ids)}"
            raise ValueError(message)
        self.ids = list(prompt_ids)
        """Prompt and new ids."""
        self.stop_reason: StopReason | None = None
        """Why the text ended; `None` before its end."""
        self._limits = limits
        self._sampling = sampling
        self._n_prompt = len(prompt_ids)
        self._generator = torch.Generator().manual_seed(sampling.seed)
        self._end_at_limits()

    @property
    def new_ids(self) -> tuple[int, ...]:
        """The ids after the prompt, without the stop token."""
        return tuple(self.ids[self._n_prompt :])

    @property
    def longest(self) -> int:
        """Number of tokens that the text can grow to, with its prompt."""
        return min(self._limits.max_positions, self._n_prompt + self._limits.max_new_tokens)

    def take(self, scores_V: Tensor) -> int | None:
        """Choose the next id; `None` if it is a stop token, which ends the text.

        Args:
            scores_V: The model's scores of the token after `ids`, on the CPU.

        Raises:
            RunFailedError: When they are not finite.
        """
        if not bool(torch.isfinite(scores_V).all()):
            raise RunFailedError(say.SCORES_NOT_FINITE)
        token = choose_token(
            scores_V, self.ids, self._sampling, self._generator, self.ids[self._n_prompt :]
        )
        if token in self._limits.stop_ids:
            self.stop_reason = StopReason.STOP_TOKEN
            return None
        self.ids.append(token)
        self._end_at_limits()
        return token

    def _end_at_limits(self) -> None:
        if len(self.ids) - self._n_prompt >= self._limits.max_new_tokens:
            self.stop_reason = StopReason.LENGTH
        elif len(self.ids) == self._limits.max_positions:
            self.stop_reason = StopReason.CONTEXT
