"""The text model of a folder that holds more than one: its section of the config, its tensors.

A vision-language model is a text model between an encoder of images and a head. Only classes of
transformers are listed that compute text alone as the text model does by itself. No torch here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from vox_populi.hf.family_registry import family_of
from vox_populi.hf.model_family import ModelFamily

SECTION = "text_config"
"""The key of a `config.json` with the config of the text model."""

_PREFIX = "model."
"""What the names of a family's tensors begin with that can be part of another class."""
_TYPES = ("dtype", "torch_dtype")
_TIE = "tie_word_embeddings"
_FROM_OUTER = ("eos_token_id", "bos_token_id", "quantization_config", "auto_map")


def text_section(raw: Mapping[str, object]) -> Mapping[str, object] | None:
    """The text model's section of a `config.json`; `None` for a folder with one model."""
    section = raw.get(SECTION)
    return section if isinstance(section, dict) else None


@dataclass(frozen=True, slots=True)
class OuterClass:
    """A class of transformers around a text model."""

    name: str
    text_type: str
    """`model_type` of a section that does not say it."""
    path: str = "language_model"
    """Module of the text model within `model`; older checkpoints have it in front of `model`."""
    tied_by_default: bool = False
    section_may_tie: bool = False
    """Whether a head is also tied where only the section says so."""

    @property
    def prefix(self) -> str:
        """What the names of the text model's tensors begin with, besides the head's."""
        return f"{_PREFIX}{self.path}."

    def name_alone(self, name: str) -> str:
        """The name that a tensor or module has in a folder of the text model alone."""
        if not name.startswith(self.prefix):
            return name
        return _PREFIX + name.removeprefix(self.prefix)


@dataclass(frozen=True, slots=True)
class TextPart:
    """The text model of a folder that holds more than one."""

    outer: OuterClass
    family: ModelFamily
    """The family with the names that its tensors have in the outer class."""
    fields: Mapping[str, object]
    """The section with what the rest of the file says about the text model."""


OUTER_CLASSES: Mapping[str, OuterClass] = {
    "gemma3": OuterClass("Gemma3ForConditionalGeneration", "gemma3_text", tied_by_default=True),
    "internvl": OuterClass("InternVLForConditionalGeneration", "qwen2", tied_by_default=True),
    "llava": OuterClass("LlavaForConditionalGeneration", "llama", section_may_tie=True),
    "mistral3": OuterClass("Mistral3ForConditionalGeneration", "mistral", tied_by_default=True),
    "smolvlm": OuterClass("SmolVLMForConditionalGeneration", "llama", path="text_model"),
}
"""The classes whose text models are found, by `model_type`."""


def text_part(raw: Mapping[str, object]) -> TextPart | None:
    """The text model of a known outer class, if it is of a family with a file.

    Mixtures of experts are not: what the outer classes make of their names was not compared.
    """
    outer, section = OUTER_CLASSES.get(str(raw.get("model_type"))), text_section(raw)
    named = raw.get("architectures")
    if outer is None or section is None or (named and named != [outer.name]):
        return None
    family = family_of(str(section.get("model_type") or outer.text_type))
    if family is None or family.tensors.experts is not None:
        return None
    if not family.tensors.blocks.startswith(_PREFIX):
        return None
    return TextPart(outer, _within(family, outer), _fields(raw, section, outer))


def fields_of_text(raw: Mapping[str, object]) -> dict[str, object]:
    """The text model's section of a `config.json`, with what the rest of the file says about it.

    The whole file where it has no section.
    """
    section = text_section(raw)
    if section is None:
        return dict(raw)
    fields = dict(section)
    if any(raw.get(name) is not None for name in _TYPES):
        fields |= dict.fromkeys(_TYPES)
    names = (*_TYPES, *_FROM_OUTER)
    return fields | {name: raw[name] for name in names if raw.get(name) is not None}


def changed_config(
    raw: Mapping[str, object], dtype: str | None, *, is_head_tied: bool
) -> dict[str, object]:
    """The content of a `config.json` with another number type, if one is named, and another tie.

    Whatever describes the encoder of images stays as it is.
    """
    changed = dict(raw)
    section = text_section(raw)
    if section is not None:
        changed[SECTION] = _changed(section, dtype, {_TIE: is_head_tied} if _TIE in section else {})
    # The newer spelling wins where both are given; the older one is what older readers know.
    if dtype is not None and not any(raw.get(name) is not None for name in _TYPES):
        changed[_TYPES[1]] = dtype
    return _changed(changed, dtype, {_TIE: is_head_tied})


def _changed(
    values: Mapping[str, object], dtype: str | None, tie: Mapping[str, object]
) -> dict[str, object]:
    spelled = [name for name in _TYPES if values.get(name) is not None]
    return {**values, **tie, **({} if dtype is None else dict.fromkeys(spelled, dtype))}


def _fields(
    raw: Mapping[str, object], section: Mapping[str, object], outer: OuterClass
) -> dict[str, object]:
    fields = fields_of_text(raw)
    tie = raw.get(_TIE)
    is_silent = tie is None or (tie is False and outer.section_may_tie)
    default = section.get(_TIE) if outer.section_may_tie else outer.tied_by_default
    fields[_TIE] = default if is_silent else tie
    return fields


# A family has no other names each time it is asked for, and is compared by identity.
@cache
def _within(family: ModelFamily, outer: OuterClass) -> ModelFamily:
    names = family.tensors
    embed, blocks, norm = (
        outer.prefix + name.removeprefix(_PREFIX)
        for name in (names.embed, names.blocks, names.final_norm)
    )
    older = {f"{outer.path}.{_PREFIX}": outer.prefix, f"{outer.path}.lm_head.": "lm_head."}
    tensors = replace(
        names, embed=embed, blocks=blocks, final_norm=norm, optional_prefix="", other_prefixes=older
    )
    return replace(family, tensors=tensors)
