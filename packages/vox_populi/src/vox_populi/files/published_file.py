"""Files of a model folder that are published with its derivatives: licence, tokenizer.

A link among them may lead to anything that this user can read, so none is followed out of the
folder. The cache of the Hugging Face hub counts as one folder: `snapshots/REVISION` contains only
links to `blobs`.
"""

from __future__ import annotations

from pathlib import Path

from vox_populi.errors import ModelError
from vox_populi.files.model_file import read_model_file
from vox_populi.files.strict_json import MAX_JSON_BYTES
from vox_populi.operator_messages import model_folder as say


def require_in_folder(path: Path, model_dir: Path) -> None:
    """Refuse a file that is a link out of its model folder.

    Raises:
        ModelError: When it is.
    """
    home, real = model_dir.resolve(), path.resolve()
    repository = home.parent.parent
    is_cached = home.parent.name == "snapshots" and repository / "blobs" in real.parents
    if home not in real.parents and not is_cached:
        raise ModelError(say.PUBLISHED_FILE_LEADS_OUT.at(str(path)))


def read_published_file(path: Path, model_dir: Path) -> bytes:
    """The content of a regular file of a model folder, of at most 64 MiB.

    Raises:
        ModelError: When it is outside of the folder, cannot be read, or is larger.
    """
    require_in_folder(path, model_dir)
    return read_model_file(path, MAX_JSON_BYTES)
