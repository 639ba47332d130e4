from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import vox_populi
from vox_cli.mix_config_file import CONFIG_KEYS, SOURCE_KEYS, read_mix_config
from vox_populi.corpus.mix_config import MixConfig, MixSource
from vox_populi.corpus.tool_trace import RecordFormat
from vox_populi.errors import ConfigError

FULL = """\
sources:
  - path: code.jsonl
  - path: sub/tools.jsonl
    weight: 1.5
    record-format: tool_trace
    optional: yes
    sample_rate: 2e-1
output: out/mixed.jsonl
seed: 0
include_lanes: [vox_codegen, vox_tooling]
exclude_lanes: vox_speech
min_rating: 3
dedup: true
shuffle: off
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mix.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(tmp_path: Path, text: str) -> list[tuple[str, str]]:
    """Code and line of each problem."""
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_mix_config(path)
    places = [(each.code, each.where or "") for each in caught.value.problems]
    assert all(where.startswith(str(path)) for _, where in places)
    return [(code, where.removeprefix(str(path)).strip(":")) for code, where in places]


def test_every_key_is_read(tmp_path: Path) -> None:
    path = written(tmp_path, FULL)
    assert read_mix_config(path) == MixConfig(
        file=path,
        sources=(
            MixSource(path="code.jsonl"),
            MixSource(
                path="sub/tools.jsonl",
                weight=1.5,
                record_format=RecordFormat.TOOL_TRACE,
                optional=True,
                sample_rate=0.2,
            ),
        ),
        output=tmp_path / "out/mixed.jsonl",
        seed=0,
        include_lanes=("vox_codegen", "vox_tooling"),
        exclude_lanes=("vox_speech",),
        min_rating=3,
        dedup=True,
        shuffle=False,
    )
    assert read_mix_config(path, seed=5).seed == 5


def test_a_short_config_has_the_defaults_and_null_is_one(tmp_path: Path) -> None:
    path = written(tmp_path, "sources: [{path: a, weight: null}]\nseed:\ninclude_lanes:\n")
    assert read_mix_config(path) == MixConfig(file=path, sources=(MixSource(path="a"),))


def test_a_mix_source_records_its_config_line(tmp_path: Path) -> None:
    path = written(tmp_path, FULL)
    assert [each.where for each in read_mix_config(path).sources] == [f"{path}:2", f"{path}:3"]


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    path = written(tmp_path, "sources:\n  - path: a\n    wieght: 2\noutptu: b\nzzz: 1\n")
    with pytest.raises(ConfigError) as caught:
        read_mix_config(path)
    fixes = [(each.where, each.fix) for each in caught.value.problems]
    assert [where for where, _ in fixes] == [f"{path}:4", f"{path}:5", f"{path}:3"]
    assert "output" in fixes[0][1]
    assert all(key in fixes[1][1] for key in CONFIG_KEYS)
    assert "weight" in fixes[2][1]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", [("MENS-D102", "")]),
        ("[1, 2]", [("MENS-D102", "")]),
        ("output: b\n", [("MENS-D102", "")]),
        ("sources:\n", [("MENS-D102", "")]),
        ("sources: []\n", [("MENS-D101", "1")]),
        ("sources: a.jsonl\n", [("MENS-D101", "1")]),
        ("sources: [a.jsonl]\n", [("MENS-D101", "1")]),
        ("sources: [{weight: 1}]\n", [("MENS-D102", "1")]),
        ("sources: [{path: }]\n", [("MENS-D102", "1")]),
        ("sources: [{path: ''}]\n", [("MENS-D101", "1")]),
        ("sources: [{path: [a]}]\n", [("MENS-D101", "1")]),
        ("sources: [{path: a, weight: many}]\n", [("MENS-U004", "1: weight")]),
        ("sources: [{path: a, weight: .nan}]\n", [("MENS-U004", "1: weight")]),
        ("sources: [{path: a, weight: .inf}]\n", [("MENS-U004", "1: weight")]),
        ("sources: [{path: a, weight: true}]\n", [("MENS-U004", "1: weight")]),
        ("sources: [{path: a, weight: -1}]\n", [("MENS-D103", "1")]),
        ("sources: [{path: a, weight: 1e9}]\n", [("MENS-D103", "1")]),
        ("sources: [{path: a, sample_rate: 0}]\n", [("MENS-D103", "1")]),
        ("sources: [{path: a, record_format: tooltrace}]\n", [("MENS-C001", "1: record_format")]),
        ("sources: [{path: a, optional: maybe}]\n", [("MENS-C001", "1: optional")]),
        ("sources: [{path: a, path: b}]\n", [("MENS-U023", "1")]),
        ("sources: [{path: a}]\nsources: [{path: b}]\n", [("MENS-U023", "2")]),
        ("sources: [{path: a}]\nseed: 1.5\n", [("MENS-U003", "2: seed")]),
        ("sources: [{path: a}]\nseed: -1\n", [("MENS-U005", "2: seed")]),
        ("sources: [{path: a}]\nmin_rating: 9\n", [("MENS-D103", "")]),
        ("sources: [{path: a}]\ninclude_lanes: [[a]]\n", [("MENS-D101", "2")]),
        ("sources: [{path: a}]\ninclude_lanes: {a: 1}\n", [("MENS-D101", "2")]),
        ("sources: [{path: a}]\ninclude_lanes: [a]\nexclude_lanes: [a]\n", [("MENS-D104", "")]),
        ("sources: [{path: a}]\n? [x]\n: 1\n", [("MENS-D100", "2")]),
        ("sources: [{<<: {weight: 2}, path: a}]\n", [("MENS-D100", "1")]),
        ("sources: [{path: !!python/name:os.system }]\n", [("MENS-D101", "1")]),
        ("sources: &a [*a]\n", [("MENS-D101", "1")]),
        ("sources: [\n", [("MENS-U021", "2")]),
    ],
)
def test_invalid_entries_of_a_mix_config_are_refused_with_their_line(
    tmp_path: Path, text: str, problems: list[tuple[str, str]]
) -> None:
    assert refused(tmp_path, text) == problems


def test_all_that_is_wrong_comes_as_one_list(tmp_path: Path) -> None:
    text = "sources:\n- {path: a, weight: -1}\n- {wight: 3}\nseed: x\nmin_rating: 0\n"
    codes = [code for code, _ in refused(tmp_path, text)]
    assert sorted(codes) == ["MENS-D100", "MENS-D102", "MENS-D103", "MENS-D103", "MENS-U003"]
    many = written(tmp_path, "sources:\n" + "- {path: a, wight: 1}\n" * 100)
    with pytest.raises(ConfigError) as caught:
        read_mix_config(many)
    assert len(caught.value.problems) == 21, "twenty and one that counts the others"


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="MENS-U020"):
        read_mix_config(tmp_path / "no.yaml")
    with pytest.raises(ConfigError, match="MENS-U020"):
        read_mix_config(tmp_path)


def mix_config_schema() -> dict[str, Any]:
    path = Path(vox_populi.__file__).parent / "schemas" / "mix-config.schema.json"
    schema: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return schema


def test_the_schema_has_the_keys_of_the_reader() -> None:
    schema = mix_config_schema()
    assert set(schema["properties"]) == set(CONFIG_KEYS)
    source = schema["properties"]["sources"]["items"]["properties"]
    assert set(source) == set(SOURCE_KEYS)
    assert source["record_format"]["enum"] == [*RecordFormat, None]


def test_the_schema_takes_the_example_and_refuses_slips() -> None:
    schema = jsonschema.Draft202012Validator(mix_config_schema())
    value: dict[str, Any] = yaml.safe_load(
        FULL.replace("2e-1", "0.2").replace("record-", "record_").replace("vox_speech", "[x]")
    )
    assert schema.is_valid(value)
    slips: list[dict[str, object]] = [
        {"sorces": []},
        {"sources": []},
        {"seed": -1},
        {"min_rating": 6},
        {"sources": [{"path": "a", "weight": -1}]},
        {"sources": [{"path": "a", "record_format": "tooltrace"}]},
    ]
    for slip in slips:
        assert not schema.is_valid({**value, **slip}), slip
