"""How the next token is chosen, as numbers. No torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingSpec:
    """How to choose.

    Raises:
        ValueError: For a negative temperature or top_k, a top_p outside (0, 1], or a repetition
            penalty that is not positive.
    """

    temperature: float = 0.0
    """0 chooses the most likely token; otherwise scores are divided by it before sampling."""
    top_k: int = 0
    """Keep the k most likely tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the smallest set of tokens whose probabilities reach this sum (nucleus sampling,
    Holtzman et al. 2019, arXiv 1904.09751)."""
    repetition_penalty: float = 1.0
    """Scores of tokens already in the text are divided by it if positive and multiplied if
    negative, also in greedy decoding (CTRL, Keskar et al. 2019, arXiv 1909.05858)."""
    presence_penalty: float = 0.0
    """Taken from the score of each token that was generated already."""
    frequency_penalty: float = 0.0
    """Taken from the score of a token for each time that it was generated."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0 or self.top_k < 0:
            message = "temperature and top_k must not be negative"
            raise ValueError(message)
        if not 0 < self.top_p <= 1:
            message = f"top_p must be in (0, 1], got {self.top_p}"
            raise ValueError(message)
        if not self.repetition_penalty > 0:
            message = f"repetition_penalty must be positive, got {self.repetition_penalty}"
            raise ValueError(message)
