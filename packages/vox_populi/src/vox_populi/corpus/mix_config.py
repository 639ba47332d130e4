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
"""Largest weight; a larger one is a typo that would fill a disk."""
MAX_SOURCES = 256
"""Largest number of sources; the index of every row of each is in memory at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MixSource:
    """One file of rows and how much of it to use."""

    path: str
    """Path as written; a relative one is relative to the config's folder."""
    weight: float = 1.0
    """Copies of each row; a fraction gives that share of the rows one more. 0 leaves the file
    out."""
    record_format: RecordFormat = RecordFormat.ROWS
    optional: bool = False
    """Whether the file may be missing or contribute nothing."""
    sample_rate: float = 1.0
    """Share of its rows to use."""
    where: str = field(default="", compare=False)
    """Config file and line."""

    def problems(self) -> Iterator[Problem]:
        """Values of this entry that are not allowed."""
        if not self.path.strip() or "\0" in self.path:
            yield say.mix_value_refused("path", "the name of a file").at(self.where)
        if not 0 <= self.weight <= MAX_WEIGHT:
            accepted = f"from 0 (leaves the file out) to {MAX_WEIGHT:g}"
            yield say.mix_value_out_of_range("weight", accepted).at(self.where)
        if not 0 < self.sample_rate <= 1:
            yield say.mix_value_out_of_range("sample_rate", "above 0, at most 1").at(self.where)

    def as_json(self, shown_path: str) -> dict[str, object]:
        """The fields of report and fingerprint, with the path from `MixConfig.shown_path`."""
        return {
            "path": shown_path,
            "weight": self.weight,
            "record_format": self.record_format.value,
            "optional": self.optional,
            "sample_rate": self.sample_rate,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class MixConfig:
    """A valid mix, whatever its files contain. Building it reports every contradiction.

    Raises:
        ConfigError: With every problem.
    """

    file: Path
    """The config file; relative paths are relative to its folder."""
    sources: tuple[MixSource, ...]
    output: Path | None = None
    seed: int = DEFAULT_SEED
    include_lanes: tuple[str, ...] = ()
    """Lanes to use; empty for all."""
    exclude_lanes: tuple[str, ...] = ()
    min_rating: int | None = None
    """Lowest accepted rating; unrated rows pass."""
    dedup: bool = False
    """Whether a row with the same messages as an earlier one is left out."""
    shuffle: bool = True
    legacy_rules: str | None = None
    """File of rules as written; rows with a line that they mark are left out."""

    def __post_init__(self) -> None:
        problems = tuple(self._problems())
        if problems:
            raise ConfigError(*problems)

    def path_of(self, source: MixSource) -> Path:
        """Path of a source."""
        return self.file.parent / _without_tilde(source.path)

    @property
    def legacy_file(self) -> Path | None:
        """Path of the file of rules."""
        rules = self.legacy_rules
        return None if rules is None else self.file.parent / _without_tilde(rules)

    def shown_path(self, source: MixSource) -> str:
        """The name of a source in files that may be shared: as written, or without its folders.

        An absolute path would reveal the user, and make the same mix different on each machine.
        """
        written = _without_tilde(source.path)
        if not written.is_absolute():
            return source.path
        folder = self.file.parent.absolute()
        return written.relative_to(folder).as_posix() if folder in written.parents else written.name

    def fingerprint(self) -> str:
        """`sha256:` and the hash of everything except the output."""
        text = json.dumps(self.as_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()

    def as_json(self) -> dict[str, object]:
        """What is mixed and how, without paths that depend on the machine."""
        return {
            "sources": [source.as_json(self.shown_path(source)) for source in self.sources],
            "seed": self.seed,
            "include_lanes": list(self.include_lanes),
            "exclude_lanes": list(self.exclude_lanes),
            "min_rating": self.min_rating,
            "dedup": self.dedup,
            "shuffle": self.shuffle,
            **({} if self.legacy_file is None else {"legacy_rules": self.legacy_file.name}),
        }

    def _problems(self) -> Iterator[Problem]:
        where = str(self.file)
        if not 1 <= len(self.sources) <= MAX_SOURCES:
            yield say.mix_value_refused("sources", f"1 to {MAX_SOURCES} entries").at(where)
        if not SEED.holds(self.seed):
            yield say.mix_value_out_of_range("seed", "from 0 to 2^63 - 1").at(where)
        if self.min_rating is not None and not RATING.holds(self.min_rating):
            yield say.mix_value_out_of_range("min_rating", "from 1 to 5").at(where)
        both = sorted(set(self.include_lanes) & set(self.exclude_lanes))
        if both:
            yield say.mix_lanes_conflict(both).at(where)
        for source in self.sources:
            yield from source.problems()


def _without_tilde(path: str) -> Path:
    """A path whose leading `~` is replaced with the home folder, as in a shell."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        # A user without a home folder: the path may still name something.
        return Path(path)
