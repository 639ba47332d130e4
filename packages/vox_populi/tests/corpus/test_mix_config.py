from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vox_populi.corpus.mix_config import MAX_SOURCES, MixConfig, MixSource
from vox_populi.corpus.tool_trace import RecordFormat
from vox_populi.errors import ConfigError

FILE = Path("folder/mix.yaml")


def config(*sources: MixSource, **fields: Any) -> MixConfig:
    return MixConfig(file=FILE, sources=sources or (MixSource(path="a.jsonl"),), **fields)


def codes(**fields: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config(**fields)
    return [problem.code for problem in caught.value.problems]


def test_relative_paths_start_at_the_config() -> None:
    made = config()
    assert made.path_of(MixSource(path="a.jsonl")) == Path("folder/a.jsonl")
    assert made.path_of(MixSource(path="/b.jsonl")) == Path("/b.jsonl")
    assert made.path_of(MixSource(path="~/b.jsonl")) == Path.home() / "b.jsonl"


@pytest.mark.parametrize("weight", [-1.0, -0.001, 1000.5, 1e308, math.nan, math.inf])
def test_a_weight_out_of_range_is_refused_with_its_place(weight: float) -> None:
    with pytest.raises(ConfigError) as caught:
        config(MixSource(path="a", weight=weight, where="mix.yaml:3"))
    (problem,) = caught.value.problems
    assert (problem.code, problem.where) == ("MENS-D103", "mix.yaml:3")
    assert config(MixSource(path="a", weight=0.0)).sources[0].weight == 0


@pytest.mark.parametrize("rate", [0.0, -0.5, 1.01, math.nan])
def test_a_sample_rate_is_a_share(rate: float) -> None:
    with pytest.raises(ConfigError, match="MENS-D103"):
        config(MixSource(path="a", sample_rate=rate))
    assert config(MixSource(path="a", sample_rate=1.0)).sources[0].sample_rate == 1


def test_contradictions_come_as_one_list() -> None:
    assert codes(seed=-1, min_rating=6, include_lanes=("a", "b"), exclude_lanes=("b",)) == [
        "MENS-D103",
        "MENS-D103",
        "MENS-D104",
    ]


@pytest.mark.parametrize("path", ["", "  ", "a\0b"])
def test_a_source_has_a_path(path: str) -> None:
    with pytest.raises(ConfigError, match="MENS-D101"):
        config(MixSource(path=path))


@pytest.mark.parametrize("count", [0, MAX_SOURCES + 1])
def test_the_number_of_sources_has_bounds(count: int) -> None:
    with pytest.raises(ConfigError, match="MENS-D101"):
        MixConfig(file=FILE, sources=tuple(MixSource(path=str(i)) for i in range(count)))


def test_an_absolute_path_is_shown_without_the_folders_of_the_machine() -> None:
    folder = Path("folder").absolute()
    made = config()
    assert made.shown_path(MixSource(path="../b/a.jsonl")) == "../b/a.jsonl"
    assert made.shown_path(MixSource(path=str(folder / "b" / "a.jsonl"))) == "b/a.jsonl"
    assert made.shown_path(MixSource(path=str(folder.parent / "secret" / "a.jsonl"))) == "a.jsonl"
    assert made.shown_path(MixSource(path="~/secret/a.jsonl")) == "a.jsonl"
    absolute = config(MixSource(path=str(folder / "a.jsonl")))
    assert absolute.fingerprint() == made.fingerprint(), "the same mix, wherever it is made"
    assert str(folder) not in str(absolute.as_json())


def test_the_fingerprint_is_of_what_is_mixed_and_not_of_where() -> None:
    made = config()
    same = replace(made, file=Path("elsewhere/other.yaml"), output=Path("o.jsonl"))
    assert made.fingerprint() == same.fingerprint()
    others = [
        config(seed=1),
        config(min_rating=1),
        config(dedup=True),
        config(shuffle=False),
        config(include_lanes=("a",)),
        config(exclude_lanes=("a",)),
        config(MixSource(path="a.jsonl", weight=2.0)),
        config(MixSource(path="a.jsonl", record_format=RecordFormat.TOOL_TRACE)),
    ]
    assert len({made.fingerprint(), *(each.fingerprint() for each in others)}) == 9
