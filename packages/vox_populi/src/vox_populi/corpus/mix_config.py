"""What to mix: sources with their weights, filters and the seed. Values only; reads nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from vox_populi.corpus.tool_trace import RecordFormat
from vox_populi.errors import ConfigError
from vox_populi.number_ranges import RATING, SEED
from vox_populi.operator_messages import corpus as say
from vox_tensor.errors import Problem

DEFAULT_SEED = 42
MAX_WEIGHT = 1000.0
"""A larger one is a slip that would fill a disk."""
MAX_SOURCES = 256
"""All of them are open at once while rows are written in shuffled order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixSource:
    """One file of rows and how much of it is wanted."""

    path: str
    """As written; a relative one starts at the config's folder."""
    weight: float = 1.0
    """Copies of each row. Of a fraction, so many rows get one copy more; 0 leaves the file out."""
    record_format: RecordFormat = RecordFormat.ROWS
    optional: bool = False
    """Whether the file may be missing or contribute nothing."""
    sample_rate: float = 1.0
    """Share of its rows that is used at all."""
    where: str = field(default="", compare=False)
    """Config file and line."""

    def problems(self) -> Iterator[Problem]:
        """What this entry cannot mean."""
        if not self.path.strip() or "\0" in self.path:
            yield say.mix_value_refused("path", "the name of a file", self.where)
        if not 0 <= self.weight <= MAX_WEIGHT:
            accepted = f"from 0 (leaves the file out) to {MAX_WEIGHT:g}"
            yield say.mix_value_out_of_range("weight", accepted, self.where)
        if not 0 < self.sample_rate <= 1:
            yield say.mix_value_out_of_range("sample_rate", "above 0, at most 1", self.where)

    def as_json(self, shown_path: str) -> dict[str, object]:
        """The fields of report and fingerprint, under a name that `MixConfig.shown_path` gives."""
        return {
            "path": shown_path,
            "weight": self.weight,
            "record_format": self.record_format.value,
            "optional": self.optional,
            "sample_rate": self.sample_rate,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MixConfig:
    """A mix that can be made, whatever its files hold. Building it reports every contradiction.

    Raises:
        ConfigError: With all that is wrong with it.
    """

    file: Path
    """The config file; relative paths start at its folder."""
    sources: tuple[MixSource, ...]
    output: Path | None = None
    seed: int = DEFAULT_SEED
    include_lanes: tuple[str, ...] = ()
    """Empty for all of them."""
    exclude_lanes: tuple[str, ...] = ()
    min_rating: int | None = None
    """Least rating of a rated row. Unrated rows pass."""
    dedup: bool = False
    """Whether a row that says the same as one taken before is left out."""
    shuffle: bool = True

    def __post_init__(self) -> None:
        problems = tuple(self._problems())
        if problems:
            raise ConfigError(*problems)

    def path_of(self, source: MixSource) -> Path:
        """Where a source is."""
        return self.file.parent / _without_tilde(source.path)

    def shown_path(self, source: MixSource) -> str:
        """What a source is called in what leaves this machine: as written, or without its folders.

        An absolute path would name the user, and make the same mix another one elsewhere.
        """
        written = _without_tilde(source.path)
        if not written.is_absolute():
            return source.path
        folder = self.file.parent.absolute()
        return written.relative_to(folder).as_posix() if folder in written.parents else written.name

    def fingerprint(self) -> str:
        """`sha256:` and the hash of everything but where the rows go."""
        text = json.dumps(self.as_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    def as_json(self) -> dict[str, object]:
        """What is mixed and how, without the places that depend on the machine."""
        return {
            "sources": [source.as_json(self.shown_path(source)) for source in self.sources],
            "seed": self.seed,
            "include_lanes": list(self.include_lanes),
            "exclude_lanes": list(self.exclude_lanes),
            "min_rating": self.min_rating,
            "dedup": self.dedup,
            "shuffle": self.shuffle,
        }

    def _problems(self) -> Iterator[Problem]:
        where = str(self.file)
        if not 1 <= len(self.sources) <= MAX_SOURCES:
            yield say.mix_value_refused("sources", f"1 to {MAX_SOURCES} entries", where)
        if not SEED.holds(self.seed):
            yield say.mix_value_out_of_range("seed", "from 0 to 2^63 - 1", where)
        if self.min_rating is not None and not RATING.holds(self.min_rating):
            yield say.mix_value_out_of_range("min_rating", "from 1 to 5", where)
        both = sorted(set(self.include_lanes) & set(self.exclude_lanes))
        if both:
            yield say.mix_lanes_conflict(both, where)
        for source in self.sources:
            yield from source.problems()


def _without_tilde(path: str) -> Path:
    """A leading `~` is the home folder, as in a shell."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        # A user without a home folder: the path may still name something.
        return Path(path)
