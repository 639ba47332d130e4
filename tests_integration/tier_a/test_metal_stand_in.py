"""Whole runs on a device that has neither float64 nor a way back to the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests_integration.tier_a.device_runs import BASES, CASES, write_inputs
from tests_integration.tolerances import BF16_TRAINED, F32_TRAINED, assert_close_number

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `metal_stand_in_runs.py` prints."""
    folder = tmp_path_factory.mktemp("metal")
    write_inputs(folder, *BASES)
    script = ROOT / "tests_integration" / "tier_a" / "metal_stand_in_runs.py"
    done = subprocess.run(
        [sys.executable, str(script), str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_stand_in_refuses_what_metal_refuses(runs: dict[str, Any]) -> None:
    assert runs["refused"] == ["float64", "float64 made there", "two devices", "no kernel"]
    assert runs["operations"] > 0


@pytest.mark.parametrize("case", CASES)
def test_a_whole_run_stays_on_the_device(case: str, runs: dict[str, Any]) -> None:
    here, cpu = (runs["cases"][case][device] for device in ("metal", "cpu"))
    tolerance = BF16_TRAINED if case == "bf16" else F32_TRAINED
    assert here["steps"] == cpu["steps"]
    assert here["resumed_equal"], "a resumed run ends in the bytes of the undisturbed one"
    for name in ("losses", "norms", "held_out", "evaluated"):
        for actual, expected in zip(here.get(name, ()), cpu.get(name, ()), strict=True):
            assert_close_number(actual, expected, tolerance)
    assert len(here["losses"]) == here["steps"][0]
    assert here["held_out"][0] != here["held_out"][1], "training must have changed something"


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("bf16", "proxy")])
def test_the_answers_are_those_of_the_cpu(case: str, runs: dict[str, Any]) -> None:
    here, cpu = (runs["cases"][case][device] for device in ("metal", "cpu"))
    assert here["answer"] == cpu["answer"]
    assert len(here["answer"]) > 0
    assert here["answers"] == cpu["answers"]
    assert len(set(here["answers"])) > 1


def test_nothing_leaves_the_device_but_losses_norms_adapters_and_scores(
    runs: dict[str, Any],
) -> None:
    places = {place for place in runs["to_host"] if not place.startswith("device_trial.py")}
    assert places == {
        "cached_model.py:next_logits",
        "text_batch.py:_read",
        "text_batch.py:_step_slots",
        "engine.py:<dictcomp>",
        "engine.py:_run_step",
        "lora_transformer.py:<dictcomp>",
        "shared_passes.py:<genexpr>",
        "step_gradients.py:_values",
    }


def test_only_what_loads_or_restores_waits_for_a_copy_to_the_device(runs: dict[str, Any]) -> None:
    places = {place for place in runs["waits"] if not place.startswith("device_trial.py")}
    assert places == {
        "builders.py:_qlora_proxy",
        "hf_load.py:_read_state",
        "lora.py:__init__",
        "lora_transformer.py:load_adapter_tensors",
        "nf4.py:_four_levels",
        "nf4.py:to",
        "nf4_load.py:load_nf4_base",
        "optimizer.py:load",
        "proxy_stack.py:__init__",
        "rotary.py:_frequencies_on",
    }


def test_best_takes_a_device_that_computes_what_the_cpu_does(runs: dict[str, Any]) -> None:
    assert runs["trial"]["right"] is None
    assert "differ" in runs["trial"]["wrong"]
