"""Checking whether a base can be trained, from its config: request, report and function.

Nothing is trained and no weights are read. torch is imported where transformers computes the base.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vox_populi.contract.choices import TokenizerKind
from vox_populi.contract.download_choice import download_setting
from vox_populi.contract.setting import require_settings, setting, setting_metadata
from vox_populi.contract.setting_groups import ComputeSettings
from vox_populi.data.training_text import ChatTemplate, TextPolicy
from vox_populi.errors import EnvironmentFailure, MissingExtraError
from vox_populi.files.json_numbers import JsonObject
from vox_populi.hf.graph_source import GraphSource
from vox_populi.hf.hub_name import ModelParts, folder_name
from vox_populi.hf.inventory import read_inventory
from vox_populi.hf.model_config import ModelConfig, read_model_config
from vox_populi.hf.proven_families import proven_family
from vox_populi.hf.proven_family import ProvenFamily, RowsTogether
from vox_populi.hf.weight_files import INDEX_NAME, SINGLE_NAME
from vox_populi.number_ranges import COUNT, RANK
from vox_populi.pipeline.graph_proof import proof_of
from vox_populi.pipeline.machine_probe import probe_machine, require_threads
from vox_populi.plan.base_memory import BaseMemory, base_memory
from vox_populi.plan.device_choice import DeviceChoice, choose_device, device_problems
from vox_populi.plan.memory_estimate import count_parameters
from vox_populi.plan.packing_proof_facts import PackingProof, proof_problems
from vox_populi.plan.target_modules import coverage_notes, select_adapters
from vox_populi.plan.template_choice import choose_template
from vox_populi.plan.tokenizer_choice import choose_tokenizer
from vox_tensor.errors import Problem, VoxError


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCheckRequest(ComputeSettings):
    """A base to check."""

    source: Path = field(
        metadata=setting_metadata(
            "Model folder, or a name on the hub: only config and tokenizer are downloaded.",
            argument="FOLDER",
            model=ModelParts.TEXT,
        )
    )
    allow_download: bool = download_setting()
    graph_source: GraphSource = setting(
        GraphSource.AUTO,
        "Whose code computes the base: native, or transformers, which is proven first.",
        name="graph",
    )
    seq_len: int = setting(512, "Tokens of a row, for the memory estimate.", allowed=COUNT)
    rank: int = setting(16, "Rank of the adapters, for the memory estimate.", allowed=RANK)

    def __post_init__(self) -> None:
        require_settings(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCheckReport:
    """What was found; a base with problems cannot be trained."""

    name: str
    config: ModelConfig
    proof: PackingProof | None
    """What was measured of a class of transformers; `None` for native code."""
    roles: Mapping[str, int]
    """Number of adapted layers by role; experts' roles begin with `experts.`."""
    adapted_share: float
    """Part of the base's values whose matrices get an adapter."""
    layer_kinds: Mapping[str, int]
    """Number of blocks by kind; empty for native code."""
    has_weights: bool
    tokenizer: str
    template: str
    memory: BaseMemory
    known: ProvenFamily | None
    """What tests have proven of its type."""
    problems: tuple[Problem, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether it can be trained."""
        return not self.problems

    @property
    def rows(self) -> RowsTogether:
        """How its rows are computed."""
        if self.proof is None:
            return RowsTogether.PACKED
        if any(proof_problems(self.proof)):
            return RowsTogether.REFUSED
        return RowsTogether.PACKED if self.proof.packs else RowsTogether.ALONE

    def as_json(self) -> JsonObject:
        """The fields of `vox mens models check --json`."""
        native: JsonObject = {"source": GraphSource.NATIVE.value, "class": self.class_name}
        return {
            "model": self.name,
            "model_type": self.config.model_type,
            "parameters": count_parameters(self.config),
            "n_layers": self.config.n_layers,
            "layer_kinds": dict(self.layer_kinds),
            "graph": native if self.proof is None else self.proof.as_json(),
            "rows": self.rows.value,
            "adapted_layers": dict(self.roles),
            "adapted_share": round(self.adapted_share, 6),
            "weights_here": self.has_weights,
            "tokenizer": self.tokenizer,
            "template": self.template,
            "memory": self.memory.as_json(),
            "proven": [] if self.known is None else [each.value for each in self.known.proven],
            "trainable": self.ok,
            "notes": list(self.notes),
        }

    @property
    def class_name(self) -> str:
        """The class of transformers that computes the same."""
        return self.config.family.architectures[0]


def check_model(request: ModelCheckRequest) -> ModelCheckReport:
    """Run the packing proof and the coverage gate on a base, and plan its memory.

    Raises:
        ModelError: For a config that no source of graphs can compute.
        MissingExtraError: Without transformers or torch, if transformers computes it.
        EnvironmentFailure: For a missing device.
    """
    folder, found = request.source, _Found()
    config = read_model_config(folder, request.graph_source)
    device = _device(request)
    proof = proof_of(config, folder, device.device)
    if proof is not None:
        found.problems += proof_problems(proof)
    selection = select_adapters(config, None)
    found.problems += selection.problems
    has_weights = _check_weights(request, found)
    tokenizer, template = _text_of(folder, config, found)
    table = config.modules
    total = count_parameters(config)
    values = sum(m.in_features * m.out_features for m in selection.modules)
    return ModelCheckReport(
        name=folder_name(folder),
        config=config,
        proof=proof,
        roles=Counter(
            ("experts." if m.in_expert else "") + "+".join(m.roles) for m in selection.modules
        ),
        adapted_share=values / total,
        layer_kinds={} if table is None else Counter(table.layer_kinds),
        has_weights=has_weights,
        tokenizer=tokenizer,
        template=template,
        memory=base_memory(config, device, tokens=request.seq_len, rank=request.rank),
        known=proven_family(config.model_type, config.source),
        problems=tuple(found.problems),
        notes=(*config.notes, *coverage_notes(config), *found.notes),
    )


class _Found:
    """Problems and notes, as they are found."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.notes: list[str] = []


def _check_weights(request: ModelCheckRequest, found: _Found) -> bool:
    """Compare the headers of the weights with the config, if the weights are there."""
    folder = request.source
    if not any((folder / name).is_file() for name in (SINGLE_NAME, INDEX_NAME)):
        return False
    try:
        read_inventory(folder, allow_nf4=True, source=request.graph_source)
    except VoxError as error:
        found.problems += error.problems
    return True


def _text_of(folder: Path, config: ModelConfig, found: _Found) -> tuple[str, str]:
    """The tokenizer and the chat template that training would take."""
    try:
        chosen = choose_tokenizer(TokenizerKind.HF, folder, config.eos_ids)
        policy = TextPolicy(template=ChatTemplate.AUTO)
        policy, notes = choose_template(policy, folder, chosen.tokenizer)
    except MissingExtraError as error:
        missing = str(error.problems[0].what)
        return missing, missing
    except VoxError as error:
        found.problems += error.problems
        return "", ""
    found.notes += [*chosen.notes, *notes]
    return f"{chosen.path.name}, {chosen.tokenizer.vocab_size:,} tokens", policy.kind.value


def _device(request: ModelCheckRequest) -> DeviceChoice:
    require_threads(request.threads)
    machine = probe_machine(request.device, request.dtype)
    absent = tuple(device_problems(request.device, machine))
    if absent:
        raise EnvironmentFailure(*absent)
    return choose_device(request, machine)
