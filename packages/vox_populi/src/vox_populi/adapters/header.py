"""The header of an adapter file: versioned, plain values. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TypedDict

from vox_populi.contract.choices import ComputeDtype, GraphId, TokenizerKind
from vox_populi.data.trained_layout import TrainedLayout, take_layout
from vox_populi.data.training_text import ChatTemplate, take_template, withholds_prompt
from vox_populi.errors import ModelError
from vox_populi.files.json_fields import (
    FieldError,
    take,
    take_count,
    take_member,
    take_number,
    take_object,
    take_optional,
    take_positive,
    take_present,
    take_texts,
)
from vox_populi.files.strict_json import parse_json_object
from vox_populi.files.whole_file import canonical_json
from vox_populi.hf.graph_source import GraphSource
from vox_populi.hf.keymap import AdapterModule
from vox_populi.number_ranges import COUNT_OR_NONE
from vox_tensor.lora_spec import LoraSpec
from vox_tensor.nf4_levels import BLOCK_SIZES, Nf4Settings

ADAPTER_FORMAT = "vox_mens_lora_bin"
ADAPTER_VERSION = "1"
IMPORTED_VERSION = "2"
"""Version of a header with `imported`; otherwise like version 1, and both are read."""
QLORA_VERSION = "3"
"""Version of a header with `graph` or `quantization`; otherwise like version 2."""
ADAPTER_VERSIONS = (ADAPTER_VERSION, IMPORTED_VERSION, QLORA_VERSION)

COMPUTE_DTYPES = (ComputeDtype.F32.value, ComputeDtype.BF16.value)
"""Dtypes of the arithmetic on quantised weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptedModule:
    """One adapted projection."""

    ours: str
    """Our module name; the file's tensors are `<ours>.lora_A` and `<ours>.lora_B`."""
    base_key: str
    """The base tensor it belongs to, in the checkpoint's naming."""
    roles: tuple[str, ...]
    """`q`, `k`, …; more than one if the base fuses projections."""
    in_features: int
    out_features: int
    fan_in_fan_out: bool
    """The base stores this weight `[in, out]` (GPT-2's Conv1D)."""

    @classmethod
    def of(cls, module: AdapterModule) -> AdaptedModule:
        """Describe a module of the key map."""
        return cls(
            ours=module.ours,
            base_key=f"{module.theirs}.weight",
            roles=tuple(role.value for role in module.roles),
            in_features=module.in_features,
            out_features=module.out_features,
            fan_in_fan_out=module.fan_in_fan_out,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedText:
    """The text files of a PEFT folder: enough to write the same bytes again."""

    adapter_config: str
    """`adapter_config.json`, verbatim."""
    container: str
    """The JSON header of `adapter_model.safetensors`, padding included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """How the frozen weights were quantised when an adapter was trained.

    Raises:
        ValueError: With the field that has an invalid value.
    """

    base_quant: str = "nf4"
    nf4: Nf4Settings
    compute_dtype: str
    """Dtype of the arithmetic on the dequantised weights: `f32` or `bf16`."""
    experts: bool = False
    """Whether experts that a class of transformers holds together were quantised too."""

    def __post_init__(self) -> None:
        allowed: tuple[tuple[str, object, tuple[object, ...]], ...] = (
            ("base_quant", self.base_quant, ("nf4",)),
            ("block_size", self.nf4.block_size, BLOCK_SIZES),
            ("compute_dtype", self.compute_dtype, COMPUTE_DTYPES),
        )
        for name, value, known in allowed:
            if value not in known:
                message = f"{name} is {value!r}, not one of {', '.join(map(str, known))}"
                raise ValueError(message)

    def as_json(self) -> dict[str, object]:
        """The fields as headers, manifests and receipts store them."""
        return {
            "base_quant": self.base_quant,
            **asdict(self.nf4),
            "compute_dtype": self.compute_dtype,
            **({"experts": True} if self.experts else {}),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterHeader:
    """Everything needed to attach an adapter to its base, except the numbers."""

    lora: LoraSpec
    modules: tuple[AdaptedModule, ...]
    """In forward order."""
    base_name: str
    """Name of the base folder; never a path."""
    base_digest: str
    model_type: str
    tokenizer: TokenizerKind
    tokenizer_digest: str
    template: ChatTemplate
    template_digest: str
    system_prompt: str | None
    seq_len: int
    contract_digest: str
    step: int
    imported: ImportedText | None = None
    """Files of an adapter trained by another program."""
    graph: GraphId = GraphId.FULL
    """The graph in which the adapter was trained."""
    quantization: Quantization | None = None
    """Quantisation of the base; `None`: the base was used as stored."""
    layout: TrainedLayout | None = None
    """Template and border tokens of the training, if it used the base's own tokenizer."""
    transformers: str = ""
    """The version of transformers that computed the base in training; empty for our own code."""
    base_sizes: tuple[int, int] | None = field(default=None, compare=False)
    """Vocabulary and width of the base, if the adapter's sidecar has them (version 3)."""

    @classmethod
    def of_foreign(
        cls,
        lora: LoraSpec,
        modules: Iterable[AdaptedModule],
        base_name: str | None,
        *,
        graph: GraphId = GraphId.FULL,
        quantization: Quantization | None = None,
        imported: ImportedText | None = None,
    ) -> AdapterHeader:
        """The header from another program's files; `header_on_base` completes it from the base."""
        return cls(
            lora=lora,
            modules=tuple(modules),
            base_name=base_name or "",
            base_digest="",
            model_type="",
            tokenizer=TokenizerKind.HF,
            tokenizer_digest="",
            template=ChatTemplate.CHATML,
            template_digest="",
            system_prompt=None,
            seq_len=1,
            contract_digest="",
            step=0,
            imported=imported,
            graph=graph,
            quantization=quantization,
        )

    @property
    def version(self) -> str:
        """The lowest version of the format that can represent this header."""
        if self.graph != GraphId.FULL or self.quantization is not None:
            return QLORA_VERSION
        return ADAPTER_VERSION if self.imported is None else IMPORTED_VERSION

    @property
    def source(self) -> GraphSource:
        """Whose code reads the base: the one that trained the adapter, if it is written down."""
        return GraphSource.TRANSFORMERS if self.transformers else GraphSource.AUTO

    @property
    def withholds_system_prompt(self) -> bool:
        """Whether training used a system prompt of which the header has only the digest."""
        is_absent = self.system_prompt is None
        return is_absent and withholds_prompt(self.template, self.layout, self.template_digest)

    def tensor_shapes(self) -> dict[str, tuple[int, int]]:
        """Name and shape of every tensor the file must hold: A `[R, I]`, B `[O, R]`."""
        rank = self.lora.rank
        shapes: dict[str, tuple[int, int]] = {}
        for module in self.modules:
            shapes[f"{module.ours}.lora_A"] = (rank, module.in_features)
            shapes[f"{module.ours}.lora_B"] = (module.out_features, rank)
        return shapes

    def to_json(self) -> str:
        """Canonical JSON: the same header always gives the same text."""
        return canonical_json(
            {
                **self._newer_fields(),
                **asdict(self.lora),
                "scale": self.lora.scale,
                "roles": sorted({role for module in self.modules for role in module.roles}),
                "layer_order": [module.ours for module in self.modules],
                "base_key_map": {module.ours: module.base_key for module in self.modules},
                "modules": {module.ours: _module_json(module) for module in self.modules},
                "base_model": self.base_name,
                "base_digest": self.base_digest,
                "model_type": self.model_type,
                **self.text_json(),
                "contract_digest": self.contract_digest,
                "step": self.step,
            }
        )

    def for_publishing(self, *, include_system_prompt: bool) -> AdapterHeader:
        """The header for a model that is published.

        `template_digest` includes the system prompt, so that a reader can still check a prompt.
        The files of an imported adapter are not needed any more.
        """
        prompt = self.system_prompt if include_system_prompt else None
        return replace(self, system_prompt=prompt, imported=None)

    def text_json(self) -> dict[str, object]:
        """How text was laid out in training, as every file with a header writes it."""
        return {
            "tokenizer": self.tokenizer.value,
            "tokenizer_digest": self.tokenizer_digest,
            "template": self.template.value,
            "template_digest": self.template_digest,
            "system_prompt": self.system_prompt,
            "seq_len": self.seq_len,
        }

    def optional_json(self) -> dict[str, object]:
        """Fields that most adapters do not have, omitted if empty."""
        imported = {} if self.imported is None else {"imported": asdict(self.imported)}
        layout = {} if self.layout is None else {"layout": self.layout.as_json()}
        source = {"transformers": self.transformers} if self.transformers else {}
        return {**imported, **layout, **source}

    def _newer_fields(self) -> dict[str, object]:
        """Fields that version 1 does not have, omitted if empty."""
        fields = self.optional_json()
        if self.version == QLORA_VERSION:
            fields["graph"] = self.graph
        if self.quantization is not None:
            fields["quantization"] = self.quantization.as_json()
        return fields


def parse_header(text: str) -> AdapterHeader:
    """Read what `AdapterHeader.to_json` wrote.

    Raises:
        FieldError: With the field that is missing or wrong.
    """
    try:
        raw = parse_json_object(text.encode("utf-8", "surrogatepass"), "header")
    except ModelError as error:
        raise FieldError(error.problems[0].what) from error
    return AdapterHeader(
        lora=take_lora(raw),
        modules=tuple(_modules(raw)),
        base_name=take(raw, "base_model", str),
        base_digest=take(raw, "base_digest", str),
        model_type=take(raw, "model_type", str),
        **take_text(raw),
        contract_digest=take(raw, "contract_digest", str),
        step=take_step(raw),
        transformers=take_optional(raw, "transformers", str) or "",
        imported=take_imported(raw),
        # Files that are older than the second graph have none.
        graph=GraphId.FULL if raw.get("graph") is None else take_member(raw, "graph", GraphId),
        quantization=None
        if raw.get("quantization") is None
        else take_quantization(take_object(raw, "quantization")),
    )


class TextFields(TypedDict):
    """What `AdapterHeader.text_json` wrote, and the layout if there is one."""

    tokenizer: TokenizerKind
    tokenizer_digest: str
    template: ChatTemplate
    template_digest: str
    system_prompt: str | None
    seq_len: int
    layout: TrainedLayout | None


def take_text(raw: Mapping[str, object]) -> TextFields:
    """Read how text was laid out in training.

    Raises:
        FieldError: With the field that is missing or wrong.
    """
    return {
        "tokenizer": take_member(raw, "tokenizer", TokenizerKind),
        "tokenizer_digest": take(raw, "tokenizer_digest", str),
        "template": take_template(raw),
        "template_digest": take(raw, "template_digest", str),
        "system_prompt": take_optional(raw, "system_prompt", str),
        "seq_len": take_positive(raw, "seq_len"),
        "layout": take_layout(raw),
    }


def take_quantization(raw: Mapping[str, object]) -> Quantization:
    """Read what `Quantization.as_json` wrote.

    Raises:
        FieldError: With the field that is missing or wrong.
    """
    base_quant, compute_dtype = take(raw, "base_quant", str), take(raw, "compute_dtype", str)
    block_size, double_quant = take(raw, "block_size", int), take(raw, "double_quant", bool)
    try:
        return Quantization(
            base_quant=base_quant,
            nf4=Nf4Settings(block_size=block_size, double_quant=double_quant),
            compute_dtype=compute_dtype,
            experts=take_present(raw, "experts", bool) or False,
        )
    except ValueError as error:
        raise FieldError(str(error)) from error


def _module_json(module: AdaptedModule) -> dict[str, object]:
    given = ("ours", "base_key")
    return {name: value for name, value in asdict(module).items() if name not in given}


def take_lora(raw: Mapping[str, object]) -> LoraSpec:
    """Rank, alpha, dropout and scale rule; `scale` must be what they give.

    Raises:
        FieldError: With the field that is missing or wrong.
    """
    rank, use_rslora = take_positive(raw, "rank"), take(raw, "use_rslora", bool)
    alpha, dropout = take_number(raw, "alpha"), take_number(raw, "dropout")
    try:
        spec = LoraSpec(rank=rank, alpha=alpha, dropout=dropout, use_rslora=use_rslora)
    except ValueError as error:
        raise FieldError(str(error)) from error
    if take_number(raw, "scale") != spec.scale:
        message = f"scale is {raw['scale']}, but rank and alpha give {spec.scale}"
        raise FieldError(message)
    return spec


def take_step(raw: Mapping[str, object]) -> int:
    """The step of an adapter, within the limits of a run."""
    return take_count(raw, "step", highest=int(COUNT_OR_NONE.highest))


def take_imported(raw: Mapping[str, object]) -> ImportedText | None:
    """The text files of a PEFT folder, or `None` for an adapter trained by this program.

    Raises:
        FieldError: With the field that is missing or wrong.
    """
    if raw.get("imported") is None:
        return None
    texts = take_object(raw, "imported")
    return ImportedText(
        adapter_config=take(texts, "adapter_config", str), container=take(texts, "container", str)
    )


def _modules(raw: Mapping[str, object]) -> Iterator[AdaptedModule]:
    order = take_texts(raw, "layer_order")
    modules, keys = take_object(raw, "modules"), take_object(raw, "base_key_map")
    if not (len(set(order)) == len(order) and set(order) == set(modules) == set(keys)):
        message = "layer_order, modules and base_key_map do not name the same modules"
        raise FieldError(message)
    for name in order:
        module = take_object(modules, name)
        yield AdaptedModule(
            ours=name,
            base_key=take(keys, name, str),
            roles=take_texts(module, "roles"),
            in_features=take_positive(module, "in_features"),
            out_features=take_positive(module, "out_features"),
            fan_in_fan_out=take(module, "fan_in_fan_out", bool),
        )
