"""The settings of a training run as a `TypedDict`, so that editors and mypy know them in Python."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

from vox_populi.contract.finetune_contract import FinetuneContract
from vox_populi.contract.setting import Setting, settings_of
from vox_populi.pipeline.train import RunOptions

MODULE = "packages/vox_populi/src/vox_populi/contract/training_settings.py"
_POSITIONAL = ("data", "data_dir", "output_dir")
_HEAD = '''\
"""The settings of a training run by name. Written by docs/setting_types.py; run `make docs`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypedDict


class TrainingSettings(TypedDict, total=False):
    """Settings of `plan_training` and `train_adapter`, named as in a config file."""

'''


def module_text() -> str:
    """The module, from the settings of the requests."""
    settings = [*settings_of(FinetuneContract), *settings_of(RunOptions)]
    return _HEAD + "".join(_entry(each) for each in settings if each.name not in _POSITIONAL)


def _entry(setting: Setting) -> str:
    nothing = " | None" if setting.is_nullable else ""
    return f'    {setting.name}: {_type_of(setting)}{nothing}\n    """{setting.spec.help}"""\n'


def _type_of(setting: Setting) -> str:
    if setting.spec.parse is not None:
        return "str"
    if issubclass(setting.kind, StrEnum):
        return f"Literal[{', '.join(f'{member.value!r}' for member in setting.kind)}]".replace(
            "'", '"'
        )
    return "str | Path" if setting.kind is Path else setting.kind.__name__
