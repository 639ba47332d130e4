"""Locating the adapter of a path (run, checkpoint, folder or file) by names and first bytes.

No torch here; `find_adapter` reads what is found.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from vox_populi.adapters.header import ADAPTER_FORMAT
from vox_populi.adapters.peft.config import (
    PEFT_WEIGHTS_FILE,
)
from vox_populi.adapters.v3.burn_bin import is_burn_bin_name
from vox_populi.adapters.v3.names import v3_file
from vox_populi.containers.safetensors_header import SafetensorsHeader, read_header
from vox_populi.errors import ArtifactError, ModelError
from vox_populi.files.known_names import PEFT_CONFIG_FILE
from vox_populi.hf.model_place import is_gguf
from vox_populi.operator_messages import checkpoint as say
from vox_populi.operator_messages import model_folder as say_model
from vox_populi.runs.checkpoint_dir import (
    CHECKPOINT_ADAPTER,
    CHECKPOINTS_FOLDER,
    Checkpoint,
    checkpoint_at,
    named_checkpoint,
)
from vox_populi.runs.run_dir import ADAPTER_FILE, final_adapter, run_files


class AdapterForm(StrEnum):
    """The formats of adapters."""

    LORA_BIN = "lora-bin"
    """One `.bin` file, as written by the LoRA backend and all checkpoints."""
    PEFT = "peft"
    """A folder as written by PEFT's `save_pretrained`."""
    V3 = "v3"
    """A safetensors file with its version 3 manifest and, for QLoRA, a version 2 sidecar."""


@dataclass(frozen=True, slots=True)
class AdapterPlace:
    """The location and format of a stored adapter."""

    form: AdapterForm
    file: Path
    """The file with the numbers."""
    checkpoint: Checkpoint | None = None
    """The given checkpoint."""
    container: SafetensorsHeader | None = field(default=None, compare=False, repr=False)
    """The header of the file, if it was read to tell the form."""

    @property
    def where(self) -> str:
        """Its place in messages: the file, or the folder of PEFT's two files."""
        return str(self.file.parent if self.form is AdapterForm.PEFT else self.file)

    @property
    def run(self) -> Path:
        """The folder of the run; a checkpoint is two folders below it."""
        folder = self.file.parent
        is_checkpoint = folder.absolute().parent.name == CHECKPOINTS_FOLDER
        if is_checkpoint or checkpoint_at(folder) is not None:
            return self.file.resolve().parent.parent.parent
        return folder


def adapter_at(path: Path) -> AdapterPlace | None:
    """The adapter of a path; `None` for a folder without one.

    A path that is not a folder is an adapter's file, whether it exists or not.

    Raises:
        ModelError: For a GGUF file, which no adapter is read from.
    """
    path = named_checkpoint(path)
    folder = path.parent if path.name == PEFT_WEIGHTS_FILE else path
    if (folder / PEFT_CONFIG_FILE).is_file():
        return AdapterPlace(AdapterForm.PEFT, folder / PEFT_WEIGHTS_FILE)
    if not path.is_dir():
        return _place_of_file(path)
    checkpoint = checkpoint_at(path)
    if checkpoint is not None:
        return AdapterPlace(AdapterForm.LORA_BIN, path / CHECKPOINT_ADAPTER, checkpoint)
    if v3_file(path).exists():
        return AdapterPlace(AdapterForm.V3, v3_file(path))
    file = path / ADAPTER_FILE
    return AdapterPlace(AdapterForm.LORA_BIN, file) if file.exists() else None


def _place_of_file(file: Path) -> AdapterPlace:
    if is_burn_bin_name(str(file)):
        return AdapterPlace(AdapterForm.LORA_BIN, file)
    try:
        container = read_header(file)
    except ModelError:  # Whoever reads it says what is wrong.
        if is_gguf(file):
            raise ModelError(say_model.model_is_gguf(str(file))) from None
        return AdapterPlace(AdapterForm.V3, file)
    is_ours = container.metadata.get("format") == ADAPTER_FORMAT
    form = AdapterForm.LORA_BIN if is_ours else AdapterForm.V3
    return AdapterPlace(form, file, container=container)


def require_run_adapter(run: Path) -> Path:
    """The final adapter of a run.

    Raises:
        ArtifactError: For a run without one, or a folder that is not a run.
    """
    path = final_adapter(run)
    if path is not None:
        return path
    if run_files(run):
        raise ArtifactError(say.RUN_HAS_NO_ADAPTER.at(str(run)))
    raise ArtifactError(say.NOT_A_RUN_FOLDER.at(str(run)))


def means_adapter(path: Path) -> bool:
    """Whether a path is an adapter file, or a run or checkpoint folder with one."""
    path = named_checkpoint(path)
    if path.is_dir():
        return final_adapter(path) is not None or checkpoint_at(path) is not None
    return path.is_file() and not is_gguf(path)
