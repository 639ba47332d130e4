"""The sidecar of version 2: `candle_qlora_adapter_meta.json` and its other names. No torch here.

The source system stores alpha as an integer. Any other number is written as it is: a reader that
does not accept it fails, which is better than a rounded scale. This version does not support
rsLoRA; for such an adapter alpha is scale x rank, so that alpha / rank is the trained scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from vox_populi.adapters.v3.facts import (
    AdapterFacts,
    check_layers,
    require_head,
    require_qlora,
    take_layers,
)
from vox_populi.errors import ArtifactError
from vox_populi.files.json_fields import (
    FieldError,
    check_keys,
    take_name,
    take_number,
    take_one_of,
    take_optional,
    take_positive,
)
from vox_populi.operator_messages import adapter as say

META_V2_FILE = "candle_qlora_adapter_meta.json"
V2_FORMAT = "vox_mens_qlora_lora_only_v2"
V2_FORMATS = (V2_FORMAT, "vox_populi_qlora_lora_only_v2")

_REQUIRED = (
    "format", "version", "embed_key", "vocab", "d_model", "rank", "alpha", "layer_order",
    "base_key_map",
)  # fmt: skip


def parse_meta_v2(raw: Mapping[str, object], path: Path) -> AdapterFacts:
    """Read a sidecar of either era.

    Args:
        raw: The document.
        path: Its path, for messages.

    Raises:
        ArtifactError: With everything that is missing, wrong or contradictory.
    """
    try:
        facts = _facts(raw)
    except FieldError as error:
        raise ArtifactError(say.sidecar_invalid(str(error)).at(str(path))) from error
    check_layers(facts, path)
    return facts


def _facts(raw: Mapping[str, object]) -> AdapterFacts:
    check_keys(raw, _REQUIRED, ("base_model",))
    take_one_of(raw, "format", V2_FORMATS)
    take_one_of(raw, "version", (2,))
    layer_order, base_key_map = take_layers(raw)
    return AdapterFacts(
        version=2,
        method="qlora",
        base_quant="nf4",
        double_quant=True,
        layer_order=layer_order,
        base_key_map=base_key_map,
        vocab=take_positive(raw, "vocab"),
        d_model=take_positive(raw, "d_model"),
        rank=take_positive(raw, "rank"),
        alpha=take_number(raw, "alpha"),
        embed_key=take_name(raw, "embed_key"),
        base_model=take_optional(raw, "base_model", str),
    )


def meta_v2_json(facts: AdapterFacts) -> dict[str, object]:
    """The document for an adapter, in the source system's order of keys.

    Raises:
        ValueError: For facts without the key of the embedding table.
    """
    if facts.embed_key is None:
        message = "version 2 needs the key of the embedding table"
        raise ValueError(message)
    return {
        "format": V2_FORMAT,
        "version": 2,
        "embed_key": facts.embed_key,
        "vocab": facts.vocab,
        "d_model": facts.d_model,
        "rank": facts.rank,
        "alpha": exact_number(facts.alpha),
        "layer_order": list(facts.layer_order),
        "base_key_map": {name: facts.base_key_map[name] for name in facts.layer_order},
        "base_model": facts.base_model,
    }


def exact_number(value: float) -> int | float:
    """A number that all JSON readers accept: an integer if it is whole."""
    return int(value) if float(value).is_integer() else value


def facts_to_v2(facts: AdapterFacts, path: Path) -> AdapterFacts:
    """Version 3 as version 2, which has no provenance and quantisation.

    The key of the embedding table is the stated one, otherwise that of the head, which is the same
    table in files of the source system.

    Args:
        facts: Facts of version 3.
        path: Their path, for messages.

    Raises:
        ArtifactError: For any method other than qlora on nf4, and without either key.
        ValueError: For facts of a different version.
    """
    if facts.version != 3:
        message = f"these facts are of version {facts.version}, not 3"
        raise ValueError(message)
    require_qlora(facts, path)
    if facts.embed_key is None:
        require_head(facts, path)
    return replace(facts, version=2, double_quant=True, provenance=None)
