"""The manifest of version 3, `populi_adapter_manifest_v3.json`, ours and older ones. No torch here.

Ours has the source system's keys and, with `schema_version`, everything in our header, so that
nothing is lost. The source system's own files have only the facts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from vox_populi.adapters.header import (
    COMPUTE_DTYPES,
    AdaptedModule,
    AdapterHeader,
    take_imported,
    take_lora,
    take_quantization,
    take_step,
    take_text,
)
from vox_populi.adapters.v3.facts import (
    AdapterFacts,
    Provenance,
    check_layers,
    require_head,
    take_layers,
)
from vox_populi.adapters.v3.names import features_of, logical_names
from vox_populi.adapters.v3.version2 import exact_number
from vox_populi.contract.choices import GraphId
from vox_populi.errors import ArtifactError
from vox_populi.files.json_fields import (
    FieldError,
    check_keys,
    inside,
    take,
    take_member,
    take_name,
    take_names,
    take_number,
    take_object,
    take_one_of,
    take_optional,
    take_positive,
    take_present,
    take_sha256,
)
from vox_populi.files.whole_file import fits_own_digest, with_own_digest
from vox_populi.hf.keymap import HEAD, HEAD_WEIGHT, ProjectionRole, embedding_key
from vox_populi.hf.model_config import ModelConfig
from vox_populi.operator_messages import adapter as say
from vox_tensor.nf4_levels import BLOCK_SIZES

MANIFEST_V3_FILE = "populi_adapter_manifest_v3.json"
V3_FORMAT = "vox_mens_adapter"
V3_FORMATS = (V3_FORMAT, "vox_populi_adapter")
SCHEMA_VERSION = 1

_REQUIRED = (
    "format", "version", "adapter_method", "quant", "base_key_map", "layer_order", "vocab",
    "d_model", "rank", "alpha",
)  # fmt: skip
_REQUIRED_OF_OURS = (
    *_REQUIRED, "base_model", "schema_version", "graph_id", "candle_compat_mode",
    "training_objective_note", "embed_key", "dropout", "use_rslora", "scale", "modules",
    "base_digest", "model_type", "tokenizer", "tokenizer_digest", "template", "template_digest",
    "system_prompt", "seq_len", "contract_digest", "step", "adapter_sha256", "manifest_sha256",
)  # fmt: skip
_MODULE_FIELDS = ("ours", "roles", "in_features", "out_features", "fan_in_fan_out")
_PROVENANCE_FIELDS = ("base_family", "upstream_model_id", "license_class", "attribution_required")


@dataclass(frozen=True, slots=True, kw_only=True)
class V3Facts:
    """Facts of a manifest that an adapter's header does not have."""

    vocab: int
    """Rows of the embedding table."""
    d_model: int
    embed_key: str
    """Base tensor of the embedding table, in the checkpoint's naming."""
    is_head_tied: bool
    """Whether the base has no separate head; in the proxy graphs the head is the table anyway."""
    training_objective_note: str | None = None
    provenance: Provenance | None = None

    @classmethod
    def of_base(cls, config: ModelConfig, *, is_head_tied: bool) -> V3Facts:
        """The facts of a base without an adapter."""
        return cls(
            vocab=config.vocab_size,
            d_model=config.hidden_size,
            embed_key=embedding_key(config),
            is_head_tied=is_head_tied,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OurManifest:
    """A manifest that this program wrote."""

    facts: AdapterFacts
    header: AdapterHeader
    adapter_sha256: str
    """SHA-256 of its safetensors file."""
    training_objective_note: str | None


def adapter_facts(header: AdapterHeader, v3: V3Facts) -> AdapterFacts:
    """The facts of one of our adapters, by logical layers.

    Raises:
        ValueError: For modules that have no logical names, or a head under another key.
    """
    names = logical_names(header.graph, header.modules)
    is_table = v3.is_head_tied or header.graph.is_proxy
    keys = {names[module.ours]: module.base_key for module in header.modules}
    if keys.get(HEAD, HEAD_WEIGHT) != HEAD_WEIGHT:
        message = f"the head's key in the header must be {HEAD_WEIGHT}, got {keys[HEAD]}"
        raise ValueError(message)
    if HEAD in keys and is_table:
        keys[HEAD] = v3.embed_key
    quantization, lora = header.quantization, header.lora
    return AdapterFacts(
        version=3,
        method="lora" if quantization is None else "qlora",
        base_quant="none" if quantization is None else quantization.base_quant,
        double_quant=quantization is not None and quantization.nf4.double_quant,
        layer_order=tuple(names.values()),
        base_key_map=keys,
        vocab=v3.vocab,
        d_model=v3.d_model,
        rank=lora.rank,
        alpha=_plain_alpha(header),
        embed_key=v3.embed_key,
        base_model=header.base_name,
        provenance=v3.provenance,
    )


def manifest_v3_json(
    facts: AdapterFacts, *, alpha: float | None = None, quant: Mapping[str, object] | None = None
) -> dict[str, object]:
    """The source system's keys, in its order.

    Args:
        facts: The adapter's facts.
        alpha: Alpha as trained, if the scale rule is not alpha / rank.
        quant: Details of the quantisation that the source system does not record.
    """
    provenance = {} if facts.provenance is None else {"provenance": facts.provenance.as_json()}
    return {
        "format": V3_FORMAT,
        "version": 3,
        "adapter_method": facts.method,
        "quant": {
            "base_quant": facts.base_quant,
            "double_quant": facts.double_quant,
            **(quant or {}),
        },
        "base_key_map": {name: facts.base_key_map[name] for name in facts.layer_order},
        "layer_order": list(facts.layer_order),
        "vocab": facts.vocab,
        "d_model": facts.d_model,
        "rank": facts.rank,
        "alpha": exact_number(facts.alpha if alpha is None else alpha),
        "base_model": facts.base_model,
        **provenance,
    }


def our_manifest_json(header: AdapterHeader, v3: V3Facts, adapter_sha256: str) -> dict[str, object]:
    """The manifest of one of our adapters, its own digest last.

    Raises:
        ValueError: As `adapter_facts`.
    """
    lora, quantization = header.lora, header.quantization
    quant = {} if quantization is None else quantization.as_json()
    names = logical_names(header.graph, header.modules)
    document = {
        **manifest_v3_json(adapter_facts(header, v3), alpha=lora.alpha, quant=quant),
        "schema_version": SCHEMA_VERSION,
        "graph_id": header.graph,
        "candle_compat_mode": quantization is not None,
        "training_objective_note": v3.training_objective_note,
        "embed_key": v3.embed_key,
        "dropout": lora.dropout,
        "use_rslora": lora.use_rslora,
        "scale": lora.scale,
        "modules": {
            names[module.ours]: {field: getattr(module, field) for field in _MODULE_FIELDS}
            for module in header.modules
        },
        "base_digest": header.base_digest,
        "model_type": header.model_type,
        **header.text_json(),
        "contract_digest": header.contract_digest,
        "step": header.step,
        **header.optional_json(),
        "adapter_sha256": adapter_sha256,
    }
    return with_own_digest(document)


_OPTIONAL_OF_OURS = ("provenance", "imported", "layout", "transformers")


def parse_manifest_v3(raw: Mapping[str, object], path: Path) -> AdapterFacts | OurManifest:
    """Read a manifest of any era.

    Args:
        raw: The document.
        path: Its path, for messages.

    Raises:
        ArtifactError: With everything that is missing, wrong or contradictory.
    """
    is_ours = "schema_version" in raw
    try:
        if is_ours:
            check_keys(raw, _REQUIRED_OF_OURS, _OPTIONAL_OF_OURS)
        else:
            check_keys(raw, _REQUIRED, ("base_model", "provenance"))
        facts = _facts(raw)
        ours = _our_manifest(raw, facts) if is_ours else None
    except FieldError as error:
        raise ArtifactError(say.sidecar_invalid(str(error)).at(str(path))) from error
    check_layers(facts, path)
    if ours is None:
        if facts.method == "qlora":
            require_head(facts, path)
        return facts
    problems = [say.sidecar_invalid(reason).at(str(path)) for reason in _contradictions(ours)]
    if problems:
        raise ArtifactError(*problems)
    if ours.header.graph.is_proxy:
        require_head(facts, path)
    return ours


def _plain_alpha(header: AdapterHeader) -> float:
    """Alpha that gives the scale of training with the rule alpha / rank."""
    lora = header.lora
    return lora.scale * lora.rank if lora.use_rslora else lora.alpha


def _facts(raw: Mapping[str, object]) -> AdapterFacts:
    take_one_of(raw, "format", V3_FORMATS)
    take_one_of(raw, "version", (3,))
    method = take_one_of(raw, "adapter_method", ("lora", "qlora"))
    with inside("quant"):
        base_quant, double_quant = _stored_weights(take_object(raw, "quant"))
    layer_order, base_key_map = take_layers(raw)
    if method == "lora" and base_quant != "none":
        message = f"adapter_method is lora and base_quant is {base_quant}"
        raise FieldError(message)
    return AdapterFacts(
        version=3,
        method=method,
        base_quant=base_quant,
        double_quant=base_quant != "none" if double_quant is None else double_quant,
        layer_order=layer_order,
        base_key_map=base_key_map,
        vocab=take_positive(raw, "vocab"),
        d_model=take_positive(raw, "d_model"),
        rank=take_positive(raw, "rank"),
        alpha=take_number(raw, "alpha"),
        embed_key=_embed_key(raw, base_key_map),
        base_model=take_optional(raw, "base_model", str),
        provenance=_provenance(raw),
    )


def _embed_key(raw: Mapping[str, object], base_key_map: Mapping[str, str]) -> str | None:
    """In the source system the head is always the embedding table."""
    return take_name(raw, "embed_key") if "embed_key" in raw else base_key_map.get(HEAD)


def _stored_weights(quant: Mapping[str, object]) -> tuple[str, bool | None]:
    """`base_quant` and `double_quant`; other fields are optional but must be valid."""
    check_keys(quant, ("base_quant",), ("double_quant", "block_size", "compute_dtype", "experts"))
    if "block_size" in quant:
        take_one_of(quant, "block_size", BLOCK_SIZES)
    if "compute_dtype" in quant:
        take_one_of(quant, "compute_dtype", COMPUTE_DTYPES)
    base_quant = take_one_of(quant, "base_quant", ("none", "nf4"))
    return base_quant, take_present(quant, "double_quant", bool)


def _provenance(raw: Mapping[str, object]) -> Provenance | None:
    if raw.get("provenance") is None:
        return None
    fields = take_object(raw, "provenance")
    with inside("provenance"):
        check_keys(fields, (), _PROVENANCE_FIELDS)
        return Provenance(
            base_family=take_optional(fields, "base_family", str),
            upstream_model_id=take_optional(fields, "upstream_model_id", str),
            license_class=take_optional(fields, "license_class", str),
            attribution_required=take_present(fields, "attribution_required", bool) or False,
        )


def _our_manifest(raw: Mapping[str, object], facts: AdapterFacts) -> OurManifest:
    if not fits_own_digest(raw):
        message = "it was damaged or changed: its content does not match its own digest"
        raise FieldError(message)
    take_one_of(raw, "schema_version", (SCHEMA_VERSION,))
    if "imported" in raw:
        with inside("imported"):
            check_keys(take_object(raw, "imported"), ("adapter_config", "container"))
    header = AdapterHeader(
        lora=take_lora(raw),
        modules=tuple(_modules(raw, facts)),
        base_name=take(raw, "base_model", str),
        base_digest=take(raw, "base_digest", str),
        model_type=take_name(raw, "model_type"),
        **take_text(raw),
        contract_digest=take(raw, "contract_digest", str),
        step=take_step(raw),
        transformers=take_optional(raw, "transformers", str) or "",
        imported=take_imported(raw),
        graph=take_member(raw, "graph_id", GraphId),
        quantization=take_quantization(take_object(raw, "quant"))
        if facts.method == "qlora"
        else None,
        base_sizes=(facts.vocab, facts.d_model),
    )
    if take(raw, "candle_compat_mode", bool) != (facts.method == "qlora"):
        message = "candle_compat_mode is true for qlora and for nothing else"
        raise FieldError(message)
    # The facts' alpha is that of the rule alpha / rank, whichever rule the adapter has.
    return OurManifest(
        facts=replace(facts, alpha=_plain_alpha(header)),
        header=header,
        adapter_sha256=take_sha256(raw, "adapter_sha256"),
        training_objective_note=take_optional(raw, "training_objective_note", str),
    )


def _modules(raw: Mapping[str, object], facts: AdapterFacts) -> Iterator[AdaptedModule]:
    modules = take_object(raw, "modules")
    if set(modules) != set(facts.layer_order):
        message = "layer_order and modules do not name the same layers"
        raise FieldError(message)
    for name in facts.layer_order:
        with inside(f"modules.{name}"):
            base_key = HEAD_WEIGHT if name == HEAD else take(facts.base_key_map, name, str)
            module = _module(take_object(modules, name), base_key)
        yield module


def _module(raw: Mapping[str, object], base_key: str) -> AdaptedModule:
    check_keys(raw, _MODULE_FIELDS)
    roles = take_names(raw, "roles")
    if not set(roles) <= set(ProjectionRole):
        message = f"roles are not all among {', '.join(ProjectionRole)}"
        raise FieldError(message)
    return AdaptedModule(
        ours=take_name(raw, "ours"),
        base_key=base_key,
        roles=roles,
        in_features=take_positive(raw, "in_features"),
        out_features=take_positive(raw, "out_features"),
        fan_in_fan_out=take(raw, "fan_in_fan_out", bool),
    )


def _contradictions(ours: OurManifest) -> Iterator[str]:
    """Contradictions within one of our manifests."""
    header, facts = ours.header, ours.facts
    try:
        names = logical_names(header.graph, header.modules)
    except ValueError as error:
        yield str(error)
        return
    if tuple(names.values()) != facts.layer_order:
        yield f"layer_order does not match the modules in {header.graph}"
        return
    if facts.method == "lora" and header.graph != GraphId.FULL:
        yield f"{header.graph} is not a graph of the method lora"
    known = {HEAD_WEIGHT, facts.embed_key} if header.graph == GraphId.FULL else {facts.embed_key}
    if HEAD in facts.base_key_map and facts.base_key_map[HEAD] not in known:
        yield f"lm_head is mapped to {facts.base_key_map[HEAD]}"
    for module in header.modules:
        found = (module.in_features, module.out_features)
        sizes = features_of(names[module.ours], vocab=facts.vocab, d_model=facts.d_model)
        if any(size not in (None, each) for size, each in zip(sizes, found, strict=True)):
            yield f"{names[module.ours]} is {list(found)}, which vocab and d_model do not give"
