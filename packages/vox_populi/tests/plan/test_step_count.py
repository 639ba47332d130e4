from __future__ import annotations

from collections.abc import Callable

import pytest

from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.presets import PRESETS
from vox_populi.plan.step_count import count_steps

MakeContract = Callable[..., FinetuneContract]


@pytest.mark.parametrize(("rows", "per_epoch"), [(1, 1), (15, 1), (16, 1), (17, 2), (160, 10)])
def test_the_last_step_of_an_epoch_may_be_smaller(
    make_contract: MakeContract, rows: int, per_epoch: int
) -> None:
    contract = make_contract(epochs=3)
    steps = count_steps(contract, rows)
    assert contract.batching.rows_per_step == 16
    assert (steps.per_epoch, steps.total) == (per_epoch, 3 * per_epoch)


def test_max_steps_is_a_limit_and_says_when_it_is_none(make_contract: MakeContract) -> None:
    limited = count_steps(make_contract(max_steps=5, warmup_steps=0), 160)
    assert (limited.total, limited.notes) == (5, ())
    unlimited = count_steps(make_contract(max_steps=31, warmup_steps=0), 160)
    assert unlimited.total == 30
    assert "--max-steps 31" in unlimited.notes[0]


def test_a_warmup_that_the_run_does_not_outlast_becomes_a_tenth(
    make_contract: MakeContract,
) -> None:
    steps = count_steps(make_contract(warmup_steps=30), 160)
    assert (steps.total, steps.warmup) == (30, 3)
    assert "--warmup 30" in steps.notes[0]


def test_a_warmup_shorter_than_the_run_is_kept(make_contract: MakeContract) -> None:
    steps = count_steps(make_contract(warmup_steps=29), 160)
    assert (steps.warmup, steps.notes) == (29, ())


def test_a_run_of_one_step_has_no_warmup(make_contract: MakeContract) -> None:
    assert count_steps(make_contract(max_steps=1), 1).warmup == 0
    assert count_steps(make_contract(max_steps=1, warmup_steps=0), 1).notes == ()


def small_data(make_contract: MakeContract, preset: str | None, rows: int) -> tuple[int, int]:
    row = PRESETS["tiny"]
    contract = make_contract(
        preset=preset, epochs=row.epochs, warmup_steps=row.warmup_steps, batch_size=1, grad_accum=1
    )
    steps = count_steps(contract, rows)
    return steps.epochs, len(steps.notes)


def test_a_preset_is_adapted_to_small_data_and_says_so(make_contract: MakeContract) -> None:
    assert small_data(make_contract, "tiny", 499) == (2, 1)
    assert small_data(make_contract, "tiny", 500) == (1, 0)
    assert small_data(make_contract, None, 499) == (1, 0)


def test_values_that_are_not_the_presets_are_never_adapted(make_contract: MakeContract) -> None:
    steps = count_steps(make_contract(preset="a100", epochs=1, warmup_steps=60), 499)
    assert (steps.epochs, steps.total) == (1, 32)
    assert [note for note in steps.notes if "preset" in note] == []
    adapted = count_steps(
        make_contract(preset="a100", epochs=9, warmup_steps=200, batch_size=1, grad_accum=1), 499
    )
    assert (adapted.epochs, adapted.warmup) == (9, 50)
