"""A byte-level `tokenizer.json` as a GGUF vocabulary. No torch here.

llama.cpp does not run a tokenizer's own pattern: it identifies patterns by name and has code for
each. An unknown pattern would split text differently from training, so it is refused.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vox_populi.errors import ArtifactError, ModelError
from vox_populi.export.consumers import gguf_model_obstacles
from vox_populi.files.published_file import read_published_file
from vox_populi.files.strict_json import parse_json_object
from vox_populi.hf.hf_tokenizer import TOKENIZER_NAME
from vox_populi.hf.model_config import ModelConfig
from vox_populi.operator_messages import export as say
from vox_tensor.errors import Problem, VoxError

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""Token types of the format."""

_LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_PATTERNS = {
    _LETTERS + r"\p{N}" + _REST: "qwen2",
    _LETTERS + r"\p{N}{1,3}" + _REST: "llama-bpe",
}
_NORMALIZERS: Mapping[str, tuple[object, ...]] = {
    "gpt-2": (None,),
    "qwen2": (None, "NFC"),
    "llama-bpe": (None,),
}


@dataclass(frozen=True, slots=True)
class GgufVocabulary:
    """Data that llama.cpp needs to turn text into ids."""

    pre: str
    """llama.cpp's name of the pattern."""
    tokens: tuple[str, ...]
    """Tokens by id, as many as the embedding has rows."""
    types: tuple[int, ...]
    merges: tuple[str, ...]
    """Pairs of tokens separated by a space, best first."""


def gguf_refusals(model_dir: Path, config: ModelConfig) -> tuple[Problem, ...]:
    """Why a model folder cannot be written as GGUF; empty if it can.

    `export-gguf` refuses for these reasons, and `lint` reports them.
    """
    where = str(model_dir)
    problems = [
        say.gguf_model_unsupported(where, reason) for reason in gguf_model_obstacles(config)
    ]
    try:
        read_gguf_vocabulary(model_dir, config.vocab_size)
    except VoxError as error:
        problems += error.problems
    return tuple(problems)


def read_gguf_vocabulary(model_dir: Path, rows: int) -> GgufVocabulary:
    """Read the vocabulary of a model folder.

    Args:
        model_dir: Folder with `tokenizer.json`.
        rows: Rows of the embedding; ids without a token get a placeholder.

    Raises:
        ModelError: When the file cannot be read.
        ArtifactError: For a kind of tokenizer that llama.cpp does not support.
    """
    path = model_dir / TOKENIZER_NAME
    raw = parse_json_object(read_published_file(path, model_dir), str(path))
    model = raw.get("model")
    if not isinstance(model, dict) or model.get("type") != "BPE" or model.get("byte_fallback"):
        raise ArtifactError(_unsupported(path, "its tokenizer is not a byte-level BPE"))
    pre = _pre_tokenizer(raw, path)
    added_tokens: Any = raw.get("added_tokens") or []
    try:
        by_id = {int(number): str(token) for token, number in model["vocab"].items()}
        types = dict.fromkeys(by_id, NORMAL)
        for added in added_tokens:
            by_id[int(added["id"])] = str(added["content"])
            types[int(added["id"])] = CONTROL if added.get("special") else USER_DEFINED
        merges = tuple(_merge_text(each) for each in model["merges"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ArtifactError(_unsupported(path, "its vocabulary has an unknown format")) from error
    if max(by_id, default=0) >= rows:
        reason = f"its tokenizer has ids up to {max(by_id)}, but its embedding has {rows} rows"
        raise ArtifactError(_unsupported(path, reason))
    return GgufVocabulary(
        pre=pre,
        tokens=tuple(by_id.get(number, f"[PAD{number}]") for number in range(rows)),
        types=tuple(types.get(number, UNUSED) for number in range(rows)),
        merges=merges,
    )


def read_chat_template(model_dir: Path) -> str | None:
    """The chat template of a folder, from either of its two places."""
    path = model_dir / "chat_template.jinja"
    if os.path.lexists(path):
        return read_published_file(path, model_dir).decode("utf-8")
    path = model_dir / "tokenizer_config.json"
    if not os.path.lexists(path):
        return None
    data = read_published_file(path, model_dir)
    try:
        template = parse_json_object(data, str(path)).get("chat_template")
    except ModelError:
        return None
    return template if isinstance(template, str) else None


def _pre_tokenizer(raw: Mapping[str, object], path: Path) -> str:
    found = _known_pattern(raw.get("pre_tokenizer"))
    if found is None:
        raise ArtifactError(_unsupported(path, "llama.cpp does not support how it splits text"))
    normalizer = raw.get("normalizer")
    kind = normalizer.get("type") if isinstance(normalizer, dict) else normalizer
    if kind not in _NORMALIZERS[found]:
        raise ArtifactError(_unsupported(path, f"its normalizer {kind} is none of llama.cpp's"))
    return found


def _known_pattern(raw: object) -> str | None:
    if not isinstance(raw, dict) or raw.get("add_prefix_space"):
        return None
    if raw.get("type") == "ByteLevel":
        return "gpt-2" if raw.get("use_regex", True) else None
    parts = raw.get("pretokenizers") if raw.get("type") == "Sequence" else None
    if not isinstance(parts, list) or len(parts) != 2:
        return None
    split, level = parts
    if not isinstance(split, dict) or not isinstance(level, dict):
        return None
    is_split = split.get("type") == "Split" and split.get("behavior") == "Isolated"
    is_plain = not split.get("invert") and not level.get("add_prefix_space")
    is_level = level.get("type") == "ByteLevel" and level.get("use_regex") is False
    pattern = split.get("pattern")
    text = pattern.get("Regex") if isinstance(pattern, dict) else None
    return _PATTERNS.get(str(text)) if is_split and is_plain and is_level else None


def _merge_text(merge: object) -> str:
    if isinstance(merge, str):
        return merge
    if not isinstance(merge, list):
        raise TypeError
    left, right = merge
    return f"{left} {right}"


def _unsupported(path: Path, reason: str) -> Problem:
    return say.gguf_model_unsupported(str(path), reason)
