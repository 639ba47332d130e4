"""How text is split before merges, by llama.cpp's names (`tokenizer.ggml.pre`), for `tokenizers`.

A GGUF file holds only such a name; the patterns are those that the models' own `tokenizer.json`
have. A name that is missing here is refused: guessing would change the ids.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_LETTERS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = _LETTERS + r"\p{N}{1,3}" + _REST
_QWEN2 = _LETTERS + r"\p{N}" + _REST
_SEED = _LETTERS + r"\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_START = r"[^\r\n\p{L}\p{N}]?"
_CASED = rf"{_START}{_UPPER}*{_LOWER}+{{0}}|{_START}{_UPPER}+{_LOWER}*{{0}}"
_CASED_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TEKKEN = _CASED.replace("{0}", "") + r"|\p{N}" + _CASED_REST
_GPT4O = _CASED.replace("{0}", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?") + r"|\p{N}{1,3}" + _CASED_REST
_DEEPSEEK = (
    r"\p{N}{1,3}",
    "[一-龥\u3040-\u309f\u30a0-\u30ff]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
)
_CODER = ("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreTokenizer:
    """One way of splitting text."""

    patterns: tuple[str, ...] = ()
    """Applied one after the other; none: GPT-2's own pattern."""
    single_digits: bool = False
    """Whether every digit is a piece."""
    nfc: bool = False
    """Whether text is composed (Unicode's NFC) first."""
    ignore_merges: bool = False
    """Whether a piece that is a token is taken as it is."""
    adds_bos: bool = False
    """Whether BOS comes first where the file does not say."""

    def definition(self) -> dict[str, object]:
        """The `pre_tokenizer` of a `tokenizer.json`."""
        uses_gpt2 = not self.patterns
        level = {
            "type": "ByteLevel",
            "add_prefix_space": False,
            "trim_offsets": True,
            "use_regex": uses_gpt2,
        }
        parts: list[dict[str, object]] = [_split(pattern) for pattern in self.patterns]
        if self.single_digits:
            parts.append({"type": "Digits", "individual_digits": True})
        parts.append(level)
        return level if len(parts) == 1 else {"type": "Sequence", "pretokenizers": parts}


def _split(pattern: str) -> dict[str, object]:
    kind = {"Regex": pattern}
    return {"type": "Split", "pattern": kind, "behavior": "Isolated", "invert": False}


_GPT2_LIKE = PreTokenizer()
_DIGITS = PreTokenizer(single_digits=True)
_LLAMA3_LIKE = PreTokenizer(patterns=(_LLAMA3,), ignore_merges=True, adds_bos=True)
_QWEN2_LIKE = PreTokenizer(patterns=(_QWEN2,))
_GPT4O_LIKE = PreTokenizer(patterns=(_GPT4O,))

PRE_TOKENIZERS: Mapping[str, PreTokenizer] = {
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "jais", "gigachat", "a.x-4.0"), _GPT2_LIKE),
    **dict.fromkeys(("trillion", "exaone4"), _GPT2_LIKE),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell"), _DIGITS),
    **dict.fromkeys(("exaone", "minerva-7b"), _DIGITS),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral"), _LLAMA3_LIKE),
    **dict.fromkeys(("midm-2.0", "lfm2"), _LLAMA3_LIKE),
    **dict.fromkeys(("dbrx", "smaug-bpe"), PreTokenizer(patterns=(_LLAMA3,))),
    "olmo": PreTokenizer(nfc=True),
    "deepseek-v3": PreTokenizer(patterns=_DEEPSEEK),
    "qwen2": PreTokenizer(patterns=(_QWEN2,), nfc=True),
    **dict.fromkeys(("deepseek-r1-qwen", "stablelm2", "megrez", "hunyuan", "kormo"), _QWEN2_LIKE),
    "tekken": PreTokenizer(patterns=(_TEKKEN,), ignore_merges=True, adds_bos=True),
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2"), _GPT4O_LIKE),
    "deepseek-coder": PreTokenizer(patterns=_CODER, single_digits=True),
    "seed-coder": PreTokenizer(patterns=(_SEED,)),
}
"""The rules by llama.cpp's names, several of which mean the same."""
