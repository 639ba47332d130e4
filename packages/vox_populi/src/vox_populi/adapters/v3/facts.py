"""The contents of an adapter's sidecar, for any version and era. No torch here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from vox_populi import number_ranges
from vox_populi.adapters.header import Quantization
from vox_populi.adapters.v3.names import features_of, graph_of_names
from vox_populi.contract.choices import GraphId
from vox_populi.errors import ArtifactError
from vox_populi.files.json_fields import take_name, take_names, take_object
from vox_populi.hf.keymap import HEAD
from vox_populi.operator_messages import adapter as say
from vox_populi.operator_messages.wording import capped
from vox_tensor.errors import Problem
from vox_tensor.nf4_levels import Nf4Settings

_FAMILIES = (
    ("gpt2-like", ("h.", "transformer.h.", "wte.", "transformer.wte.")),
    ("qwen3.5-like", ("model.language_model.",)),
    ("llama-like", ("model.layers.", "model.embed_tokens.")),
)


SOURCE_BLOCK_SIZE = 64
"""The only block size of the source system's quantiser."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The origin of an adapter's base, as stated by the operator."""

    base_family: str | None = None
    upstream_model_id: str | None = None
    license_class: str | None = None
    attribution_required: bool = False

    def as_json(self) -> dict[str, object]:
        """The fields of `provenance` that are not empty."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterFacts:
    """An adapter by logical layers; the update of a layer is (alpha / rank) B A."""

    version: int
    """2 or 3."""
    method: str
    """`lora` or `qlora`."""
    base_quant: str
    """`none` or `nf4`."""
    double_quant: bool
    layer_order: tuple[str, ...]
    base_key_map: Mapping[str, str]
    """Base tensor of each logical layer."""
    vocab: int
    d_model: int
    rank: int
    alpha: float
    embed_key: str | None
    """Base tensor of the embedding table; version 3 of the source system implies it."""
    base_model: str | None = None
    provenance: Provenance | None = None

    @property
    def scale(self) -> float:
        """Factor of the product B A."""
        return self.alpha / self.rank

    @property
    def quantization(self) -> Quantization | None:
        """Quantisation of the base in training; the source system has one block size."""
        if self.base_quant == "none":
            return None
        nf4 = Nf4Settings(block_size=SOURCE_BLOCK_SIZE, double_quant=self.double_quant)
        return Quantization(nf4=nf4, compute_dtype="f32")

    @property
    def graph(self) -> GraphId | None:
        """The graph that follows from the layers' names, or `None`."""
        return graph_of_names(self.layer_order)

    def features(self, logical: str) -> tuple[int | None, int | None]:
        """Input and output features of a layer; `None` if they do not follow from its name."""
        return features_of(logical, vocab=self.vocab, d_model=self.d_model)


def take_layers(raw: Mapping[str, object]) -> tuple[tuple[str, ...], dict[str, str]]:
    """`layer_order` and `base_key_map`.

    Raises:
        FieldError: With the field that is missing or wrong.
    """
    keys = take_object(raw, "base_key_map")
    return take_names(raw, "layer_order"), {name: take_name(keys, name) for name in keys}


def check_layers(facts: AdapterFacts, path: Path) -> None:
    """Refuse layers that contradict each other.

    Raises:
        ArtifactError: With every contradiction.
    """
    problems = list(_layer_problems(facts, str(path)))
    if problems:
        raise ArtifactError(*capped(problems))


def _layer_problems(facts: AdapterFacts, where: str) -> Iterator[Problem]:
    for field, value, allowed in (
        ("rank", facts.rank, number_ranges.RANK),
        ("alpha", facts.alpha, number_ranges.ALPHA),
    ):
        if not allowed.holds(value):
            yield say.sidecar_invalid(f"{field} is not {allowed}").at(where)
    order, keys = set(facts.layer_order), facts.base_key_map
    for name in sorted(order ^ keys.keys()):
        have, lack = _LISTS if name in order else reversed(_LISTS)
        reason = f"{name} is in {have} and not in {lack}"
        yield say.sidecar_invalid(reason).at(where)
    layers: dict[str, str] = {}
    for name, key in keys.items():
        other = layers.setdefault(key, name)
        if other != name:
            reason = f"{other} and {name} are both mapped to {key}"
            yield say.sidecar_invalid(reason).at(where)
    families = {_family(key) for key in keys.values()} - {None}
    if len(families) > 1:
        yield say.families_mixed(sorted(filter(None, families))).at(where)


_LISTS = ("layer_order", "base_key_map")


def _family(key: str) -> str | None:
    return next((name for name, starts in _FAMILIES if key.startswith(starts)), None)


def require_head(facts: AdapterFacts, path: Path) -> None:
    """Refuse an adapter without a mapped head, as the source system's merge does.

    Raises:
        ArtifactError: With the file.
    """
    if HEAD not in facts.base_key_map:
        raise ArtifactError(say.HEAD_MAPPING_MISSING.at(str(path)))


def require_qlora(facts: AdapterFacts, path: Path) -> None:
    """Refuse a sidecar of an adapter that was trained on the base as stored.

    Raises:
        ArtifactError: Pointing to `merge-weights`.
    """
    if (facts.method, facts.base_quant) != ("qlora", "nf4"):
        raise ArtifactError(say.form_is_not_qlora(facts.method, facts.base_quant).at(str(path)))
