"""The JSON Schema that editors read accepts a config file where `vox mens train` does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from vox_cli.train_request import TRAIN_SETTINGS
from vox_populi.contract.setting import Setting
from vox_tensor.tokenizer import VoxTokenizer

Vox = Callable[..., Any]

SCHEMA = json.loads(files("vox_populi").joinpath("schemas/train-config.schema.json").read_text())
NUMBERS = (-1, 0, 1, 64, 10**9 + 1, 2**63, 0.5, 1.0, 1e300)
OTHERS = (None, True, "yes", "xyzzy", "", "https://a/b", {"a": 1})
REFUSED = {"MENS-C001", "MENS-C002", "MENS-C008", "MENS-U003", "MENS-U004", "MENS-U005"}
REFUSED |= {"MENS-C004", "MENS-U006", "MENS-U007", "MENS-U024", "MENS-U060"}
"""What is said of a value as such; a contradiction with another setting has another code."""


LOADED_ONCE = cache(VoxTokenizer.load)


def schema_accepts(document: object) -> bool:
    return bool(jsonschema.Draft202012Validator(SCHEMA).is_valid(document))


@pytest.fixture
def program_accepts(
    vox: Vox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[object], bool]:
    monkeypatch.setattr(VoxTokenizer, "load", LOADED_ONCE)  # A thousand times the same one.

    def accepts(document: object) -> bool:
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        where = ("--data-dir", tmp_path / "none", "--output-dir", tmp_path / "out")
        outcome = vox("mens", "train", *where, "--config", path, "--dry-run", "--json")
        assert "MENS-B" not in outcome.err
        return not REFUSED & {each["code"] for each in outcome.document["problems"]}

    return accepts


def words_of(setting: Setting) -> Iterator[object]:
    if setting.spec.parse is not None:
        yield from ("q,v", "all", ["q", "v"])
    elif setting.kind not in (int, float, bool, Path, str):
        yield from (each.value for each in setting.kind)  # type: ignore[attr-defined]
        yield from (word for word in setting.spec.words or () if word)


def bounded_elsewhere(setting: Setting, value: object) -> bool:
    """Whether something else than the setting decides: cores, or the length of a row.

    Also the other words for true and false, and the empty one for the CPU, which an editor need
    not offer.
    """
    if setting.name in ("threads", "qlora_ce_last_k"):
        return isinstance(value, int) and value > 1
    if setting.kind is bool:
        return value in (0, 1)
    return value == "" and setting.name == "device"


def test_the_schema_is_one_and_names_every_setting() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert list(SCHEMA["properties"]) == [each.name for each in TRAIN_SETTINGS]
    assert all(each["description"] for each in SCHEMA["properties"].values())


@pytest.mark.any_install
@pytest.mark.parametrize("setting", TRAIN_SETTINGS, ids=lambda each: each.name)
def test_schema_and_program_agree_on_the_values_of_a_setting(
    program_accepts: Callable[[object], bool], setting: Setting
) -> None:
    is_free = setting.kind in (str, Path) or setting.spec.parse is not None
    verdicts = set()
    for value in (*NUMBERS, *OTHERS, *words_of(setting)):
        document = {setting.name: value}
        if setting.group == "qlora":
            document["backend"] = "qlora"
        if bounded_elsewhere(setting, value):
            continue
        accepted = schema_accepts(document)
        verdicts.add(accepted)
        if is_free and accepted:
            continue  # Which names there are is not in the schema: presets, paths, projections.
        if isinstance(value, float) and setting.kind is int and accepted:
            continue  # JSON has one type of numbers: 1.0 is a whole number there, but not to us.
        assert program_accepts(document) == accepted, document
    assert verdicts == {True, False}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "data_dir: rows\noutput_dir: runs/one\nlr: 0.0002\ntargets: [q, v]\npreset: 4080\n",
        "backend: qlora\nmodel: base\nqlora_no_double_quant: true\nnf4_block_size: 128\n",
        "rslora: yes\nmin_rating: null\ncheckpoint_every: 50\nsystem_prompt: Be brief.\n",
    ],
)
def test_files_of_people_are_accepted(program_accepts: Callable[[object], bool], text: str) -> None:
    document = yaml.safe_load(text)
    assert schema_accepts(document)
    assert program_accepts(document)


@pytest.mark.parametrize(
    "text", ["learning_rate: 0.1\n", "rank: many\n", "- rank\n", "epochs: 3\nforce: true\n"]
)
def test_files_with_a_slip_are_refused(vox: Vox, tmp_path: Path, text: str) -> None:
    assert not schema_accepts(yaml.safe_load(text))
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    assert vox("mens", "train", "--config", path, "--print-config").code == 2


def test_the_config_to_start_from_is_accepted() -> None:
    text = files("vox_cli").joinpath("starter/run.yaml").read_text()
    loader = yaml.SafeLoader(text.replace("2e-3", "2.0e-3"))  # As YAML 1.2, and editors, read it.
    document = loader.get_single_data()
    assert "lr" in document
    assert schema_accepts(document)
