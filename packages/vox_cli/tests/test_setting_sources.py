from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vox_cli.config_file import read_config_file

Vox = Callable[..., Any]


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def settings(vox: Vox) -> Callable[..., dict[str, Any]]:
    """What `--print-config --json` shows."""

    def show(*argv: object) -> dict[str, Any]:
        outcome = vox("mens", "train", *argv, "--print-config", "--json")
        assert outcome.code == 0, outcome.err
        found = outcome.document["settings"]
        assert isinstance(found, dict)
        return found

    return show


def test_each_source_wins_over_those_below_it(
    settings: Callable[..., Any], config: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def rank(*argv: object) -> dict[str, Any]:
        found = settings(*argv)["rank"]
        assert isinstance(found, dict)
        return found

    assert rank() == {"value": 16, "source": "default", "origin": None}
    preset = ["--preset", "tiny"]
    assert rank(*preset) == {"value": 4, "source": "preset", "origin": "tiny"}
    path = config("seed: 1\nrank: 5\n")
    from_file = [*preset, "--config", path]
    assert rank(*from_file) == {"value": 5, "source": "file", "origin": f"{path}:2"}
    monkeypatch.setenv("VOX_MENS_RANK", "6")
    assert rank(*from_file) == {"value": 6, "source": "env", "origin": "VOX_MENS_RANK"}
    flag = [*from_file, "--rank", "7"]
    assert rank(*flag) == {"value": 7, "source": "flag", "origin": "--rank"}


def test_a_preset_sets_its_whole_row(settings: Callable[..., Any]) -> None:
    found = settings("--preset", "mobile_edge", "--epochs", 9)
    by_preset = {name for name, each in found.items() if each["source"] == "preset"}
    assert by_preset == {
        "rank",
        "alpha",
        "seq_len",
        "batch_size",
        "grad_accum",
        "warmup",
        "lr",
        "device",
        "deployment_target",
    }
    assert found["device"]["value"] == "cpu"
    assert found["epochs"]["value"] == 9


def test_a_preset_can_stand_in_the_file_or_the_environment(
    settings: Callable[..., Any], config: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings("--config", config("preset: tiny\n"))["rank"]["value"] == 4
    monkeypatch.setenv("VOX_MENS_PRESET", "safe")
    assert settings("--config", config("preset: tiny\n"))["rank"]["value"] == 8


def test_an_unknown_preset_is_refused_with_the_nearest(vox: Vox) -> None:
    outcome = vox("mens", "train", "--preset", "tinny", "--print-config")
    assert outcome.code == 2
    assert "tiny" in outcome.err


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("epoch", "epochs"),
        ("learning_rate", "lr"),
        ("model_dir", "model"),
        ("warmup_steps", "warmup"),
        ("batchsize", "batch_size"),
        ("use_rslora", "rslora"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(
    vox: Vox, config: Callable[[str], Path], key: str, near: str
) -> None:
    path = config(f"rank: 4\n{key}: 3\n")
    outcome = vox("mens", "train", "--config", path, "--json")
    assert outcome.code == 2
    (problem,) = outcome.document["problems"]
    assert problem["where"] == f"{path}:2"
    assert problem["fix"] == f"Did you mean {near}?"


def test_all_bad_lines_of_a_file_are_reported_at_once(
    vox: Vox, config: Callable[[str], Path]
) -> None:
    text = (
        "nonsense: 1\nrank: many\nepochs: null\nschedule: cosin\ntargets: [q, w, x]\nforce: true\n"
    )
    outcome = vox("mens", "train", "--config", config(text))
    assert outcome.code == 2
    assert outcome.codes == [
        "MENS-U011",
        "MENS-U003",
        "MENS-U024",
        "MENS-C001",
        "MENS-C001",
        "MENS-C001",
        "MENS-U011",
    ]
    assert "run.yaml:2: rank" in outcome.err


def test_null_is_a_value_where_the_contract_has_none(
    settings: Callable[..., Any], config: Callable[[str], Path]
) -> None:
    found = settings("--config", config("min_rating: null\nmax_steps: ~\n"))
    assert found["min_rating"] == {**found["min_rating"], "value": None, "source": "file"}


def test_paths_of_a_file_start_at_its_folder(
    settings: Callable[..., Any], config: Callable[[str], Path], tmp_path: Path
) -> None:
    path = config(f"data_dir: rows\noutput_dir: {tmp_path / 'elsewhere'}\n")
    found = settings("--config", path, "--model", "base")
    assert found["data_dir"]["value"] == str(tmp_path / "rows")
    assert found["output_dir"]["value"] == str(tmp_path / "elsewhere")
    assert found["model"]["value"] == "base"


def test_a_base_of_ones_own_brings_its_own_vocabulary(settings: Callable[..., Any]) -> None:
    assert settings()["tokenizer"]["value"] == "vox"
    assert settings("--model", "base")["tokenizer"]["value"] == "hf"
    assert settings("--model", "base", "--tokenizer", "vox")["tokenizer"]["value"] == "vox"


@pytest.mark.parametrize(
    ("argv", "name", "value"),
    [
        (["--backend", "burn-lora"], "backend", "lora"),
        (["--backend", "CANDLE"], "backend", "qlora"),
        (["--device", "gpu"], "device", "cuda"),
        (["--dtype", "bfloat16"], "dtype", "bf16"),
        (["--deployment-target", "mobile-edge"], "deployment_target", "mobile_edge"),
        (["--targets", "v, q"], "targets", "q,v"),
        (["--targets", "all,lm_head"], "targets", "all,lm_head"),
        (["--rslora"], "rslora", True),
        (["--no-rslora"], "rslora", False),
        (["--lr", "2e-4"], "lr", 2e-4),
    ],
)
def test_words_mean_what_they_meant_in_the_source_system(
    settings: Callable[..., Any], argv: list[str], name: str, value: object
) -> None:
    found = settings(*argv)[name]
    assert found == {"value": value, "source": "flag", "origin": f"--{name.replace('_', '-')}"}


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("lr: 2e-4", "lr", 2e-4),
        ("rslora: yes", "rslora", True),
        ("system_prompt: no", "system_prompt", "no"),
        ("targets: [k, q]", "targets", "q,k"),
        ("min-rating: 4", "min_rating", 4),
    ],
)
def test_yaml_means_what_the_flag_means(
    settings: Callable[..., Any],
    config: Callable[[str], Path],
    text: str,
    name: str,
    value: object,
) -> None:
    assert settings("--config", config(text))[name]["value"] == value


def test_a_bad_variable_is_named(vox: Vox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOX_MENS_EPOCHS", "some")
    outcome = vox("mens", "train", "--json")
    assert outcome.code == 2
    assert outcome.document["problems"][0]["where"] == "VOX_MENS_EPOCHS"


def test_a_misspelt_variable_is_noticed(vox: Vox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOX_MENS_BATCHSIZE", "1")
    monkeypatch.setenv("VOX_MENS_PROMPT", "of another command")
    monkeypatch.setenv("VOX_MENS_UNKNOWN", "1")
    for command in ("train", "doctor"):
        argv = ["--print-config"] if command == "train" else []
        misspelt, unknown = vox("mens", command, *argv).err.splitlines()
        assert "MENS-U012" in misspelt
        assert "VOX_MENS_BATCHSIZE" in misspelt
        assert "VOX_MENS_BATCH_SIZE" in misspelt
        assert "VOX_MENS_UNKNOWN" in unknown
        assert "Did you mean" not in unknown
    assert vox("mens", "train", "--print-config", "-q").err == ""


def test_print_config_output_can_be_used_as_a_config(
    vox: Vox, settings: Callable[..., Any], config: Callable[[str], Path]
) -> None:
    argv = ["--data-dir", "d", "--output-dir", "o", "--system-prompt", "Say: #1 'yes'"]
    argv += ["--preset", "tiny", "--lr", "3e-5", "--targets", "q,v", "--rslora"]
    text = vox("mens", "train", *argv, "--print-config").out
    assert "rank: 4" in text
    assert "# preset tiny" in text
    path = config(text)
    assert read_config_file(path).values["lr"].text == "3.0e-05"
    again = settings("--config", path)
    first = settings(*argv)
    paths = {"data_dir", "output_dir"}
    assert {n: each["value"] for n, each in again.items() if n not in paths} == {
        n: each["value"] for n, each in first.items() if n not in paths
    }
    assert again["lr"]["source"] == "file"


@pytest.mark.parametrize("value", ["-1", "0"])
def test_values_out_of_range_are_the_contract_s_to_refuse(vox: Vox, value: str) -> None:
    where = ["--data-dir", "d", "--output-dir", "o"]
    outcome = vox("mens", "train", *where, "--epochs", value, "--lr", value, "--json")
    assert outcome.code == 3
    assert [each["where"] for each in outcome.document["problems"]] == ["--epochs", "--lr"]
