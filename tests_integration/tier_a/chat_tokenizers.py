"""Tokenizers of the kinds that chat models have, small enough to be made in a test."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

CONTROLS = (
    *("<unk>", "<s>", "</s>", "<|begin|>", "<|endoftext|>", "<|im_start|>", "<|im_end|>"),
    *("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|user|>", "<|assistant|>"),
    *("<|system|>", "<|end|>", "<start_of_turn>", "<end_of_turn>"),
    *("<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>", "<\uff5cend▁of▁sentence\uff5c>"),
)
WORDS = ("<think>", "</think>", "<tool_call>")
"""Added tokens that are content."""
_TEXT = [
    "the answer is in the code of a function, and the user asks what it returns",
    "def f(x):\n    return x + 1\n\n\nclass A:\n    pass\n",
    "naïve café 東京 👋🏽 [INST] system user assistant Today Date",
    "  spaces   and\ttabs \n\n newlines \n",
] * 4


def _with_added(tokenizer: Tokenizer, *, swallow: bool) -> Tokenizer:
    tokenizer.add_special_tokens(
        [
            AddedToken(each, normalized=False, special=True, rstrip=swallow and each == "<|end|>")
            for each in CONTROLS
        ]
    )
    tokenizer.add_tokens([AddedToken(each, normalized=False, special=False) for each in WORDS])
    return tokenizer


def byte_level() -> Tokenizer:
    """GPT-2's and Qwen's kind; its offsets leave blanks out, as published files have it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    return _with_added(tokenizer, swallow=False)


def byte_level_with_bos() -> Tokenizer:
    """Llama 3's kind: a pattern of its own, and a BOS that the post-processor puts in front."""
    tokenizer = byte_level()
    pattern = (
        r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bos = tokenizer.token_to_id("<|begin|>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", special_tokens=[("<|begin|>", bos)]
    )
    return tokenizer


def _sentence_piece(tokenizer: Tokenizer) -> Tokenizer:
    bytes_ = [f"<0x{value:02X}>" for value in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=560, special_tokens=["<unk>", *bytes_], show_progress=False
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    definition = json.loads(tokenizer.to_str())
    definition["added_tokens"] = []
    tokenizer = Tokenizer.from_str(json.dumps(definition))
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer = _with_added(tokenizer, swallow=True)
    bos = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", bos)]
    )
    return tokenizer


def prepended() -> Tokenizer:
    """Llama 2's legacy kind: a space is put before every piece between control tokens."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    return _sentence_piece(tokenizer)


def _metaspace(scheme: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
        replacement="▁", prepend_scheme=scheme, split=False
    )
    return _sentence_piece(tokenizer)


def metaspace_first() -> Tokenizer:
    """Mistral's kind: a space before the very first piece."""
    return _metaspace("first")


def metaspace_always() -> Tokenizer:
    """A space before every piece, by the pre-tokenizer."""
    return _metaspace("always")


KINDS: Mapping[str, Callable[[], Tokenizer]] = {
    each.__name__: each
    for each in (byte_level, byte_level_with_bos, prepended, metaspace_first, metaspace_always)
}


def write_folder(folder: Path, kind: str, template: str) -> Path:
    """A tokenizer of a kind with a template, as transformers and we read it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = KINDS[kind]()
    (folder / "tokenizer.json").write_text(tokenizer.to_str(), encoding="utf-8")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|begin|>" if kind.startswith("byte") else "<s>",
        "eos_token": "<|endoftext|>" if kind.startswith("byte") else "</s>",
        "unk_token": None if kind.startswith("byte") else "<unk>",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder
