"""One, two and four processes that share a run, over gloo: the same bytes."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from packages.vox_populi.tests.pipeline.conftest import LLAMA, ROWS, write_safetensors
from packages.vox_populi.tests.pipeline.shared_runs import (
    DIVIDED,
    FAMILIES,
    MOST_SECONDS,
    RESUMED,
    SIZES,
)
from vox_populi.contract.choices import Backend
from vox_populi.hf.keymap import tensor_keys
from vox_populi.hf.model_config import parse_model_config
from vox_populi.train.addition_tree import sum_of_ranks
from vox_populi.train.process_group import card_of
from vox_tensor.tokenizer import VoxTokenizer

Results = Mapping[str, list[Any]]

CONFIGS: Mapping[str, dict[str, Any]] = {
    "llama": LLAMA,
    "qwen3": {**LLAMA, "model_type": "qwen3", "head_dim": 8, "tie_word_embeddings": True},
    "mixtral": {**LLAMA, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2},
    "gpt2": {
        "model_type": "gpt2",
        "vocab_size": 264,
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 2,
        "n_positions": 96,
        "eos_token_id": 2,
    },
}
STORED = {"llama": "BF16", "qwen3": "BF16"}
"""Types of the files that are not F32: tables are held as they are stored."""
KINDS = [f"{family}-{backend.value}" for family in FAMILIES for backend in Backend]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What every case of `shared_runs.py` ended in."""
    if not hasattr(os, "fork"):
        pytest.skip("needs processes that fork")
    folder = tmp_path_factory.mktemp("shared")
    for family, config in CONFIGS.items():
        base = folder / "models" / family
        base.mkdir(parents=True)
        (base / "config.json").write_text(json.dumps(config), encoding="utf-8")
        keys = tensor_keys(parse_model_config(config, "config.json"))
        stored = STORED.get(family, "F32")
        write_safetensors(base / "model.safetensors", keys, random.Random(1), stored)
        VoxTokenizer().save(base / "tokenizer.json")
    (folder / "data").mkdir()
    for name, rows in ("train.jsonl", ROWS), ("valid.jsonl", ROWS[2:]):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "data" / name).write_text(text, encoding="utf-8")
    program = Path(__file__).with_name("shared_runs.py")
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", str(program), str(folder)],
        env={**os.environ, "PYTHONPATH": str(program.parents[4]), "OMP_NUM_THREADS": "1"},
        process_group=0,
    )
    try:
        assert process.wait(4 * MOST_SECONDS) == 0
    finally:
        # Those that it started too.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    found: Results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_any_power_of_two_of_processes_gives_the_same_adapter(results: Results, kind: str) -> None:
    alone, *others = (results[f"{kind}/{size}"][0] for size in SIZES)
    for each in others:
        assert each["adapter"] == alone["adapter"]
        assert each["losses"] == alone["losses"]
        assert each["reported"] == alone["reported"]
        assert each["files"] == alone["files"]
        assert each["best"] == alone["best"]
    assert alone["best"]
    assert alone["processes"] is None
    assert [each["processes"]["world_size"] for each in others] == list(SIZES[1:])
    assert {each["processes"]["equality"] for each in others} == {"bytes"}
    assert len({results[f"{other}/1"][0]["adapter"] for other in KINDS}) == len(KINDS)


@pytest.mark.parametrize(
    ("family", "backend", "size"),
    [(family, backend, size) for family, backend, sizes in DIVIDED for size in sizes],
)
def test_a_base_in_parts_gives_the_adapter_of_a_whole_one(
    results: Results, family: str, backend: Backend, size: int
) -> None:
    alone = results[f"{family}-{backend.value}/1"][0]
    divided = results[f"{family}-{backend.value}-divided/{size}"][0]
    assert divided["adapter"] == alone["adapter"]
    assert divided["losses"] == alone["losses"]
    assert divided["processes"]["base"] == "divided"


