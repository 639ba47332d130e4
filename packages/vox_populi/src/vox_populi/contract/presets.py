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


@dataclass(frozen=True, slots=True)
class TrainPreset:
    """The settings of one preset, in the order of the table."""

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


# fmt: off
PRESETS: Mapping[str, TrainPreset] = MappingProxyType({
    #                           rank alpha seq_len batch accum epochs warm-up rate
    "tiny":        TrainPreset(   4,  8.0,   128,    1,    1,     1,     10, 1e-4),
    "safe":        TrainPreset(   8, 16.0,   256,    2,    8,     3,     50, 2e-4),
    "4080":        TrainPreset(  16, 32.0,   384,    1,    8,     3,     80, 1.5e-4),
    "a100":        TrainPreset(  32, 64.0,  1024,    8,    2,     3,    200, 2e-4),
    "distributed": TrainPreset(  16, 32.0,   512,    4,    8,     3,    150, 1.5e-4),
    "mobile_edge": TrainPreset(   8, 16.0,   256,    1,    8,     3,     40, 1.5e-4,
                               device=DeviceKind.CPU,
                               deployment_target=DeploymentTarget.MOBILE_EDGE),
    "vox-gen":     TrainPreset(  16, 32.0,   256,    2,    8,     5,     60, 1.5e-4),
})
# fmt: on
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
    return say.choice_unknown(name, (AUTO_PRESET, *PRESETS, *PRESET_ALIASES)).at("--preset")


def _word(name: str) -> str:
    return name.strip().lower()
