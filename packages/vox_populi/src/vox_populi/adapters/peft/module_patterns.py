"""`rank_pattern` and `alpha_pattern` of a PEFT config: other numbers for some of the projections.

PEFT matches a key as a regular expression at the end of a module's path, and the first one counts.
It is searched for in linear time here, since a config comes from anybody. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from vox_populi.corpus.line_pattern import LinePattern
from vox_populi.corpus.pattern_syntax import PatternRefusedError
from vox_populi.files.json_fields import FieldError, take_number, take_positive
from vox_tensor.lora_spec import LoraSpec

RANK_PATTERN, ALPHA_PATTERN = "rank_pattern", "alpha_pattern"


@dataclass(frozen=True, slots=True)
class ModulePatterns:
    """Ranks and alphas of projections by pattern, in the order of the file."""

    ranks: tuple[tuple[LinePattern, int], ...] = ()
    alphas: tuple[tuple[LinePattern, float], ...] = ()

    def spec_of(self, path: str, default: LoraSpec) -> LoraSpec:
        """The settings of the projection with a module path."""
        rank = next((each for key, each in self.ranks if key.search(path)), default.rank)
        alpha = next((each for key, each in self.alphas if key.search(path)), default.alpha)
        return replace(default, rank=rank, alpha=alpha)


def read_patterns(raw: Mapping[str, object], default: LoraSpec) -> ModulePatterns:
    """Both patterns of a config.

    Args:
        raw: The config.
        default: Settings of the other projections.

    Raises:
        FieldError: For a key that cannot be searched for, or a number out of range.
        ValueError: As `LoraSpec`.
    """
    ranks = _entries(raw, RANK_PATTERN)
    alphas = _entries(raw, ALPHA_PATTERN)
    found = ModulePatterns(
        ranks=tuple((_pattern(key, RANK_PATTERN), take_positive(ranks, key)) for key in ranks),
        alphas=tuple((_pattern(key, ALPHA_PATTERN), take_number(alphas, key)) for key in alphas),
    )
    for _, rank in found.ranks:
        replace(default, rank=rank)
    for _, alpha in found.alphas:
        replace(default, alpha=alpha)
    return found


def _entries(raw: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = raw.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        message = f"{name} is not an object"
        raise FieldError(message)
    return value


def _pattern(key: str, name: str) -> LinePattern:
    try:
        return LinePattern(rf"^(.*\.)?({key})$")
    except PatternRefusedError as error:
        message = f"a key of {name} cannot be used: {error}"
        raise FieldError(message) from None