@pytest.mark.parametrize("case", ["combined/2", "combined-divided/2"])
def test_early_stopping_prefixes_and_repeated_blocks_are_shared_too(
    results: Results, case: str
) -> None:
    alone, shared = results["combined/1"][0], results[case][0]
    assert shared["stopped_early"]
    assert shared["adapter"] == alone["adapter"]
    assert shared["losses"] == alone["losses"]
    assert shared["reported"] == alone["reported"]


def test_every_process_reports_the_same_and_only_the_first_tells_sinks(results: Results) -> None:
    first, *others = results["llama-lora/4"]
    for each in others:
        assert each["reported"] == first["reported"]
        assert each["losses"] == []
    assert first["losses"]


def test_three_processes_are_equal_within_rounding_and_say_so(results: Results) -> None:
    alone, shared = results["three/1"][0], results["three/3"][0]
    assert shared["processes"]["equality"] == "rounding"
    assert shared["losses"] == pytest.approx(alone["losses"], rel=1e-4)


@pytest.mark.parametrize(
    ("family", "first", "then"),
    [(family, *way) for family, ways in RESUMED.items() for way in ways],
)
def test_a_run_goes_on_with_another_number_of_processes(
    results: Results, family: str, first: int, then: int
) -> None:
    stopped = results[f"stopped-{family}-{first}-{then}-a/{first}"]
    assert {each["exit_code"] for each in stopped} == {130}, "one was asked, all stopped"
    resumed = results[f"stopped-{family}-{first}-{then}-b/{then}"][0]
    assert 0 < resumed["resumed_from"] < 4
    assert resumed["adapter"] == results[f"undisturbed-{family}/1"][0]["adapter"]


@pytest.mark.parametrize("size", [2, 4])
def test_an_exchange_adds_in_the_order_of_the_tree(results: Results, size: int) -> None:
    parts = [
        torch.rand(37, generator=torch.Generator().manual_seed(rank)) * 10.0**rank
        for rank in range(size)
    ]
    expected = sum_of_ranks(parts).tolist()
    for each in results[f"exchanged/{size}"]:
        assert each["sum"] == expected
        assert each["heard"] == 15
        assert each["collected"] == [[float(rank), 0.5] for rank in range(size)]
        assert each["told"] == {"a": 0}
        assert each["tensor"] == [True, 0.0]


@pytest.mark.parametrize("size", [2, 4])
def test_rows_of_a_table_are_sent_as_they_are_stored(results: Results, size: int) -> None:
    for each in results[f"tables/{size}"]:
        assert each == {"held": "torch.bfloat16", "looked_up": True, "whole": True}


def test_a_process_with_other_bits_is_named(results: Results) -> None:
    for each in results["exchanged/4"]:
        (problem,) = each["differing"]
        assert "MENS-R202" in problem
        assert "process 3" in problem


def test_processes_that_share_a_card_are_named(results: Results) -> None:
    for each in results["exchanged/4"]:
        (problem,) = each["cards"]
        assert "MENS-R206" in problem
        assert "processes 0 and 3" in problem


@pytest.mark.parametrize(
    ("local_rank", "n_cards", "card"), [("0", 1, 0), ("3", 8, 3), ("3", 1, 0), (None, 2, 0)]
)
def test_a_process_computes_on_its_card_or_on_the_only_one_it_is_shown(
    local_rank: str | None, n_cards: int, card: int
) -> None:
    variables = {} if local_rank is None else {"LOCAL_RANK": local_rank}
    assert card_of(variables, n_cards) == card


def test_a_process_that_ends_is_noticed_by_all_others(results: Results) -> None:
    *others, gone = results["lost/4"]
    assert gone is None
    for each in others:
        assert each["codes"] == ["MENS-R200"]
        assert each["seconds"] < MOST_SECONDS / 2


def test_processes_of_different_requests_are_refused(results: Results) -> None:
    first, other = results["refused/2"]
    (problem,) = other["problems"]
    assert "MENS-R203" in problem
    assert "settings" in problem
    assert "MENS-R200" in first["problems"][0]
