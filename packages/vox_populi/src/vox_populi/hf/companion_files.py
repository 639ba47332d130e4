"""The small files of a model folder that are published together with its weights."""

from __future__ import annotations

import json
from collections.abc import Mapping

from vox_populi.files.published_file import read_published_file
from vox_populi.files.strict_json import parse_json_object
from vox_populi.files.whole_file import pretty_json
from vox_populi.hf.hf_tokenizer import TOKENIZER_NAME
from vox_populi.hf.inventory import ModelInventory
from vox_populi.hf.model_config import CONFIG_NAME, parse_model_config
from vox_populi.hf.rope_config import DEFAULT_THETA
from vox_populi.hf.saved_path import without_saved_path
from vox_populi.hf.text_part import changed_config

CARD_FILE = "README.md"

TOKENIZER_FILES = (
    TOKENIZER_NAME,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)
OTHER_FILES = (
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "NOTICE",
)
"""Besides licences: what says how a model is asked, and how images become its input."""
TEMPLATES_FOLDER = "additional_chat_templates"


def config_of(data: bytes) -> Mapping[str, object]:
    """The content of a `config.json` that has already been read and checked."""
    value = json.loads(data)
    assert isinstance(value, dict)
    return value


def published_config(inventory: ModelInventory, *, is_head_tied: bool, dtype: str) -> bytes:
    """`config.json` of the output: the base's bytes, unless something in it must change.

    The path it was saved from is removed, and so is an empty quantisation entry. The tie of the
    head and the number type are written if the file differs. Rotary settings that only
    transformers 5's `rope_parameters` has are also written in the older spelling: programs that
    do not know the newer one (mlx-lm's Llama) would compute with their defaults, without a word.

    Args:
        inventory: The base.
        is_head_tied: Whether the output's head is its embedding table.
        dtype: The output's dtype, as in a config.

    Raises:
        ModelError: When the base's file cannot be read any more.
    """
    path = inventory.model_dir / CONFIG_NAME
    data = without_saved_path(CONFIG_NAME, read_published_file(path, inventory.model_dir))
    raw = parse_json_object(data, str(path))
    config = inventory.config
    said = parse_model_config(raw, str(path), config.source)
    says_so = said.tie_word_embeddings == is_head_tied and said.dtype == dtype
    older = _older_rope(raw) if config.modules is None else {}
    if says_so and not older and "quantization_config" not in raw:
        return data
    kept = {name: value for name, value in raw.items() if name != "quantization_config"}
    other_dtype = None if said.dtype == dtype else dtype
    return pretty_json(changed_config(kept | older, other_dtype, is_head_tied=is_head_tied))


def _older_rope(raw: Mapping[str, object]) -> dict[str, object]:
    """What `rope_parameters` means in transformers 4's fields, if it is more than their defaults.

    Nothing if the file has one of those fields itself.
    """
    rope = raw.get("rope_parameters")
    if not isinstance(rope, dict) or raw.get("rope_scaling") or raw.get("rope_theta") is not None:
        return {}
    scaling = {name: value for name, value in rope.items() if name not in _OUTSIDE_SCALING}
    older: dict[str, object] = {}
    if scaling.get("rope_type", "default") != "default":
        older["rope_scaling"] = scaling
    if rope.get("partial_rotary_factor") is not None and "partial_rotary_factor" not in raw:
        older["partial_rotary_factor"] = rope["partial_rotary_factor"]
    theta = rope.get("rope_theta")
    if theta is not None and (older or theta != DEFAULT_THETA):
        older["rope_theta"] = theta
    return older


_OUTSIDE_SCALING = ("rope_theta", "partial_rotary_factor")
"""Fields of `rope_parameters` that stood beside `rope_scaling` before."""
