"""Location of the model in the package: `vox-nano`, used without `--model`."""

from __future__ import annotations

from pathlib import Path

import vox_populi
from vox_populi.errors import ModelError
from vox_populi.hf.model_config import CONFIG_NAME
from vox_populi.operator_messages import model_folder as say

EMBEDDED_NAME = "vox-nano"
_FOLDER = "vox_nano"


def embedded_model_dir() -> Path:
    """The folder of `vox-nano`, laid out as `save_pretrained` does.

    Raises:
        ModelError: When this installation does not include it.
    """
    folder = Path(vox_populi.__file__).parent / _FOLDER
    if not (folder / CONFIG_NAME).is_file():
        raise ModelError(say.EMBEDDED_MODEL_MISSING.at(EMBEDDED_NAME))
    return folder
