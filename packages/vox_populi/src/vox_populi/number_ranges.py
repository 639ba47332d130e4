"""The minimum and maximum of each numeric setting, in one table; nothing is read here.

The bounds keep numbers where arithmetic is meaningful: factors fit float32 with room to spare,
counts fit what they count. The limit on CPU threads depends on the machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from vox_populi.errors import ConfigError
from vox_populi.operator_messages import contract as say
from vox_tensor.errors import Problem
from vox_tensor.lora_spec import MAX_ALPHA, MAX_RANK, MIN_ALPHA
from vox_tensor.nf4_levels import BLOCK_SIZES


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberRange:
    """Which numbers a setting accepts. NaN is in no range."""

    lowest: float
    highest: float
    is_whole: bool = True
    above_lowest: bool = False
    """Whether the lowest number itself is outside."""
    below_highest: bool = False
    zero_too: bool = False
    """Whether 0 is accepted although it lies below."""
    words: str | None = None
    """Text for messages instead of the bounds."""

    def holds(self, value: object) -> bool:
        """Whether the setting accepts a value; what is not a number is in no range."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if self.is_whole and not isinstance(value, int):
            return False
        if self.zero_too and value == 0:
            return True
        if (self.above_lowest and value == self.lowest) or (
            self.below_highest and value == self.highest
        ):
            return False
        return self.lowest <= value <= self.highest

    def __str__(self) -> str:
        """The range as worded in the fix of a message."""
        if self.words is not None:
            return self.words
        kind = "a whole number" if self.is_whole else "a number"
        least = f"above {self.lowest:g}," if self.above_lowest else f"from {_text(self.lowest)}"
        most = "below" if self.below_highest else "at most" if self.above_lowest else "to"
        if self.below_highest and not self.above_lowest:
            least += " and"
        zero = "0, or " if self.zero_too else ""
        return f"{zero}{kind} {least} {most} {_text(self.highest)}"


@dataclass(frozen=True, slots=True)
class NumberSet:
    """A setting that accepts only a few whole numbers."""

    numbers: tuple[int, ...]

    def holds(self, value: object) -> bool:
        """Whether the setting accepts a value."""
        return isinstance(value, int) and not isinstance(value, bool) and value in self.numbers

    def __str__(self) -> str:
        """The range as worded in the fix of a message."""
        return f"one of {', '.join(map(str, self.numbers))}"


def _text(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def range_problems(
    settings: Iterable[tuple[str, object, NumberRange | NumberSet]],
) -> Iterator[Problem]:
    """A problem for each setting whose value is not in its range; `None` is not set.

    Args:
        settings: Flag, value and range of each.
    """
    for flag, value, allowed in settings:
        if value is not None and not allowed.holds(value):
            yield say.setting_out_of_range(value, str(allowed)).at(flag)


def require_ranges(*settings: tuple[str, object, NumberRange | NumberSet]) -> None:
    """Refuse settings out of range.

    Args:
        settings: As for `range_problems`.

    Raises:
        ConfigError: With every one of them.
    """
    problems = tuple(range_problems(settings))
    if problems:
        raise ConfigError(*problems)


COUNT = NumberRange(lowest=1, highest=10**9)
"""Range of steps, rows and answers: more than anyone waits for, less than a 32-bit number."""
COUNT_OR_NONE = NumberRange(lowest=0, highest=10**9)
EPOCHS = NumberRange(lowest=1, highest=10**6)
BATCH_SIZE = NumberRange(lowest=1, highest=2**16)
GRAD_ACCUM = NumberRange(lowest=1, highest=2**20)
PROCESSES = NumberRange(lowest=1, highest=2**10)
SEQ_LEN = NumberRange(lowest=2, highest=2**20)
NEW_TOKENS = NumberRange(lowest=1, highest=2**20)
TOP_K = NumberRange(lowest=1, highest=2**31 - 1)
SEED = NumberRange(lowest=0, highest=2**63 - 1, words="a whole number from 0 to 2^63 - 1")
RATING = NumberRange(lowest=1, highest=5)
THREADS = NumberRange(lowest=1, highest=math.inf, words="1 to the number of cores")
"""Range of threads; the planner checks the machine's upper bound."""
PROXY_LAYERS = NumberRange(lowest=0, highest=2**16)
NF4_BLOCK = NumberSet(BLOCK_SIZES)
SHARD_BYTES = NumberRange(lowest=1, highest=2**63 - 1)

RANK = NumberRange(lowest=1, highest=MAX_RANK)
ALPHA = NumberRange(lowest=MIN_ALPHA, highest=MAX_ALPHA, is_whole=False)
LEARNING_RATE = NumberRange(lowest=0.0, highest=1e3, is_whole=False, above_lowest=True)
ROW_WEIGHT = NumberRange(lowest=1e-3, highest=1e3, is_whole=False)
"""Range of row weights: at most six digits apart, so that an f32 sum still sees the smaller one."""
FACTOR = NumberRange(lowest=0.0, highest=1e3, is_whole=False)
GIBIBYTES = NumberRange(lowest=0.25, highest=65536.0, is_whole=False)
NORM = NumberRange(lowest=0.0, highest=1e30, is_whole=False)
SHARE = NumberRange(lowest=0.0, highest=1.0, is_whole=False)
PART = NumberRange(lowest=0.0, highest=1.0, is_whole=False, below_highest=True)
"""A share below 1."""
POSITIVE_SHARE = NumberRange(lowest=0.0, highest=1.0, is_whole=False, above_lowest=True)
SHARE_PART = NumberRange(lowest=0.0, highest=1e9, is_whole=False, above_lowest=True)
"""One of several shares, in any unit."""
POLL_SECONDS = NumberRange(lowest=0.05, highest=3600.0, is_whole=False)
TEXT_CHARS = NumberRange(lowest=50, highest=10**6)
DAYS = NumberRange(lowest=0.0, highest=1e5, is_whole=False)
WAIT_SECONDS = NumberRange(lowest=0.0, highest=1e6, is_whole=False)
TEMPERATURE = NumberRange(lowest=1e-6, highest=1e6, is_whole=False, zero_too=True)
PENALTY = NumberRange(lowest=1e-6, highest=1e6, is_whole=False)
