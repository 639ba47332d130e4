"""Every case of `device_runs` on the stand-in for Metal and on the CPU; prints both as JSON.

    python tests_integration/tier_a/metal_stand_in_runs.py FOLDER [CASE ...]

FOLDER holds the inputs; no case is all of them. What the program does is the program's: only the
device that `--device metal` means, and torch's answer to whether it is there, are replaced.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self
from unittest import mock

import torch

from tests_integration.tier_a.device_runs import CASES, run_case
from tests_integration.tier_a.metal_stand_in import NAME, RefusedError, StandIn
from vox_populi.contract.choices import DeviceKind
from vox_populi.kernel import adapted_objective
from vox_populi.pipeline import device_trial
from vox_populi.plan import device_choice
from vox_populi.train.seeds import Stream, stream_generator


def main(folder: Path, *names: str) -> None:
    """Every case on both devices, what was asked of the stand-in, and what it refuses."""
    stand_in = StandIn()
    devices = {**device_choice._TORCH_NAME, DeviceKind.METAL: NAME}
    chosen = names or tuple(CASES)
    # Outside the stand-in, through which the CPU's operations would go as well.
    on_cpu = {name: _run(folder, name, DeviceKind.CPU) for name in chosen}
    with (
        mock.patch.object(device_choice, "_TORCH_NAME", devices),
        mock.patch.object(torch.backends.mps, "is_available", return_value=True),
        mock.patch.object(torch.mps, "recommended_max_memory", return_value=2**32),
        # A generator is an object of C++, which a backend in Python cannot make.
        mock.patch.object(adapted_objective, "stream_generator", _on_the_cpu),
        stand_in,
    ):
        refused = list(_refusals())
        on_metal = {name: _run(folder, name, DeviceKind.METAL) for name in chosen}
        with mock.patch.object(torch, "Generator", _GeneratorAnywhere):
            trial = {
                "right": device_trial.step_failure(NAME),
                "wrong": _trial_with_a_wrong_kernel(stand_in),
            }
    found = {
        "cases": {name: {"cpu": on_cpu[name], "metal": on_metal[name]} for name in chosen},
        "to_host": sorted(stand_in.to_host),
        "waits": sorted(stand_in.waits),
        "operations": len(stand_in.operations),
        "refused": refused,
        "trial": trial,
    }
    sys.stdout.write(json.dumps(found))


def _run(folder: Path, name: str, device: DeviceKind) -> dict[str, Any]:
    return run_case(folder, CASES[name], folder / f"{name}-{device}", device)


def _on_the_cpu(seed: int, stream: Stream, *, device: str = "cpu") -> torch.Generator:
    del device
    return stream_generator(seed, stream)


class _GeneratorAnywhere(torch.Generator):
    """One of the CPU's, wherever it is asked for."""

    def __new__(cls, device: str = "cpu") -> Self:
        """See the class."""
        del device
        return super().__new__(cls)


def _refusals() -> Iterator[str]:
    """What the stand-in must refuse, or its silence would prove nothing."""
    here = torch.ones(3, device=NAME)
    attempts: dict[str, Callable[[], object]] = {
        "float64": here.double,
        "float64 made there": lambda: torch.zeros(2, device=NAME, dtype=torch.float64),
        "two devices": lambda: here + torch.ones(3),
        "no kernel": lambda: torch.linalg.eigh(here.diag()),
    }
    for name, attempt in attempts.items():
        try:
            attempt()
        except RefusedError:
            yield name


def _trial_with_a_wrong_kernel(stand_in: StandIn) -> str | None:
    """A device whose exponentials are off by a tenth."""
    device_trial.step_failure.cache_clear()
    stand_in.wrong_by["exp_"] = 1.1
    return device_trial.step_failure(NAME)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
