"""Which files of a model on the hub are fetched: what we read, and the weights once."""

from __future__ import annotations

from collections.abc import Iterable

from vox_populi.hf.companion_files import CARD_FILE, OTHER_FILES, TEMPLATES_FOLDER, TOKENIZER_FILES
from vox_populi.hf.model_config import CONFIG_NAME
from vox_populi.hf.weight_files import INDEX_NAME, SINGLE_NAME

_SMALL = frozenset((CONFIG_NAME, CARD_FILE, *TOKENIZER_FILES, *OTHER_FILES))
_OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx", ".safetensors")


def small_files(names: Iterable[str]) -> list[str]:
    """Config, tokenizer, chat templates, licence, card, and the index of the weights if any."""
    return sorted(
        name for name in names if name in _SMALL or name == INDEX_NAME or _is_template(name)
    )


def has_weights(names: Iterable[str]) -> bool:
    """Whether there are weights under the names that a model folder has them."""
    return not {SINGLE_NAME, INDEX_NAME}.isdisjoint(names)


def other_weights(names: Iterable[str]) -> str | None:
    """A file of weights in another format or under another name, to be named in a message."""
    return next((name for name in sorted(names) if name.endswith(_OTHER_WEIGHTS)), None)


def _is_template(name: str) -> bool:
    folder, _, file = name.partition("/")
    return folder == TEMPLATES_FOLDER and file.endswith(".jinja") and "/" not in file
