"""The generation settings of a model folder: only the ids that end a text.

How to sample is the operator's choice; the file's temperature and so on are ignored.
"""

from __future__ import annotations

from pathlib import Path

from vox_populi.errors import ModelError
from vox_populi.files.strict_json import read_json_object
from vox_populi.hf.config_fields import ConfigFields

GENERATION_CONFIG_NAME = "generation_config.json"
_MAX_BYTES = 1024 * 1024


def read_stop_ids(model_dir: Path, vocab_size: int) -> tuple[int, ...]:
    """The `eos_token_id` of `generation_config.json`, one or a list; none without that file.

    Raises:
        ModelError: For a file that cannot be read, or values that are not ids.
    """
    path = model_dir / GENERATION_CONFIG_NAME
    if not (path.exists() or path.is_symlink()):
        return ()
    fields = ConfigFields(read_json_object(path, _MAX_BYTES), str(path))
    stop_ids = fields.token_ids("eos_token_id", vocab_size)
    if fields.problems:
        raise ModelError(*fields.problems)
    return stop_ids
