"""The named settings of the source system, as a table. Flags override a preset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

from vox_populi.contract.choices import DeploymentTarget, DeviceKind
from vox_populi.errors import ConfigError
from vox_populi.operator_messages import contract as say
from vox_tensor.errors import Problem

AUTO_PRESET = "auto"
"""Means the largest preset that fits; code that builds a request replaces it by that name."""
SMALL_DATA_ROWS = 500
"""Below this many training rows, a preset's epochs and warm-up are adapted."""
SMALL_DATA_EPOCHS = (2, 5)
SMALL_DATA_MAX_WARMUP = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainPreset:
    """The settings of one preset."""

    rank: int
    alpha: float
    seq_len: int
    batch_size: int
    grad_accum: int
    epochs: int
    warmup_steps: int
    learning_rate: float
    device: DeviceKind | None = None
    """Set if the preset is for one kind of device only."""
    deployment_target: DeploymentTarget | None = None

    def for_small_data(self) -> tuple[int, int]:
        """Epochs and warm-up steps for fewer than `SMALL_DATA_ROWS` rows."""
        fewest, most = SMALL_DATA_EPOCHS
        return min(max(self.epochs, fewest), most), min(self.warmup_steps, SMALL_DATA_MAX_WARMUP)


PRESETS: Mapping[str, TrainPreset] = MappingProxyType(
    {
        "tiny": TrainPreset(
            rank=4,
            alpha=8.0,
            seq_len=128,
            batch_size=1,
            grad_accum=1,
            epochs=1,
            warmup_steps=10,
            learning_rate=1e-4,
        ),
        "safe": TrainPreset(
            rank=8,
            alpha=16.0,
            seq_len=256,
            batch_size=2,
            grad_accum=8,
            epochs=3,
            warmup_steps=50,
            learning_rate=2e-4,
        ),
        "4080": TrainPreset(
            rank=16,
            alpha=32.0,
            seq_len=384,
            batch_size=1,
            grad_accum=8,
            epochs=3,
            warmup_steps=80,
            learning_rate=1.5e-4,
        ),
        "a100": TrainPreset(
            rank=32,
            alpha=64.0,
            seq_len=1024,
            batch_size=8,
            grad_accum=2,
            epochs=3,
            warmup_steps=200,
            learning_rate=2e-4,
        ),
        "distributed": TrainPreset(
            rank=16,
            alpha=32.0,
            seq_len=512,
            batch_size=4,
            grad_accum=8,
            epochs=3,
            warmup_steps=150,
            learning_rate=1.5e-4,
        ),
        "mobile_edge": TrainPreset(
            rank=8,
            alpha=16.0,
            seq_len=256,
            batch_size=1,
            grad_accum=8,
            epochs=3,
            warmup_steps=40,
            learning_rate=1.5e-4,
            device=DeviceKind.CPU,
            deployment_target=DeploymentTarget.MOBILE_EDGE,
        ),
        "vox-gen": TrainPreset(
            rank=16,
            alpha=32.0,
            seq_len=256,
            batch_size=2,
            grad_accum=8,
            epochs=5,
            warmup_steps=60,
            learning_rate=1.5e-4,
        ),
    }
)
"""Every preset by its canonical name."""

PRESET_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "4080_safe": "safe",
        "qwen_small_8g": "safe",
        "qwen_4080_16g": "4080",
        "qwen_rtx3090_24g": "4080",
        "default": "4080",
        "qwen_a100_80g": "a100",
        "h100": "a100",
    }
)
"""Other names of the same rows."""


def find_preset(name: str) -> TrainPreset:
    """Look a preset up by any of its names, case aside.

    Raises:
        ConfigError: For an unknown name, with the closest known one. The source system silently
            used a default row.
    """
    if not is_preset(name):
        raise ConfigError(preset_unknown(name))
    word = _word(name)
    return PRESETS[PRESET_ALIASES.get(word, word)]


def values_of_preset(name: str) -> dict[str, object]:
    """What a preset says, by the fields of a request and its groups.

    Raises:
        ConfigError: As `find_preset` does.
    """
    preset = find_preset(name)
    values = {each.name: getattr(preset, each.name) for each in fields(preset)}
    return {field: value for field, value in values.items() if value is not None}


def is_preset(name: str) -> bool:
    """Whether `find_preset` accepts the name."""
    return _word(name) in PRESETS or _word(name) in PRESET_ALIASES


def is_auto(name: object) -> bool:
    """Whether a preset is to be chosen by the machine's memory."""
    return isinstance(name, str) and _word(name) == AUTO_PRESET


def preset_unknown(name: str) -> Problem:
    """The problem of a name that `find_preset` does not accept."""
    return say.choice_unknown("--preset", name, (AUTO_PRESET, *PRESETS, *PRESET_ALIASES))


def _word(name: str) -> str:
    return name.strip().lower()
