"""The chat templates and border tokens of a GGUF file. No torch here.

llama.cpp stops at `eos` and at `eot`, and gives a template the text of `bos` and `eos`. So `eos` is
what the template calls `eos_token`, and the id that ends an answer is `eot` where it is another.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vox_populi.export.gguf.vocabulary import GgufVocabulary, read_chat_templates
from vox_populi.hf.chat_template_files import DEFAULT_NAME, named_tokens
from vox_populi.hf.generation_config import read_stop_ids
from vox_populi.hf.model_config import ModelConfig
from vox_populi.merge.served_text import ServedText

_GENERATION = re.compile(r"(\{%[-+]?\s*)(end)?generation(\s*[-+]?%\})")


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufText:
    """Templates and border tokens."""

    templates: Mapping[str, str]
    """Chat templates by name."""
    bos_id: int | None
    eos_id: int | None
    eot_id: int | None
    """The id that ends an answer, if it is not `eos_id`."""


def text_of_folder(folder: Path, config: ModelConfig, vocabulary: GgufVocabulary) -> GgufText:
    """What a model folder says.

    Raises:
        ModelError: When a file of the folder cannot be used.
    """
    ends = read_stop_ids(folder, config.vocab_size) or config.eos_ids
    return _text(read_chat_templates(folder), ends, named_tokens(folder), config, vocabulary)


def text_of_training(
    served: ServedText, folder: Path, config: ModelConfig, vocabulary: GgufVocabulary
) -> GgufText:
    """What an adapter was trained with.

    Args:
        served: The layout of the training.
        folder: The base, for the other tokens that its template names.
        config: The base's config.
        vocabulary: The vocabulary of the file.

    Raises:
        ModelError: When a file of the folder cannot be used.
    """
    tokens = named_tokens(folder)
    if not served.names_end:
        tokens["eos_token"] = served.end.text
    return _text({DEFAULT_NAME: served.template}, served.ends, tokens, config, vocabulary)


def _text(
    templates: Mapping[str, str],
    ends: Sequence[int],
    tokens: Mapping[str, str],
    config: ModelConfig,
    vocabulary: GgufVocabulary,
) -> GgufText:
    ids = {token: number for number, token in enumerate(vocabulary.tokens)}
    named = {name: ids.get(text) for name, text in tokens.items()}
    end = ends[0] if ends else None
    eos = named.get("eos_token")
    eos = end if eos is None else eos
    bos = named.get("bos_token")
    return GgufText(
        templates={name: _without_generation(text) for name, text in templates.items()},
        bos_id=config.bos_id if bos is None else bos,
        eos_id=eos,
        eot_id=None if end == eos else end,
    )


def _without_generation(template: str) -> str:
    """The same text without the tags that mark answers, which only transformers has."""
    return _GENERATION.sub(_as_condition, template)


def _as_condition(tag: re.Match[str]) -> str:
    """A tag that does nothing, with the white space control of the one it replaces."""
    return f"{tag[1]}{'endif' if tag[2] else 'if true'}{tag[3]}"
